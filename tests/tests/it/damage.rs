//! A set that is not what was written: nobody is told that it is, and nothing is restored from it.

use std::path::Path;

use bkhost_tests::{Bkhost, application_none, directory_part, listing, noise};

fn fill(dir: &Path, seed: u64) {
    let _ = std::fs::create_dir(dir);
    for n in 0..5 {
        std::fs::write(dir.join(format!("noise-{n}")), noise(seed + n, 30_000)).unwrap();
    }
}

/// Two parts, and two sets of them.
fn two_sets() -> (Bkhost, String, String) {
    let bk = Bkhost::new();
    let (one, two) = (bk.path("one"), bk.path("two"));
    bk.config(&[&application_none(), &directory_part("one", &one), &directory_part("two", &two)]);
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

#[test]
fn every_object_in_every_way() {
    let (bk, id, other) = two_sets();
    let mut named = 0;
    for object in ["one.tar.zst", "one.index.jsonl.zst", "two.tar.zst", "two.index.jsonl.zst"] {
        let path = bk.set(&id).join(object);
        let good = std::fs::read(&path).unwrap();
        let spoil = |what: &str, bytes: Option<Vec<u8>>, seen_by_list: bool| {
            match bytes {
                Some(bytes) => std::fs::write(&path, bytes).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            let what = format!("{object} {what}");
            let stderr = refused(&bk, &id, &what);
            assert!(stderr.contains(object), "verify does not name what is damaged ({what}): {stderr}");
            let state = if seen_by_list { "damaged" } else { "proved" };
            assert_eq!(bk.list()[0], (id.clone(), state.to_owned()), "{what}");
            if seen_by_list {
                let pruned = bk.run(&["prune", "--keep-last", "1", "--dry-run"]).ok();
                assert!(pruned.stdout.contains(&format!("stays  {other}  the last proved")), "{what}: {pruned}");
            }
            std::fs::write(&path, &good).unwrap();
            stderr
        };
        let last = good.len() - 1;
        for (n, at) in [0, 5, good.len() / 4, good.len() / 2, good.len() * 3 / 4, last].into_iter().enumerate() {
            let mut bad = good.clone();
            bad[at] ^= 1 << n;
            let stderr = spoil(&format!("with a bit flipped at {at}"), Some(bad), false);
            named += usize::from(object.contains(".tar.") && stderr.contains("noise-"));
        }
        spoil("cut by a byte", Some(good[..last].to_vec()), true);
        spoil("emptied", Some(Vec::new()), true);
        spoil("longer", Some([good.as_slice(), b"\0"].concat()), true);
        spoil("deleted", None, true);
        let theirs = std::fs::read(bk.set(&other).join(object)).unwrap();
        let seen = theirs.len() != good.len();
        assert_ne!(theirs, good);
        spoil("of the other set", Some(theirs), seen);
    }
    assert!(named >= 4, "the damaged file is named where it can be: {named} times");
    // All is well again, and the other set never was concerned.
    bk.run(&["verify", "--all"]).ok();
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
        bk.run(&["prune", "--keep-last", "1"]).ok();
        assert_eq!(bk.list().len(), 2, "neither goes: {what}");
        std::fs::write(&path, &good).unwrap();
    }
    bk.run(&["verify", &id]).ok();
}
