//! The `bkhost` command.

use std::process::ExitCode;

/// The plugins that were built together with this binary, by digest. A plugin that is not in this list needs a grant.
const SHIPPED: &str = match option_env!("BKHOST_DIGESTS") {
    Some(digests) => digests,
    None => "",
};

fn main() -> ExitCode {
    bkhost::cli::main(SHIPPED)
}
