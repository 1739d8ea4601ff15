//! Restored trees against the index: whatever is different is found, and named.

use std::path::Path;

use super::fixture::{Archive, is_root, scratch, script, tree, tree_of_everything};
use super::open;
use crate::error::ErrorKind;
use crate::{Compared, Control, PartObjects, Source, compare_source};

fn compare(archive: &Archive, source: &str, restored: &Path) -> crate::error::Result<Compared> {
    let [data, index] = archive.records();
    let objects = PartObjects { data: &data, index: &index, keys: &archive.keys };
    compare_source(archive.index.as_slice(), &objects, source, open(restored), &Control::none())
}

#[test]
fn what_was_restored_is_the_same() {
    let dir = scratch();
    let (tree_dir, restored) = (dir.path().join("tree"), dir.path().join("restored"));
    for path in [&tree_dir, &restored] {
        std::fs::create_dir(path).unwrap();
    }
    tree_of_everything(&tree_dir);
    let archive = Archive::of_tree(&tree_dir, "", &[]);
    let extracted = archive.extract("", &restored).unwrap();
    let compared = compare(&archive, "", &restored).unwrap();
    assert_eq!((compared.different, compared.differences), (0, vec![]));
    assert_eq!(compared.entries, extracted.entries);
    assert!(compared.bytes > 0);
    // A part of the archive, and one file of it.
    let file = tree_dir.join("plain/file");
    let two = Archive::of(&[
        tree(&tree_dir, "a/tree", &[]),
        Source::File { name: "b/one".into(), file: std::fs::File::open(&file).unwrap().into() },
    ]);
    for (source, entries) in [("a/tree", extracted.entries), ("b/one", 1)] {
        let restored = dir.path().join(source.replace('/', "-"));
        std::fs::create_dir(&restored).unwrap();
        two.extract(source, &restored).unwrap();
        let compared = compare(&two, source, &restored).unwrap();
        assert_eq!((compared.entries, compared.differences), (entries, vec![]), "{source}");
    }
    assert_eq!(compare(&two, "c", &restored).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn whatever_is_different_is_found() {
    let dir = scratch();
    let (tree_dir, restored) = (dir.path().join("tree"), dir.path().join("restored"));
    std::fs::create_dir(&tree_dir).unwrap();
    std::fs::create_dir(&restored).unwrap();
    script(
        &tree_dir,
        "mkdir -p d/e z; echo content > d/file; echo other > d/second; ln d/file d/hard; ln -s file d/link
         touch -d '2001-02-03 04:05:06.7' d/file d/e z; echo x > d/acl; setfacl -m u:12345:rw d/acl; mkfifo d/pipe
         truncate -s 4M d/sparse; setfattr -n user.note -v one d/second",
    );
    let archive = Archive::of_tree(&tree_dir, "", &[]);
    archive.extract("", &restored).unwrap();
    let same = compare(&archive, "", &restored).unwrap();
    assert_eq!(same.differences, vec![]);
    // (what is done, the file that is named, what is said)
    let mut changes = vec![
        ("printf CONTENT > d/file; echo >> d/file; touch -d '2001-02-03 04:05:06.7' d/file", "d/file", "content"),
        ("printf x | dd of=d/sparse bs=1 seek=3000000 conv=notrunc status=none", "d/sparse", "content"),
        ("echo more >> d/second", "d/second", "bytes"),
        ("chmod 0601 d/second", "d/second", "mode"),
        ("touch -d '2001-02-03 04:05:06.8' d/file", "d/file", "time"),
        ("touch z", "z", "time"),
        ("rm d/hard; cp -p d/file d/hard", "d/hard", "no further name"),
        ("rm d/link; ln -s second d/link", "d/link", "links to something else"),
        ("rm d/second", "d/second", "missing"),
        ("rm -r d/e", "d/e", "missing"),
        ("rm -r z", "z", "missing"),
        ("rm d/pipe; touch d/pipe", "d/pipe", "RegularFile"),
        ("echo > d/new", "d/new", "not in the index"),
        ("echo > zz", "zz", "not in the index"),
        ("mkdir -p 0/1", "0/1", "not in the index"),
    ];
    if is_root() {
        changes.extend([
            ("chown 1:2 d/second", "d/second", "belongs to 1:2"),
            ("setfattr -n user.note -v two d/second", "d/second", "attributes"),
            ("setfattr -n user.more -v two d/file", "d/file", "attributes"),
            ("setfacl -b d/acl; chmod 0664 d/acl", "d/acl", "attributes or ACLs"),
        ]);
    }
    for (what, file, said) in changes {
        let copy = dir.path().join("copy");
        script(dir.path(), "rm -rf copy; cp -a restored copy");
        assert_eq!(compare(&archive, "", &copy).unwrap().differences, vec![], "the copy is the same");
        script(&copy, what);
        let compared = compare(&archive, "", &copy).unwrap();
        let told = compared.differences.iter().find(|(path, _)| path == file);
        let (_, text) = told.unwrap_or_else(|| panic!("{what}: {compared:?}"));
        assert!(text.contains(said), "{what}: {text}");
        assert_eq!(compared.different, compared.differences.len() as u64);
    }
}

#[test]
fn a_damaged_index_is_no_difference() {
    let dir = scratch();
    let restored = dir.path().join("restored");
    std::fs::create_dir(&restored).unwrap();
    std::fs::write(restored.join("file"), "x").unwrap();
    let mut archive = Archive::of_tree(&restored, "", &[]);
    for at in [0, archive.index.len() / 2, archive.index.len() - 1] {
        archive.index[at] ^= 4;
        assert_eq!(compare(&archive, "", &restored).unwrap_err().kind(), ErrorKind::Damaged, "{at}");
        archive.index[at] ^= 4;
    }
    assert_eq!(compare(&archive, "", &restored).unwrap().different, 0);
}
