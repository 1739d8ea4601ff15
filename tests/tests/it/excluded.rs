//! What a part's profile and the operator leave out, whatever the strategy.

use std::path::Path;
use std::process::Command;

use bkhost_tests::{Bkhost, application_none, directory_part, listing, tool, zfs};
use serde_json::Value;

/// Files of a home that are kept, look-alikes of what is not among them.
const KEPT: &[&str] = &[
    "shared/bitbucket.properties",
    "shared/data/repositories/1/HEAD",
    "shared/data/repositories/1/log/db.x",
    "shared/data/repositories/12/HEAD",
    "shared/data/attachments/caches/a.png",
    "shared/data/database.txt",
    "shared/data/.db.mv.db",
    "shared/plugins/installed-plugins/a plugin.jar",
    "shared/plugins/.file",
    "shared/search/database",
    "shared/tmp/kept",
    "shared/export",
    "bin/tmp/x",
    "logs",
    "cache",
];
/// And what is left out by the profile, by its options, and by the operator.
const LEFT_OUT: &[&str] = &[
    "caches/a/b",
    "export/archive.tar",
    "tmp/x",
    ".lock",
    "shared/.lock",
    "log/atlassian-bitbucket.log",
    "shared/log/audit.log",
    "plugins/.osgi-cache/deep/x",
    "shared/plugins/.bundled/y.jar",
    "data/db.mv.db",
    "shared/data/db.mv.db",
    "shared/search/data/nodes/0/x",
    "shared/data/repositories/2/HEAD",
    "shared/data/repositories/2/objects/pack/p",
    "shared/notes.bak",
    "bin/old.bak",
    "own folder/x",
];
/// What the configuration says besides the plugin.
const SETTINGS: &str = "profile = \"bitbucket-home\"\nexclude = [\"*.bak\", \"/own folder\"]\n";
const OPTIONS: &str = "[part.options]\nexclude-repositories = [2]\n";

fn write(root: &Path, names: &[&str]) {
    for name in names {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("content of {name}\n")).unwrap();
    }
}

/// A part with the settings of this module.
fn with_settings(part: &str) -> String {
    // The keys of the part stand before its tables.
    part.replacen("[part.config]\n", &format!("{SETTINGS}{OPTIONS}[part.config]\n"), 1)
}

/// Everything but what is to be left out.
fn expected(bk: &Bkhost, home: &Path) -> String {
    let left_out = [
        "caches",
        "export",
        "tmp",
        ".lock",
        "shared/.lock",
        "log",
        "shared/log",
        "plugins/.osgi-cache",
        "shared/plugins/.bundled",
        "data/db.mv.db",
        "shared/data/db.mv.db",
        "shared/search/data",
        "shared/data/repositories/2",
        "own folder",
        "shared/notes.bak",
        "bin/old.bak",
    ];
    without(bk, home, &left_out)
}

/// A tree without these files and directories, as `cp` and `rm` make it: its listing.
pub(crate) fn without(bk: &Bkhost, home: &Path, left_out: &[&str]) -> String {
    let copy = bk.path("expected");
    let mut cp = Command::new("cp");
    cp.arg("-a").arg(home).arg(&copy);
    tool(cp);
    let mut rm = Command::new("bash");
    rm.current_dir(&copy).args(["-euc"]).arg(
        r#"
        find . -mindepth 1 -type d -printf '%T@ %P\0' >../times
        rm -r -- "$@"
        while IFS= read -r -d '' line; do [ ! -d "${line#* }" ] || touch -d "@${line%% *}" "${line#* }"; done <../times
    "#,
    );
    rm.arg("rm").args(left_out);
    tool(rm);
    let listed = listing(&copy);
    std::fs::remove_dir_all(copy).unwrap();
    listed
}

