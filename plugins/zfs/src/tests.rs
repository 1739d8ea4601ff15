//! The strategy against a ZFS that the test plays: what it decides, and what it leaves alone.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use bkhost_sdk::exec::{Command, Output};
use bkhost_sdk::history::Earlier;
use bkhost_sdk::testing::{self, Host, Part};
use bkhost_sdk::{ArchivedForm, ErrorCode, path};

use super::*;

const LABEL: &str = "bkhost-i-1";

/// OpenZFS 2.2: `HELP_SEND` and `HELP_RECEIVE` of its `cmd/zfs/zfs_main.c`.
const OPEN_SEND: &str =
    "usage:\n\tsend [-DLPbcehnpsVvw] [-i|-I snapshot]\n\t     [-R [-X dataset[,dataset]...]]     <snapshot>\n";
const OPEN_RECEIVE: &str = "usage:\n\treceive [-vMnsFhu] [-o <property>=<value>] ... [-x <property>] ...\n\t    <filesystem|volume|snapshot>\n";

/// A ZFS in memory: snapshots and clones with their local properties.
#[derive(Default)]
struct World {
    /// Takes several snapshots in one call, as OpenZFS does.
    open_zfs: bool,
    /// Names, each with (instance, part, label).
    things: BTreeMap<String, (String, String, String)>,
    /// What `zfs snapshot` refuses.
    refused: Option<&'static str>,
    /// Datasets that a restore has created.
    created: Vec<String>,
    /// What the part is configured to, but for its datasets.
    config: Config,
    /// Datasets below those of the part, with their types.
    below: Vec<(&'static str, &'static str)>,
    /// Tags, each with the snapshot that it holds.
    holds: Vec<(String, String)>,
    /// Bookmarks, each with its guid.
    bookmarks: BTreeMap<String, String>,
    /// Encrypted datasets.
    encrypted: Vec<&'static str>,
    /// The earlier set that the host offers.
    earlier: Option<Earlier>,
    /// What `receive` was called with, and from which set.
    received: Vec<(String, String, String)>,
    /// The `n`th `receive` fails.
    receive_fails: Option<usize>,
    /// What a restore has made, and is asked for.
    made: String,
    /// Whether extracting fails.
    damaged: bool,
    calls: Vec<String>,
}

/// Where a restore to t/new receives.
const PARTIAL: &str = "t/new.bkhost-partial-20261121-120000-0a1b2c";

#[derive(Clone, Default)]
struct Zpool(Rc<RefCell<World>>);

fn output(status: i32, stdout: impl Into<String>, stderr: impl Into<String>) -> Result<Output> {
    Ok(Output { status, stdout: stdout.into(), stderr: stderr.into(), ..Output::default() })
}

fn absent_thing(name: &str) -> Result<Output> {
    output(1, "", format!("cannot open '{name}': dataset does not exist\n"))
}

fn described(name: &str, owner: &(String, String, String)) -> String {
    let (instance, part, label) = owner;
    format!(
        "{name}\ttype\tsnapshot\t-\n{name}\tcreation\t100\t-\n{name}\tcreatetxg\t{}\t-\n{name}\tguid\tg-{name}\t-\n\
         {name}\treferenced\t10\t-\n{name}\tbkhost:instance\t{instance}\tlocal\n{name}\tbkhost:part\t{part}\tlocal\n\
         {name}\tbkhost:run\t{label}\tlocal\n",
        if name.ends_with("newer") { 9 } else { 5 },
    )
}

