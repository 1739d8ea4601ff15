//! Without a lock.

use bkhost_tests::{Bkhost, Simulator, directory_part, postgres, zfs};

const KEYS: &str = "zero-downtime = true";

#[test]
fn atomic_and_exported_parts_need_no_lock() {
    let (zfs, postgres) = (zfs(), postgres());
    let bk = Bkhost::inside(zfs);
    let dataset = zfs.create(bk.instance());
    std::fs::write(zfs.files(&dataset).join("f"), "1").unwrap();
    postgres.create(bk.instance(), 100);
    let simulator = Simulator::start(&[]);
    let parts = zfs.part("home", &[&dataset]) + &postgres.part("database", bk.instance(), "");
    bk.config(&[&bk.application(&simulator, KEYS), &parts]);
    let manifest = bk.backup();
    assert_eq!(manifest["application"]["mode"], "zero-downtime");
    assert_eq!(manifest["application"]["locked-ms"], 0);
    for call in ["lock", "begin", "progress", "unlock", "cancel"] {
        assert_eq!(simulator.count(call), 0, "{call}");
    }
    assert!(simulator.count("version") >= 1);

    // Parts that are captured too far apart are no consistent set.
    let slow = bk.program("slow-zfs", r#"[ "$1" != snapshot ] || sleep 1; exec zfs "$@""#);
    let database = postgres.part("database", bk.instance(), "").replace("plugin =", "after = [\"home\"]\nplugin =");
    let parts = format!("{}[part.programs]\nzfs = \"{}\"\n{database}", zfs.part("home", &[&dataset]), slow.display());
    let limited =
        |limit: &str| bk.config(&[&bk.application(&simulator, &format!("{KEYS}\nmax-skew = \"{limit}\"")), &parts]);
    limited("1ms");
    bk.run(&["run"]).fails(5, &["apart", "max-skew"]);
    assert_eq!((bk.list().len(), zfs.snapshots(&dataset).len()), (1, 1));
    limited("1m");
    let _ = bk.backup();
}

#[test]
fn a_copy_needs_the_lock() {
    let bk = Bkhost::new();
    std::fs::create_dir(bk.path("home")).unwrap();
    std::fs::write(bk.path("home/f"), "1").unwrap();
    let simulator = Simulator::start(&[]);
    bk.config(&[&bk.application(&simulator, KEYS), &directory_part("home", &bk.path("home"))]);
    for command in ["run", "plan", "check"] {
        bk.run(&[command]).fails(3, &["part `home`", "zero-downtime", "copies"]);
    }
    assert_eq!(simulator.count("lock"), 0);
    assert_eq!(bk.stored(), [""; 0]);
}

#[test]
fn an_old_bitbucket_needs_the_lock() {
    let postgres = postgres();
    let bk = Bkhost::new();
    postgres.create(bk.instance(), 1);
    let part = postgres.part("database", bk.instance(), "");
    let simulator = Simulator::start(&["--app-version", "4.7.9"]);
    bk.config(&[&bk.application(&simulator, KEYS), &part]);
    bk.run(&["run"]).fails(3, &["4.7.9", "4.8", "zero-downtime"]);
    assert_eq!(bk.stored(), [""; 0]);
    bk.config(&[&bk.application(&simulator, ""), &part]);
    let _ = bk.backup();
    let newer = Simulator::start(&["--app-version", "4.8.0"]);
    bk.config(&[&bk.application(&newer, KEYS), &part]);
    let _ = bk.backup();
}
