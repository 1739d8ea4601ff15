//! Encrypted sets: who can read them, who cannot, and what they tell those.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bkhost_tests::{Bkhost, Running, application_none, directory_part, listing, noise, tool, zfs};

use super::directory::hard_to_keep;

/// Names and contents that nothing but an encrypted set may hold.
const NAMES: [&str; 4] = ["quarterly-figures", "ledger-of-debts", "whistle.blower", "a-directory-of-secrets"];
const CONTENT: &str = "the-words-in-the-file";

/// An identity that `age-keygen` made, and its recipient.
pub(super) fn key(bk: &Bkhost, name: &str) -> (PathBuf, String) {
    let file = bk.path(name);
    let mut keygen = Command::new("age-keygen");
    keygen.arg("-o").arg(&file);
    tool(keygen);
    let mut public = Command::new("age-keygen");
    public.arg("-y").arg(&file);
    (file.clone(), tool(public).trim().to_owned())
}

fn secrets(dir: &Path) {
    fs::create_dir_all(dir.join(NAMES[3])).unwrap();
    for name in &NAMES[..3] {
        fs::write(dir.join(name), CONTENT).unwrap();
    }
    fs::write(dir.join(NAMES[3]).join("inside"), noise(1, 100_000)).unwrap();
}

fn encryption(lines: &str) -> String {
    format!("[encryption]\n{lines}\n")
}

/// Every file below a directory, with its path.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        match entry.path() {
            path if path.is_dir() => all.extend(files(&path)),
            path => all.push((path.display().to_string(), fs::read(&path).unwrap())),
        }
    }
    all
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// What of `texts` is anywhere in the store, in a name or in a byte.
fn leaks(bk: &Bkhost, texts: &[&str]) -> Vec<String> {
    let root = bk.path("backups");
    let mut found = Vec::new();
    for (path, bytes) in files(&root) {
        let name = path.strip_prefix(&root.display().to_string()).unwrap().to_owned();
        for text in texts {
            if holds(&bytes, text) || name.contains(text) {
                found.push(format!("{text} in {name}"));
            }
        }
    }
    found
}

fn restore(bk: &Bkhost, id: &str, to: &str, more: &[&str]) -> bkhost_tests::Outcome {
    let to = bk.path(to).display().to_string();
    let args = ["restore", id, "--to", &to, "--confirm", bk.instance()];
    bk.run(&[&args[..], more].concat())
}

#[test]
fn round_trip_to_recipients_with_no_key_on_the_machine() {
    let bk = Bkhost::new();
    let home = bk.path("a-home-that-is-secret");
    hard_to_keep(&home);
    let (one, to_one) = key(&bk, "one.txt");
    let (two, to_two) = key(&bk, "two.txt");
    let (other, _) = key(&bk, "other.txt");
    fs::write(bk.path("recipients.txt"), format!("# the second\n{to_two}\n")).unwrap();
    let file = bk.path("recipients.txt").display().to_string();
    let table = encryption(&format!("recipients = [\"{to_one}\"]\nrecipients-file = \"{file}\""));
    bk.config(&[&application_none(), &directory_part("home", &home), &table]);
    let before = listing(&home);
    let manifest = bk.backup();
    let id = manifest["id"].as_str().unwrap();
    let how = manifest["proved"]["how"].as_str().unwrap();
    assert!(how.contains("takes an identity"), "{how}");
    let mut names: Vec<_> = files(&bk.set(id)).into_iter().map(|(path, _)| path).collect();
    names.sort();
    let names: Vec<_> = names.iter().map(|name| name.rsplit('/').next().unwrap()).collect();
    assert_eq!(names, ["home.index.jsonl.zst.age", "home.notes.json.zst.age", "home.tar.zst.age", "manifest.json"]);
    // Without a key: what is stored is checked, and that is said.
    let verified = bk.run(&["verify", id]).ok();
    assert!(verified.stdout.contains("were not opened without --identity"), "{verified}");
    assert_eq!(bk.run(&["verify", id, "--json"]).ok().json()["sealed"], 3);
    let shown = bk.run(&["show", id]).ok();
    assert!(!shown.stdout.contains("a-home-that-is-secret"), "{shown}");
    // Nobody, and somebody else: refused before anything is touched.
    restore(&bk, id, "r0", &[]).fails(4, &["is encrypted", "--identity"]);
    restore(&bk, id, "r0", &["--identity", other.to_str().unwrap()]).fails(4, &["none of the identities"]);
    bk.run(&["verify", id, "--identity", other.to_str().unwrap()]).fails(4, &["none of the identities"]);
    bk.run(&["show", id, "--identity", other.to_str().unwrap()]).fails(4, &["none of the identities"]);
    assert!(!bk.path("r0").exists());
    // Each of those it is for, also where there is no configuration.
    for (name, identity) in [("r1", &one), ("r2", &two)] {
        restore(&bk, id, name, &["--identity", other.to_str().unwrap(), "--identity", identity.to_str().unwrap()]).ok();
        assert_eq!(before, listing(&bk.path(name)));
    }
    let verified = bk.run(&["verify", id, "--identity", one.to_str().unwrap(), "--json"]).ok().json();
    assert!(verified["entries"].as_u64().unwrap() > 10 && verified["sealed"].is_null(), "{verified}");
    fs::remove_file(bk.path("bkhost.toml")).unwrap();
    let store = bk.path("backups").display().to_string();
    restore(&bk, "latest", "r3", &["--store", &store, "--identity", two.to_str().unwrap()]).ok();
    assert_eq!(before, listing(&bk.path("r3")));
}

