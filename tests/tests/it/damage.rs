//! A set that is not what was written: nobody is told that it is, and nothing is restored from it.

use std::path::{Path, PathBuf};
use std::process::Command;

use bkhost_tests::s3::Bucket;
use bkhost_tests::{Bkhost, application_none, directory_part, listing, noise, tool, zfs};

fn fill(dir: &Path, seed: u64) {
    let _ = std::fs::create_dir(dir);
    for n in 0..5 {
        std::fs::write(dir.join(format!("noise-{n}")), noise(seed + n, 30_000)).unwrap();
    }
}

/// Two parts, and two sets of them.
fn two_sets() -> (Bkhost, String, String) {
    two_sets_in(Bkhost::new(), "", None)
}

/// The same, with this table in the configuration, in this store (none: the usual one).
fn two_sets_in(bk: Bkhost, table: &str, store: Option<&str>) -> (Bkhost, String, String) {
    let (one, two) = (bk.path("one"), bk.path("two"));
    let tables = [&application_none(), &directory_part("one", &one), &directory_part("two", &two), table];
    match store {
        Some(store) => bk.config_for(&tables, &[store]),
        None => bk.config(&tables),
    }
    fill(&one, 10);
    fill(&two, 20);
    let other = bk.backup_id();
    fill(&one, 30);
    fill(&two, 40);
    let id = bk.backup_id();
    (bk, id, other)
}

/// What `verify` says about a set that is damaged; `restore` has to say so too, and to do nothing.
fn refused(bk: &Bkhost, id: &str, what: &str) -> String {
    let verified = bk.run(&["verify", id]);
    assert_eq!(verified.code, 8, "verify of a set with {what}: {verified}");
    let (one, two) = (bk.path("r1"), bk.path("r2"));
    let to = [format!("one={}", one.display()), format!("two={}", two.display())];
    let restored = bk.run(&["restore", id, "--to", &to[0], "--to", &to[1], "--confirm", bk.instance()]);
    assert_eq!(restored.code, 8, "restore of a set with {what}: {restored}");
    assert!(!one.exists() && !two.exists(), "restore of a set with {what} has touched its targets");
    verified.stderr
}

/// What is done to an object.
enum Spoil {
    Flip(usize),
    Cut(usize),
    Delete,
    /// That of another set, under the same name.
    Swap,
}

/// Everything that can happen to an object of this size: a few bits, all over it; the tail, a little of it and all; all of it;
/// and another's in its place.
fn spoils(len: usize) -> Vec<(String, Spoil)> {
    let mut all = Vec::new();
    for at in [0, 5, len / 4, len / 2, len * 3 / 4, len - 1] {
        all.push((format!("with a bit flipped at {at}"), Spoil::Flip(at)));
    }
    for left in [len - 1, len / 2, 0] {
        all.push((format!("cut to {left} of {len} bytes"), Spoil::Cut(left)));
    }
    all.push(("deleted".to_owned(), Spoil::Delete));
    all.push(("of the other set".to_owned(), Spoil::Swap));
    all
}

/// In so many of the ways of two archives a file is damaged: the last byte is behind all of them.
const NAMED: usize = 2 * (11 - 1);

/// Where the sets of an instance are, as files.
fn sets_of(bk: &Bkhost) -> PathBuf {
    bk.path("backups").join(bk.instance())
}