impl Host for Zpool {
    fn run(&mut self, command: &Command) -> Result<Output> {
        let world = &mut *self.0.borrow_mut();
        let value = |slot: &str| command.values(slot).and_then(|values| values.first()).cloned().unwrap_or_default();
        let owner = (value("instance"), value("part"), value("label"));
        world.calls.push(command.id().to_owned());
        match command.id() {
            "version" => output(2, "", "unrecognized command 'version'\n"),
            "snapshot" => {
                let names = command.values("snapshot").unwrap();
                if names.len() > 1 && !world.open_zfs {
                    return output(2, "", "too many arguments\nusage:\n");
                }
                if let Some(refused) = names.iter().find(|name| Some(name.as_str()) == world.refused) {
                    return output(1, "", format!("cannot open '{refused}': dataset does not exist\n"));
                }
                if let Some(exists) = names.iter().find(|name| world.things.contains_key(*name)) {
                    return output(1, "", format!("cannot create snapshot '{exists}': dataset already exists\n"));
                }
                world.things.extend(names.iter().map(|name| (name.clone(), owner.clone())));
                output(0, "", "")
            }
            "clone" => {
                world.things.insert(value("clone"), owner);
                output(0, "", "")
            }
            "own" => match world.things.get(&value("name")) {
                Some(owner) => {
                    let name = value("name");
                    let held = world.holds.iter().filter(|(_, held)| *held == name).count();
                    output(0, format!("{}{name}\tuserrefs\t{held}\t-\n", described(&name, owner)), "")
                }
                None => absent_thing(&value("name")),
            },
            "snapshots" => {
                let prefix = format!("{}@", value("dataset"));
                let listed: String = world
                    .things
                    .iter()
                    .filter(|(name, _)| name.starts_with(&prefix))
                    .map(|(name, owner)| described(name, owner))
                    .collect();
                output(0, listed, "")
            }
            "destroy-snapshot" | "destroy-clone" => {
                let name = if command.id() == "destroy-clone" { value("clone") } else { value("snapshot") };
                if world.holds.iter().any(|(_, held)| *held == name) {
                    // OpenZFS, as in the report openzfs/zfs#14538.
                    return output(1, "", format!("cannot destroy snapshot {name}: dataset is busy\n"));
                }
                match world.things.remove(&name) {
                    Some(_) => output(0, "", ""),
                    None => absent_thing(&name),
                }
            }
            "rollback" | "settle" | "mount" => output(0, "", ""),
            "descendants" => {
                let root = value("dataset");
                let below = world.below.iter().filter(|(name, _)| tree::below(name, &root));
                let listed: String = below.map(|(name, kind)| format!("{name}\t{kind}\n")).collect();
                output(0, format!("{root}\tfilesystem\n{listed}"), "")
            }
            "snapshot-tree" => {
                let names = command.values("snapshot").unwrap();
                if names.len() > 1 && !world.open_zfs {
                    return output(2, "", "too many arguments\nusage:\n");
                }
                for name in names {
                    let (root, label) = name.split_once('@').unwrap();
                    let below = world.below.iter().filter(|(name, _)| tree::below(name, root));
                    let all: Vec<_> = below.map(|(name, _)| format!("{name}@{label}")).collect();
                    world.things.extend(all.into_iter().chain([name.clone()]).map(|name| (name, owner.clone())));
                }
                output(0, "", "")
            }
            "hold" => {
                let held = (value("tag"), value("snapshot"));
                if world.holds.contains(&held) {
                    return output(1, "", format!("cannot hold '{}': tag already exists on this dataset\n", held.1));
                }
                world.holds.push(held);
                output(0, "", "")
            }
            "release" => {
                let held = (value("tag"), value("snapshot"));
                if !world.things.contains_key(&held.1) {
                    return absent_thing(&held.1);
                }
                if !world.holds.contains(&held) {
                    // OpenZFS, as in the report psy0rz/zfs_autobackup#152.
                    let said = format!("cannot release hold from snapshot '{}': no such tag on this dataset\n", held.1);
                    return output(1, "", said);
                }
                world.holds.retain(|one| *one != held);
                output(0, "", "")
            }
            "send-usage" if world.open_zfs => output(2, "", OPEN_SEND),
            "send-usage" => output(2, "", "usage:\n\tsend [-RDp] [-[iI] snapshot] <snapshot>\n"),
            "receive-usage" if world.open_zfs => output(2, "", OPEN_RECEIVE),
            "receive-usage" => output(2, "", "usage:\n\treceive [-vnF] <filesystem|volume|snapshot>\n"),
            "encryption" => {
                let dataset = value("dataset");
                let encryption = if world.encrypted.iter().any(|one| *one == dataset) { "aes-256-gcm" } else { "off" };
                output(0, format!("{dataset}\tencryption\t{encryption}\t-\n"), "")
            }
            "bookmark" if world.open_zfs => {
                world.bookmarks.insert(value("bookmark"), format!("g-{}", value("snapshot")));
                output(0, "", "")
            }
            "bookmark" => output(2, "", "unrecognized command 'bookmark'\n"),
            "bookmark-guid" => match world.bookmarks.get(&value("bookmark")) {
                Some(guid) => output(0, format!("{}\tguid\t{guid}\t-\n", value("bookmark")), ""),
                None if world.open_zfs => absent_thing(&value("bookmark")),
                None => output(1, "", format!("cannot open '{}': invalid dataset name\n", value("bookmark"))),
            },
            "destroy-bookmark" => {
                world.bookmarks.remove(&value("bookmark"));
                output(0, "", "")
            }
            "received" => {
                let name = value("snapshot");
                let (dataset, label) = name.split_once('@').unwrap();
                let original = dataset.replacen(PARTIAL, "t/a", 1);
                output(0, format!("{name}\tguid\tg-{original}@{label}\t-\n"), "")
            }
            "create-partial" => {
                world.created.push(value("dataset"));
                output(0, "", "")
            }
            "complete" => {
                let (partial, to) = (value("partial"), value("dataset"));
                world.created.iter_mut().for_each(|name| *name = name.replacen(&partial, &to, 1));
                output(0, "", "")
            }
            "destroy-partial" => {
                let partial = value("dataset");
                world.created.retain(|name| *name != partial && !tree::below(name, &partial));
                output(0, "", "")
            }
            "target" if value("dataset").contains(".bkhost-partial") && world.created.contains(&value("dataset")) => {
                let source = if world.open_zfs { "inherited from t" } else { "received" };
                output(0, format!("{}\tmountpoint\t/m\t{source}\n", value("dataset")), "")
            }
            "unplace" | "restored" => output(0, "", ""),
            "made" => match world.made.is_empty() {
                true => absent_thing(&value("dataset")),
                false => output(0, world.made.clone(), ""),
            },
            "target" if world.created.contains(&value("dataset")) => {
                output(0, format!("{0}\tmounted\tyes\t-\n{0}\tmountpoint\t/m\t-\n", value("dataset")), "")
            }
            "target" => absent_thing(&value("dataset")),
            "create" | "create-parent" => {
                world.created.push(value("dataset"));
                output(0, "", "")
            }
            "destroy-target" => {
                world.created.retain(|name| *name != value("dataset"));
                output(0, "", "")
            }
            other => panic!("unexpected command {other}"),
        }
    }

