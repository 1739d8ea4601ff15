//! Stores that cannot take a set.

use bkhost_tests::{Bkhost, Simulator, directory_part};

/// An instance with so many bytes of noise behind the simulator.
fn behind(bytes: usize) -> (Bkhost, Simulator) {
    let bk = Bkhost::new();
    std::fs::create_dir(bk.path("home")).unwrap();
    let noise = blake3::Hasher::new().finalize_xof();
    let mut file = std::fs::File::create(bk.path("home/noise")).unwrap();
    std::io::copy(&mut std::io::Read::take(noise, bytes as u64), &mut file).unwrap();
    let simulator = Simulator::start(&[]);
    bk.config(&[&bk.application(&simulator, ""), &directory_part("home", &bk.path("home"))]);
    (bk, simulator)
}

#[test]
fn it_is_a_file() {
    let (bk, simulator) = behind(10);
    std::fs::write(bk.path("backups"), "mine").unwrap();
    bk.run(&["run"]).fails(7, &["backups"]);
    assert_eq!(std::fs::read_to_string(bk.path("backups")).unwrap(), "mine");
    assert_eq!(simulator.count("lock"), 0);
    bk.run(&["list"]).fails(7, &["backups"]);
}

/// Run with a file system of these options mounted on the store; what it holds afterwards.
fn on_tmpfs(bk: &mut Bkhost, options: &str) -> (bkhost_tests::Outcome, String) {
    let (store, found) = (bk.path("backups"), bk.path("found"));
    std::fs::create_dir(&store).unwrap();
    // In a mount namespace of its own: nothing of it is left.
    bk.wrap(&format!(
        r#"exec unshare --mount bash -c 'mount -t tmpfs -o {options} tmpfs "{store}" || exit 99
           "$@"; status=$?; find "{store}" -type f > "{found}"; exit $status' inside "$@""#,
        store = store.display(),
        found = found.display()
    ));
    let outcome = bk.run(&["run"]);
    (outcome, std::fs::read_to_string(found).unwrap_or_default())
}

#[test]
fn it_is_read_only() {
    let (mut bk, simulator) = behind(10);
    let (outcome, found) = on_tmpfs(&mut bk, "ro");
    outcome.fails(7, &["backups", "ead-only"]);
    assert_eq!(found, "");
    assert_eq!(simulator.count("lock"), 0, "noticed before the lock");
}

#[test]
fn it_is_full() {
    let (mut bk, simulator) = behind(4 << 20);
    let (outcome, found) = on_tmpfs(&mut bk, "size=1m");
    outcome.fails(7, &["o space left"]);
    assert_eq!(found, "", "nothing of the set is left");
    assert_eq!((simulator.count("lock"), simulator.count("unlock")), (1, 1));
    simulator.is_free();
}

#[test]
fn it_is_not_there() {
    let (bk, _simulator) = behind(10);
    bk.run(&["list"]).fails(13, &["backups", "does not exist", "mounted?"]);
    bk.run(&["verify", "latest"]).fails(13, &["backups"]);
}
