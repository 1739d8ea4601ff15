//! What goes in comes out, by our own reader and by GNU tar.

use std::fs;
use std::time::Instant;

use super::fixture::{Archive, assert_same, is_root, scratch, script, tree, tree_of_everything};
use super::open;
use crate::error::ErrorKind;
use crate::{ExtractOptions, IndexReader, OwnersBy, Source};

/// GNU tar remarks on times before 1970 and in the future, also in its own archives.
const TIMES: &str = "{ grep -v 'time stamp' || true; }";

/// Extracts with GNU tar and the options that the documentation gives.
fn gnu_tar(archive: &Archive, into: &std::path::Path) {
    let file = scratch();
    fs::write(file.path().join("part.tar.zst"), &archive.object).unwrap();
    let from = file.path().join("part.tar.zst").display().to_string();
    let output = script(
        into,
        &format!(
            "set -o pipefail; tar --zstd --xattrs --xattrs-include='*' --acls --numeric-owner -xpf '{from}' 2>&1 | {TIMES}"
        ),
    );
    assert_eq!(output, "", "GNU tar complains");
}

#[test]
fn everything_survives_our_extraction() {
    let (from, to) = (scratch(), scratch());
    tree_of_everything(from.path());
    let archive = Archive::of_tree(from.path(), "", &[]);
    assert_eq!(archive.verify().unwrap(), archive.summary.entries);
    let extracted = archive.extract("", to.path()).unwrap();
    assert_eq!((extracted.entries, extracted.bytes), (archive.summary.entries, archive.summary.bytes));
    assert!(extracted.owners_not_set.is_empty() && extracted.attributes_not_set.is_empty());
    assert_same(from.path(), to.path());
    let blocks = |path: &str| {
        use std::os::unix::fs::MetadataExt as _;
        fs::metadata(to.path().join(path)).unwrap().blocks()
    };
    assert_eq!(blocks("sparse/all-hole"), 0);
    assert!(blocks("sparse/middle") <= 64, "holes stay holes");
}

#[test]
fn everything_survives_gnu_tar() {
    for name in ["", "tree", "a/b"] {
        let (from, to) = (scratch(), scratch());
        tree_of_everything(from.path());
        let archive = Archive::of_tree(from.path(), name, &[]);
        gnu_tar(&archive, to.path());
        assert_same(from.path(), &to.path().join(name));
    }
}

#[test]
fn plain_tar_reads_it() {
    let (from, to) = (scratch(), scratch());
    tree_of_everything(from.path());
    let archive = Archive::of_tree(from.path(), "tree", &[]);
    fs::write(to.path().join("a.tar.zst"), &archive.object).unwrap();
    assert_eq!(script(to.path(), &format!("set -o pipefail; tar --zstd -xf a.tar.zst 2>&1 | {TIMES}")), "");
    let compare = format!(
        "diff -r --no-dereference -x fifo -x hard-fifo -x char -x block -x large '{}' tree",
        from.path().display()
    );
    assert_eq!(script(to.path(), &compare), "");
    // A system without zstd in tar.
    assert_eq!(script(to.path(), "zstd -dc a.tar.zst | tar -tf - | wc -l").trim(), archive.summary.entries.to_string());
}

#[test]
fn the_index_tells_what_is_there() {
    let from = scratch();
    tree_of_everything(from.path());
    let archive = Archive::of_tree(from.path(), "tree", &[]);
    let text = zstd::decode_all(archive.index.as_slice()).unwrap();
    assert_eq!(text.len() as u64, archive.summary.index.content_bytes);
    let mut index = IndexReader::new(text.as_slice());
    let mut files = 0;
    while let Some(line) = index.next_entry().unwrap() {
        use std::os::unix::ffi::OsStrExt as _;
        let path = line.path().unwrap();
        let below = path.strip_prefix(b"tree").unwrap().strip_prefix(b"/").unwrap_or_default();
        let path = from.path().join(std::ffi::OsStr::from_bytes(below));
        if let Some(hash) = line.blake3 {
            assert_eq!(hash, blake3::hash(&fs::read(&path).unwrap()).to_hex().to_string(), "{path:?}");
            files += 1;
        }
        assert!(path.symlink_metadata().is_ok());
    }
    assert!(files > 30);
}