    fn previous(&mut self) -> Result<Option<Earlier>> {
        Ok(self.0.borrow().earlier.clone())
    }

    fn feed_from(&mut self, set: &str, name: &str, command: &Command) -> Result<Output> {
        let world = &mut *self.0.borrow_mut();
        assert_eq!(command.id(), "receive");
        let dataset = command.values("dataset").unwrap()[0].clone();
        let without = command.values("without").map(|values| values.join(",")).unwrap_or_default();
        world.received.push((set.to_owned(), name.to_owned(), format!("{dataset} {without}")));
        if world.receive_fails == Some(world.received.len()) {
            return output(1, "", "cannot receive: failed to read from stream\n");
        }
        if !world.created.contains(&dataset) {
            world.created.push(dataset);
        }
        output(0, "", "")
    }

    fn extract(&mut self, _: &str, _: &str) -> Result<u64> {
        if self.0.borrow().damaged { Err(Error::corrupt("damaged")) } else { Ok(1) }
    }
}

/// Call the strategy of this part, with these datasets.
fn at<T>(zpool: &Zpool, part: &str, datasets: &[&str], body: impl FnOnce(&mut Zfs) -> T) -> T {
    let root = std::env::temp_dir().join(format!("bkhost-zfs-{}-{part}", std::process::id()));
    std::fs::create_dir_all(&root).unwrap();
    let part = Part { instance: "i".into(), part: part.into(), root: root.clone(), ..Part::default() };
    let named = datasets.iter().map(|&name| name.into()).collect();
    let mut zfs = Zfs { config: Config { datasets: named, ..zpool.0.borrow().config.clone() } };
    let result = testing::host(part, zpool.clone(), || body(&mut zfs)).0;
    let _ = std::fs::remove_dir_all(root);
    result
}

fn names(zpool: &Zpool) -> Vec<String> {
    zpool.0.borrow().things.keys().cloned().collect()
}

fn archived(names: &[&str]) -> Vec<Archived> {
    names
        .iter()
        .map(|&name| Archived { set: "this".into(), name: name.into(), form: ArchivedForm::Tree, bytes: 1 })
        .collect()
}

#[test]
fn one_call_where_the_system_allows_it_and_one_for_each_elsewhere() {
    for (open_zfs, calls) in [(true, 1), (false, 3)] {
        let zpool = Zpool::default();
        zpool.0.borrow_mut().open_zfs = open_zfs;
        let snapshot = at(&zpool, "calls", &["t/a", "t/b"], |zfs| zfs.capture(LABEL).unwrap());
        assert_eq!(zpool.0.borrow().calls.len(), calls);
        assert_eq!(snapshot.state::<State>().unwrap().together, open_zfs);
        assert_eq!(names(&zpool), ["t/a@bkhost-i-1", "t/b@bkhost-i-1"]);
        assert_eq!(snapshot.id, "t/a@bkhost-i-1 t/b@bkhost-i-1");
    }
}

#[test]
fn a_capture_that_fails_at_its_second_snapshot_leaves_none() {
    let zpool = Zpool::default();
    zpool.0.borrow_mut().refused = Some("t/b@bkhost-i-1");
    let error = at(&zpool, "half", &["t/a", "t/b"], |zfs| zfs.capture(LABEL).unwrap_err());
    assert_eq!(error.code, ErrorCode::NotFound);
    assert!(names(&zpool).is_empty(), "{:?}", names(&zpool));
}

#[test]
fn the_snapshot_of_another_part_survives_capture_discard_delete_and_is_not_listed() {
    let zpool = Zpool::default();
    let theirs = at(&zpool, "theirs", &["t/a"], |zfs| zfs.capture(LABEL).unwrap());
    let error = at(&zpool, "ours", &["t/a"], |zfs| zfs.capture(LABEL).unwrap_err());
    assert_eq!(error.code, ErrorCode::AlreadyExists);
    at(&zpool, "ours", &["t/a"], |zfs| {
        zfs.discard(LABEL).unwrap();
        zfs.delete(&theirs).unwrap();
        assert!(zfs.list().unwrap().is_empty());
    });
    assert_eq!(names(&zpool), ["t/a@bkhost-i-1"]);
    at(&zpool, "theirs", &["t/a"], |zfs| {
        assert_eq!(zfs.list().unwrap().len(), 1);
        zfs.delete(&theirs).unwrap();
        zfs.delete(&theirs).unwrap();
    });
    assert!(names(&zpool).is_empty());
}

