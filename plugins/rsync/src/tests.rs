use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bkhost_sdk::exec::{Command, Output};
use bkhost_sdk::testing::{self, Host, Part};
use bkhost_sdk::{ErrorCode, Severity};

use super::*;
use crate::check::Version;
use crate::said::{Changes, Ending, failure, is_full};

fn rules(globs: &[&str]) -> Vec<String> {
    filter::rules(&globs.iter().map(|glob| (*glob).to_owned()).collect::<Vec<_>>()).unwrap()
}

#[test]
fn a_glob_in_the_words_of_rsync() {
    for (glob, said) in [
        ("*.tmp", &["*.tmp"][..]),
        ("cache/", &["cache/"]),
        ("/cache", &["/cache"]),
        ("a/b", &["/a/b"]),
        ("a/*/b/", &["/a/*/b/"]),
        ("**", &["*"]),
        ("/**", &["*"]),
        ("**/a", &["/**/a", "/a"]),
        ("a/**", &["/a/**"]),
        ("a/**/**/b", &["/a/**/b", "/a/b"]),
        ("a**b/c", &["/a*b/c"]),
        ("x***", &["x*"]),
        ("{a,b/c}.d", &["/a.d", "/b/c.d"]),
        ("{,a}b", &["ab"]),
        ("a{b,{c,d}}", &["ab", "ac", "ad"]),
        // A backslash is one only where there is nothing that it could take as it is.
        ("a\\\\b", &["a\\b"]),
        ("a\\\\b*", &["a\\\\b*"]),
        ("\\*a", &["\\*a"]),
        ("\\[a]?", &["\\[a]?"]),
        ("a\\{b\\}", &["a{b}"]),
        ("\\!a", &["!a"]),
        ("\\# a ", &["# a "]),
        ("- a", &["- a"]),
        ("[!a-c]x", &["[^a-c]x"]),
        ("[]-]x", &["[\\]\\-]x"]),
        ("[^^\\]", &["[^\\^\\\\]"]),
        ("[[:]", &["[\\[\\:]"]),
        ("new\nline", &["new\nline"]),
        ("ü?", &["ü?"]),
    ] {
        assert_eq!(rules(&[glob]), said, "{glob}");
    }
}

#[test]
fn a_wrong_glob_is_named() {
    for glob in ["", "/", "!a", "a/../b", "a//b", "./a", "[a", "{a", "a}", "a\\", "[b-a]", "//"] {
        let error = filter::rules(&[glob.to_owned()]).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidConfig, "{glob}");
        assert!(error.message.contains(&format!("{glob:?}")) && error.hint.is_some(), "{error:?}");
    }
    let many = "{a,b}".repeat(30);
    assert!(filter::rules(&[many]).unwrap_err().message.contains("too much"));
}

#[test]
fn what_version_tells() {
    let text = "rsync  version 3.2.7  protocol version 31\nCapabilities:\n    64-bit files, hardlinks, hardlink-specials, \
                ACLs,\n    xattrs, no prealloc\n";
    let version = Version::parse(text).unwrap();
    assert!(version.able() == (true, true, true) && version.number == "3.2.7" && !version.is_old());
    let old =
        Version::parse("rsync  version v3.1.2  protocol version 31\nCapabilities:\n    ACLs, no xattrs\n").unwrap();
    assert!(old.is_old() && old.able() == (true, false, false));
    assert!(!Version::parse("rsync  version 3.10.0pre1  protocol version 31\n").unwrap().is_old());
    assert!(Version::parse("rsync  version 3.1.3  protocol version 31\n").is_some_and(|version| !version.is_old()));
    assert!(Version::parse("openrsync: protocol version 29").is_none() && Version::parse("").is_none());
}

fn ended(status: i32, stderr: &str) -> Output {
    Output { command: "copy".into(), status, stderr: stderr.into(), ..Output::default() }
}

