//! Where sets live.
