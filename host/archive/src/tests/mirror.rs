//! Mirrors: after every final pass, the copy is the source.

use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::fixture::{Scratch, assert_same, is_root, scratch, script, tree_of_everything};
use super::open;
use crate::error::{ErrorKind, Result};
use crate::{Control, Copied, Exclude, MirrorOptions, Pass, mirror};

struct Pair {
    from: Scratch,
    to: Scratch,
    state: Scratch,
}

impl Pair {
    fn new() -> Self {
        Self { from: scratch(), to: scratch(), state: scratch() }
    }

    fn options(&self, pass: Pass) -> MirrorOptions {
        MirrorOptions::new(pass, self.state.path().join("state"))
    }

    /// A pass that trusts what did not change since it began: tests have no time to wait for clocks. What was written
    /// within the last tick is given the time to grow older.
    fn pass(&self, pass: Pass, exclude: &[&str]) -> Copied {
        std::thread::sleep(Duration::from_millis(25));
        let options = self.options(pass).settle(Duration::ZERO).exclude(Exclude::new(exclude).unwrap());
        self.run(&options, &Control::none()).unwrap()
    }

    fn run(&self, options: &MirrorOptions, control: &Control) -> Result<Copied> {
        mirror(open(self.from.path()), open(self.to.path()), options, control)
    }

    fn from(&self, name: &str) -> PathBuf {
        self.from.path().join(name)
    }

    fn assert_same(&self) {
        assert_same(self.from.path(), self.to.path());
    }
}

#[test]
fn everything_is_mirrored_and_then_only_looked_at() {
    let pair = Pair::new();
    tree_of_everything(pair.from.path());
    let first = pair.pass(Pass::Live, &[]);
    pair.assert_same();
    assert!(first.updated > 40 && first.written > 700_000 && first.changed.is_empty(), "{first:?}");
    assert!(first.owners_not_set.is_empty() && first.attributes_not_set.is_empty());
    let second = pair.pass(Pass::Final, &[]);
    pair.assert_same();
    assert_eq!((second.updated, second.written, second.removed), (0, 0, 0));
    assert_eq!((second.entries, second.bytes), (first.entries, first.bytes));
    // The same without any memory of it.
    fs::remove_file(pair.state.path().join("state")).unwrap();
    let third = pair.pass(Pass::Final, &[]);
    pair.assert_same();
    assert_eq!((third.updated, third.entries), (first.updated, first.entries));
    let holes = fs::metadata(pair.to.path().join("sparse/all-hole")).unwrap();
    assert_eq!(holes.blocks(), 0, "holes stay holes");
}

#[test]
fn a_file_rewritten_with_the_same_size_and_time_is_copied_again() {
    let pair = Pair::new();
    for i in 0..50 {
        fs::write(pair.from(&format!("file{i}")), format!("before {i:04}")).unwrap();
    }
    assert_eq!(pair.pass(Pass::Live, &[]).updated, 50);
    let path = pair.from("file7");
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"after!", 0).unwrap();
    file.set_modified(time).unwrap();
    drop(file);
    assert_eq!(pair.pass(Pass::Final, &[]).updated, 1);
    pair.assert_same();
    assert_eq!(fs::read_to_string(pair.to.path().join("file7")).unwrap(), "after! 0007");
}

#[test]
fn a_file_that_changed_just_before_it_was_copied_is_copied_again() {
    // Its clock may stand still for two writes, so that the second cannot be told from the first.
    let pair = Pair::new();
    fs::write(pair.from("file"), "x").unwrap();
    for pass in [Pass::Live, Pass::Live, Pass::Final] {
        assert_eq!(pair.run(&pair.options(pass), &Control::none()).unwrap().updated, 1, "{pass:?}");
    }
    // What was copied in a final pass was not known to be on disk: the next live pass copies it again.
    std::thread::sleep(Duration::from_millis(25));
    assert_eq!(pair.pass(Pass::Live, &[]).updated, 1);
    assert_eq!(pair.pass(Pass::Live, &[]).updated, 0);
    fs::write(pair.from("file"), "y").unwrap();
    assert_eq!(pair.pass(Pass::Final, &[]).updated, 1);
    assert_eq!(pair.pass(Pass::Live, &[]).updated, 1);
    assert_eq!(pair.pass(Pass::Final, &[]).updated, 0);
}