#[test]
fn only_what_the_locked_pass_sets_right_is_let_pass() {
    let last = "rsync error: some files/attrs were not transferred (see previous errors) (code 23) at main.c(1338)\n";
    let shrunk = "rsync: [sender] read errors mapping \"/a/log\": No data available (61)\n";
    let gone = "rsync: [sender] get_xattr_names: llistxattr(\"/a/f\",1024) failed: No such file or directory (2)\n";
    let denied = "rsync: [sender] send_files failed to open \"/a/f\": Permission denied (13)\n";
    let of = |status, lines: &[&str]| Ending::of(&ended(status, &lines.concat()));
    assert_eq!(of(0, &[]), Ending::Complete);
    assert_eq!(of(24, &["file has vanished: \"/a/f\"\n"]), Ending::Vanished);
    assert_eq!(of(23, &[shrunk, gone, "IO error encountered -- skipping file deletion\n", last]), Ending::Unsteady);
    assert_eq!(of(23, &[shrunk, denied, last]), Ending::Failed);
    assert_eq!(
        of(23, &["rsync: [receiver] mkstemp \"/c/f\" failed: No such file or directory (2)\n", last]),
        Ending::Failed
    );
    assert_eq!(of(23, &[]), Ending::Failed);
    for status in [1, 11, 12, 20, 30, 137] {
        assert_eq!(of(status, &["file has vanished: \"/a/f\"\n"]), Ending::Failed);
    }
    let error = failure(&ended(23, &[denied, last].concat()));
    assert!(
        error.message.contains("Permission denied") && error.hint.as_deref().unwrap().contains("root"),
        "{error:?}"
    );
    let error = failure(&ended(11, "rsync: [receiver] write failed on \"/c/f\": No space left on device (28)\n"));
    assert!(is_full(&error) && error.hint.as_deref().unwrap().contains("staging"), "{error:?}");
    assert_eq!(failure(&ended(23, &[shrunk, last].concat())).code, ErrorCode::Conflict);
}

#[test]
fn what_changed_is_named_as_far_as_there_is_room() {
    let changes = Changes::itemized(">f.st...... a b\n*deleting   c\ncd+++++++++ d/\n", false);
    let said = changes.message("/srv");
    assert!(said.contains("/srv") && said.contains("3 entries") && said.ends_with("a b, c, d/"), "{said}");
    assert_eq!(changes.failure("/srv").code, ErrorCode::Conflict);
    assert!(Changes::itemized("", false).is_empty() && !Changes::itemized("", true).is_empty());
    let vanished =
        Changes::vanished("file has vanished: \"/srv/x\"\ndirectory has vanished: \"/srv/y\"\nrsync warning: some\n");
    assert_eq!(vanished.fit(), ["/srv/x", "/srv/y"]);
    // rsync has said that something vanished, by its status.
    assert!(!Changes::vanished("").is_empty());
    let many = format!(">f+++++++++ {}\n", "\u{1}".repeat(4000)).repeat(1000);
    assert!(serde_json::to_string(&Changes::itemized(&many, false).fit()).unwrap().len() < 128 << 10);
}

#[test]
fn what_stats_tell() {
    let text = "\nNumber of files: 1234 (reg: 1000, dir: 234)\nNumber of created files: 5 (reg: 1)\nNumber of deleted files: 7 \
                (reg: 7)\nNumber of regular files transferred: 3\nTotal file size: 99999 bytes\nLiteral data: 12 bytes\n";
    assert_eq!(Told::parse(text), Told { entries: 1234, bytes: 99999, transferred: 3, written: 12, removed: 7 });
    assert_eq!(Told::parse(""), Told::default());
}

