//! The one error type of the library: it lives in the lowest crate, which needs it too.

pub use bkhost_archive::error::{Error, ErrorKind, Result, ResultExt};