#[test]
fn a_write_through_a_memory_map_is_not_missed() {
    // A page that is dirty already can be written again without any trace in the file's times.
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        eprintln!("not tested: needs python3");
        return;
    }
    let pair = Pair::new();
    let program = "
import mmap, sys, os
f = open('mapped', 'r+b'); f.truncate(8192); m = mmap.mmap(f.fileno(), 8192)
m[0:5] = b'first'; print('1', flush=True); sys.stdin.readline()
m[0:5] = b'other'; print('2', flush=True); sys.stdin.readline()";
    fs::write(pair.from("mapped"), vec![0; 8192]).unwrap();
    let mut child = std::process::Command::new("python3")
        .args(["-c", program])
        .current_dir(pair.from.path())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut wait = || std::io::Read::read_exact(&mut output, &mut [0; 2]).unwrap();
    wait();
    pair.pass(Pass::Live, &[]);
    assert_eq!(&fs::read(pair.to.path().join("mapped")).unwrap()[..5], b"first");
    std::io::Write::write_all(&mut input, b"\n").unwrap();
    wait();
    pair.pass(Pass::Final, &[]);
    assert_eq!(&fs::read(pair.to.path().join("mapped")).unwrap()[..5], b"other");
    drop(input);
    child.wait().unwrap();
}

#[test]
fn a_file_system_in_memory_is_copied_every_time() {
    // There, a write through a memory map never shows.
    let memory = Path::new("/dev/shm");
    if !super::fixture::is_tmpfs(memory) {
        eprintln!("not tested: /dev/shm is not a file system in memory");
        return;
    }
    let (from, pair) = (tempfile::tempdir_in(memory).unwrap(), Pair::new());
    fs::write(from.path().join("file"), "x").unwrap();
    for pass in [Pass::Live, Pass::Live, Pass::Final] {
        std::thread::sleep(Duration::from_millis(25));
        let options = pair.options(pass).settle(Duration::ZERO);
        let copied = mirror(open(from.path()), open(pair.to.path()), &options, &Control::none()).unwrap();
        assert_eq!(copied.updated, 1, "{pass:?}");
    }
}

#[test]
fn changes_of_every_kind_are_carried_over() {
    let pair = Pair::new();
    tree_of_everything(pair.from.path());
    pair.pass(Pass::Live, &[]);
    for change in [
        "chmod 0604 plain/file; setfattr -n user.new -v x plain/empty; setfattr -x user.note attributes/file",
        "touch -d '2010-01-01' plain/deep; setfattr -x user.note attributes/dir; setfacl -b attributes/dir attributes/acl",
        "rm -r attributes; rm plain/fifo; rm -r \"new\nline\"; chmod 0700 modes/dir-0500; rm -r modes",
        "rm plain/symlink; ln -s elsewhere plain/symlink; ln -sfn other plain/dangling",
        "rm plain/file; mkdir plain/file; echo x > plain/file/inside; rm -r empty; echo file > empty",
        "rm -r levels; ln -s plain levels; mkfifo levels-pipe; rm plain/random; mkfifo plain/random",
        "mv plain moved; mkdir plain; mv moved plain/deeper; echo grown >> -dash; : > '!bang'",
        "rm levels; mkdir -p levels/l1/l2; echo new > levels/l1/l2/zz; truncate -s 5M sparse/all-hole",
        "echo data | dd of=sparse/middle bs=1 seek=6M conv=notrunc status=none; truncate -s 100 sparse/many",
    ] {
        script(pair.from.path(), change);
        let copied = pair.pass(Pass::Final, &[]);
        pair.assert_same();
        assert!(copied.changed.is_empty(), "{change}: {:?}", copied.changed);
        pair.pass(Pass::Live, &[]);
    }
    script(pair.from.path(), "chmod -R u+rwx .; rm -r -- * .hidden");
    pair.pass(Pass::Final, &[]);
    assert_eq!(script(pair.to.path(), "ls -A"), "...\n");
}