/// What rsync and the other tools do, as far as it shows in names.
#[derive(Clone)]
struct Tools {
    root: PathBuf,
    ran: Rc<RefCell<Vec<String>>>,
    reflink: bool,
    linked: bool,
    fails: Option<(&'static str, i32)>,
    planned: bool,
}

impl Tools {
    fn local(&self, guest: &str) -> PathBuf {
        self.root.join(guest.trim_start_matches('/'))
    }
}

impl Host for Tools {
    fn run(&mut self, command: &Command) -> Result<Output> {
        let one = |slot: &str| command.values(slot).and_then(|values| values.first()).map(String::as_str);
        let said = ["base", "inplace", "only", "copy", "from", "since"]
            .iter()
            .filter_map(|slot| one(slot).map(|value| format!("{slot}={value}")));
        let said: Vec<_> = said.collect();
        self.ran.borrow_mut().push(format!("{} {}", command.id(), said.join(" ")));
        let mut output = Output { command: command.id().into(), planned: self.planned, ..Output::default() };
        if self.planned && !matches!(command.id(), "user" | "version" | "boot" | "linked") {
            return Ok(output);
        }
        if let Some((id, status)) = self.fails
            && command.id() == id
        {
            output.status = status;
            return Ok(output);
        }
        match command.id() {
            "user" => output.stdout = "0\n".into(),
            "boot" => output.stdout = "b00t\n".into(),
            "version" => output.stdout = "rsync  version 3.2.7  protocol version 31\n".into(),
            "try-reflink" => output.status = i32::from(!self.reflink),
            "linked" if self.linked => output.stdout = "x".into(),
            "copy" => {
                std::fs::create_dir_all(self.local(one("copy").unwrap())).unwrap();
                output.stdout = "Number of files: 9 (reg: 8, dir: 1)\nTotal file size: 70 bytes\n".into();
            }
            "clone" => std::fs::create_dir(self.local(one("to").unwrap())).unwrap(),
            "remove" => {
                for copy in command.values("copy").unwrap() {
                    std::fs::remove_dir_all(self.local(copy)).unwrap();
                }
            }
            _ => {}
        }
        Ok(output)
    }
}

struct World {
    dir: tempfile::TempDir,
    tools: Tools,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("staging")).unwrap();
        let tools = Tools {
            root: dir.path().to_owned(),
            ran: Rc::default(),
            reflink: false,
            linked: false,
            fails: None,
            planned: false,
        };
        Self { dir, tools }
    }

    fn with<T>(&self, instance: &str, body: impl FnOnce(Rsync) -> T) -> T {
        let config = serde_json::json!({
            "path": "/srv", "exclude": [], "keep-copies": 1, "sharing": "auto", "checksum": "off", "verify-pass": false,
            "changes": "fail", "one-file-system": false, "hard-links": true, "acls": true, "xattrs": true,
        });
        let part = Part { instance: instance.into(), root: self.dir.path().to_owned(), ..Part::default() };
        let rsync = Rsync::new(serde_json::from_value(config).unwrap()).unwrap();
        testing::host(part, self.tools.clone(), || body(rsync)).0
    }

    fn backup(&self, label: &str) -> Result<()> {
        self.with("i", |mut rsync| {
            rsync.prepare()?;
            let snapshot = rsync.capture(label)?;
            let snapshot = rsync.finish(snapshot)?;
            assert!(matches!(&rsync.open(&snapshot)?[..], [Source::Tree(tree)] if tree.root == copies::whole(label)));
            rsync.confirm(&snapshot)
        })
    }

    fn ran(&self) -> Vec<String> {
        let mut ran = self.tools.ran.take();
        ran.retain(|line| !line.starts_with("user") && !line.starts_with("boot") && !line.starts_with("version"));
        ran
    }

    fn staged(&self) -> Vec<String> {
        names(&self.dir.path().join("staging"))
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name != copies::FILTER);
    names.sort();
    names
}

fn starts(ran: &[String]) -> Vec<&str> {
    ran.iter().map(|line| line.split_once(" since=").map_or(line.as_str(), |(line, _)| line)).collect()
}