/// Backs the configured instance up: what it plans, records, shows, verifies and restores has to leave the same out.
pub(crate) fn nothing_of_it_is_in_the_set(bk: &Bkhost, home: &Path, restore: impl Fn(&str) -> String) {
    let before = expected(bk, home);
    let planned = bk.run(&["plan"]).ok();
    for text in ["leave out of `home`", "/caches", "/shared/data/repositories/2", "*.bak", "/own folder"] {
        assert!(planned.stdout.contains(text) || planned.stderr.contains(text), "{text}: {planned}");
    }
    let manifest = bk.backup();
    let left_out = &manifest["parts"][0]["left-out"];
    assert_eq!(left_out["profile"], "bitbucket-home", "{manifest}");
    assert_eq!(left_out["options"]["exclude-repositories"], serde_json::json!([2]), "{manifest}");
    assert_eq!(left_out["exclude"], serde_json::json!(["*.bak", "/own folder"]), "{manifest}");
    let globs: Vec<_> = left_out["globs"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(globs.contains(&"/caches") && globs.contains(&"*.bak"), "{globs:?}");
    let id = manifest["id"].as_str().unwrap();
    let shown = bk.run(&["show", id]).ok();
    for text in ["bitbucket-home", "exclude-repositories", "/shared/search/data", "/own folder"] {
        assert!(shown.stdout.contains(text), "{text}: {shown}");
    }
    bk.run(&["verify", id, "--depth", "full"]).ok();
    assert_eq!(restore(id), before);
}

/// A home with all of it.
pub(crate) fn home(root: &Path) {
    write(root, KEPT);
    write(root, LEFT_OUT);
}

#[test]
fn restored_with_what_is_there_still() {
    let bk = Bkhost::new();
    let root = bk.path("home");
    home(&root);
    bk.config(&[&application_none(), &with_settings(&directory_part("home", &root))]);
    let id = bk.backup_id();
    // All that is kept is lost; what was left out is there, and is not to be deleted.
    for name in KEPT {
        std::fs::remove_file(root.join(name)).unwrap();
    }
    let left = listing(&root);
    bk.run(&["restore", &id, "--confirm", bk.instance()]).fails(9, &["is not empty"]);
    assert_eq!(listing(&root), left);
    for path in ["shared/bitbucket.properties", "shared/data/repositories/1/HEAD", "logs"] {
        bk.run(&["restore", &id, "--part", "home", "--path", path, "--confirm", bk.instance()]).ok();
    }
    for name in LEFT_OUT.iter().chain(&["shared/bitbucket.properties", "shared/data/repositories/1/HEAD", "logs"]) {
        assert_eq!(std::fs::read_to_string(root.join(name)).unwrap(), format!("content of {name}\n"));
    }
    // A drill compares with what was kept.
    bk.run(&["drill"]).ok();
}

#[test]
fn an_encrypted_set_tells_nobody_what_was_left_out() {
    let bk = Bkhost::new();
    let root = bk.path("home");
    home(&root);
    let mut keygen = Command::new("age-keygen");
    keygen.arg("-o").arg(bk.path("key.txt"));
    tool(keygen);
    let key = std::fs::read_to_string(bk.path("key.txt")).unwrap();
    let recipient = key.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap().to_owned();
    let encryption = format!("[encryption]\nrecipients = [\"{recipient}\"]\n");
    bk.config(&[&application_none(), &with_settings(&directory_part("home", &root)), &encryption]);
    let id = bk.backup_id();
    let manifest = std::fs::read_to_string(bk.set(&id).join("manifest.json")).unwrap();
    assert!(!manifest.contains("own folder") && !manifest.contains("left-out"), "{manifest}");
    let key = bk.path("key.txt").display().to_string();
    let shown = bk.run(&["show", &id, "--identity", &key]).ok();
    assert!(shown.stdout.contains("own folder"), "{shown}");
}

#[test]
fn what_leaves_out_all_there_is_makes_no_backup() {
    let bk = Bkhost::new();
    let root = bk.path("home");
    write(&root, &["a.txt", "b/c.txt"]);
    let part = directory_part("home", &root).replacen("[part.config]", "exclude = [\"*.txt\"]\n[part.config]", 1);
    bk.config(&[&application_none(), &part]);
    bk.run(&["run"]).fails(8, &["not one byte of content", "`exclude`"]);
    assert_eq!(bk.stored(), [""; 0]);
}

#[test]
fn nothing_is_left_out_of_streams_and_databases_behind_ones_back() {
    let zfs = zfs();
    let bk = Bkhost::inside(zfs);
    let dataset = zfs.create(bk.instance());
    home(&zfs.files(&dataset));
    let part = zfs.part("home", &[&dataset]) + "archive = \"stream\"\n";
    bk.config(&[&application_none(), &with_settings(&part)]);
    for command in ["plan", "run"] {
        bk.run(&[command]).fails(3, &["nothing can be left out of", "exclude"]);
    }
    assert_eq!(bk.stored(), [""; 0]);
    assert_eq!(zfs.snapshots(&dataset), [""; 0]);
    // A profile alone is no promise: the set says that all is in it.
    let part = part.replacen("[part.config]", "profile = \"bitbucket-home\"\n[part.config]", 1);
    bk.config(&[&application_none(), &part]);
    let manifest = bk.backup();
    assert_eq!(manifest["parts"][0]["left-out"]["globs"], serde_json::json!([]), "{manifest}");
    assert!(manifest["parts"][0]["warnings"].to_string().contains("as a whole"), "{manifest}");
    bk.config(&[
        &application_none(),
        "[[part]]\nname = \"database\"\nplugin = \"postgresql.wasm\"\nexclude = [\"x\"]\n[part.config]\ndatabase = \"x\"\n",
    ]);
    bk.run(&["check"]).fails(3, &["database", "`exclude` is for directories"]);
}

/// A part of a directory with the settings of this module.
pub(crate) fn directory(path: &Path) -> String {
    with_settings(&directory_part("home", path))
}

/// A part of a dataset with the settings of this module.
pub(crate) fn dataset(name: &str) -> String {
    with_settings(&zfs().part("home", &[name]))
}