#[test]
fn no_name_and_no_content_is_in_the_store() {
    let bk = Bkhost::new();
    let home = bk.path("path-to-the-source");
    secrets(&home);
    // One that changes while it is read is named in a warning; in the store it is not.
    let ledger = home.join(NAMES[1]);
    let mut script = Command::new("bash");
    script.arg("-c").arg("while :; do date +%N%N%N >> \"$0\"; done").arg(&ledger);
    let writing = Running::start(script, false);
    let (identity, recipient) = key(&bk, "key.txt");
    let part = directory_part("home", &home);
    bk.config(&[&application_none(), &part]);
    let mut secret: Vec<&str> = NAMES.to_vec();
    secret.extend([CONTENT, "path-to-the-source", "inside"]);
    bk.backup();
    // This is what the search finds where nothing is encrypted: it can find.
    assert!(!leaks(&bk, &secret).is_empty());
    fs::remove_dir_all(bk.path("backups")).unwrap();

    bk.config(&[&application_none(), &part, &encryption(&format!("recipients = [\"{recipient}\"]"))]);
    let outcome = bk.run(&["run", "--json"]).ok();
    drop(writing);
    let id = outcome.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(leaks(&bk, &secret), [] as [String; 0]);
    let changed = bk.run(&["show", &id, "--json"]).ok().json()["parts"][0]["changed"]["total"].as_u64();
    if changed.is_some() {
        // The operator was told which, and is told again, with the key.
        assert!(outcome.stdout.contains(NAMES[1]), "{outcome}");
        let shown = bk.run(&["show", &id, "--identity", identity.to_str().unwrap()]).ok();
        assert!(shown.stdout.contains(NAMES[1]), "{shown}");
    }
    // What is told of it later is not more.
    bk.run(&["verify", &id]).ok();
    bk.run(&["verify", &id, "--identity", identity.to_str().unwrap()]).ok();
    restore(&bk, &id, "restored", &["--identity", identity.to_str().unwrap()]).ok();
    assert_eq!(leaks(&bk, &secret), [] as [String; 0]);
}

#[test]
fn round_trip_with_a_passphrase() {
    let bk = Bkhost::new();
    let home = bk.path("home");
    secrets(&home);
    fs::write(bk.path("secret"), "correct horse battery\n").unwrap();
    fs::write(bk.path("wrong"), "incorrect horse\n").unwrap();
    let (identity, _) = key(&bk, "key.txt");
    let source = format!("passphrase = {{ file = \"{}\" }}", bk.path("secret").display());
    bk.config(&[&application_none(), &directory_part("home", &home), &encryption(&source)]);
    let manifest = bk.backup();
    let id = manifest["id"].as_str().unwrap().to_owned();
    // Who encrypts with a passphrase can read: it is compared file by file.
    assert!(manifest["proved"]["how"].as_str().unwrap().contains("file by file"));
    assert_eq!(leaks(&bk, &NAMES), [] as [String; 0]);
    restore(&bk, &id, "r1", &[]).ok();
    assert_eq!(listing(&home), listing(&bk.path("r1")));
    // Without the configuration.
    fs::rename(bk.path("bkhost.toml"), bk.path("away.toml")).unwrap();
    let store = bk.path("backups").display().to_string();
    let (right, wrong) = (bk.path("secret").display().to_string(), bk.path("wrong").display().to_string());
    restore(&bk, &id, "r2", &["--store", &store]).fails(4, &["is encrypted"]);
    restore(&bk, &id, "r2", &["--store", &store, "--passphrase-file", &wrong]).fails(4, &["none of the identities"]);
    let key = identity.display().to_string();
    restore(&bk, &id, "r2", &["--store", &store, "--identity", &key]).fails(4, &["none of the identities"]);
    assert!(!bk.path("r2").exists());
    restore(&bk, &id, "r2", &["--store", &store, "--passphrase-file", &right]).ok();
    assert_eq!(listing(&home), listing(&bk.path("r2")));
    // Nobody is there to be asked.
    restore(&bk, &id, "r3", &["--store", &store, "--ask-passphrase"]);
    assert!(!bk.path("r3").exists());
}

