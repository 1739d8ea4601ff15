//! One large archive: what every tar reads, and what a restore takes only if it is whole.

use std::fs;
use std::path::Path;
use std::process::Command;

use bkhost_tests::{Bkhost, Outcome, application_none, directory_part, listing, noise, tool, zfs};

use super::directory::hard_to_keep;

fn two_parts() -> (Bkhost, String) {
    let bk = Bkhost::new();
    let (home, other) = (bk.path("home"), bk.path("other"));
    hard_to_keep(&home);
    fs::create_dir(&other).unwrap();
    for n in 0..20u8 {
        fs::write(other.join(format!("noise-{n}")), noise(n.into(), 20_000)).unwrap();
    }
    bk.config(&[&application_none(), &directory_part("home", &home), &directory_part("other", &other)]);
    let id = bk.backup_id();
    (bk, id)
}

fn from(bk: &Bkhost, archive: &Path, home: &str, other: &str, more: &[&str]) -> Outcome {
    let (home, other) = (bk.path(home), bk.path(other));
    let to = [format!("home={}", home.display()), format!("other={}", other.display())];
    let archive = archive.display().to_string();
    let args = ["restore", "--from", &archive, "--to", &to[0], "--to", &to[1], "--confirm", bk.instance()];
    bk.run(&[&args[..], more].concat())
}

/// What an import leaves behind in a directory: nothing.
fn clean(dir: &Path) {
    let left: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn every_tar_reads_it_and_so_does_a_restore() {
    let (bk, id) = two_parts();
    let work = bk.path("work");
    fs::create_dir(&work).unwrap();
    let (home, other) = (listing(&bk.path("home")), listing(&bk.path("other")));
    for (name, flag) in [("one.tar.gz", "-z"), ("one.tar.zst", "--zstd"), ("one.tar", "--sparse")] {
        let one = bk.path(name);
        let done = bk.run(&["export", &id, "-o", one.to_str().unwrap()]).ok();
        assert!(done.stdout.contains("read back"), "{done}");
        let out = bk.path(&format!("out-{name}"));
        fs::create_dir(&out).unwrap();
        let mut tar = Command::new("tar");
        tar.args(["--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner", flag, "-xpf"]);
        tar.arg(&one).arg("-C").arg(&out);
        tool(tar);
        assert_eq!(home, listing(&out.join("home")), "{name}");
        assert_eq!(other, listing(&out.join("other")), "{name}");
        let (to_home, to_other) = (format!("home-{name}"), format!("other-{name}"));
        let dir = work.display().to_string();
        from(&bk, &one, &to_home, &to_other, &["--work-dir", &dir]).ok();
        assert_eq!(home, listing(&bk.path(&to_home)), "{name}");
        assert_eq!(other, listing(&bk.path(&to_other)), "{name}");
        clean(&work);
    }
    // Neither configuration nor store: the archive is enough, whatever it is called by now. And one part of it.
    let one = bk.path("one-of-last-week.tgz");
    fs::rename(bk.path("one.tar.gz"), &one).unwrap();
    fs::remove_dir_all(bk.path("backups")).unwrap();
    fs::remove_file(bk.path("bkhost.toml")).unwrap();
    let (archive, to) = (one.display().to_string(), bk.path("alone").display().to_string());
    let args = ["restore", "--from", &archive, "--part", "other", "--to", &to, "--confirm", bk.instance()];
    bk.run(&args).ok();
    assert_eq!(other, listing(&bk.path("alone")));
}

#[test]
fn a_truncated_archive_offered_for_restore() {
    let (bk, id) = two_parts();
    let work = bk.path("work");
    fs::create_dir(&work).unwrap();
    let dir = work.display().to_string();
    let (one, bad) = (bk.path("one.tar.gz"), bk.path("bad.tar.gz"));
    bk.run(&["export", &id, "-o", one.to_str().unwrap()]).ok();
    let good = fs::read(&one).unwrap();
    let plain = bk.path("one.tar");
    bk.run(&["export", &id, "-o", plain.to_str().unwrap()]).ok();
    let plain = fs::read(&plain).unwrap();
    let refused = |bytes: &[u8], name: &str, what: &str| {
        let bad = bad.with_file_name(name);
        fs::write(&bad, bytes).unwrap();
        from(&bk, &bad, "r1", "r2", &["--work-dir", &dir]).fails(8, &[]);
        assert!(!bk.path("r1").exists() && !bk.path("r2").exists(), "{what}: a target was touched");
        clean(&work);
    };
    for cut in [0, 10, good.len() / 3, good.len() / 2, good.len() - 100, good.len() - 1] {
        refused(&good[..cut], "bad.tar.gz", &format!("cut at {cut}"));
    }
    for at in [good.len() / 4, good.len() / 2, good.len() - 20] {
        let mut flipped = good.clone();
        flipped[at] ^= 4;
        refused(&flipped, "bad.tar.gz", &format!("flipped at {at}"));
    }
    refused(&[good.as_slice(), b"more"].concat(), "bad.tar.gz", "something after its end");
    // Nothing but our own checks stands over an archive that is not compressed: content, names, the index, the manifest.
    let noise = noise(3, 20_000);
    let find = |needle: &[u8]| plain.windows(needle.len()).position(|at| at == needle).unwrap();
    for (at, what) in [
        (find(&noise[..64]) + 9000, "a file's content"),
        (find(b"\"format\": \"1."), "the manifest"),
        (find(b"\"path\":\"noise-7\"") + 9, "an index"),
        (plain.windows(7).rposition(|at| at == b"blake3\"").unwrap() + 20, "the contents"),
    ] {
        let mut flipped = plain.clone();
        flipped[at] ^= 1;
        refused(&flipped, "bad.tar", what);
    }
    for cut in [plain.len() / 2, plain.len() - 20_000, plain.len() - 10_240] {
        refused(&plain[..cut - cut % 512], "bad.tar", &format!("cut at {cut}"));
    }
    // What is no archive of ours.
    let mut tar = Command::new("tar");
    tar.args(["-czf"]).arg(bk.path("foreign.tar.gz")).arg("-C").arg(bk.path("other")).arg(".");
    tool(tar);
    from(&bk, &bk.path("foreign.tar.gz"), "r1", "r2", &["--work-dir", &dir]).fails(8, &["foreign.tar.gz"]);
    from(&bk, &bk.path("no-such.tar.gz"), "r1", "r2", &[]).fails(13, &["no-such.tar.gz"]);
    fs::write(&bad, &good).unwrap();
    from(&bk, &bad, "r1", "r2", &["--work-dir", &dir]).ok();
    clean(&work);
}

#[test]
fn nothing_is_overwritten_and_nothing_half_written_stays() {
    let (bk, id) = two_parts();
    let dir = bk.path("exports");
    fs::create_dir(&dir).unwrap();
    let one = dir.join("one.tar.zst");
    let to = one.display().to_string();
    fs::write(&one, "mine").unwrap();
    bk.run(&["export", &id, "-o", &to]).fails(9, &["exists already", "--force"]);
    assert_eq!(fs::read(&one).unwrap(), b"mine");
    bk.run(&["export", &id, "-o", &to, "--force"]).ok();
    assert!(fs::metadata(&one).unwrap().len() > 1000);
    for name in ["one", "one.zip", "one.gz", ".tar.gz"] {
        let name = dir.join(name).display().to_string();
        bk.run(&["export", &id, "-o", &name]).fails(3, &["format"]);
    }
    let encrypted = dir.join("one.tar.gz.age").display().to_string();
    bk.run(&["export", &id, "-o", &encrypted]).fails(3, &["nothing says to whom"]);
    let nowhere = dir.join("no/such/one.tar.gz").display().to_string();
    bk.run(&["export", &id, "-o", &nowhere]).fails(1, &["cannot write"]);
    // A set that is not whole is not exported.
    let object = bk.set(&id).join("home.tar.zst");
    let good = fs::read(&object).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    fs::write(&object, &bad).unwrap();
    let damaged = dir.join("damaged.tar.gz").display().to_string();
    bk.run(&["export", &id, "-o", &damaged]).fails(8, &["home.tar.zst"]);
    fs::write(&object, &good).unwrap();
    // What a killed one has left goes with the next; what looks like it and is somebody's stays.
    let left = [".bkhost-export-aB3xYz.part", ".bkhost-export-mine.part", ".bkhost-export-c4d5e6.part"]
        .map(|name| dir.join(name));
    left.iter().for_each(|path| fs::write(path, "x").unwrap());
    let held = fs::File::open(&left[2]).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    bk.run(&["export", &id, "-o", &to, "--force"]).ok();
    assert_eq!(left.each_ref().map(|path| path.exists()), [false, true, true]);
    left[1..].iter().for_each(|path| fs::remove_file(path).unwrap());
    // To a pipe.
    let piped = bk.path("piped.tar");
    let mut export = bk.command(&["export", &id, "-o", "-", "--format", "tar"]);
    assert!(export.stdout(fs::File::create(&piped).unwrap()).status().unwrap().success());
    let mut tar = Command::new("tar");
    tar.arg("-tf").arg(&piped);
    let names = tool(tar);
    assert!(names.contains("home/deep/er/harder") && names.ends_with(".bkhost/contents.jsonl\n"), "{names}");
    let left: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["one.tar.zst"]);
}

