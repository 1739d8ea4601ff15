//! The strategy against an LVM that the test plays: what it decides, and what it leaves alone.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use bkhost_sdk::exec::{Command, Output};
use bkhost_sdk::testing::{self, Host, Part};
use bkhost_sdk::{ArchivedForm, ErrorCode, Severity, path};

use super::*;

const LABEL: &str = "bkhost-i-1";

/// One logical volume.
#[derive(Clone, Default)]
struct Lv {
    attr: &'static str,
    origin: String,
    pool: &'static str,
    tags: String,
    used: &'static str,
    invalid: bool,
    minor: i32,
}

/// An LVM in memory.
#[derive(Default)]
struct World {
    /// By group/name.
    volumes: BTreeMap<String, Lv>,
    /// What is mounted where, by volume.
    mounted: BTreeMap<String, &'static str>,
    /// What `lvcreate` refuses.
    refused: Option<&'static str>,
    /// Whether extracting fails.
    damaged: bool,
    /// Whether a merge is only planned.
    lazy: bool,
    calls: Vec<String>,
}

#[derive(Clone, Default)]
struct Machine(Rc<RefCell<World>>);

fn output(status: i32, stdout: impl Into<String>, stderr: impl Into<String>) -> Result<Output> {
    Ok(Output { status, stdout: stdout.into(), stderr: stderr.into(), ..Output::default() })
}

fn described(name: &str, lv: &Lv) -> String {
    let major = if lv.attr.get(4..5) == Some("a") { 254 } else { -1 };
    let invalid = if lv.invalid { "snapshot invalid" } else { "" };
    format!(
        r#"{{"lv_name":"{name}","lv_uuid":"u-{name}","lv_attr":"{}","lv_size":"104857600","origin":"{}","pool_lv":"{}","data_percent":"{}",
        "metadata_percent":"","lv_tags":"{}","lv_time":"100","lv_snapshot_invalid":"{invalid}","lv_kernel_major":"{major}","lv_kernel_minor":"{}","vg_free":"41943040","vg_extent_size":"4194304"}}"#,
        lv.attr, lv.origin, lv.pool, lv.used, lv.tags, lv.minor
    )
}

