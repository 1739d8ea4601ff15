//! What the usual scripts do wrong, where no other module is the place for it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use bkhost_tests::{Bkhost, Outcome, Simulator, postgres};

/// Long enough to be nothing else.
const SECRETS: [&str; 2] = ["geheim-of-bitbucket-7431", "geheim-of-postgresql-9950"];

/// The command lines on this machine that hold a secret, but for the simulator's own.
fn command_lines(stop: &AtomicBool) -> Vec<String> {
    let mut found = Vec::new();
    while !stop.load(Ordering::Acquire) {
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if SECRETS.iter().any(|secret| line.contains(secret)) && !line.contains(" simulate ") {
                found.push(line);
            }
        }
    }
    found
}

/// The files below a directory that hold a secret.
fn files(dir: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            files(&entry.path(), found);
        } else if let Ok(bytes) = std::fs::read(entry.path()) {
            let holds = |secret: &&str| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            found.extend(SECRETS.iter().filter(|s| holds(s)).map(|_| entry.path().display().to_string()));
        }
    }
}

#[test]
fn passwords_in_argv_or_logs() {
    let (bk, server) = (Bkhost::new(), postgres());
    server.create(bk.instance(), 1000);
    let simulator = Simulator::start(&["--password", SECRETS[0]]);
    for (name, secret) in [("password", SECRETS[0]), ("database-password", SECRETS[1])] {
        std::fs::write(bk.path(name), format!("{secret}\n")).unwrap();
        std::fs::set_permissions(bk.path(name), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    let part = |database: &str| {
        let part = server.part("database", database, "");
        format!("{part}[part.secrets]\npassword = {{ file = {:?} }}\n", bk.path("database-password"))
    };
    let silent = |outcome: &Outcome| {
        for secret in SECRETS {
            assert!(!format!("{outcome}").contains(secret), "it says a password: {outcome}");
        }
    };
    let stop = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| command_lines(&stop));
        bk.config(&[&bk.application(&simulator, ""), &part(bk.instance())]);
        let outcome = bk.run(&["run", "--json", "--verbose"]).ok();
        silent(&outcome);
        let id = outcome.json()["id"].as_str().unwrap().to_owned();
        let to = format!("{}-restored", bk.instance());
        for args in [
            &["check", "--verbose"][..],
            &["plan"],
            &["status", "--show-tokens", "--json"],
            &["restore", &id, "--to", &to, "--confirm", bk.instance(), "--verbose"],
        ] {
            silent(&bk.run(args).ok());
        }
        // What fails says most.
        bk.config(&[&bk.application(&simulator, ""), &part("nothing-of-that-name")]);
        let failed = bk.run(&["run", "--verbose"]);
        assert_ne!(failed.code, 0, "{failed}");
        silent(&failed);
        stop.store(true, Ordering::Release);
        watcher.join().unwrap()
    });
    assert_eq!(seen, [""; 0], "command lines with a password");
    let mut found = Vec::new();
    files(&bk.state(), &mut found);
    files(&bk.path("backups"), &mut found);
    assert_eq!(found, [""; 0], "files with a password");
    simulator.is_free();
}
