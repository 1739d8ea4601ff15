//! Tests of which a half runs in User-Mode Linux: a kernel with device-mapper.
//!
//! The test that is seen from outside boots that kernel and has it run another test of this same binary, which is ignored
//! everywhere else.

use std::process::Command;
use std::time::Duration;

use crate::{Running, script};

/// What a kernel may take, boot and test together.
const PATIENCE: Duration = Duration::from_secs(420);

/// Whether this is such a kernel.
#[must_use]
pub fn is_inside() -> bool {
    std::env::var_os("BKHOST_UML").is_some()
}

/// Have the test of this path (`lvm::names_that_attack`) run in a kernel of its own. It has to pass there; what it printed.
#[track_caller]
pub fn run_inside(test: &str) -> String {
    assert!(rustix::process::geteuid().is_root(), "the tests of LVM need root: sudo make test");
    let mut command = Command::new(script("uml.sh"));
    command.env("UML_TIMEOUT", PATIENCE.as_secs().to_string());
    // The environment does not get there by itself.
    command.arg("env");
    for name in ["BKHOST_BIN", "BKHOST_PLUGINS", "BKHOST_TEST_GUESTS", "CARGO_TARGET_DIR", "RUST_BACKTRACE"] {
        command.args(std::env::var(name).ok().map(|value| format!("{name}={value}")));
    }
    command.arg(std::env::current_exe().unwrap()).args([test, "--exact", "--nocapture", "--test-threads=1"]);
    let outcome = Running::start(command, false).within(PATIENCE + Duration::from_secs(10)).end();
    print!("{}", outcome.stdout);
    assert_eq!(outcome.code, 0, "in User-Mode Linux: {outcome}");
    assert!(outcome.stdout.contains("1 passed"), "there is no test {test}: {outcome}");
    outcome.stdout
}
