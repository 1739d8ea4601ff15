//! What has to be in a set is in it, and as much of it as there was.

use std::path::Path;

use bkhost_tests::{Bkhost, Simulator, application_none, directory_part, noise, zfs};

fn fill(dir: &Path, files: u64, bytes: usize) {
    let _ = std::fs::remove_dir_all(dir);
    std::fs::create_dir(dir).unwrap();
    for n in 0..files {
        std::fs::write(dir.join(format!("f{n}")), noise(n, bytes)).unwrap();
    }
}

/// Row 6 of the table: `[coverage]` says what has to be in every set, and a run without it does not begin.
#[test]
fn the_database_was_not_in_the_plan() {
    let (bk, simulator) = (Bkhost::new(), Simulator::start(&[]));
    fill(&bk.path("home"), 1, 10);
    let home = directory_part("home", &bk.path("home"));
    let application = bk.application(&simulator, "");
    let with = |coverage: &str| bk.config(&[&application, &home, &format!("[coverage]\n{coverage}\n")]);
    with("parts = [\"home\", \"database\"]");
    for args in [&["run"][..], &["plan"], &["run", "--dry-run"], &["check"]] {
        bk.run(args).fails(3, &["bkhost.toml", "`coverage.parts`", "`database` is not in the plan", "add a [[part]]"]);
    }
    assert_eq!((simulator.count("lock"), bk.stored()), (0, Vec::<String>::new()));
    with("parts = [\"hone\"]");
    bk.run(&["run"]).fails(3, &["is it the part `home`?"]);
    with("kinds = [\"other\", \"database\"]");
    bk.run(&["run"]).fails(3, &["`coverage.kinds`", "no part of the kind `database`"]);
    with("parts = [\"home\"]\nkinds = [\"other\"]");
    bk.run(&["run"]).ok();
    // What was in the last set and is not in this one is told in any case.
    fill(&bk.path("more"), 1, 10);
    bk.config(&[&application, &directory_part("more", &bk.path("more"))]);
    let told = bk.run(&["run"]).ok();
    assert!(told.stderr.contains("has also part home"), "{told}");
    // A file that is broken in this way still lists and restores.
    with("parts = [\"database\"]");
    bk.run(&["list"]).ok();
    // Without a file there is no coverage.
    let (path, to) = (format!("path={}", bk.path("home").display()), bk.path("elsewhere").display().to_string());
    bk.run(&["run", "--plugin", "directory.wasm", "--set", &path, "--to", &to]).ok();
}

#[test]
fn paths_have_to_be_in_some_part() {
    let bk = Bkhost::new();
    let home = bk.path("home");
    fill(&home, 1, 10);
    fill(&bk.path("elsewhere"), 1, 10);
    std::fs::create_dir(home.join("deep")).unwrap();
    std::os::unix::fs::symlink(&home, bk.path("link")).unwrap();
    let with = |path: &Path| {
        let coverage = format!("[coverage]\npaths = [\"{}\"]\n", path.display());
        bk.config(&[&application_none(), &directory_part("home", &home), &coverage]);
        bk.run(&["plan"])
    };
    for path in [home.clone(), home.join("deep"), home.join("f0"), bk.path("link/deep")] {
        with(&path).ok();
    }
    // What a part leaves out is not in it, whoever leaves it out.
    for leave_out in ["exclude = [\"deep/\"]\n[part.config]", "[part.config]\nexclude = [\"/deep\"]"] {
        let part = directory_part("home", &home).replace("[part.config]", leave_out);
        let coverage = format!("[coverage]\npaths = [\"{}\"]\n", home.join("deep").display());
        bk.config(&[&application_none(), &part, &coverage]);
        bk.run(&["plan"]).fails(3, &["`coverage.paths`", "deep is left out of the part `home`"]);
    }
    // A set does not hold the sets before it, unless it leaves them out.
    let to = home.join("sets/here").display().to_string();
    let part = directory_part("home", &home);
    bk.config_for(&[&application_none(), &part], &[&format!("[[store]]\nto = \"{to}\"\n")]);
    bk.run(&["run"]).fails(3, &["the store", "sets/here is in what the part `home` backs up", "`exclude`"]);
    assert!(!home.join("sets").exists());
    std::fs::create_dir(home.join("sets")).unwrap();
    let part = part.replace("[part.config]", "exclude = [\"/sets/\"]\n[part.config]");
    bk.config_for(&[&application_none(), &part], &[&format!("[[store]]\nto = \"{to}\"\n")]);
    bk.run(&["run"]).ok();
    with(&bk.path("elsewhere")).fails(3, &["`coverage.paths`", "elsewhere is in no part"]);
    with(&bk.path("home2")).fails(3, &["`coverage.paths`", "cannot be found", "mounted"]);
    with(Path::new("/")).fails(3, &["is in no part"]);
}