/// Spoil each object of the set `id` in every way: `verify` names it, `restore` refuses before it touches anything, `list` says
/// that the set is damaged, `prune` counts the other. Then it is repaired, and all is well. Gives the objects, and how often a
/// file was named too. `sets`: where the sets are, as files.
fn spoil_all(
    bk: &Bkhost,
    sets: &Path,
    (id, other): (&str, &str),
    untouched: &dyn Fn() -> Vec<String>,
    verify: &[&str],
) -> (Vec<String>, usize) {
    let mut objects: Vec<String> = std::fs::read_dir(sets.join(id))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "manifest.json")
        .collect();
    objects.sort();
    let mut named = 0;
    for object in &objects {
        let path = sets.join(id).join(object);
        let good = std::fs::read(&path).unwrap();
        let theirs = std::fs::read(sets.join(other).join(object)).unwrap();
        assert_ne!(theirs, good);
        for (n, (what, spoil)) in spoils(good.len()).into_iter().enumerate() {
            let mut seen_at_once = true;
            match spoil {
                Spoil::Flip(at) => {
                    let mut bad = good.clone();
                    bad[at] ^= 1 << (n % 8);
                    std::fs::write(&path, bad).unwrap();
                    seen_at_once = false;
                }
                Spoil::Cut(left) => std::fs::write(&path, &good[..left]).unwrap(),
                Spoil::Delete => std::fs::remove_file(&path).unwrap(),
                Spoil::Swap => {
                    std::fs::write(&path, &theirs).unwrap();
                    seen_at_once = theirs.len() != good.len();
                }
            }
            let what = format!("{object} {what}");
            let state = if seen_at_once { "damaged" } else { "proved" };
            assert_eq!(bk.list()[0], (id.to_owned(), state.to_owned()), "before anybody has read it: {what}");
            let restore = || {
                for command in untouched() {
                    let words: Vec<&str> = command.split(' ').collect();
                    let restored = bk.run(&[&["restore", id, "--confirm", bk.instance()], words.as_slice()].concat());
                    assert_eq!(restored.code, 8, "restore of a set with {what}: {restored}");
                }
            };
            // Whoever comes upon it first, it is noted.
            if n % 2 == 0 {
                restore();
                assert_eq!(bk.list()[0].1, "damaged", "a restore came upon it: {what}");
            }
            let verified = bk.run(&[&["verify", id, "--json"], verify].concat());
            assert_eq!(verified.code, 8, "verify of a set with {what}: {verified}");
            let details = verified.json()["error"]["details"].clone();
            assert_eq!(details["object"], object.as_str(), "verify does not name what is damaged ({what}): {verified}");
            // A part's first entry is the directory itself.
            let file = details["file"].as_str().unwrap_or_default();
            named += usize::from(object.contains(".tar.") && (file == "." || file.starts_with("noise-")));
            if n % 2 == 1 {
                restore();
            }
            assert_eq!(bk.list()[0], (id.to_owned(), "damaged".to_owned()), "{what}");
            if matches!(spoil, Spoil::Flip(5) | Spoil::Delete) {
                let pruned = bk.run(&["prune", "--keep-last", "1", "--dry-run"]).ok();
                let stays = pruned.stdout.lines().any(|line| line.contains("stays") && line.contains(other));
                assert!(stays && pruned.stdout.contains("damaged"), "{what}: {pruned}");
            }
            std::fs::write(&path, &good).unwrap();
            if !seen_at_once {
                assert_eq!(bk.list()[0].1, "damaged", "repaired, and nobody has looked again: {what}");
            }
            // To see the next one from the beginning.
            let _ = std::fs::remove_dir_all(sets.join("records"));
        }
        bk.run(&[&["verify", id], verify].concat()).ok();
        assert_eq!(bk.list()[0], (id.to_owned(), "proved".to_owned()), "{object} is repaired");
    }
    (objects, named)
}

#[test]
fn every_object_in_every_way() {
    let (bk, id, other) = two_sets();
    let (one, two) = (bk.path("r1"), bk.path("r2"));
    let untouched = || {
        assert!(!one.exists() && !two.exists(), "a restore has touched its target");
        vec![format!("--to one={} --to two={}", one.display(), two.display())]
    };
    let (objects, named) = spoil_all(&bk, &sets_of(&bk), (&id, &other), &untouched, &[]);
    assert_eq!(objects, ["one.index.jsonl.zst", "one.tar.zst", "two.index.jsonl.zst", "two.tar.zst"]);
    assert!(!one.exists() && !two.exists());
    assert_eq!(named, NAMED, "the damaged file is named");
    // All is well again, and the other set never was concerned.
    bk.run(&["verify", "--all"]).ok();
}