#[test]
fn an_identity_in_the_configuration_proves_the_content() {
    let bk = Bkhost::new();
    let home = bk.path("home");
    secrets(&home);
    let (identity, recipient) = key(&bk, "key.txt");
    let lines = format!("recipients = [\"{recipient}\"]\nidentity = {{ file = \"{}\" }}", identity.display());
    bk.config(&[&application_none(), &directory_part("home", &home), &encryption(&lines)]);
    let manifest = bk.backup();
    assert!(manifest["proved"]["how"].as_str().unwrap().contains("file by file"));
    restore(&bk, manifest["id"].as_str().unwrap(), "restored", &[]).ok();
    assert_eq!(listing(&home), listing(&bk.path("restored")));
    // One that does not fit what it encrypts is noticed before anything is locked.
    let (other, _) = key(&bk, "other.txt");
    let lines = format!("recipients = [\"{recipient}\"]\nidentity = {{ file = \"{}\" }}", other.display());
    bk.config(&[&application_none(), &directory_part("home", &home), &encryption(&lines)]);
    bk.run(&["check"]).fails(3, &["the identity of [encryption] opens nothing", "recipients"]);
    bk.run(&["run"]).fails(3, &["the identity of [encryption] opens nothing"]);
    assert_eq!(bk.list().len(), 1);
}

#[test]
fn the_example_is_one_that_works() {
    let bk = Bkhost::new();
    let home = bk.path("home");
    secrets(&home);
    let example = include_str!("../../../host/examples/encrypted.toml");
    let public: Vec<&str> = example.split('"').filter(|text| text.starts_with("age1")).collect();
    let (identity, ours) = key(&bk, "key.txt");
    let text = example
        .replace(public[1], &ours)
        .replace("\"/srv\"", &format!("\"{}\"", home.display()))
        .replace("\"/backups\"", &format!("\"{}\"", bk.path("backups").display()))
        .replace("\"files\"", &format!("\"{}\"", bk.instance()));
    fs::write(bk.path("bkhost.toml"), text).unwrap();
    let id = bk.backup_id();
    assert_eq!(leaks(&bk, &NAMES), [] as [String; 0]);
    restore(&bk, &id, "restored", &["--identity", identity.to_str().unwrap()]).ok();
    assert_eq!(listing(&home), listing(&bk.path("restored")));
}

/// What `show` prints is what is run here, word for word.
#[test]
fn objects_open_with_stock_tools_as_show_says() {
    for (format, encrypted) in [("tar.zst", true), ("tar.gz", true), ("tar.gz", false), ("tar.zst", false)] {
        let bk = Bkhost::new();
        let home = bk.path("a home");
        hard_to_keep(&home);
        let (identity, recipient) = key(&bk, "my key.txt");
        let table = if encrypted { encryption(&format!("recipients = [\"{recipient}\"]")) } else { String::new() };
        let archive = format!("[archive]\nformat = \"{format}\"\n");
        bk.config(&[&application_none(), &directory_part("home", &home), &table, &archive]);
        let id = bk.backup_id();
        let mut args = vec!["show", &id];
        let identity = identity.display().to_string();
        if encrypted {
            args.extend(["--identity", &identity]);
        }
        let shown = bk.run(&args).ok();
        let commands: Vec<&str> =
            shown.stdout.lines().filter_map(|line| line.strip_prefix("opens with")).map(str::trim).collect();
        assert_eq!(commands.len(), if encrypted { 3 } else { 2 }, "{shown}");
        let out = bk.path("out");
        fs::create_dir(&out).unwrap();
        let run = |text: &str| {
            let mut bash = Command::new("bash");
            bash.args(["-euo", "pipefail", "-c", text]).current_dir(&out);
            tool(bash)
        };
        let printed: Vec<String> = commands.iter().map(|command| run(command)).collect();
        assert_eq!(listing(&home), listing(&out), "{format}");
        assert!(printed[1].contains("\"path\":\"deep/er/harder\""), "{}", printed[1]);
    }
}

