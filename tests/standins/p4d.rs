//! The stand-in for Perforce's `p4d`: see `bkhost_tests::p4d`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    ExitCode::from(bkhost_tests::p4d::p4d(&arguments))
}