#[test]
fn hard_links_come_and_go() {
    let pair = Pair::new();
    script(pair.from.path(), "mkdir d; echo x > a; ln a b; ln a d/c; echo y > e");
    pair.pass(Pass::Live, &[]);
    pair.assert_same();
    for change in [
        "true",
        "rm a",
        "ln b a; ln e d/e",
        "echo changed > b",
        "rm b; echo own > b",
        "rm d/c; ln d/e d/c",
        "rm e; ln a e",
        "mv a z; ln z a; rm d/c",
        "ln -s x s; ln s t; rm b; ln s b",
    ] {
        script(pair.from.path(), change);
        pair.pass(Pass::Final, &[]);
        pair.assert_same();
    }
    pair.pass(Pass::Live, &[]);
    assert_eq!(pair.pass(Pass::Final, &[]).updated, 0, "links are kept too");
}

#[test]
fn what_is_excluded_is_left_out_and_removed() {
    let pair = Pair::new();
    script(pair.from.path(), "mkdir -p cache/x keep; echo x > cache/x/y; echo x > keep/a.log; echo x > keep/b");
    pair.pass(Pass::Live, &[]);
    pair.assert_same();
    let copied = pair.pass(Pass::Final, &["cache", "*.log"]);
    assert_eq!(copied.removed, 4);
    assert_eq!(script(pair.to.path(), "find . | LC_ALL=C sort"), ".\n./keep\n./keep/b\n");
}

#[test]
fn a_copy_that_somebody_touched_is_made_again() {
    let pair = Pair::new();
    script(pair.from.path(), "echo one > a; echo two > b; mkdir d; echo x > d/x; ln -s t l");
    pair.pass(Pass::Live, &[]);
    script(
        pair.to.path(),
        "t=$(stat -c %y a); echo eno > a; touch -d \"$t\" a; chmod 777 b; chmod 700 d; rm l; mkdir l",
    );
    script(pair.to.path(), "mkfifo extra; setfattr -n user.x -v x d; touch d; mkdir -p e/f; chmod 0 e/f");
    let copied = pair.pass(Pass::Final, &[]);
    pair.assert_same();
    assert_eq!((copied.updated, copied.removed), (3, 4));
}

#[test]
fn nothing_outside_is_touched_through_links_in_the_copy() {
    let (pair, outside) = (Pair::new(), scratch());
    script(outside.path(), "echo victim > victim; mkdir d; echo x > d/x");
    script(pair.from.path(), "mkdir d; echo new > d/x; echo new > f");
    symlink(outside.path().join("d"), pair.to.path().join("d")).unwrap();
    symlink(outside.path().join("victim"), pair.to.path().join("f")).unwrap();
    symlink(outside.path(), pair.to.path().join("gone")).unwrap();
    pair.pass(Pass::Final, &[]);
    pair.assert_same();
    assert_eq!(script(outside.path(), "cat victim d/x; ls -A"), "victim\nx\nd\nvictim\n");
}

#[test]
fn a_file_written_during_the_final_pass_is_named() {
    let pair = Pair::new();
    script(pair.from.path(), "echo x > a; echo x > c");
    let log = pair.from("b");
    fs::write(&log, vec![b'x'; 64 << 20]).unwrap();
    let stop = CancellationToken::new();
    let (stopped, path) = (stop.clone(), log.clone());
    let writer = std::thread::spawn(move || {
        let file = fs::OpenOptions::new().append(true).open(path).unwrap();
        while !stopped.is_cancelled() {
            std::io::Write::write_all(&mut &file, b"more").unwrap();
        }
    });
    // Where blocks are shared, a copy takes no time: sooner or later a write comes in between.
    let named = (0..100).any(|_| pair.pass(Pass::Final, &[]).changed.names == ["b"]);
    stop.cancel();
    writer.join().unwrap();
    assert!(named);
    assert_eq!(pair.pass(Pass::Final, &[]).changed.total, 0);
    pair.assert_same();
}

