//! The strategy against a ZFS that the test plays: what it decides, and what it leaves alone.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use bkhost_sdk::exec::{Command, Output};
use bkhost_sdk::testing::{self, Host, Part};
use bkhost_sdk::{ArchivedForm, ErrorCode};

use super::*;

const LABEL: &str = "bkhost-i-1";

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
    /// Whether extracting fails.
    damaged: bool,
    calls: Vec<String>,
}

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
                Some(owner) => output(0, described(&value("name"), owner), ""),
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
                match world.things.remove(&name) {
                    Some(_) => output(0, "", ""),
                    None => absent_thing(&name),
                }
            }
            "rollback" | "settle" => output(0, "", ""),
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

    fn extract(&mut self, _: &str, _: &str) -> Result<u64> {
        if self.0.borrow().damaged { Err(Error::corrupt("damaged")) } else { Ok(1) }
    }
}

/// Call the strategy of this part, with these datasets.
fn at<T>(zpool: &Zpool, part: &str, datasets: &[&str], body: impl FnOnce(&mut Zfs) -> T) -> T {
    let root = std::env::temp_dir().join(format!("bkhost-zfs-{}-{part}", std::process::id()));
    std::fs::create_dir_all(&root).unwrap();
    let part = Part { instance: "i".into(), part: part.into(), root: root.clone(), ..Part::default() };
    let mut zfs = Zfs { config: Config { datasets: datasets.iter().map(|&name| name.into()).collect() } };
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