impl Host for Machine {
    fn run(&mut self, command: &Command) -> Result<Output> {
        let world = &mut *self.0.borrow_mut();
        let value = |slot: &str| command.values(slot).and_then(|values| values.first()).cloned().unwrap_or_default();
        world.calls.push(format!("{} {}{}", command.id(), value("volume"), value("snapshot")).trim().to_owned());
        match command.id() {
            "version" => output(0, "  LVM version:     2.03.16(2) (2022-05-18)\n", ""),
            "dm-version" | "flush" | "activate" | "deactivate" | "mount" | "mount-target" | "make-ext" | "make-xfs" => {
                output(0, "", "")
            }
            "suspend" | "resume" => output(0, "", ""),
            "user" => output(0, "0\n", ""),
            "unmount" => output(32, "", "umount: /x: not mounted.\n"),
            "volumes" => {
                let prefix = format!("{}/", value("group"));
                let of_group: Vec<_> = world
                    .volumes
                    .iter()
                    .filter_map(|(name, lv)| Some(described(name.strip_prefix(&prefix)?, lv)))
                    .collect();
                if of_group.is_empty() {
                    return output(5, "", format!("  Volume group \"{}\" not found\n", value("group")));
                }
                output(0, format!(r#"{{"report":[{{"lv":[{}]}}]}}"#, of_group.join(",")), "")
            }
            "mounted" => match world.mounted.get(&value("volume")) {
                Some(fstype) => {
                    output(0, format!(r#"{{"filesystems":[{{"target":"/srv","fstype":"{fstype}"}}]}}"#), "")
                }
                None => output(1, "", ""),
            },
            "snapshot-classic" | "snapshot-thin" => {
                let name = value("snapshot");
                if world.refused == Some(value("volume").as_str()) {
                    return output(
                        5,
                        "",
                        "  Volume group \"vg\" has insufficient free space (1 extents): 2 required.\n",
                    );
                }
                if world.volumes.contains_key(&name) {
                    return output(5, "", format!("  Logical Volume \"{name}\" already exists in volume group\n"));
                }
                let thin = command.id() == "snapshot-thin";
                let tag = |key: &str, slot: &str| format!("bkhost:{key}={}", value(slot));
                let lv = Lv {
                    attr: if thin { "Vwi---tz-k" } else { "swi-a-s---" },
                    origin: split_name(&value("volume")),
                    pool: if thin { "pool" } else { "" },
                    tags: [tag("instance", "instance"), tag("part", "part"), tag("run", "label")].join(","),
                    used: "1.00",
                    ..Lv::default()
                };
                world.volumes.insert(name, lv);
                output(0, "", "")
            }
            "remove" => match world.volumes.remove(&value("snapshot")) {
                Some(_) => output(0, "", ""),
                None => output(5, "", "  Failed to find logical volume \"x\"\n"),
            },
            "merge" => {
                if !world.lazy {
                    world.volumes.remove(&value("snapshot"));
                }
                output(0, "", "")
            }
            "create" | "create-thin" => {
                let tag = |key: &str, slot: &str| format!("bkhost:{key}={}", value(slot));
                let tags = [tag("instance", "instance"), tag("part", "part"), tag("restore", "label")].join(",");
                world.volumes.insert(value("volume"), Lv { attr: "-wi-a-----", tags, ..Lv::default() });
                output(0, "", "")
            }
            "restored" => {
                for name in command.values("volume").unwrap() {
                    let lv = world.volumes.get_mut(name).unwrap();
                    lv.tags = lv.tags.replace("bkhost:restore=", "bkhost:restored=");
                }
                output(0, "", "")
            }
            "poll" => {
                let merged = format!("{}-{LABEL}", value("volume"));
                world.volumes.remove(&merged);
                world.volumes.get_mut(&value("volume")).unwrap().attr = "-wi-a-----";
                output(0, "", "")
            }
            "remove-target" => {
                world.volumes.remove(&value("volume"));
                output(0, "", "")
            }
            other => panic!("unexpected command {other}"),
        }
    }

    fn freeze(&mut self, directories: &[String]) -> Result<()> {
        self.0.borrow_mut().calls.push(format!("freeze {}", directories.join(" ")));
        Ok(())
    }

    fn can_freeze(&mut self, _: &[String]) -> Result<()> {
        Ok(())
    }

    fn thaw(&mut self, _: &[String]) -> Result<()> {
        self.0.borrow_mut().calls.push("thaw".into());
        Ok(())
    }

    fn extract(&mut self, _: &str, _: &str) -> Result<u64> {
        if self.0.borrow().damaged { Err(Error::corrupt("damaged")) } else { Ok(1) }
    }
}

fn split_name(volume: &str) -> String {
    names::split(volume).1.to_owned()
}

/// A machine with the volumes vg/a (classic, ext4), vg/x (classic, XFS) and vg/t (thin).
fn machine() -> Machine {
    let machine = Machine::default();
    {
        let world = &mut *machine.0.borrow_mut();
        for (name, attr, pool, fstype) in [
            ("vg/a", "-wi-ao----", "", "ext4"),
            ("vg/x", "owi-aos---", "", "xfs"),
            ("vg/t", "Vwi-aotz--", "pool", "ext4"),
        ] {
            world.volumes.insert(name.into(), Lv { attr, pool, ..Lv::default() });
            world.mounted.insert(name.into(), fstype);
        }
        world.volumes.insert("vg/pool".into(), Lv { attr: "twi-aotz--", used: "50.0", ..Lv::default() });
    }
    machine
}

/// Call the strategy of this part, with these volumes.
fn at<T>(machine: &Machine, part: &str, volumes: &[&str], keep: bool, body: impl FnOnce(&mut Lvm) -> T) -> T {
    let root = std::env::temp_dir().join(format!("bkhost-lvm-{}-{part}", std::process::id()));
    for directory in ["staging", "state"] {
        std::fs::create_dir_all(root.join(directory)).unwrap();
    }
    let part = Part { instance: "i".into(), part: part.into(), root: root.clone(), ..Part::default() };
    let config = Config {
        volumes: volumes.iter().map(|&name| name.into()).collect(),
        snapshot_size: "20%".into(),
        keep_snapshots: keep,
        max_pool_use: 90,
    };
    let result = testing::host(part, machine.clone(), || body(&mut Lvm::new(config).unwrap())).0;
    let _ = std::fs::remove_dir_all(root);
    result
}

fn snapshots(machine: &Machine) -> Vec<String> {
    machine.0.borrow().volumes.keys().filter(|name| name.contains("bkhost")).cloned().collect()
}

fn called(machine: &Machine, command: &str) -> Vec<String> {
    machine.0.borrow().calls.iter().filter(|call| call.split(' ').next() == Some(command)).cloned().collect()
}

fn archived(names: &[&str]) -> Vec<Archived> {
    names
        .iter()
        .map(|&name| Archived { name: name.into(), form: ArchivedForm::Tree, bytes: 1, set: "s".into() })
        .collect()
}

#[test]
fn a_snapshot_goes_when_it_is_archived_unless_it_is_kept() {
    for (keep, volume, left) in [(false, "vg/a", 0), (true, "vg/a", 1), (true, "vg/t", 1), (false, "vg/t", 0)] {
        let machine = machine();
        at(&machine, "life", &[volume], keep, |lvm| {
            lvm.check().unwrap();
            lvm.prepare().unwrap();
            let snapshot = lvm.capture(LABEL).unwrap();
            let snapshot = lvm.finish(snapshot).unwrap();
            assert_eq!(snapshot.versions, [("lvm".to_owned(), "2.03.16(2) (2022-05-18)".to_owned())]);
            assert_eq!(lvm.open(&snapshot).unwrap().len(), 1);
            lvm.confirm(&snapshot).unwrap();
            assert_eq!(snapshots(&machine), [format!("{volume}-{LABEL}")]);
            lvm.close(&snapshot).unwrap();
            lvm.close(&snapshot).unwrap();
            assert_eq!((snapshots(&machine).len(), lvm.list().unwrap().len()), (left, left));
            lvm.delete(&snapshot).unwrap();
            lvm.delete(&snapshot).unwrap();
            assert!(snapshots(&machine).is_empty());
        });
        // Under the lock there is one command.
        assert_eq!(called(&machine, "suspend").len(), 0);
    }
}

#[test]
fn what_overflows_or_goes_while_it_is_archived_fails_the_run() {
    let machine = machine();
    at(&machine, "over", &["vg/a"], false, |lvm| {
        let snapshot = lvm.capture(LABEL).unwrap();
        let snapshot = lvm.finish(snapshot).unwrap();
        lvm.confirm(&snapshot).unwrap();
        machine.0.borrow_mut().volumes.get_mut("vg/a-bkhost-i-1").unwrap().invalid = true;
        let error = lvm.confirm(&snapshot).unwrap_err();
        assert_eq!(error.code, ErrorCode::Corrupt);
        assert!(error.message.contains("overflowed"), "{}", error.message);
        lvm.close(&snapshot).unwrap();
        assert_eq!(lvm.confirm(&snapshot).unwrap_err().code, ErrorCode::NotFound);
    });
}

#[test]
fn what_another_part_or_nobody_made_survives() {
    let machine = machine();
    let theirs = at(&machine, "theirs", &["vg/a"], true, |lvm| {
        let snapshot = lvm.capture(LABEL).unwrap();
        lvm.finish(snapshot).unwrap()
    });
    at(&machine, "ours", &["vg/a"], true, |lvm| {
        assert_eq!(lvm.capture(LABEL).unwrap_err().code, ErrorCode::AlreadyExists);
        lvm.discard(LABEL).unwrap();
        lvm.delete(&theirs).unwrap();
        lvm.close(&theirs).unwrap();
        assert!(lvm.list().unwrap().is_empty());
        assert_eq!(lvm.restore(&theirs, &[], None).unwrap_err().code, ErrorCode::NotFound);
    });
    assert_eq!(snapshots(&machine), ["vg/a-bkhost-i-1"]);
    // Renamed, of another origin, or made again: the tags alone prove nothing.
    for change in ["rename", "origin", "uuid"] {
        let mut record = theirs.clone();
        {
            let world = &mut *machine.0.borrow_mut();
            let mut lv = world.volumes.remove("vg/a-bkhost-i-1").unwrap();
            let mut name = "vg/a-bkhost-i-1";
            match change {
                "rename" => name = "vg/a-bkhost-i-2",
                "origin" => lv.origin = "x".into(),
                _ => {
                    let mut state: State = record.state().unwrap();
                    state.volumes[0].uuid = Some("another".into());
                    record.set_state(&state).unwrap();
                }
            }
            world.volumes.insert(name.into(), lv);
        }
        at(&machine, "theirs", &["vg/a"], true, |lvm| {
            lvm.delete(&record).unwrap();
            if change != "uuid" {
                lvm.discard(LABEL).unwrap();
                lvm.discard("bkhost-i-2").unwrap();
                assert!(lvm.list().unwrap().is_empty(), "{change}");
            }
        });
        assert_eq!(snapshots(&machine).len(), 1, "{change}");
        let world = &mut *machine.0.borrow_mut();
        let name = world.volumes.keys().find(|name| name.contains("bkhost")).unwrap().clone();
        let mut lv = world.volumes.remove(&name).unwrap();
        lv.origin = "a".into();
        world.volumes.insert("vg/a-bkhost-i-1".into(), lv);
    }
    // What a capture left that failed half-way has no origin yet.
    machine.0.borrow_mut().volumes.get_mut("vg/a-bkhost-i-1").unwrap().origin = String::new();
    at(&machine, "theirs", &["vg/a"], true, |lvm| lvm.discard(LABEL).unwrap());
    assert!(snapshots(&machine).is_empty());
}

#[test]
fn a_merge_is_refused_before_anything_is_merged() {
    let machine = machine();
    let volumes = ["vg/a"];
    let snapshot = at(&machine, "merge", &volumes, true, |lvm| lvm.capture(LABEL).unwrap());
    let restore = || at(&machine, "merge", &volumes, true, |lvm| lvm.restore(&snapshot, &[], None));
    let error = restore().unwrap_err();
    assert_eq!(error.code, ErrorCode::Conflict);
    assert!(error.message.contains("is mounted at /srv"), "{}", error.message);
    machine.0.borrow_mut().mounted.remove("vg/a");
    machine.0.borrow_mut().volumes.get_mut("vg/a-bkhost-i-1").unwrap().invalid = true;
    assert_eq!(restore().unwrap_err().code, ErrorCode::Corrupt);
    machine.0.borrow_mut().volumes.get_mut("vg/a-bkhost-i-1").unwrap().invalid = false;
    assert!(called(&machine, "merge").is_empty());
    // LVM answers that it will, one day: not what was asked for.
    machine.0.borrow_mut().lazy = true;
    assert_eq!(restore().unwrap_err().code, ErrorCode::Conflict);
    machine.0.borrow_mut().lazy = false;
    restore().unwrap();
    assert_eq!(restore().unwrap_err().code, ErrorCode::NotFound);
}

#[test]
fn a_restore_makes_new_volumes_and_takes_them_back_when_it_fails() {
    let machine = machine();
    let snapshot = at(&machine, "into", &["vg/t"], false, |lvm| lvm.capture(LABEL).unwrap());
    let into =
        |to: &str| at(&machine, "into", &["vg/t"], false, |lvm| lvm.restore(&snapshot, &archived(&[""]), Some(to)));
    assert_eq!(into("vg/a").unwrap_err().code, ErrorCode::AlreadyExists);
    assert_eq!(into("none/new").unwrap_err().code, ErrorCode::NotFound);
    for bad in ["new", "vg/", "vg/-n", "vg/a b", "vg/../n", "vg/pvmove1"] {
        assert_eq!(into(bad).unwrap_err().code, ErrorCode::InvalidConfig, "{bad}");
    }
    assert!(called(&machine, "create").is_empty() && called(&machine, "create-thin").is_empty());
    machine.0.borrow_mut().damaged = true;
    assert_eq!(into("vg/new").unwrap_err().code, ErrorCode::Corrupt);
    assert!(!machine.0.borrow().volumes.contains_key("vg/new"));
    machine.0.borrow_mut().damaged = false;
    into("vg/new").unwrap();
    assert_eq!(called(&machine, "create-thin").len(), 2, "a thin volume becomes one again");
    let error = at(&machine, "into", &["vg/t"], false, |lvm| lvm.restore(&snapshot, &[], Some("vg/n2")).unwrap_err());
    assert_eq!(error.code, ErrorCode::NotFound);
}

#[test]
fn only_what_a_dead_restore_made_is_removed() {
    let machine = machine();
    let part = |name: &str, label: &str| {
        at(&machine, name, &["vg/t"], false, |lvm| lvm.abandon(label, Some("vg/new")).unwrap())
    };
    let tags = |part: &str, what: &str| format!("bkhost:instance=i,bkhost:part={part},bkhost:{what}=bkhost-i-7");
    let add = |name: &str, tags: String| {
        machine.0.borrow_mut().volumes.insert(name.into(), Lv { attr: "-wi-a-----", tags, ..Lv::default() });
    };
    add("vg/new", tags("dead", "restore"));
    add("vg/new-theirs", tags("other", "restore"));
    add("vg/new-plain", String::new());
    assert!(!part("dead", "bkhost-i-8") && machine.0.borrow().volumes.contains_key("vg/new"));
    assert!(!part("dead", "bkhost-i-7"));
    assert!(!part("dead", "bkhost-i-7"), "nothing is left of it");
    assert_eq!(called(&machine, "remove-target"), ["remove-target vg/new"]);
    // It had come to its end, or was about to say so.
    add("vg/new-a", tags("dead", "restored"));
    add("vg/new-b", tags("dead", "restore"));
    assert!(part("dead", "bkhost-i-7"));
    assert_eq!(called(&machine, "remove-target").len(), 1);
    assert!(machine.0.borrow().volumes["vg/new-b"].tags.contains("restored="));
}

#[test]
fn an_interrupted_merge_is_gone_on_with() {
    let machine = machine();
    let volumes = ["vg/a", "vg/x"];
    let root = std::env::temp_dir().join(format!("bkhost-lvm-{}-again", std::process::id()));
    at(&machine, "again", &volumes, true, |lvm| {
        let snapshot = lvm.capture(LABEL).unwrap();
        machine.0.borrow_mut().mounted.clear();
        // The first was merged, the second is being merged.
        let state: State = snapshot.state().unwrap();
        let note = |at: u64| {
            let text = serde_json::json!({ "label": state.label, "at": at, "volumes": volumes });
            std::fs::write(root.join("state/merges.json"), text.to_string()).unwrap();
        };
        machine.0.borrow_mut().volumes.remove("vg/a-bkhost-i-1");
        // LVM hides a snapshot that is being merged.
        machine.0.borrow_mut().volumes.remove("vg/x-bkhost-i-1");
        machine.0.borrow_mut().volumes.get_mut("vg/x").unwrap().attr = "Owi-a-s---";
        assert_eq!(lvm.restore(&snapshot, &[], None).unwrap_err().code, ErrorCode::NotFound, "nothing was noted");
        note(bkhost_sdk::now() - 25 * 3600 * 1000);
        assert_eq!(lvm.restore(&snapshot, &[], None).unwrap_err().code, ErrorCode::NotFound, "it is too long ago");
        note(bkhost_sdk::now());
        lvm.restore(&snapshot, &[], None).unwrap();
        assert!(!root.join("state/merges.json").exists());
        assert_eq!(lvm.restore(&snapshot, &[], None).unwrap_err().code, ErrorCode::NotFound, "it is over");
    });
    assert_eq!((called(&machine, "poll").len(), called(&machine, "merge").len()), (1, 0));
}

#[test]
fn several_volumes_are_frozen_before_the_first_snapshot_and_until_after_the_last() {
    let machine = machine();
    at(&machine, "pair", &["vg/t", "vg/a", "vg/x"], false, |lvm| {
        let findings = lvm.check().unwrap();
        assert!(findings.iter().all(|finding| finding.severity == Severity::Info), "{findings:?}");
        lvm.prepare().unwrap();
        machine.0.borrow_mut().calls.clear();
        lvm.capture(LABEL).unwrap();
        assert!(!path::local("/state/suspended").exists());
    });
    let expected = [
        "freeze /source/volume/1 /source/volume/2",
        "suspend vg/a",
        "snapshot-classic vg/avg/a-bkhost-i-1",
        "suspend vg/x",
        "snapshot-classic vg/xvg/x-bkhost-i-1",
        "snapshot-thin vg/tvg/t-bkhost-i-1",
        "thaw",
    ];
    assert_eq!(machine.0.borrow().calls, expected);
}

#[test]
fn several_thin_volumes_are_refused() {
    let machine = machine();
    machine.0.borrow_mut().volumes.insert("vg/t2".into(), Lv { attr: "Vwi-aotz--", pool: "pool", ..Lv::default() });
    machine.0.borrow_mut().mounted.insert("vg/t2".into(), "ext4");
    at(&machine, "thins", &["vg/t", "vg/t2"], false, |lvm| {
        assert!(lvm.check().unwrap().iter().any(|finding| finding.message.contains("several thin volumes")));
        assert_eq!(lvm.capture(LABEL).unwrap_err().code, ErrorCode::Unsupported);
    });
    assert!(snapshots(&machine).is_empty());
}

#[test]
fn a_capture_that_fails_at_its_second_snapshot_leaves_none_and_nothing_suspended() {
    let machine = machine();
    machine.0.borrow_mut().refused = Some("vg/x");
    at(&machine, "half", &["vg/a", "vg/x"], false, |lvm| {
        let error = lvm.capture(LABEL).unwrap_err();
        assert_eq!(error.code, ErrorCode::Conflict);
    });
    assert!(snapshots(&machine).is_empty());
    assert_eq!(called(&machine, "resume"), ["resume vg/x"]);
    assert_eq!(called(&machine, "thaw").len(), 1);
}

#[test]
fn what_a_dead_run_has_suspended_is_resumed() {
    let machine = machine();
    at(&machine, "resume", &["vg/a"], false, |lvm| {
        lvm.discard(LABEL).unwrap();
        assert!(called(&machine, "resume").is_empty());
        let marker = path::local("/state/suspended");
        // It died before or after that.
        std::fs::write(&marker, "vg/a").unwrap();
        lvm.discard(LABEL).unwrap();
        assert!(called(&machine, "resume").is_empty() && !marker.exists());
        std::fs::write(&marker, "vg/a").unwrap();
        machine.0.borrow_mut().volumes.get_mut("vg/a").unwrap().attr = "owi-sos---";
        lvm.discard(LABEL).unwrap();
        lvm.discard(LABEL).unwrap();
    });
    assert_eq!(called(&machine, "resume"), ["resume vg/a"]);
}

#[test]
fn a_place_is_on_the_volume_of_its_device() {
    let machine = machine();
    for (name, minor) in [("vg/a", 1), ("vg/x", 2), ("vg/t", 3)] {
        machine.0.borrow_mut().volumes.get_mut(name).unwrap().minor = minor;
    }
    let place = |minor: u64| Place {
        path: "/srv/data".into(),
        device: 254 << 8 | minor,
        // Whatever is mounted there, or was before it.
        mount_point: "/srv".into(),
        source: "/dev/mapper/vg-a".into(),
        file_system: "ext4".into(),
    };
    at(&machine, "covers", &["vg/a", "vg/t"], false, |lvm| {
        let volume = lvm.volume_of(&place(3)).unwrap().unwrap();
        assert_eq!((volume.name.as_str(), volume.instant.as_str()), ("vg/t", "vg/t"));
        assert_eq!(lvm.volume_of(&place(1)).unwrap().unwrap().name, "vg/a");
        assert!(lvm.volume_of(&place(2)).unwrap().is_none(), "it is not of this part");
        machine.0.borrow_mut().volumes.get_mut("vg/a").unwrap().attr = "-wi-------";
        assert!(lvm.volume_of(&place(1)).unwrap().is_none());
    });
}

#[test]
fn what_check_finds() {
    let failures = |machine: &Machine, volume: &str| {
        at(machine, "check", &[volume], false, |lvm| {
            let findings = lvm.check().unwrap();
            let failed = findings.into_iter().filter(|finding| finding.severity == Severity::Failure);
            failed.map(|finding| finding.message).collect::<Vec<_>>().join("; ")
        })
    };
    let machine = machine();
    assert_eq!(failures(&machine, "vg/a"), "");
    assert_eq!(failures(&machine, "vg/t"), "");
    assert!(failures(&machine, "vg/none").contains("does not exist"));
    assert!(failures(&machine, "none/a").contains("does not exist"));
    assert!(failures(&machine, "vg/pool").contains("thin pool"));
    machine.0.borrow_mut().volumes.get_mut("vg/pool").unwrap().used = "90.0";
    assert!(failures(&machine, "vg/t").contains("max-pool-use"));
    for (attr, says) in
        [("swi-aos---", "snapshot"), ("Owi-aos---", "merged"), ("-wi-------", "not active"), ("vwi-a-----", "sort")]
    {
        machine.0.borrow_mut().volumes.get_mut("vg/a").unwrap().attr = attr;
        assert!(failures(&machine, "vg/a").contains(says), "{attr}: {}", failures(&machine, "vg/a"));
    }
    machine.0.borrow_mut().volumes.get_mut("vg/a").unwrap().attr = "-wi-ao----";
    machine.0.borrow_mut().mounted.insert("vg/a".into(), "btrfs");
    assert!(failures(&machine, "vg/a").contains("btrfs"));
    machine.0.borrow_mut().mounted.remove("vg/a");
    assert!(failures(&machine, "vg/a").contains("not mounted"));
}