#[test]
fn a_file_rewritten_in_place_during_the_final_pass_is_named() {
    // Size and, within a tick of the clock, times stay the same.
    let pair = Pair::new();
    let path = pair.from("b");
    fs::write(&path, vec![b'x'; 4096]).unwrap();
    let (stop, file) = (CancellationToken::new(), fs::OpenOptions::new().write(true).open(&path).unwrap());
    let stopped = stop.clone();
    let writer = std::thread::spawn(move || {
        for i in 0u64.. {
            if stopped.is_cancelled() {
                break;
            }
            file.write_all_at(&[i.to_le_bytes(), i.to_le_bytes()].concat().repeat(256), 0).unwrap();
        }
    });
    let torn_in_silence = (0..300).filter(|_| {
        let copied = pair.run(&pair.options(Pass::Final), &Control::none()).unwrap();
        let content = fs::read(pair.to.path().join("b")).unwrap();
        copied.changed.is_empty() && !content.chunks(8).all(|chunk| chunk == &content[..8])
    });
    let torn_in_silence = torn_in_silence.count();
    stop.cancel();
    writer.join().unwrap();
    assert_eq!(torn_in_silence, 0);
}

#[test]
fn a_busy_tree_never_fails_and_ends_equal() {
    let pair = Pair::new();
    let stop = CancellationToken::new();
    let (stopped, at) = (stop.clone(), pair.from.path().to_owned());
    let writer = std::thread::spawn(move || {
        for i in 0u64.. {
            if stopped.is_cancelled() {
                break;
            }
            let directory = at.join(format!("d{}", i % 7));
            let _ = fs::create_dir(&directory);
            let file = directory.join(format!("f{}", i % 11));
            match i % 5 {
                0 | 1 => drop(fs::write(file, i.to_le_bytes())),
                2 => drop(fs::rename(file, at.join(format!("moved{}", i % 3)))),
                3 => drop(fs::hard_link(&file, directory.join(format!("h{}", i % 5)))),
                _ if i % 35 == 4 => drop(fs::remove_dir_all(directory)),
                _ => drop(symlink("target", file)),
            }
        }
    });
    for _ in 0..20 {
        let options = pair.options(Pass::Live).settle(Duration::ZERO);
        pair.run(&options, &Control::none()).unwrap();
    }
    // A final pass does not fail either if the application is not locked after all: it tells.
    let told = (0..1000).any(|_| !pair.run(&pair.options(Pass::Final), &Control::none()).unwrap().changed.is_empty());
    stop.cancel();
    writer.join().unwrap();
    assert!(told);
    assert!(pair.pass(Pass::Final, &[]).changed.is_empty());
    pair.assert_same();
}