/// The same for objects that are encrypted: whoever changes one is found out, also by those who can open it.
#[test]
fn every_encrypted_object_in_every_way() {
    let bk = Bkhost::new();
    let identity = bk.path("identity").display().to_string();
    let mut keygen = Command::new("age-keygen");
    keygen.args(["-o", &identity]);
    tool(keygen);
    let mut public = Command::new("age-keygen");
    public.args(["-y", &identity]);
    let table = format!("[encryption]\nrecipients = [\"{}\"]\n", tool(public).trim());
    let (bk, id, other) = two_sets_in(bk, &table, None);
    let (one, two) = (bk.path("r1"), bk.path("r2"));
    let untouched = || {
        assert!(!one.exists() && !two.exists(), "a restore has touched its target");
        vec![format!("--to one={} --to two={} --identity {identity}", one.display(), two.display())]
    };
    let (objects, _) = spoil_all(&bk, &sets_of(&bk), (&id, &other), &untouched, &["--identity", &identity]);
    assert_eq!(objects.len(), 6, "{objects:?}");
    assert!(objects.iter().all(|object| object.ends_with(".age")), "{objects:?}");
    assert!(!one.exists() && !two.exists());
    // Whoever has no key sees it too.
    let path = bk.set(&id).join("one.tar.zst.age");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[1_000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    bk.run(&["verify", &id]).fails(8, &["one.tar.zst.age"]);
}

/// The same in a bucket, whose server answers for what it has as if all were well.
#[test]
fn every_object_in_a_bucket_in_every_way() {
    let (bk, bucket) = (Bkhost::new(), Bucket::new());
    let store = bucket.store(&bk, "");
    let (bk, id, other) = two_sets_in(bk, "", Some(&store));
    let (one, two) = (bk.path("r1"), bk.path("r2"));
    let untouched = || {
        assert!(!one.exists() && !two.exists(), "a restore has touched its target");
        vec![format!("--to one={} --to two={}", one.display(), two.display())]
    };
    let sets = bucket.dir().join(bk.instance());
    let (objects, named) = spoil_all(&bk, &sets, (&id, &other), &untouched, &[]);
    assert_eq!(objects.len(), 4, "{objects:?}");
    assert_eq!(named, NAMED);
    assert!(!one.exists() && !two.exists());
}

/// The same for streams, and by looking at stored bytes only.
#[test]
fn every_stream_in_every_way() {
    let zfs = zfs();
    let bk = Bkhost::inside(zfs);
    let dataset = zfs.create(bk.instance());
    bk.config(&[
        &application_none(),
        &format!("{}archive = \"stream\"\nfull-every = 1\n", zfs.part("home", &[&dataset])),
    ]);
    fill(&zfs.files(&dataset), 1);
    let other = bk.backup_id();
    fill(&zfs.files(&dataset), 50);
    let id = bk.backup_id();
    let to = format!("{dataset}-restored");
    let untouched = || {
        assert_eq!(zfs.datasets(&to), [""; 0], "a restore has made its target");
        vec![format!("--to {to}")]
    };
    let (objects, _) = spoil_all(&bk, &sets_of(&bk), (&id, &other), &untouched, &["--depth", "objects"]);
    assert_eq!(objects.len(), 1, "{objects:?}");
    assert_eq!(zfs.datasets(&to), [""; 0]);
}

/// One object does not hide another, nor the parts that are whole.
#[test]
fn all_that_is_damaged_is_told_and_what_is_whole_restores() {
    let (bk, id, other) = two_sets();
    let object = |name: &str| bk.set(&id).join(name);
    let flip = |name: &str| {
        let mut bytes = std::fs::read(object(name)).unwrap();
        bytes[200] ^= 1;
        std::fs::write(object(name), bytes).unwrap();
    };
    let good = std::fs::read(object("one.tar.zst")).unwrap();
    std::fs::remove_file(object("one.tar.zst")).unwrap();
    let to = bk.path("r").display().to_string();
    let restore = |part: &str| bk.run(&["restore", &id, "--part", part, "--to", &to, "--confirm", bk.instance()]);
    restore("one").fails(8, &["one.tar.zst is missing", "can be chosen with --part: two"]);
    bk.run(&["ls", &id, "--part", "two"]).ok();
    restore("two").ok();
    assert_eq!(listing(&bk.path("two")), listing(&bk.path("r")));
    std::fs::remove_dir_all(&to).unwrap();
    flip("one.index.jsonl.zst");
    flip("two.tar.zst");
    for depth in ["objects", "full"] {
        let verified = bk.run(&["verify", &id, "--depth", depth, "--json"]);
        let told = verified.json()["error"].to_string();
        assert_eq!(verified.code, 8, "{verified}");
        for name in ["one.tar.zst", "one.index.jsonl.zst", "two.tar.zst"] {
            assert!(told.contains(name), "{depth}: {name}: {told}");
        }
        assert!(!told.contains("two.index"), "{told}");
    }
    restore("two").fails(8, &["two.tar.zst"]);
    assert!(!Path::new(&to).exists());
    // The same is found on the way of a copy, an export or a listing.
    std::fs::write(object("one.tar.zst"), good).unwrap();
    let elsewhere = bk.path("elsewhere").display().to_string();
    std::fs::create_dir(&elsewhere).unwrap();
    let archive = bk.path("one.tar.gz").display().to_string();
    for args in [
        &["copy", &id, "--to", &elsewhere][..],
        &["export", &id, "-o", &archive],
        &["ls", &id, "--part", "one"],
        &["restore", &id, "--part", "one", "--path", "noise-1", "--to", &to, "--confirm", bk.instance()],
    ] {
        let _ = std::fs::remove_dir_all(sets_of(&bk).join("records"));
        assert_eq!(bk.list()[0].1, "proved");
        bk.run(args).fails(8, &["one.index.jsonl.zst"]);
        assert_eq!(bk.list()[0], (id.clone(), "damaged".to_owned()), "{args:?}");
        let pruned = bk.run(&["prune", "--keep-last", "1", "--dry-run"]).ok();
        assert!(pruned.stdout.contains(&format!("stays  {other}  the last proved")), "{args:?}: {pruned}");
    }
}

/// How deep it looks decides what it can see, and what it says of it.
#[test]
fn depths() {
    let (bk, id, _) = two_sets();
    let records = bk.path("backups").join(bk.instance()).join("records");
    let said = bk.run(&["verify", &id, "--depth", "quick"]).ok();
    assert!(said.stdout.contains("not read"), "{said}");
    assert!(!records.exists(), "next to nothing was looked at, and nothing is told of it");
    let objects = bk.run(&["verify", &id, "--depth", "objects", "--json"]).ok().json();
    assert_eq!((&objects["depth"], &objects["objects"]), (&"objects".into(), &4.into()), "{objects}");
    let full = bk.run(&["verify", &id, "--json"]).ok().json();
    assert_eq!((&full["depth"], &full["entries"]), (&"full".into(), &12.into()), "{full}");
    assert_eq!(std::fs::read_dir(&records).unwrap().count(), 2);
    let path = bk.set(&id).join("two.tar.zst");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[9_000] ^= 2;
    std::fs::write(&path, &bytes).unwrap();
    bk.run(&["verify", &id, "--depth", "quick"]).ok();
    bk.run(&["verify", &id, "--depth", "objects"]).fails(8, &["two.tar.zst", "BLAKE3"]);
    let all = bk.run(&["verify", "--all", "--depth", "objects", "--json"]);
    // The last line is the error.
    let told = all.events().into_iter().rev().nth(1).unwrap();
    assert_eq!((all.code, told["damaged"].clone()), (8, serde_json::json!([id])), "{all}");
    std::fs::remove_file(&path).unwrap();
    bk.run(&["verify", &id, "--depth", "quick"]).fails(8, &["two.tar.zst"]);
    bk.run(&["verify", &id, "--depth", "deep"]).fails(2, &["quick", "objects", "full"]);
}

#[test]
fn objects_of_one_set_swapped() {
    let (bk, id, _) = two_sets();
    let (one, two) = (bk.set(&id).join("one.tar.zst"), bk.set(&id).join("two.tar.zst"));
    let (a, b) = (std::fs::read(&one).unwrap(), std::fs::read(&two).unwrap());
    std::fs::write(&one, &b).unwrap();
    std::fs::write(&two, &a).unwrap();
    refused(&bk, &id, "swapped parts");
    // One that is whole can still be restored by itself, and says nothing of the other.
    std::fs::write(&two, &b).unwrap();
    if a.len() == b.len() {
        let to = bk.path("r").display().to_string();
        bk.run(&["restore", &id, "--part", "two", "--to", &to, "--confirm", bk.instance()]).ok();
        assert_eq!(listing(&bk.path("two")), listing(&bk.path("r")));
    }
}

#[test]
fn the_manifest() {
    let (bk, id, other) = two_sets();
    let path = bk.set(&id).join("manifest.json");
    let good = std::fs::read(&path).unwrap();
    let text = String::from_utf8(good.clone()).unwrap();
    let theirs = std::fs::read(bk.set(&other).join("manifest.json")).unwrap();
    let flip = |at: usize| {
        let mut bad = good.clone();
        bad[at] ^= 4;
        Some(bad)
    };
    let bad = [
        ("with a bit flipped at its start", flip(3)),
        ("with a bit flipped in its middle", flip(good.len() / 2)),
        ("with a bit flipped in its checksum", flip(good.len() - 10)),
        ("cut", Some(good[..good.len() - 1].to_vec())),
        ("emptied", Some(Vec::new())),
        ("deleted", None),
        ("of the other set", Some(theirs)),
        ("edited by hand", Some(text.replace("\"proved\"", "\"proven\"").into_bytes())),
        ("of a later format", Some(text.replacen("\"1.0\"", "\"2.0\"", 1).into_bytes())),
    ];
    for (what, bytes) in bad {
        match bytes {
            Some(bytes) => std::fs::write(&path, bytes).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        let what = format!("a manifest {what}");
        let stderr = refused(&bk, &id, &what);
        assert!(stderr.contains("manifest"), "{what}: {stderr}");
        assert_eq!(bk.list()[0], (id.clone(), "damaged".to_owned()), "{what}");
        bk.run(&["show", &id]).fails(8, &["manifest"]);
        // `latest` is the newest one that can be restored.
        assert!(bk.run(&["show", "latest"]).ok().stdout.contains(&other), "{what}");
        let all = bk.run(&["verify", "--all"]).fails(8, &["1 of 2 sets are damaged", &id]);
        assert!(all.stdout.contains(&other), "the good one is verified all the same: {all}");
        bk.run(&["prune", "--confirm", bk.instance(), "--keep-last", "1"]).ok();
        assert_eq!(bk.list().len(), 2, "neither goes: {what}");
        std::fs::write(&path, &good).unwrap();
    }
    bk.run(&["verify", &id]).ok();
}
