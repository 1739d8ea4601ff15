//! The `bkhost` command.

fn main() {}