#[test]
fn the_first_copy_is_gone_on_with_and_the_next_shares_with_it() {
    let world = World::new();
    world.backup("bkhost-i-1").unwrap();
    assert_eq!(
        starts(&world.ran()),
        [
            "sync-source ",
            "try-reflink from=/staging/rsync-try.from",
            "copy copy=/staging/rsync-live",
            "distrust copy=/staging/rsync-live",
            "linked copy=/staging/rsync-live",
            "copy copy=/staging/rsync-bkhost-i-1.partial",
            "sync-copy copy=/staging/rsync-bkhost-i-1.partial",
        ]
    );
    assert_eq!(world.staged(), ["rsync-bkhost-i-1", "rsync-bkhost-i-1.json"]);
    world.backup("bkhost-i-2").unwrap();
    let ran = world.ran();
    let copies: Vec<_> = ran.iter().filter(|line| line.starts_with("copy")).collect();
    // Nothing that is also a file of the last good copy is written to.
    assert_eq!(
        copies,
        [
            "copy base=/staging/rsync-bkhost-i-1 copy=/staging/rsync-live",
            "copy base=/staging/rsync-live copy=/staging/rsync-bkhost-i-2.partial"
        ]
    );
    assert!(ran.iter().any(|line| line.starts_with("forget copy=/staging/rsync-live from=")), "{ran:?}");
    world.backup("bkhost-i-3").unwrap();
    assert_eq!(
        world.staged(),
        ["rsync-bkhost-i-2", "rsync-bkhost-i-2.json", "rsync-bkhost-i-3", "rsync-bkhost-i-3.json"],
        "one that the run found, and its own"
    );
    world.with("i", |mut rsync| {
        let listed = rsync.list().unwrap();
        let ids: Vec<_> = listed.iter().map(|snapshot| snapshot.id.as_str()).collect();
        assert_eq!(ids, ["bkhost-i-3", "bkhost-i-2"]);
        assert_eq!(listed[0].bytes, Some(70));
        for _ in 0..2 {
            rsync.delete(&listed[1]).unwrap();
            rsync.discard("bkhost-i-2").unwrap();
        }
        assert_eq!(rsync.list().unwrap().len(), 1);
    });
    assert_eq!(world.staged(), ["rsync-bkhost-i-3", "rsync-bkhost-i-3.json"]);
    world.with("other", |mut rsync| assert!(rsync.list().unwrap().is_empty()));
}

#[test]
fn a_clone_is_written_to_unless_its_files_have_several_names() {
    let mut world = World::new();
    world.tools.reflink = true;
    world.backup("bkhost-i-1").unwrap();
    let _ = world.ran();
    world.backup("bkhost-i-2").unwrap();
    let ran = world.ran();
    let copies = |ran: &[String]| {
        ran.iter().filter(|line| line.starts_with("copy") || line.starts_with("clone")).cloned().collect::<Vec<_>>()
    };
    assert_eq!(
        copies(&ran),
        [
            "clone from=/staging/rsync-bkhost-i-1",
            "copy inplace=inplace only=existing copy=/staging/rsync-live",
            "copy only=ignore-existing copy=/staging/rsync-live",
            "copy inplace=inplace copy=/staging/rsync-bkhost-i-2.partial"
        ]
    );
    world.tools.linked = true;
    world.backup("bkhost-i-3").unwrap();
    assert_eq!(copies(&world.ran())[3], "copy base=/staging/rsync-live copy=/staging/rsync-bkhost-i-3.partial");
}

