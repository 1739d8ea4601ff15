//! What is locked while the consistency points are fixed.