#[test]
fn a_snapshot_of_the_same_name_that_was_made_again_is_not_deleted() {
    let zpool = Zpool::default();
    let mut snapshot = at(&zpool, "guid", &["t/a"], |zfs| {
        let snapshot = zfs.capture(LABEL).unwrap();
        zfs.finish(snapshot).unwrap()
    });
    let mut state: State = snapshot.state().unwrap();
    assert_eq!(state.datasets[0].guid.as_deref(), Some("g-t/a@bkhost-i-1"));
    state.datasets[0].guid = Some("another".into());
    snapshot.set_state(&state).unwrap();
    at(&zpool, "guid", &["t/a"], |zfs| zfs.delete(&snapshot).unwrap());
    assert_eq!(names(&zpool), ["t/a@bkhost-i-1"]);
    let error = at(&zpool, "guid", &["t/a"], |zfs| zfs.restore(&snapshot, &[], None).unwrap_err());
    assert_eq!(error.code, ErrorCode::Conflict);
}

#[test]
fn reading_goes_through_a_clone_or_through_the_snapshot_directory() {
    let zpool = Zpool::default();
    let root = |sources: Vec<Source>| match &sources[..] {
        [Source::Tree(tree)] => tree.root.clone(),
        other => panic!("{other:?}"),
    };
    at(&zpool, "read", &["t/a"], |zfs| {
        let snapshot = zfs.capture(LABEL).unwrap();
        assert_eq!(root(zfs.open(&snapshot).unwrap()), "/staging/clone-0");
        assert_eq!(names(&zpool), ["t/a/bkhost-i-1", "t/a@bkhost-i-1"]);
        zfs.close(&snapshot).unwrap();
        zfs.close(&snapshot).unwrap();
        assert_eq!(names(&zpool), ["t/a@bkhost-i-1"]);

        let directory = "/source/dataset/0/.zfs/snapshot/bkhost-i-1";
        std::fs::create_dir_all(path::local(directory)).unwrap();
        assert_eq!(root(zfs.open(&snapshot).unwrap()), directory);
        assert_eq!(names(&zpool), ["t/a@bkhost-i-1"]);
    });
}

#[test]
fn a_rollback_never_destroys_a_newer_snapshot() {
    let zpool = Zpool::default();
    let snapshot = at(&zpool, "roll", &["t/a", "t/b"], |zfs| zfs.capture(LABEL).unwrap());
    let foreign = (String::new(), String::new(), String::new());
    zpool.0.borrow_mut().things.insert("t/b@newer".into(), foreign);
    let error = at(&zpool, "roll", &["t/a", "t/b"], |zfs| zfs.restore(&snapshot, &[], None).unwrap_err());
    assert_eq!(error.code, ErrorCode::Conflict);
    assert!(error.message.contains("t/b@newer"), "{}", error.message);
    // Not even the dataset that would have allowed it was rolled back.
    assert!(!zpool.0.borrow().calls.iter().any(|call| call == "rollback"));
    zpool.0.borrow_mut().things.remove("t/b@newer");
    at(&zpool, "roll", &["t/a", "t/b"], |zfs| zfs.restore(&snapshot, &[], None).unwrap());
    assert_eq!(zpool.0.borrow().calls.iter().filter(|call| *call == "rollback").count(), 2);
}

#[test]
fn several_datasets_are_restored_below_the_new_one() {
    let zpool = Zpool::default();
    let datasets = ["t/a", "t/x/b"];
    let snapshot = at(&zpool, "into", &datasets, |zfs| zfs.capture(LABEL).unwrap());
    let all = archived(&["t%2Fa", "t%2Fx%2Fb"]);
    at(&zpool, "into", &datasets, |zfs| zfs.restore(&snapshot, &all, Some("t/new")).unwrap());
    assert_eq!(zpool.0.borrow().created, ["t/new", "t/new/a", "t/new/b"]);
    let again = at(&zpool, "into", &datasets, |zfs| zfs.restore(&snapshot, &all, Some("t/new")).unwrap_err());
    assert_eq!(again.code, ErrorCode::AlreadyExists);
    assert_eq!(zpool.0.borrow().created.len(), 3);
    let missing = archived(&["t%2Fa"]);
    let error = at(&zpool, "into", &datasets, |zfs| zfs.restore(&snapshot, &missing, Some("t/other")).unwrap_err());
    assert_eq!(error.code, ErrorCode::NotFound);
}