#[test]
fn directories_within_each_other_are_refused() {
    let pair = Pair::new();
    script(pair.from.path(), "mkdir -p a/b; echo x > x");
    let below = pair.from("a/b");
    let options = pair.options(Pass::Live);
    for (from, to) in [(pair.from.path(), below.as_path()), (&below, pair.from.path()), (&below, &below)] {
        let error = mirror(open(from), open(to), &options, &Control::none()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
    }
    assert_eq!(script(pair.from.path(), "cat x; ls -A"), "x\na\nx\n", "nothing was removed");
    // Unless it is left out.
    let options = options.exclude(Exclude::new(["/a"]).unwrap());
    mirror(open(pair.from.path()), open(&below), &options, &Control::none()).unwrap();
    assert_eq!(script(&below, "cat x"), "x\n");
}

#[test]
fn a_pass_that_was_stopped_is_made_good_by_the_next() {
    let pair = Pair::new();
    script(
        pair.from.path(),
        "for i in $(seq 400); do echo $i > f$i; done; for i in 1 2 3; do head -c 20000000 /dev/urandom > big$i; done",
    );
    pair.pass(Pass::Live, &[]);
    script(pair.from.path(), "for i in $(seq 400); do echo new$i > f$i; done; echo x >> big2; rm big3");
    let token = CancellationToken::new();
    token.cancel();
    let error = pair.run(&pair.options(Pass::Final), &Control::new(token, |_| {})).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    for after in [1, 10, 5_000_000] {
        let token = CancellationToken::new();
        let cancel = token.clone();
        let control = Control::new(token, move |done| {
            if done > after {
                cancel.cancel()
            }
        });
        let _ = pair.run(&pair.options(Pass::Final).settle(Duration::ZERO), &control);
    }
    pair.pass(Pass::Final, &[]);
    pair.assert_same();
}

#[test]
fn what_cannot_be_read_fails_the_pass() {
    if is_root() {
        return;
    }
    let pair = Pair::new();
    script(pair.from.path(), "mkdir d; echo x > d/secret; chmod 0 d/secret");
    let error = pair.run(&pair.options(Pass::Live), &Control::none()).unwrap_err();
    assert!(error.kind() == ErrorKind::Io && error.message().contains("d/secret"), "{error}");
}

#[derive(Debug, Clone)]
enum Change {
    Write(u8, Vec<u8>),
    RewriteKeepingTime(u8, u8),
    Remove(u8),
    Rename(u8, u8),
    Link(u8, u8),
    Symlink(u8, u8),
    Directory(u8),
    Mode(u8, u32),
}

/// Some of these places are in others, so that files, links and directories take each other's places.
fn place(at: &Path, which: u8) -> PathBuf {
    const PLACES: [&str; 9] = ["a", "b", "a/x", "a/y", "b/x", "b/x/deep", "c", "a-", "a.b"];
    at.join(PLACES[usize::from(which) % PLACES.len()])
}

fn change(at: &Path, change: &Change) {
    // Many of these fail, depending on what is there: as long as something happens, that is as good.
    match change {
        Change::Write(to, content) => drop(fs::write(place(at, *to), content)),
        Change::RewriteKeepingTime(to, byte) => {
            let path = place(at, *to);
            if let Ok(status) = path.symlink_metadata()
                && status.is_file()
            {
                let file = fs::OpenOptions::new().write(true).open(path).unwrap();
                file.write_all_at(&vec![*byte; usize::try_from(status.len()).unwrap()], 0).unwrap();
                file.set_modified(status.modified().unwrap()).unwrap();
            }
        }
        Change::Remove(to) => {
            let path = place(at, *to);
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
        }
        Change::Rename(from, to) => drop(fs::rename(place(at, *from), place(at, *to))),
        Change::Link(from, to) => drop(fs::hard_link(place(at, *from), place(at, *to))),
        Change::Symlink(target, to) => drop(symlink(format!("t{target}"), place(at, *to))),
        Change::Directory(to) => drop(fs::create_dir(place(at, *to))),
        Change::Mode(to, mode) => {
            use std::os::unix::fs::PermissionsExt as _;
            let path = place(at, *to);
            if path.symlink_metadata().is_ok_and(|status| !status.is_symlink()) {
                fs::set_permissions(path, fs::Permissions::from_mode(mode | 0o700)).unwrap();
            }
        }
    }
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let at = || 0u8..9;
    let one = prop_oneof![
        3 => (at(), prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(to, content)| Change::Write(to, content)),
        3 => (at(), any::<u8>()).prop_map(|(to, byte)| Change::RewriteKeepingTime(to, byte)),
        2 => at().prop_map(Change::Remove),
        2 => (at(), at()).prop_map(|(from, to)| Change::Rename(from, to)),
        2 => (at(), at()).prop_map(|(from, to)| Change::Link(from, to)),
        1 => (at(), at()).prop_map(|(target, to)| Change::Symlink(target, to)),
        2 => at().prop_map(Change::Directory),
        1 => (at(), 0u32..0o10000).prop_map(|(to, mode)| Change::Mode(to, mode)),
    ];
    prop::collection::vec(one, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_changes_between_passes_are_carried_over(rounds in prop::collection::vec((changes(), any::<bool>()), 1..5)) {
        let pair = Pair::new();
        for (changes, live) in rounds {
            changes.iter().for_each(|one| change(pair.from.path(), one));
            pair.pass(if live { Pass::Live } else { Pass::Final }, &[]);
            pair.assert_same();
        }
    }
}
