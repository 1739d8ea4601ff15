//! `restore --path` and `ls`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use bkhost_tests::{Bkhost, application_none, directory_part, zfs};

use super::{backed_up, names};

#[test]
fn into_another_place() {
    let (bk, id) = backed_up(&["home"]);
    let to = bk.path("out").display().to_string();
    let restored = bk.run(&["restore", &id, "--path", "shared/config", "--to", &to, "--confirm", bk.instance()]).ok();
    assert!(restored.stdout.contains("only shared/config"), "{restored}");
    assert_eq!(names(&bk.path("out")), ["shared", "shared/config", "shared/config/bitbucket.properties"]);
    // Again: all of it is there already.
    bk.run(&["restore", &id, "--path", "shared/config", "--to", &to, "--confirm", bk.instance()]).ok();
    // More beside it.
    bk.run(&["restore", &id, "--path", "shared/data", "--path", "file", "--to", &to, "--confirm", bk.instance()]).ok();
    assert_eq!(
        names(&bk.path("out")),
        ["file", "shared", "shared/config", "shared/config/bitbucket.properties", "shared/data"]
    );
    assert_eq!(bk.run(&["status"]).ok().stdout.matches("restored").count(), 3);
}

#[test]
fn what_is_there_is_replaced_only_when_that_is_asked_for() {
    let (bk, id) = backed_up(&["home"]);
    let config = bk.path("home/shared/config/bitbucket.properties");
    std::fs::write(&config, "edited").unwrap();
    std::fs::write(bk.path("home/shared/config/new"), "new").unwrap();
    std::fs::remove_file(bk.path("home/shared/data")).unwrap();
    std::fs::set_permissions(bk.path("home/shared/config"), PermissionsExt::from_mode(0o750)).unwrap();
    let restore =
        |more: &[&str]| bk.run(&[&["restore", &id, "--path", "shared", "--confirm", bk.instance()], more].concat());
    let inode = std::fs::metadata(&config).unwrap().ino();
    restore(&[]).fails(9, &["1 files are there already", "shared/config/bitbucket.properties", "--replace"]);
    assert_eq!(std::fs::read_to_string(&config).unwrap(), "edited");
    assert!(!bk.path("home/shared/data").exists(), "nothing at all is restored");
    restore(&["--replace"]).ok();
    assert_eq!(std::fs::read_to_string(&config).unwrap(), "home = 1\n");
    assert_ne!(std::fs::metadata(&config).unwrap().ino(), inode, "the new one took its place by a rename");
    assert_eq!(std::fs::read_to_string(bk.path("home/shared/data")).unwrap(), "data");
    // What is not of the set, and directories that are there, stay as they are.
    assert_eq!(std::fs::read_to_string(bk.path("home/shared/config/new")).unwrap(), "new");
    assert_eq!(std::fs::metadata(bk.path("home/shared/config")).unwrap().mode() & 0o777, 0o750);
    assert!(names(&bk.path("home")).iter().all(|name| !name.contains("bkhost")));
}

#[test]
fn links_in_the_way_lead_nowhere() {
    let (bk, id) = backed_up(&["home"]);
    let outside = bk.path("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::remove_dir_all(bk.path("home/shared/config")).unwrap();
    symlink(&outside, bk.path("home/shared/config")).unwrap();
    for more in [&[][..], &["--replace"]] {
        bk.run(&[&["restore", &id, "--path", "shared/config", "--confirm", bk.instance()], more].concat())
            .fails(9, &["files or links where directories belong", "shared/config"]);
    }
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn paths_that_are_not_there() {
    let (bk, id) = backed_up(&["one", "two"]);
    let to = bk.path("out").display().to_string();
    let restore = |more: &[&str]| bk.run(&[&["restore", &id, "--to", &to, "--confirm", bk.instance()], more].concat());
    bk.run(&["restore", &id, "--path", "file", "--confirm", bk.instance()]).fails(3, &["of which part", "one, two"]);
    let one = |path: &str| restore(&["--part", "one", "--path", path]);
    let typo = ["restore", &id, "--part", "one", "--to", "oen=/nowhere", "--confirm", bk.instance()];
    bk.run(&typo).fails(3, &["`--to oen=/nowhere` is for no part", "restored: one"]);
    one("shared/confg").fails(13, &["the set has no `shared/confg`", "did you mean `shared/config`?"]);
    one("bitbucket.properties").fails(13, &["shared/config/bitbucket.properties"]);
    one("../etc/passwd").fails(3, &["contains `..`"]);
    one("/etc/passwd").fails(3, &["is absolute"]);
    one("a\\q").fails(3, &["backslash"]);
    assert!(!bk.path("out").exists());
    bk.run(&["restore", &id, "--replace"]).fails(2, &["--path"]);
}

#[test]
fn names_of_any_bytes() {
    let bk = Bkhost::new();
    let home = bk.path("home");
    std::fs::create_dir(&home).unwrap();
    let odd: [&[u8]; 5] = [b"latin-\xe9\xff", b"new\nline", b"back\\slash", b"-dash", "grün ☃".as_bytes()];
    for name in odd {
        std::fs::write(home.join(OsStr::from_bytes(name)), name).unwrap();
    }
    bk.config(&[&application_none(), &directory_part("home", &home)]);
    let id = bk.backup_id();
    let listed = bk.run(&["ls", &id, "--json"]).ok().events();
    let paths: Vec<&str> = listed.iter().filter(|e| e["type"] == "file").map(|e| e["path"].as_str().unwrap()).collect();
    assert_eq!(paths.len(), odd.len());
    assert!(paths.contains(&"latin-\\xe9\\xff") && paths.contains(&"back\\\\slash"), "{paths:?}");
    for (n, path) in paths.iter().enumerate() {
        let to = bk.path(&format!("out{n}"));
        bk.run(&["restore", &id, &format!("--path={path}"), "--to", to.to_str().unwrap(), "--confirm", bk.instance()])
            .ok();
        let entry = std::fs::read_dir(&to).unwrap().next().unwrap().unwrap();
        assert_eq!(std::fs::read(entry.path()).unwrap(), entry.file_name().as_bytes());
        assert_eq!(std::fs::read_dir(&to).unwrap().count(), 1);
    }
    bk.run(&["ls", &id, "nonsense"]).fails(13, &["has no `nonsense`"]);
    let plain = bk.run(&["ls", &id]).ok().stdout;
    assert_eq!(plain.lines().count(), odd.len() + 1, "{plain}");
}

/// A dataset is restored into a dataset; a file of it into a directory, by the host.
#[test]
fn a_file_of_a_dataset() {
    let zfs = zfs();
    let bk = Bkhost::inside(zfs);
    let dataset = zfs.create(bk.instance());
    std::fs::create_dir(zfs.files(&dataset).join("d")).unwrap();
    std::fs::write(zfs.files(&dataset).join("d/f"), "of a dataset").unwrap();
    bk.config(&[&application_none(), &zfs.part("home", &[&dataset])]);
    let id = bk.backup_id();
    let listed = bk.run(&["ls", &id, "--json"]).ok().events();
    let path = listed.iter().filter_map(|e| e["path"].as_str()).find(|path| path.ends_with("d/f")).unwrap().to_owned();
    bk.run(&["restore", &id, "--path", &path, "--confirm", bk.instance()]).fails(3, &["no original place", "--to"]);
    let to = bk.path("out").display().to_string();
    bk.run(&["restore", &id, "--path", &path, "--to", &to, "--confirm", bk.instance()]).ok();
    assert_eq!(std::fs::read_to_string(bk.path("out").join(&path)).unwrap(), "of a dataset");
}
