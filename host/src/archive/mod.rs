//! Archives: writing, reading, verifying and mirroring trees.