#[test]
fn a_huge_file_with_holes_is_cheap() {
    let (from, to, by_tar) = (scratch(), scratch(), scratch());
    script(
        from.path(),
        "truncate -s 5G big; for at in 0 1G 4294967295 5300000000; do echo data | dd of=big bs=1 seek=$at conv=notrunc status=none; done",
    );
    let started = Instant::now();
    let archive = Archive::of_tree(from.path(), "", &[]);
    println!("5 GiB with holes: {:?}, {} bytes", started.elapsed(), archive.object.len());
    assert!(archive.object.len() < 4096, "{}", archive.object.len());
    archive.extract("", to.path()).unwrap();
    gnu_tar(&archive, by_tar.path());
    for copy in [to.path(), by_tar.path()] {
        assert_eq!(script(copy, "stat -c %s big; tail -c +1073741825 big | head -c 5").trim(), "5368709120\ndata");
        assert_eq!(
            script(copy, "tail -c +4294967296 big | head -c 5; tail -c +5300000001 big | head -c 5"),
            "data\ndata\n"
        );
        assert!(script(copy, "stat -c %b big").trim().parse::<u64>().unwrap() < 50_000, "holes stay holes");
    }
}

#[test]
fn sources_are_kept_apart() {
    let from = scratch();
    script(from.path(), "mkdir a b; echo one > a/x; ln a/x b/x; ln a/x a/y; echo single > file; chmod 604 file");
    let sources = [
        tree(&from.path().join("a"), "first", &[]),
        tree(&from.path().join("b"), "second", &[]),
        Source::File { name: "third/file".to_owned(), file: open(&from.path().join("file")) },
    ];
    let archive = Archive::of(&sources);
    assert_eq!(
        archive.summary.sources.iter().map(|s| (s.entries, s.bytes)).collect::<Vec<_>>(),
        [(3, 4), (2, 4), (1, 7)]
    );
    archive.verify().unwrap();
    for (name, path) in [("first", "a"), ("second", "b")] {
        let to = scratch();
        archive.extract(name, to.path()).unwrap();
        assert_eq!(script(to.path(), "cat x"), "one\n");
        assert_eq!(script(to.path(), "ls"), script(&from.path().join(path), "ls"));
    }
    let to = scratch();
    assert_eq!(archive.extract("third/file", to.path()).unwrap().entries, 1);
    assert_eq!(script(to.path(), "ls -A; cat file; stat -c %a file"), "file\nsingle\n604\n");
    let to = scratch();
    assert_eq!(archive.extract("fourth", to.path()).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(archive.extract("fir", to.path()).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn names_of_sources_that_overlap_are_refused() {
    let from = scratch();
    for names in [&["a", "a"][..], &["a", "a/b"], &["", "x"], &["../a"], &["/a"], &["a/"], &["a//b"], &["."]] {
        let sources: Vec<_> = names.iter().map(|name| tree(from.path(), name, &[])).collect();
        let error = crate::write_part(
            &sources,
            Vec::new(),
            Vec::new(),
            &crate::PartOptions::default(),
            &crate::Control::none(),
        );
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Config, "{names:?}");
    }
}

#[test]
fn what_is_excluded_is_not_there() {
    let (from, to) = (scratch(), scratch());
    script(from.path(), "mkdir -p a/tmp b/cache/x c; touch a/tmp/x a/k.log b/cache/x/y c/keep top.log; ln -s a c/tmp");
    let archive = Archive::of_tree(from.path(), "", &["*.log", "tmp/", "/b/cache"]);
    archive.extract("", to.path()).unwrap();
    let expected = ".\n./a\n./b\n./c\n./c/keep\n./c/tmp\n";
    assert_eq!(script(to.path(), "find . | LC_ALL=C sort"), expected);
}

#[test]
fn a_target_that_is_not_empty_is_refused() {
    let from = scratch();
    let archive = Archive::of_tree(from.path(), "", &[]);
    for name in [".hidden", "lost+found", "file"] {
        let to = scratch();
        fs::create_dir(to.path().join(name)).unwrap();
        let error = archive.extract("", to.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.message().contains(name) && error.hint_text().is_some());
    }
}

#[test]
fn sockets_are_skipped_and_named() {
    let (from, to) = (scratch(), scratch());
    let _socket = std::os::unix::net::UnixListener::bind(from.path().join("socket")).unwrap();
    let archive = Archive::of_tree(from.path(), "tree", &[]);
    assert_eq!(archive.summary.skipped.names, ["tree/socket"]);
    archive.extract("tree", to.path()).unwrap();
    assert_eq!(script(to.path(), "ls -A"), "");
}

#[test]
fn owners_can_be_set_by_name_or_by_number() {
    if !is_root() {
        return;
    }
    use std::os::unix::fs::MetadataExt as _;
    let from = scratch();
    script(from.path(), "echo x > file; chown daemon:bin file; setfacl -m u:daemon:r file");
    let mut archive = Archive::of_tree(from.path(), "", &[]);
    // The same archive as if it came from a machine where these users have other numbers.
    let text = String::from_utf8(zstd::decode_all(archive.index.as_slice()).unwrap()).unwrap();
    assert!(text.contains(r#""acl-users":{"1":"daemon"}"#), "{text}");
    let foreign = foreign_numbers(&archive);
    archive = foreign;
    archive.verify().unwrap();
    let [data, index] = archive.records();
    let objects = crate::PartObjects { data: &data, index: &index, keys: &crate::Keys::default() };
    for (owners, uid, acl) in [(OwnersBy::Name, 1, "user:1:r--"), (OwnersBy::Number, 771, "user:771:r--")] {
        let to = scratch();
        let options = ExtractOptions { owners };
        let (object, lines) = (archive.object.as_slice(), archive.index.as_slice());
        let control = crate::Control::none();
        crate::extract_part(object, lines, &objects, "", open(to.path()), &options, &control).unwrap();
        assert_eq!(fs::metadata(to.path().join("file")).unwrap().uid(), uid);
        assert!(script(to.path(), "getfacl -n file").contains(acl), "{}", script(to.path(), "getfacl -n file"));
    }
}

/// Rewrites the archive with 771 for the number of daemon.
fn foreign_numbers(archive: &Archive) -> Archive {
    use crate::index::{IndexEntry, write_line};
    let mut tar = crate::tar::reader::TarReader::new(zstd::Decoder::new(archive.object.as_slice()).unwrap());
    let mut writer = crate::tar::writer::TarWriter::new(Vec::new());
    let mut lines = Vec::new();
    while let Some(item) = tar.next().unwrap() {
        let mut entry = item.entry;
        entry.uid = if entry.uid == 1 { 771 } else { entry.uid };
        if let Some(acl) = &mut entry.attributes.access {
            *acl = acl.map_ids(|id| if id == 1 { 771 } else { id }, |id| id);
        }
        let mut content = vec![0; usize::try_from(entry.size).unwrap()];
        if entry.size > 0 {
            assert_eq!(tar.read(&mut content).unwrap() as u64, entry.size);
        }
        let shown = if entry.path.is_empty() { b"./".to_vec() } else { entry.path.clone() };
        writer.begin(&entry, &shown, None).unwrap();
        writer.content(&content).unwrap();
        let hash = (entry.kind == crate::Kind::File).then(|| blake3::hash(&content));
        let mut line = IndexEntry::new(&entry, hash, &crate::fs::owners::Owners::default());
        line.acl_users.insert(771, "daemon".to_owned());
        write_line(&mut lines, &line).unwrap();
    }
    super::hostile::packed(writer.finish().unwrap(), lines)
}