#[test]
fn what_is_not_ours_stays() {
    let world = World::new();
    let foreign = ["rsync-bkhost-i-0", "rsync-bkhost-i-00.partial", "bkhost-i-0", "rsync-x"];
    let staging = world.dir.path().join("staging");
    for name in foreign {
        std::fs::create_dir(staging.join(name)).unwrap();
    }
    std::fs::write(staging.join("rsync-x.json"), "{}").unwrap();
    world.backup("bkhost-i-1").unwrap();
    // Another instance's.
    let record = std::fs::read_to_string(staging.join("rsync-bkhost-i-1.json")).unwrap();
    let theirs = record.replace("\"instance\":\"i\"", "\"instance\":\"j\"").replace("i-1", "i-0");
    std::fs::write(staging.join("rsync-bkhost-i-0.json"), theirs).unwrap();
    // One whose record was copied to another name.
    std::fs::write(staging.join("rsync-bkhost-i-00.json"), record).unwrap();
    world.backup("bkhost-i-2").unwrap();
    world.backup("bkhost-i-3").unwrap();
    world.with("i", |mut rsync| {
        assert_eq!(rsync.list().unwrap().len(), 2);
        for label in ["bkhost-i-0", "bkhost-i-00"] {
            rsync.discard(label).unwrap();
        }
    });
    for name in foreign {
        assert!(staging.join(name).is_dir(), "{name}");
    }
    std::fs::create_dir(staging.join("rsync-live")).unwrap();
    let error = world.backup("bkhost-i-4").unwrap_err();
    assert_eq!(error.code, ErrorCode::Conflict);
    assert!(error.message.contains("rsync-live") && staging.join("rsync-live").is_dir(), "{error:?}");
}

#[test]
fn a_run_that_fails_leaves_the_good_copy_and_nothing_else() {
    let mut world = World::new();
    world.backup("bkhost-i-1").unwrap();
    let good = world.staged();
    for (command, status) in [("copy", 23), ("copy", 137), ("forget", 1), ("sync-copy", 1)] {
        world.tools.fails = Some((command, status));
        let _ = world.backup("bkhost-i-2").unwrap_err();
        world.tools.fails = None;
        world.with("i", |mut rsync| rsync.discard("bkhost-i-2").unwrap());
        assert_eq!(world.staged(), good, "{command} {status}");
    }
    // One that died: whatever it was at.
    world.tools.fails = Some(("sync-copy", 1));
    let _ = world.backup("bkhost-i-2").unwrap_err();
    world.tools.fails = None;
    assert!(world.staged().len() > good.len());
    world.backup("bkhost-i-3").unwrap();
    assert_eq!(
        world.staged(),
        ["rsync-bkhost-i-1", "rsync-bkhost-i-1.json", "rsync-bkhost-i-3", "rsync-bkhost-i-3.json"]
    );
}

#[test]
fn a_dry_run_leaves_no_trace() {
    let mut world = World::new();
    world.tools.planned = true;
    world.with("i", |mut rsync| {
        rsync.prepare().unwrap();
        let snapshot = rsync.capture("bkhost-i-1").unwrap();
        let snapshot = rsync.finish(snapshot).unwrap();
        rsync.open(&snapshot).unwrap();
        rsync.close(&snapshot).unwrap();
    });
    assert_eq!(world.staged(), [""; 0]);
}

#[test]
fn a_set_without_the_archive_is_refused_before_anything_is_written() {
    let world = World::new();
    world.backup("bkhost-i-1").unwrap();
    world.with("i", |mut rsync| {
        let snapshot = rsync.list().unwrap().remove(0);
        assert_eq!(rsync.restore(&snapshot, &[], None).unwrap_err().code, ErrorCode::NotFound);
    });
}

#[test]
fn a_tree_that_is_suddenly_empty_is_no_backup() {
    let world = World::new();
    std::fs::create_dir_all(world.dir.path().join("source/tree")).unwrap();
    let severity = || {
        world.with("i", |mut rsync| {
            let findings = rsync.check().unwrap();
            findings.into_iter().find(|finding| finding.subject.contains("/srv")).unwrap().severity
        })
    };
    assert_eq!(severity(), Severity::Warning);
    world.backup("bkhost-i-1").unwrap();
    assert_eq!(severity(), Severity::Failure);
    std::fs::write(world.dir.path().join("source/tree/f"), "x").unwrap();
    assert_eq!(severity(), Severity::Info);
}
