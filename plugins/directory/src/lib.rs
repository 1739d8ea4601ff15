//! Strategy directory.