#[test]
fn a_failed_restore_removes_what_it_has_created() {
    let zpool = Zpool::default();
    let snapshot = at(&zpool, "bad", &["t/a"], |zfs| zfs.capture(LABEL).unwrap());
    zpool.0.borrow_mut().damaged = true;
    let error = at(&zpool, "bad", &["t/a"], |zfs| zfs.restore(&snapshot, &archived(&[""]), Some("t/n")).unwrap_err());
    assert_eq!(error.code, ErrorCode::Corrupt);
    assert!(zpool.0.borrow().created.is_empty());
}

#[test]
fn two_datasets_of_one_last_name_cannot_share_a_parent() {
    let zpool = Zpool::default();
    let datasets = ["t/a/home", "t/b/home"];
    let snapshot = at(&zpool, "clash", &datasets, |zfs| zfs.capture(LABEL).unwrap());
    let all = archived(&["t%2Fa%2Fhome", "t%2Fb%2Fhome"]);
    let error = at(&zpool, "clash", &datasets, |zfs| zfs.restore(&snapshot, &all, Some("t/new")).unwrap_err());
    assert_eq!(error.code, ErrorCode::Conflict);
    assert!(zpool.0.borrow().created.is_empty());
}

// --- holds ------------------------------------------------------------------------------------------------------------

#[test]
fn a_snapshot_is_held_while_its_files_are_read() {
    let zpool = Zpool::default();
    at(&zpool, "held", &["t/a"], |zfs| {
        let snapshot = zfs.capture(LABEL).unwrap();
        let snapshot = zfs.finish(snapshot).unwrap();
        assert!(zpool.0.borrow().holds.is_empty());
        zfs.open(&snapshot).unwrap();
        assert_eq!(zpool.0.borrow().holds, [(LABEL.to_owned(), "t/a@bkhost-i-1".to_owned())]);
        zfs.close(&snapshot).unwrap();
        zfs.close(&snapshot).unwrap();
        assert!(zpool.0.borrow().holds.is_empty());
        // A run that died while it read.
        zfs.open(&snapshot).unwrap();
        zfs.discard(LABEL).unwrap();
    });
    assert!(names(&zpool).is_empty() && zpool.0.borrow().holds.is_empty());
}

#[test]
fn the_hold_of_another_is_never_released() {
    let zpool = Zpool::default();
    at(&zpool, "foreign-hold", &["t/a"], |zfs| {
        let snapshot = zfs.capture(LABEL).unwrap();
        let theirs = ("keep".to_owned(), "t/a@bkhost-i-1".to_owned());
        zpool.0.borrow_mut().holds.push(theirs.clone());
        zfs.open(&snapshot).unwrap();
        let error = zfs.delete(&snapshot).unwrap_err();
        assert_eq!(error.code, ErrorCode::Conflict);
        assert!(error.hint.unwrap().contains("zfs holds"));
        assert_eq!(zpool.0.borrow().holds, std::slice::from_ref(&theirs));
        assert_eq!(names(&zpool), ["t/a@bkhost-i-1"]);
        zpool.0.borrow_mut().holds.clear();
        zfs.delete(&snapshot).unwrap();
    });
    assert!(names(&zpool).is_empty());
}

// --- trees ------------------------------------------------------------------------------------------------------------

fn recursive(archive: Archive, exclude: &[&str]) -> Config {
    let exclude = exclude.iter().map(|&name| name.to_owned()).collect();
    Config { archive, recursive: true, exclude, ..Config::default() }
}

#[test]
fn a_tree_is_captured_in_one_call_and_deleted_whole() {
    let zpool = Zpool::default();
    zpool.0.borrow_mut().config = recursive(Archive::Files, &["t/a/cache"]);
    zpool.0.borrow_mut().below = vec![
        ("t/a/b", "filesystem"),
        ("t/a/b/c", "filesystem"),
        ("t/a/cache", "filesystem"),
        ("t/a/bkhost-x", "filesystem"),
    ];
    at(&zpool, "tree", &["t/a"], |zfs| {
        let snapshot = zfs.capture(LABEL).unwrap();
        assert_eq!(zpool.0.borrow().calls.iter().filter(|call| call.starts_with("snapshot")).count(), 1);
        // One is created after the snapshot, one is destroyed.
        zpool.0.borrow_mut().below.push(("t/a/later", "filesystem"));
        zpool.0.borrow_mut().below.retain(|(name, _)| *name != "t/a/b/c");
        zpool.0.borrow_mut().things.remove("t/a/b/c@bkhost-i-1");
        let snapshot = zfs.finish(snapshot).unwrap();
        let state: State = snapshot.state().unwrap();
        let captured: Vec<_> = state.datasets.iter().map(|captured| captured.source.as_str()).collect();
        assert_eq!(captured, ["t%2Fa", "t%2Fa%2Fb", "t%2Fa%2Fbkhost-x"]);
        // What is left out gives its space back.
        assert_eq!(names(&zpool), ["t/a/b@bkhost-i-1", "t/a/bkhost-x@bkhost-i-1", "t/a@bkhost-i-1"]);
        let targets = restore::targets(&state, "t/new").unwrap();
        assert_eq!(targets, ["t/new", "t/new/b", "t/new/bkhost-x"]);
        zfs.delete(&snapshot).unwrap();
    });
    assert!(names(&zpool).is_empty());
}