#[test]
fn a_wrong_encryption_table_is_refused_with_its_place() {
    let bk = Bkhost::new();
    let home = bk.path("home");
    secrets(&home);
    let (_, recipient) = key(&bk, "key.txt");
    let refused = |lines: &str, says: &[&str]| {
        bk.config(&[&application_none(), &directory_part("home", &home), &encryption(lines)]);
        let outcome = bk.run(&["check"]).fails(3, says);
        let secret = fs::read_to_string(bk.path("key.txt")).unwrap();
        assert!(!outcome.stderr.contains(secret.lines().last().unwrap()), "{outcome}");
        bk.run(&["run"]).fails(3, says);
        assert!(bk.stored().is_empty());
    };
    let missing = bk.path("no-such-file").display().to_string();
    refused(&format!("recipients-file = \"{missing}\""), &["no-such-file", "cannot be read"]);
    let file = bk.path("recipients.txt");
    fs::write(&file, format!("{recipient}\n\nage1wrong\n")).unwrap();
    refused(&format!("recipients-file = \"{}\"", file.display()), &["recipients.txt:3:", "age1wrong"]);
    fs::write(&file, "# nobody\n").unwrap();
    refused(&format!("recipients-file = \"{}\"", file.display()), &["recipients.txt", "no recipient"]);
    let secret = fs::read_to_string(bk.path("key.txt")).unwrap();
    let secret = secret.lines().last().unwrap();
    refused(&format!("recipients = [\"{secret}\"]"), &["bkhost.toml:", "secret half"]);
    fs::write(bk.path("bad-identity"), "age1notanidentity\n").unwrap();
    let identity = bk.path("bad-identity").display().to_string();
    refused(
        &format!("recipients = [\"{recipient}\"]\nidentity = {{ file = \"{identity}\" }}"),
        &["[encryption]", "line 1"],
    );
}

/// Increments are built, and the vendor's snapshots are deleted, on a machine that cannot read its own sets.
#[test]
fn a_chain_of_increments_without_a_key() {
    let zfs = zfs();
    let bk = Bkhost::inside(zfs);
    let dataset = zfs.create(bk.instance());
    let home = zfs.files(&dataset);
    let (identity, recipient) = key(&bk, "key.txt");
    let part = zfs.part("home", &[&dataset]) + "archive = \"stream\"\n";
    let keep = "[retention]\nkeep-last = 2\n";
    bk.config(&[&application_none(), &part, keep, &encryption(&format!("recipients = [\"{recipient}\"]"))]);
    fs::write(home.join(NAMES[0]), noise(1, 400_000)).unwrap();
    let full = bk.backup();
    fs::write(home.join(NAMES[1]), noise(2, 1000)).unwrap();
    let increment = bk.backup();
    let (full, id) = (full["id"].as_str().unwrap(), increment["id"].as_str().unwrap());
    assert_eq!(increment["parts"][0]["snapshot"]["base"], full);
    assert_eq!(leaks(&bk, &[NAMES[0], NAMES[1], &dataset]), [] as [String; 0]);
    let to = zfs.name(&format!("{}-r", bk.instance()));
    let restore = |keys: &[&str]| {
        let args = ["restore", id, "--to", &to, "--confirm", bk.instance()];
        bk.run(&[&args[..], keys].concat())
    };
    restore(&[]).fails(4, &["is encrypted"]);
    assert!(zfs.datasets(&to).is_empty());
    restore(&["--identity", identity.to_str().unwrap()]).ok();
    assert_eq!(listing(&home), listing(&zfs.files(&to)));
    // Without this machine's own notes there is nothing to build on, and no snapshot that could be deleted by name.
    fs::remove_dir_all(bk.state().join("sealed")).unwrap();
    let outcome = bk.run(&["run", "--json"]).ok();
    let third = outcome.json();
    assert_eq!(third["parts"][0]["snapshot"]["base"], serde_json::Value::Null);
    assert!(outcome.stdout.contains("no notes of its own"), "{outcome}");
    assert_eq!(zfs.snapshots(&dataset).len(), 3, "nothing that is still needed was deleted");
    bk.run(&["prune", "--confirm", bk.instance(), "--keep-last", "1"]).fails(7, &["no notes of its own"]);
    bk.run(&["prune", "--confirm", bk.instance(), "--keep-last", "1", "--identity", identity.to_str().unwrap()]).ok();
    assert_eq!(zfs.snapshots(&dataset).len(), 1);
    assert_eq!(bk.list().len(), 1);
}