/// A chain of encrypted streams, as one encrypted archive.
#[test]
fn what_a_set_builds_on_is_in_it() {
    let zfs = zfs();
    let bk = Bkhost::inside(zfs);
    let dataset = zfs.create(bk.instance());
    let home = zfs.files(&dataset);
    let key = bk.path("key.txt");
    let mut keygen = Command::new("age-keygen");
    keygen.arg("-o").arg(&key);
    tool(keygen);
    let mut public = Command::new("age-keygen");
    public.arg("-y").arg(&key);
    let recipient = tool(public);
    let key = key.display().to_string();
    let part = zfs.part("home", &[&dataset]) + "archive = \"stream\"\n";
    let table = format!("[encryption]\nrecipients = [\"{}\"]\n", recipient.trim());
    bk.config(&[&application_none(), &part, &table]);
    fs::write(home.join("first"), noise(1, 300_000)).unwrap();
    bk.backup();
    fs::write(home.join("second"), noise(2, 2000)).unwrap();
    let set = bk.backup();
    let id = set["id"].as_str().unwrap();
    let one = bk.path("one.tar.zst.age").display().to_string();
    bk.run(&["export", id, "-o", &one]).fails(4, &["--identity"]);
    let exported = bk.run(&["export", id, "-o", &one, "--identity", &key, "--json"]).ok().json();
    assert_eq!(exported["bases"], serde_json::json!([set["parts"][0]["snapshot"]["base"]]));
    fs::remove_dir_all(bk.path("backups")).unwrap();
    let to = zfs.name(&format!("{}-r", bk.instance()));
    let args = ["restore", "--from", &one, "--to", &to, "--confirm", bk.instance()];
    bk.run(&args).fails(4, &["one.tar.zst.age"]);
    assert!(zfs.datasets(&to).is_empty());
    bk.run(&[&args[..], &["--identity", &key]].concat()).ok();
    assert_eq!(listing(&home), listing(&zfs.files(&to)));
}