#[test]
fn a_capture_of_a_tree_that_nobody_recorded_is_discarded_whole_and_leaves_others_alone() {
    let zpool = Zpool::default();
    zpool.0.borrow_mut().config = recursive(Archive::Stream, &[]);
    zpool.0.borrow_mut().below = vec![("t/a/b", "filesystem")];
    at(&zpool, "tree-gone", &["t/a"], |zfs| zfs.capture(LABEL).unwrap());
    let foreign = (String::new(), String::new(), String::new());
    zpool.0.borrow_mut().things.insert("t/a/b@bkhost-i-2".into(), foreign);
    at(&zpool, "tree-gone", &["t/a"], |zfs| {
        zfs.discard(LABEL).unwrap();
        zfs.discard("bkhost-i-2").unwrap();
    });
    assert_eq!(names(&zpool), ["t/a/b@bkhost-i-2"]);
}

#[test]
fn volumes_are_sent_and_are_no_files() {
    let zpool = Zpool::default();
    zpool.0.borrow_mut().below = vec![("t/a/v", "volume")];
    zpool.0.borrow_mut().config = recursive(Archive::Files, &[]);
    at(&zpool, "volume", &["t/a"], |zfs| {
        let snapshot = zfs.capture(LABEL).unwrap();
        let error = zfs.finish(snapshot).unwrap_err();
        assert_eq!(error.code, ErrorCode::Unsupported);
        assert!(error.message.contains("t/a/v is a volume"), "{}", error.message);
        zfs.discard(LABEL).unwrap();
    });
    zpool.0.borrow_mut().config = recursive(Archive::Stream, &[]);
    let state = at(&zpool, "volume", &["t/a"], |zfs| {
        let snapshot = zfs.capture(LABEL).unwrap();
        zfs.finish(snapshot).unwrap().state::<State>().unwrap()
    });
    assert_eq!(state.datasets.iter().map(|captured| captured.volume).collect::<Vec<_>>(), [false, true]);
}

// --- streams ----------------------------------------------------------------------------------------------------------

/// Back up in stream mode as the set `20261121-00000<n>-000000`; the record becomes the earlier set.
fn streamed(zpool: &Zpool, n: usize) -> (Snapshot, Vec<Command>) {
    let label = format!("bkhost-i-{n}");
    let (snapshot, commands) = at(zpool, "stream", &["t/a"], |zfs| {
        let snapshot = zfs.capture(&label).unwrap();
        let snapshot = zfs.finish(snapshot).unwrap();
        let commands = stream::commands(&snapshot.state().unwrap());
        zfs.close(&snapshot).unwrap();
        (snapshot, commands.into_iter().map(|(_, command)| command).collect())
    });
    let depth = match (&snapshot.base, &zpool.0.borrow().earlier) {
        (Some(_), Some(earlier)) => earlier.depth + 1,
        _ => 0,
    };
    zpool.0.borrow_mut().earlier =
        Some(Earlier { set: format!("20261121-00000{n}-000000"), snapshot: snapshot.clone(), depth });
    (snapshot, commands)
}

fn argument(command: &Command, slot: &str) -> String {
    command.values(slot).map(|values| values.join(" ")).unwrap_or_default()
}

fn streams(open_zfs: bool) -> Zpool {
    let zpool = Zpool::default();
    zpool.0.borrow_mut().open_zfs = open_zfs;
    zpool.0.borrow_mut().config = Config { archive: Archive::Stream, full_every: 3, ..Config::default() };
    zpool
}

#[test]
fn increments_go_on_from_the_last_set_and_end_in_a_full_one() {
    let zpool = streams(false);
    let froms: Vec<String> = (1..=4).map(|n| argument(&streamed(&zpool, n).1[0], "from")).collect();
    assert_eq!(froms, ["", "t/a@bkhost-i-1", "t/a@bkhost-i-2", ""]);
    let held: Vec<String> = zpool.0.borrow().holds.iter().map(|(_, name)| name.clone()).collect();
    // The first was let go when the third started from the second.
    assert_eq!(held, ["t/a@bkhost-i-2", "t/a@bkhost-i-3", "t/a@bkhost-i-4"]);
}

