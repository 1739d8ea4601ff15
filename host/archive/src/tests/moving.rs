//! Trees that change while they are read, and work that is stopped.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use super::fixture::{Archive, quick, record, scratch, script, tree};
use crate::error::ErrorKind;
use crate::{Control, ExtractOptions, PartObjects, PartOptions, extract_part, verify_part, write_part};

/// Runs something once the archive has so many bytes: in the middle of a file that cannot be compressed.
struct Trigger<F> {
    object: Vec<u8>,
    after: usize,
    then: Option<F>,
}

impl<F: FnOnce()> Write for Trigger<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.object.extend_from_slice(bytes);
        if self.object.len() > self.after
            && let Some(then) = self.then.take()
        {
            then();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const SIZE: u64 = 40 << 20;

/// Archives a tree with a large file `b` that `change` is done to while it is read.
fn changed_while_read(change: impl FnOnce(PathBuf)) -> Archive {
    let from = scratch();
    script(from.path(), &format!("head -c {SIZE} /dev/urandom > b; echo a > a; echo c > c; mkdir d; echo x > d/x"));
    let path = from.path().join("b");
    let mut object = Trigger { object: Vec::new(), after: 2 << 20, then: Some(move || change(path)) };
    let mut index = Vec::new();
    let options = PartOptions { format: quick() };
    let summary =
        write_part(&[tree(from.path(), "", &[])], &mut object, &mut index, &options, &Control::none()).unwrap();
    assert!(object.then.is_none(), "nothing was changed");
    let archive = Archive::zst(object.object, index, summary);
    archive.verify().unwrap();
    archive
}

fn write_at_end(path: &PathBuf, bytes: &[u8]) {
    fs::OpenOptions::new().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

#[test]
fn a_file_that_shrinks_is_filled_up() {
    let archive =
        changed_while_read(|path| fs::OpenOptions::new().write(true).open(path).unwrap().set_len(1000).unwrap());
    assert_eq!(archive.summary.changed.names, ["b"]);
    let to = scratch();
    archive.extract("", to.path()).unwrap();
    assert_eq!(fs::metadata(to.path().join("b")).unwrap().len(), SIZE);
    assert_eq!(script(to.path(), "cat c d/x"), "c\nx\n");
}

#[test]
fn a_file_that_grows_is_cut() {
    let archive = changed_while_read(|path| write_at_end(&path, b"more"));
    assert_eq!(archive.summary.changed.names, ["b"]);
    let to = scratch();
    archive.extract("", to.path()).unwrap();
    assert_eq!(fs::metadata(to.path().join("b")).unwrap().len(), SIZE);
}

#[test]
fn a_file_rewritten_in_place_is_named() {
    let archive = changed_while_read(|path| {
        use std::os::unix::fs::FileExt as _;
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(b"changed", SIZE - 100).unwrap();
        file.set_modified(before).unwrap();
    });
    assert_eq!(archive.summary.changed.names, ["b"], "also when its time was set back");
}

#[test]
fn what_vanishes_is_named_and_the_rest_is_archived() {
    let archive = changed_while_read(|path| {
        fs::remove_file(path.with_file_name("c")).unwrap();
        fs::remove_dir_all(path.with_file_name("d")).unwrap();
    });
    assert_eq!(archive.summary.vanished.names, ["c", "d"]);
    let to = scratch();
    archive.extract("", to.path()).unwrap();
    assert_eq!(script(to.path(), "ls"), "a\nb\n");
}

#[test]
fn a_file_that_becomes_a_link_or_a_pipe_is_not_followed() {
    let archive = changed_while_read(|path| {
        for name in ["c", "d"] {
            script(path.parent().unwrap(), &format!("rm -r {name}; ln -s /etc {name}"));
        }
    });
    let to = scratch();
    archive.extract("", to.path()).unwrap();
    assert_eq!(script(to.path(), "readlink c d"), "/etc\n/etc\n");
}

#[test]
fn an_unreadable_file_fails_the_part_and_is_named() {
    let from = scratch();
    script(from.path(), "mkdir d; echo x > d/secret; chmod 0 d/secret; chmod 755 . d");
    if super::fixture::is_root() {
        // Root reads everything: look with another user's eyes is not possible within one process.
        return;
    }
    let options = PartOptions::default();
    let error = write_part(&[tree(from.path(), "home", &[])], Vec::new(), Vec::new(), &options, &Control::none());
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.message().contains("home/d/secret") && error.hint_text().is_some(), "{error}");
}

#[test]
fn a_store_that_is_full_is_told() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let from = scratch();
    script(from.path(), "head -c 3000000 /dev/urandom > b");
    let write = |room: usize, index_room: usize| {
        let sources = [tree(from.path(), "", &[])];
        write_part(&sources, Full(room), Full(index_room), &PartOptions::default(), &Control::none())
    };
    assert!(write(usize::MAX, usize::MAX).is_ok());
    for (room, index_room) in [(0, usize::MAX), (1 << 20, usize::MAX), (usize::MAX, 0)] {
        assert_eq!(write(room, index_room).unwrap_err().kind(), ErrorKind::Store);
    }
}

#[test]
fn everything_can_be_stopped() {
    let (from, to) = (scratch(), scratch());
    script(from.path(), "head -c 30000000 /dev/urandom > b; truncate -s 1T hole");
    let options = PartOptions { format: quick() };
    // Stopped in the middle of a file, and in the middle of a hole that would take minutes.
    let token = CancellationToken::new();
    let cancel = token.clone();
    let object = Trigger { object: Vec::new(), after: 2 << 20, then: Some(move || cancel.cancel()) };
    let control = Control::new(token, |_| {});
    let error = write_part(&[tree(from.path(), "", &["hole"])], object, Vec::new(), &options, &control).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    let token = CancellationToken::new();
    let cancel = token.clone();
    let control = Control::new(token, move |done| {
        if done > 100 << 20 {
            cancel.cancel()
        }
    });
    let error = write_part(&[tree(from.path(), "", &["b"])], Vec::new(), Vec::new(), &options, &control).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);

    let archive = Archive::of_tree(from.path(), "", &["hole"]);
    let records = [record("data", &archive.summary.object), record("index", &archive.summary.index)];
    let objects = PartObjects { data: &records[0], index: &records[1], keys: &crate::Keys::default() };
    let token = CancellationToken::new();
    token.cancel();
    let control = Control::new(token, |_| {});
    let (object, index) = (archive.object.as_slice(), archive.index.as_slice());
    assert_eq!(verify_part(object, index, &objects, &control).unwrap_err().kind(), ErrorKind::Cancelled);
    let into = super::open(to.path());
    let error = extract_part(object, index, &objects, "", into, &ExtractOptions::default(), &control).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
}
