//! A stand-in for Bitbucket's maintenance API, for the demo and for tests. It is not Bitbucket, and says so.

mod options;

pub use options::{Call, Failure, Fault, Options};