#[test]
fn a_restore_receives_the_chain_in_order() {
    let zpool = streams(true);
    for n in 1..=2 {
        streamed(&zpool, n);
    }
    let (snapshot, commands) = streamed(&zpool, 3);
    assert_eq!(snapshot.base.as_deref(), Some("20261121-000002-000000"));
    assert_eq!(argument(&commands[0], "flags"), "pLc");
    let item = |n: usize, name: &str| Archived {
        set: format!("20261121-00000{n}-000000"),
        name: name.into(),
        form: ArchivedForm::Stream,
        bytes: 1,
    };
    let all = [item(1, "full-0"), item(2, "incremental-0"), item(3, "incremental-0")];
    at(&zpool, "stream", &["t/a"], |zfs| {
        let error = zfs.restore(&snapshot, &all[1..], Some("t/new")).unwrap_err();
        assert_eq!(error.code, ErrorCode::NotFound);
        assert!(error.message.contains("set 20261121-000001-000000 holds no stream full-0"), "{}", error.message);
        assert!(zpool.0.borrow().received.is_empty());
        // Received beside its target, without the place of the original.
        zfs.restore(&snapshot, &all, Some("t/new")).unwrap();
        let received = zpool.0.borrow().received.clone();
        let expected = [(1, "full-0"), (2, "incremental-0"), (3, "incremental-0")];
        for ((set, name, how), (n, expected)) in received.iter().zip(expected) {
            assert_eq!((set.as_str(), name.as_str()), (format!("20261121-00000{n}-000000").as_str(), expected));
            assert_eq!(*how, format!("{PARTIAL} mountpoint"));
        }
        assert_eq!(zpool.0.borrow().created, ["t/new"]);
        let error = zfs.restore(&snapshot, &all, Some("t/new")).unwrap_err();
        assert_eq!(error.code, ErrorCode::AlreadyExists);
    });
    // One that fails at its second stream leaves nothing, and does not touch what another left there.
    zpool.0.borrow_mut().created.clear();
    zpool.0.borrow_mut().received.clear();
    zpool.0.borrow_mut().receive_fails = Some(2);
    at(&zpool, "stream", &["t/a"], |zfs| {
        let error = zfs.restore(&snapshot, &all, Some("t/new")).unwrap_err();
        assert!(error.message.contains("failed to read from stream"), "{}", error.message);
        assert!(zpool.0.borrow().created.is_empty());
        zpool.0.borrow_mut().created = vec![PARTIAL.into()];
        let error = zfs.restore(&snapshot, &all, Some("t/new")).unwrap_err();
        assert_eq!(error.code, ErrorCode::AlreadyExists);
        assert_eq!(zpool.0.borrow().created, [PARTIAL]);
    });
}

#[test]
fn only_what_a_dead_restore_made_is_destroyed() {
    let zpool = streams(true);
    let abandon = |label: &str| at(&zpool, "dead", &["t/a"], |zfs| zfs.abandon(label, Some("t/new")).unwrap());
    let id = "bkhost-test-20261121-120000-0a1b2c";
    let others = "t/new.bkhost-partial-20261121-120000-000000";
    zpool.0.borrow_mut().created = vec![PARTIAL.into(), others.into(), "t/new.bkhost-partial".into()];
    assert!(!abandon(id));
    assert_eq!(zpool.0.borrow().created, [others, "t/new.bkhost-partial"]);
    // Below a target: made by it, inherited, of another restore, of another part, without anything.
    let all = ["t/new", "t/new/in", "t/new/inherited", "t/new/other", "t/new/part", "t/new/plain"];
    zpool.0.borrow_mut().created = all.map(str::to_owned).to_vec();
    let mark = |name: &str, value: &str, source: &str| format!("{name}\tbkhost:restore\t{value}\t{source}\n");
    let made = [
        mark("t/new", &format!("dead/{id}"), "local"),
        mark("t/new/in", &format!("dead/{id}"), "local"),
        mark("t/new/inherited", &format!("dead/{id}"), "inherited from t/new"),
        mark("t/new/other", "dead/bkhost-test-20261121-120000-000000", "local"),
        mark("t/new/part", &format!("part/{id}"), "local"),
        mark("t/new/plain", "-", "-"),
    ]
    .concat();
    // It had come to its end.
    zpool.0.borrow_mut().made = format!("t/new\tbkhost:restored\tdead/{id}\tlocal\n{made}");
    assert!(abandon(id));
    assert_eq!(zpool.0.borrow().created.len(), all.len());
    zpool.0.borrow_mut().made = made;
    assert!(!abandon(id));
    assert_eq!(zpool.0.borrow().created, ["t/new/inherited", "t/new/other", "t/new/part", "t/new/plain"]);
}

#[test]
fn nothing_is_mounted_over_its_original() {
    for open_zfs in [true, false] {
        let zpool = streams(open_zfs);
        let (snapshot, _) = streamed(&zpool, 1);
        let item = Archived { set: "s".into(), name: "full-0".into(), form: ArchivedForm::Stream, bytes: 1 };
        at(&zpool, "stream", &["t/a"], |zfs| zfs.restore(&snapshot, &[item], Some("t/new")).unwrap());
        // OpenZFS leaves it out; where it came along, it is taken away before the dataset has its name.
        let received = &zpool.0.borrow().received[0].2;
        assert_eq!(received.ends_with(" mountpoint"), open_zfs);
        let calls = &zpool.0.borrow().calls;
        let at = |wanted: &str| calls.iter().position(|call| call == wanted);
        assert_eq!(at("unplace").is_none(), open_zfs);
        assert!(at("unplace").is_none_or(|unplaced| unplaced < at("complete").unwrap()));
    }
}

