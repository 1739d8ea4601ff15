//! `bkhost demo`

use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

use bkhost_tests::{Bkhost, Outcome, Running, plugins};

fn shows(outcome: &Outcome) {
    for text in
        ["simulator of Bitbucket", "application was locked for", "downtime", "all as they were", "equal", "Next"]
    {
        assert!(outcome.stdout.contains(text), "the demo does not say `{text}`: {outcome}");
    }
}

#[test]
fn as_root_or_whoever_runs_the_tests() {
    let bk = Bkhost::new();
    std::fs::create_dir(bk.path("tmp")).unwrap();
    let mut command = bk.command(&["demo"]);
    command.env("TMPDIR", bk.path("tmp"));
    shows(&Running::start(command, false).end().ok());
    assert_eq!(std::fs::read_dir(bk.path("tmp")).unwrap().count(), 0, "it leaves nothing behind");
}

#[test]
fn as_nobody() {
    if !rustix::process::geteuid().is_root() {
        // Then the test above is this one.
        return;
    }
    let bk = Bkhost::new();
    let home = bk.path("home");
    std::fs::create_dir_all(home.join("plugins")).unwrap();
    // The build may be where nobody may look.
    let original = bk.command::<&str>(&[]);
    std::fs::copy(original.get_program(), home.join("bkhost")).unwrap();
    std::fs::copy(plugins().join("directory.wasm"), home.join("plugins/directory.wasm")).unwrap();
    std::fs::create_dir(home.join("tmp")).unwrap();
    std::fs::set_permissions(bk.path(""), std::fs::Permissions::from_mode(0o755)).unwrap();
    for dir in [&home, &home.join("tmp")] {
        chown(dir, Some(65534), Some(65534)).unwrap();
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(home.join("bkhost")).arg("demo");
    command.env_clear().env("HOME", &home).env("TMPDIR", home.join("tmp")).current_dir(&home);
    command.env("PATH", std::env::var_os("PATH").unwrap());
    shows(&Running::start(command, false).end().ok());
    assert_eq!(std::fs::read_dir(home.join("tmp")).unwrap().count(), 0, "it leaves nothing behind");
}
