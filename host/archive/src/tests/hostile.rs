//! Archives made by an enemy, who can also make the index and the manifest.

use std::os::unix::fs::MetadataExt as _;

use super::fixture::{Archive, scratch, script};
use crate::error::ErrorKind;
use crate::fs::owners::Owners;
use crate::index::{IndexEntry, write_line};
use crate::tar::writer::TarWriter;
use crate::{Attributes, Entry, Kind, Named, PartSummary, Time, Written};

/// An archive and an index that belong together by their hashes.
pub(super) fn packed(tar: Vec<u8>, index: Vec<u8>) -> Archive {
    let pack = |content: &[u8]| {
        let object = zstd::encode_all(content, 1).unwrap();
        let blake3 = blake3::hash(&object).to_hex().to_string();
        let written = Written { bytes: object.len() as u64, content_bytes: content.len() as u64, blake3 };
        (object, written)
    };
    let ((object, written), (index, index_written)) = (pack(&tar), pack(&index));
    let none = Named::default;
    let summary = PartSummary {
        entries: 0,
        bytes: 0,
        object: written,
        index: index_written,
        sources: Vec::new(),
        changed: none(),
        vanished: none(),
        skipped: none(),
    };
    Archive::zst(object, index, summary)
}

fn entry(path: &str, kind: Kind, link: Option<&str>, size: u64) -> Entry {
    Entry {
        path: path.as_bytes().to_vec(),
        kind,
        mode: 0o755,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        user: None,
        group: None,
        size,
        mtime: Time { seconds: 1, nanos: 0 },
        link: link.map(|link| link.as_bytes().to_vec()),
        device: None,
        attributes: Attributes::default(),
    }
}

/// Path, kind, and what it links to.
type Sketch<'a> = (&'a str, Kind, Option<&'a str>);

/// `./` and then these, files with the content `evil`.
fn hostile(entries: &[Sketch<'_>]) -> Archive {
    let (mut tar, mut index) = (TarWriter::new(Vec::new()), Vec::new());
    let top = [("", Kind::Directory, None)];
    for &(path, kind, link) in top.iter().chain(entries) {
        let content: &[u8] = if kind == Kind::File { b"evil" } else { b"" };
        let entry = entry(path, kind, link, content.len() as u64);
        let shown = if path.is_empty() { "./" } else { path };
        tar.begin(&entry, shown.as_bytes(), None).unwrap();
        tar.content(content).unwrap();
        let hash = (kind == Kind::File).then(|| blake3::hash(content));
        write_line(&mut index, &IndexEntry::new(&entry, hash, &Owners::default())).unwrap();
    }
    packed(tar.finish().unwrap(), index)
}

#[test]
fn an_archive_cannot_leave_its_directory() {
    let outside = scratch();
    script(outside.path(), "echo victim > victim");
    let out = outside.path().to_str().unwrap();
    let absolute = format!("{out}/new");
    let victim = format!("{out}/victim");
    let depth = format!("{}{}", "../".repeat(20), victim.trim_start_matches('/'));
    use Kind::{Directory, File, Hardlink, Symlink};
    let cases: Vec<(&str, Vec<Sketch<'_>>)> = vec![
        ("up", vec![("../new", File, None)]),
        ("up in the middle", vec![("a", Directory, None), ("a/../../new", File, None)]),
        ("absolute", vec![(absolute.as_str(), File, None)]),
        ("absolute directory", vec![(absolute.as_str(), Directory, None)]),
        ("through a link", vec![("l", Symlink, Some(out)), ("l/new", File, None)]),
        (
            "through a linked directory",
            vec![("l", Symlink, Some(out)), ("l/d", Directory, None), ("l/d/new", File, None)],
        ),
        ("a directory over a link", vec![("l", Symlink, Some(out)), ("l", Directory, None), ("l/new", File, None)]),
        ("a file over a link", vec![("l", Symlink, Some(victim.as_str())), ("l", File, None)]),
        ("hard link up", vec![("h", Hardlink, Some(depth.as_str()))]),
        ("hard link absolute", vec![("h", Hardlink, Some(victim.as_str()))]),
        ("hard link through a link", vec![("l", Symlink, Some(out)), ("h", Hardlink, Some("l/victim"))]),
        (
            "hard link to a link, then write",
            vec![("l", Symlink, Some(victim.as_str())), ("h", Hardlink, Some("l")), ("h", File, None)],
        ),
        ("hard link to a directory", vec![("d", Directory, None), ("h", Hardlink, Some("d"))]),
        ("hard link to the top", vec![("h", Hardlink, Some("."))]),
        ("twice", vec![("f", File, None), ("f", File, None)]),
        ("no parent", vec![("a/b/c", File, None)]),
        ("a file as a parent", vec![("f", File, None), ("f/x", File, None)]),
        ("back in a closed directory", vec![("a", Directory, None), ("b", Directory, None), ("a/x", File, None)]),
    ];
    for (what, entries) in cases {
        let base = scratch();
        let into = base.path().join("into");
        std::fs::create_dir(&into).unwrap();
        let error = hostile(&entries).extract("", &into).expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Damaged, "{what}: {error}");
        assert_eq!(script(outside.path(), "ls -A; cat victim; stat -c %h victim"), "victim\nvictim\n1\n", "{what}");
        assert_eq!(script(base.path(), "ls -A"), "into\n", "{what}");
    }
    assert_eq!(std::fs::metadata(outside.path().join("victim")).unwrap().nlink(), 1);
}

#[test]
fn a_hostile_archive_with_nothing_wrong_is_extracted() {
    // The other cases would prove nothing if these were refused as well.
    let to = scratch();
    let entries = [
        ("a", Kind::Directory, None),
        ("a/f", Kind::File, None),
        ("a/h", Kind::Hardlink, Some("a/f")),
        ("l", Kind::Symlink, Some("/etc")),
    ];
    assert_eq!(hostile(&entries).extract("", to.path()).unwrap().entries, 5);
    assert_eq!(script(to.path(), "cat a/h; readlink l"), "evil/etc\n");
}

#[test]
fn an_index_that_is_not_that_of_the_archive_is_refused() {
    let good = hostile(&[("f", Kind::File, None), ("g", Kind::File, None)]);
    let others = [
        hostile(&[("f", Kind::File, None)]),
        hostile(&[("f", Kind::File, None), ("g", Kind::File, None), ("h", Kind::File, None)]),
        hostile(&[("f", Kind::File, None), ("g", Kind::Symlink, Some("x"))]),
        hostile(&[("g", Kind::File, None), ("f", Kind::File, None)]),
        hostile(&[("f", Kind::File, None), ("h", Kind::File, None)]),
    ];
    assert_eq!(good.verify().unwrap(), 3);
    for other in others {
        // The hashes fit: only the comparison of both can tell.
        let summary = PartSummary { index: other.summary.index.clone(), ..good.summary.clone() };
        let mixed = Archive::zst(good.object.clone(), other.index.clone(), summary);
        let error = mixed.verify().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
        assert!(error.details().iter().any(|(name, _)| name == "file"), "{error}");
    }
}