#[test]
fn a_base_that_is_gone_or_another_makes_a_full_stream() {
    let zpool = streams(false);
    streamed(&zpool, 1);
    zpool.0.borrow_mut().holds.clear();
    zpool.0.borrow_mut().things.remove("t/a@bkhost-i-1");
    let (snapshot, commands) = streamed(&zpool, 2);
    assert_eq!((snapshot.base, argument(&commands[0], "from")), (None, String::new()));
    // One of that name with another identity is another one.
    let mut earlier = zpool.0.borrow().earlier.clone().unwrap();
    let mut state: State = earlier.snapshot.state().unwrap();
    state.datasets[0].guid = Some("another".into());
    earlier.snapshot.set_state(&state).unwrap();
    zpool.0.borrow_mut().earlier = Some(earlier);
    assert_eq!(streamed(&zpool, 3).0.base, None);
    // A set of files is no base for streams.
    zpool.0.borrow_mut().config.archive = Archive::Files;
    streamed(&zpool, 4);
    zpool.0.borrow_mut().config.archive = Archive::Stream;
    assert_eq!(streamed(&zpool, 5).0.base, None);
}

/// `zfs send -p` and bookmarks exclude each other: "Unsupported flag with filesystem or bookmark" (openzfs/zfs#7263).
#[test]
fn where_there_are_bookmarks_the_snapshot_may_go() {
    let zpool = streams(true);
    zpool.0.borrow_mut().config.keep_snapshots = false;
    let (first, _) = streamed(&zpool, 1);
    assert!(names(&zpool).is_empty() && zpool.0.borrow().holds.is_empty());
    let (second, commands) = streamed(&zpool, 2);
    assert_eq!(second.base.as_deref(), Some("20261121-000001-000000"));
    assert_eq!(argument(&commands[0], "from"), "t/a#bkhost-i-1");
    assert_eq!(argument(&commands[0], "flags"), "Lc");
    at(&zpool, "stream", &["t/a"], |zfs| {
        zfs.delete(&first).unwrap();
        zfs.delete(&first).unwrap();
    });
    let left: Vec<String> = zpool.0.borrow().bookmarks.keys().cloned().collect();
    assert_eq!(left, ["t/a#bkhost-i-2"]);
    // A bookmark of that name that remembers another snapshot is somebody else's.
    zpool.0.borrow_mut().bookmarks.insert("t/a#bkhost-i-2".into(), "another".into());
    at(&zpool, "stream", &["t/a"], |zfs| zfs.delete(&second).unwrap());
    assert_eq!(zpool.0.borrow().bookmarks.len(), 1);
    // Where there are none, the snapshot stays.
    let zpool = streams(false);
    zpool.0.borrow_mut().config.keep_snapshots = false;
    streamed(&zpool, 1);
    assert_eq!(names(&zpool), ["t/a@bkhost-i-1"]);
}

#[test]
fn a_run_that_died_leaves_neither_hold_nor_bookmark() {
    let zpool = streams(true);
    let captured = at(&zpool, "died", &["t/a"], |zfs| zfs.capture(LABEL).unwrap());
    at(&zpool, "died", &["t/a"], |zfs| drop(zfs.finish(captured.clone()).unwrap()));
    assert_eq!((zpool.0.borrow().holds.len(), zpool.0.borrow().bookmarks.len()), (1, 1));
    // All that the journal has is the record of the capture.
    at(&zpool, "died", &["t/a"], |zfs| {
        zfs.close(&captured).unwrap();
        zfs.delete(&captured).unwrap();
        zfs.discard(LABEL).unwrap();
    });
    assert!(names(&zpool).is_empty() && zpool.0.borrow().holds.is_empty());
    assert!(zpool.0.borrow().bookmarks.is_empty());
}

#[test]
fn the_clones_in_the_way_are_named() {
    // zfs-fuse 0.7.0, recorded; OpenZFS says "snapshot has dependent clones" and the same list.
    let fuse = "cannot destroy 'tank/bb@s1': snapshot has dependent clones\nuse '-R' to destroy the following datasets:\n\
        tank/cl\ntank/c d\n";
    assert_eq!(own::clones(fuse).as_deref(), Some("tank/cl, tank/c d"));
    assert_eq!(own::clones("cannot destroy 'tank/bb@s1': dataset is busy\n"), None);
}

#[test]
fn what_is_encrypted_is_sent_raw_and_never_mixed() {
    let zpool = streams(true);
    let (_, commands) = streamed(&zpool, 1);
    assert_eq!(argument(&commands[0], "flags"), "pLc");
    // A dataset of that name that is encrypted now: an increment would not fit.
    zpool.0.borrow_mut().encrypted = vec!["t/a"];
    let (snapshot, commands) = streamed(&zpool, 2);
    assert_eq!((snapshot.base, argument(&commands[0], "flags")), (None, "pLcw".to_owned()));
    let (snapshot, _) = streamed(&zpool, 3);
    assert!(snapshot.base.is_some());
}
