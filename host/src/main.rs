//! The `bkhost` command.

use std::process::ExitCode;

/// The plugins that were built together with this binary, by digest. A plugin that is not in this list needs a grant.
const SHIPPED: &str = include_str!(concat!(env!("OUT_DIR"), "/shipped-plugins.txt"));

fn main() -> ExitCode {
    bkhost::cli::main(SHIPPED)
}