#[test]
fn a_dataset_covers_where_it_is_mounted() {
    let zfs = zfs();
    let bk = Bkhost::inside(zfs);
    let dataset = zfs.create(bk.instance());
    let files = zfs.files(&dataset);
    std::fs::write(files.join("f"), "1").unwrap();
    let with = |part: &str, path: &Path| {
        bk.config(&[&application_none(), part, &format!("[coverage]\npaths = [\"{}\"]\n", path.display())]);
        bk.run(&["plan"])
    };
    let part = zfs.part("home", &[&dataset]);
    with(&part, &files).ok();
    with(&part, &files.join("f")).ok();
    with(&part, Path::new("/etc")).fails(3, &["/etc is in no part"]);
}

/// Row 3 of the table: a dump of a few bytes, or a part that is a fraction of what it was, is no backup.
#[test]
fn dumps_of_a_few_bytes() {
    let (bk, simulator) = (Bkhost::new(), Simulator::start(&[]));
    let (home, dump) = (bk.path("home"), bk.path("dump"));
    fill(&home, 4, 10_000);
    fill(&dump, 1, 200_000);
    let parts = [directory_part("home", &home), directory_part("dump", &dump)].concat();
    let application = bk.application(&simulator, "");
    bk.config(&[&application, &parts]);
    // Nothing at all, with nothing to compare it with.
    fill(&dump, 1, 0);
    bk.run(&["run"]).fails(8, &["part `dump` is empty"]);
    assert_eq!(bk.stored(), [""; 0]);
    fill(&dump, 1, 200_000);
    let good = bk.backup_id();
    let refused = |says: &[&str]| {
        bk.run(&["run"]).fails(8, says);
        assert_eq!(bk.stored(), [good.as_str()], "nothing is left of a set that is refused");
        simulator.is_free();
    };
    // A few bytes; nothing at all.
    fill(&dump, 1, 20);
    refused(&["part `dump` has 20 B, and had 195.3 KiB in set", &good, "less than 50%", "--accept-shrink dump"]);
    fill(&dump, 1, 0);
    refused(&["part `dump` is empty"]);
    // Just under, and just over the half. Both parts are told.
    fill(&dump, 1, 99_999);
    fill(&home, 1, 10_000);
    refused(&["part `dump`", "part `home`", "--accept-shrink home", "--accept-shrink dump"]);
    fill(&home, 4, 10_000);
    bk.run(&["run", "--accept-shrink", "hone"]).fails(3, &["no part `hone`", "home, dump"]);
    bk.run(&["run", "--accept-shrink", "home"]).fails(8, &["part `dump`"]);
    // Accepted, once: the next is compared with it.
    bk.run(&["run", "--accept-shrink", "dump"]).ok();
    bk.run(&["run"]).ok();
    fill(&dump, 1, 50_001);
    bk.run(&["run"]).ok();
    // The bar of a part, and of all.
    fill(&dump, 1, 30_000);
    bk.config(&[&application, &parts, "[coverage]\nmin-share = \"90%\"\n"]);
    bk.run(&["run"]).fails(8, &["part `dump`", "less than 90%"]);
    bk.run(&["run", "--set", "part.dump.min-share=20%"]).ok();
    fill(&dump, 1, 20);
    bk.run(&["run", "--set", "part.dump.min-share=0%"]).ok();
    fill(&home, 4, 8_000);
    bk.run(&["run"]).fails(8, &["part `home`", "less than 90%"]);
    bk.run(&["run", "--set", "coverage.min-share=0%"]).ok();
}

#[test]
fn files_are_counted_too_and_damaged_sets_are_no_measure() {
    let bk = Bkhost::new();
    let home = bk.path("home");
    fill(&home, 300, 100);
    bk.config(&[&application_none(), &directory_part("home", &home)]);
    let first = bk.backup_id();
    fill(&home, 20, 5_000);
    bk.run(&["run"]).fails(8, &["part `home` has 2", "files and directories, and had 30", "less than 50%"]);
    fill(&home, 20, 100);
    let second = bk.run(&["run", "--json", "--accept-shrink", "home"]).ok().json()["id"].as_str().unwrap().to_owned();
    // What is damaged says nothing of how large it was.
    std::fs::write(bk.set(&second).join("home.tar.zst"), "").unwrap();
    bk.run(&["run"]).fails(8, &[&first]);
}
