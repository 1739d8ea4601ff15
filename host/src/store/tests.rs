//! The store on a real directory.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{SetState, Store};
use crate::archive::SetId;
use crate::archive::set::{self, ObjectRecord, ObjectRole, SetManifest};
use crate::error::{ErrorKind, Result};

const INSTANCE: &str = "bitbucket";
const ID: &str = "20261121-014200-4f2a9c";

/// Runs a blocking test in a runtime, as the host does.
fn with_store(test: impl FnOnce(&Store, &Path) + Send + 'static) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let at = root.clone();
        tokio::task::spawn_blocking(move || {
            let store = Store::open_or_create(at.to_str().unwrap()).unwrap();
            test(&store, &at);
        })
        .await
        .unwrap();
    });
}

fn id(text: &str) -> SetId {
    text.parse().unwrap()
}

fn manifest(id: &str, objects: &[(&str, &[u8])]) -> SetManifest {
    let mut manifest = set::seal::tests::manifest(id);
    manifest.parts[0].objects = objects
        .iter()
        .map(|(file, bytes)| ObjectRecord {
            file: (*file).to_owned(),
            role: ObjectRole::Data,
            source: None,
            bytes: bytes.len() as u64,
            content_bytes: bytes.len() as u64,
            blake3: blake3::hash(bytes).to_hex().to_string(),
        })
        .collect();
    manifest
}

const OBJECTS: &[(&str, &[u8])] =
    &[("home.tar.zst", b"archive"), ("home.index.jsonl.zst", b""), ("home.dump.zst", b"dump")];

fn publish(store: &Store, id_text: &str) -> Result<()> {
    let writer = store.begin(INSTANCE, &id(id_text))?;
    for (file, bytes) in OBJECTS {
        let mut object = writer.object(file)?;
        object.write_all(bytes).unwrap();
        assert_eq!(object.finish()?, bytes.len() as u64);
    }
    writer.publish(&manifest(id_text, OBJECTS))
}

fn state(store: &Store, id_text: &str) -> Option<SetState> {
    store.list(INSTANCE).unwrap().into_iter().find(|entry| entry.id.as_str() == id_text).map(|entry| entry.state)
}

fn damage(store: &Store) -> String {
    match state(store, ID) {
        Some(SetState::Damaged(why)) => {
            assert_eq!(store.open_set(INSTANCE, &id(ID)).unwrap_err().kind(), ErrorKind::Damaged);
            why
        }
        other => format!("not damaged: {other:?}"),
    }
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn set_dir(root: &Path) -> PathBuf {
    root.join(INSTANCE).join(ID)
}

#[test]
fn a_set_is_written_listed_and_read() {
    with_store(|store, root| {
        let big: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 251) as u8).collect();
        let writer = store.begin(INSTANCE, &id(ID)).unwrap();
        assert_eq!(state(store, ID), Some(SetState::Unpublished));
        let mut object = writer.object("home.tar.zst").unwrap();
        object.write_all(&big).unwrap();
        assert_eq!(object.finish().unwrap(), big.len() as u64);
        let mut back = Vec::new();
        writer.read("home.tar.zst").unwrap().read_to_end(&mut back).unwrap();
        assert!(back == big);
        let manifest = manifest(ID, &[("home.tar.zst", &big)]);
        writer.publish(&manifest).unwrap();

        assert_eq!(state(store, ID), Some(SetState::Proved(Box::new(manifest.clone()))));
        let set = store.open_set(INSTANCE, &id(ID)).unwrap();
        assert_eq!(set.manifest, manifest);
        let mut object = set.object("home.tar.zst").unwrap();
        assert_eq!(object.len(), big.len() as u64);
        let mut back = Vec::new();
        object.read_to_end(&mut back).unwrap();
        assert!(back == big);
        assert_eq!(set.object("other.zst").unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(set.object("manifest.json").unwrap_err().kind(), ErrorKind::NotFound);

        assert_eq!(names(&set_dir(root)), ["home.tar.zst", "manifest.json"]);
        assert_eq!(store.instances().unwrap(), [INSTANCE]);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        for dir in [root, &root.join(INSTANCE), &set_dir(root)] {
            assert_eq!(mode(dir), 0o700, "{}", dir.display());
        }
        for file in names(&set_dir(root)) {
            assert_eq!(mode(&set_dir(root).join(&file)), 0o600, "{file}");
        }
    });
}

#[test]
fn objects_of_no_bytes_exist() {
    with_store(|store, root| {
        publish(store, ID).unwrap();
        assert_eq!(fs::metadata(set_dir(root).join("home.index.jsonl.zst")).unwrap().len(), 0);
        let set = store.open_set(INSTANCE, &id(ID)).unwrap();
        let mut bytes = Vec::new();
        set.object("home.index.jsonl.zst").unwrap().read_to_end(&mut bytes).unwrap();
        assert!(bytes.is_empty());
    });
}

#[test]
fn nothing_is_overwritten() {
    with_store(|store, root| {
        let writer = store.begin(INSTANCE, &id(ID)).unwrap();
        assert_eq!(store.begin(INSTANCE, &id(ID)).unwrap_err().kind(), ErrorKind::Conflict);
        let mut object = writer.object("home.tar.zst").unwrap();
        object.write_all(b"first").unwrap();
        object.finish().unwrap();
        assert_eq!(writer.object("home.tar.zst").unwrap_err().kind(), ErrorKind::Conflict);
        assert_eq!(fs::read(set_dir(root).join("home.tar.zst")).unwrap(), b"first");
        let whole = manifest(ID, &[("home.tar.zst", b"first")]);
        writer.publish(&whole).unwrap();
        assert_eq!(writer.publish(&whole).unwrap_err().kind(), ErrorKind::Conflict);
        assert_eq!(store.begin(INSTANCE, &id(ID)).unwrap_err().kind(), ErrorKind::Conflict);
        assert_eq!(writer.abandon().unwrap_err().kind(), ErrorKind::Conflict);
        assert!(matches!(state(store, ID), Some(SetState::Proved(_))));
    });
}

#[test]
fn only_what_the_manifest_says_is_published() {
    with_store(|store, _| {
        let writer = store.begin(INSTANCE, &id(ID)).unwrap();
        let mut object = writer.object("home.tar.zst").unwrap();
        object.write_all(b"archive").unwrap();
        object.finish().unwrap();
        for (objects, what) in [
            (&[("home.tar.zst", b"archiv".as_slice())][..], "7 bytes instead of 6"),
            (&[("home.tar.zst", b"archive".as_slice()), ("x.zst", b"")][..], "x.zst is missing"),
            (&[][..], "not in the manifest"),
        ] {
            let error = writer.publish(&manifest(ID, objects)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damaged);
            assert!(error.message().contains(what), "{error}");
        }
        let other = manifest("20261121-014201-4f2a9c", &[("home.tar.zst", b"archive")]);
        assert_eq!(writer.publish(&other).unwrap_err().kind(), ErrorKind::Internal);
        assert_eq!(state(store, ID), Some(SetState::Unpublished));
        assert_eq!(store.open_set(INSTANCE, &id(ID)).unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn no_name_leads_out_of_the_set() {
    with_store(|store, _| {
        let writer = store.begin(INSTANCE, &id(ID)).unwrap();
        for name in ["../x.zst", "a/b.zst", "/x.zst", "", "manifest.json", "in-progress", ".x.zst", "x", "a\0.zst"] {
            assert_eq!(writer.object(name).unwrap_err().kind(), ErrorKind::Config, "{name:?}");
            assert_eq!(writer.read(name).unwrap_err().kind(), ErrorKind::Config, "{name:?}");
        }
        for instance in ["..", "", "a/b", "/etc", "."] {
            assert_eq!(store.begin(instance, &id(ID)).unwrap_err().kind(), ErrorKind::Config, "{instance:?}");
            assert_eq!(store.list(instance).unwrap_err().kind(), ErrorKind::Config, "{instance:?}");
            assert_eq!(store.delete(instance, &id(ID)).unwrap_err().kind(), ErrorKind::Config, "{instance:?}");
            assert_eq!(store.sweep(instance, &id(ID)).unwrap_err().kind(), ErrorKind::Config, "{instance:?}");
        }
    });
}

#[test]
fn damage_is_seen_and_named() {
    with_store(|store, root| {
        publish(store, ID).unwrap();
        let dir = set_dir(root);
        for (file, bytes) in OBJECTS {
            let path = dir.join(file);
            fs::remove_file(&path).unwrap();
            assert_eq!(damage(store), format!("{file} is missing"));
            fs::create_dir(&path).unwrap();
            assert_eq!(damage(store), format!("{file} is not a file"));
            fs::remove_dir(&path).unwrap();
            fs::write(&path, [bytes, b"x".as_slice()].concat()).unwrap();
            assert!(damage(store).contains("bytes instead of"));
            fs::write(&path, bytes).unwrap();
            assert!(matches!(state(store, ID), Some(SetState::Proved(_))));
        }
        fs::write(dir.join("more.zst"), b"").unwrap();
        assert_eq!(damage(store), "more.zst is there, but not in the manifest");
        fs::remove_file(dir.join("more.zst")).unwrap();

        let whole = fs::read(dir.join("manifest.json")).unwrap();
        let mut flipped = whole.clone();
        flipped[100] ^= 1;
        fs::write(dir.join("manifest.json"), flipped).unwrap();
        assert!(damage(store).contains("checksum"));
        fs::write(dir.join("manifest.json"), b"").unwrap();
        assert!(damage(store).contains("checksum"));
        let other = set::seal(&manifest("20261121-014201-4f2a9c", OBJECTS)).unwrap();
        fs::write(dir.join("manifest.json"), other).unwrap();
        assert!(damage(store).contains("is that of the set 20261121-014201-4f2a9c"));
        fs::remove_file(dir.join("manifest.json")).unwrap();
        assert_eq!(damage(store), "its manifest.json is missing");
    });
}

#[test]
fn an_abandoned_set_leaves_nothing() {
    with_store(|store, root| {
        publish(store, "20261120-014200-4f2a9c").unwrap();
        let writer = store.begin(INSTANCE, &id(ID)).unwrap();
        let mut object = writer.object("home.tar.zst").unwrap();
        object.write_all(&vec![7; 3 << 20]).unwrap();
        // Not finished: the run failed.
        drop(object);
        writer.abandon().unwrap();
        assert_eq!(names(&root.join(INSTANCE)), ["20261120-014200-4f2a9c"]);
        assert!(matches!(state(store, "20261120-014200-4f2a9c"), Some(SetState::Proved(_))));
    });
}

#[test]
fn what_others_put_there_is_never_deleted() {
    with_store(|store, root| {
        publish(store, ID).unwrap();
        let dir = set_dir(root);
        for stranger in ["notes.txt", "home.tar.zst.bak"] {
            fs::write(dir.join(stranger), b"mine").unwrap();
            let error = store.delete(INSTANCE, &id(ID)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Conflict);
            assert!(error.message().contains(stranger), "{error}");
            assert!(matches!(state(store, ID), Some(SetState::Proved(_))));
            fs::remove_file(dir.join(stranger)).unwrap();
        }
        fs::create_dir(dir.join("sub.zst")).unwrap();
        assert_eq!(store.delete(INSTANCE, &id(ID)).unwrap_err().kind(), ErrorKind::Conflict);
        fs::remove_dir(dir.join("sub.zst")).unwrap();
        store.delete(INSTANCE, &id(ID)).unwrap();
        assert_eq!(state(store, ID), None);
        assert!(!dir.exists());
        // Again: no error.
        store.delete(INSTANCE, &id(ID)).unwrap();
        // What has no id is not ours.
        fs::create_dir(root.join(INSTANCE).join("lost+found")).unwrap();
        assert_eq!(store.list(INSTANCE).unwrap(), []);
    });
}

#[test]
fn a_deletion_that_was_interrupted_leaves_a_rest_and_no_damage() {
    with_store(|store, root| {
        publish(store, ID).unwrap();
        // As it stands after the first steps: marked, and without its manifest.
        store.mark(&format!("{INSTANCE}/{ID}")).unwrap();
        assert!(matches!(state(store, ID), Some(SetState::Proved(_))));
        fs::remove_file(set_dir(root).join("manifest.json")).unwrap();
        assert_eq!(state(store, ID), Some(SetState::Unpublished));
        fs::remove_file(set_dir(root).join("home.tar.zst")).unwrap();
        assert_eq!(state(store, ID), Some(SetState::Unpublished));
        store.delete(INSTANCE, &id(ID)).unwrap();
        assert_eq!(state(store, ID), None);
    });
}

#[test]
fn rests_are_swept_and_nothing_else() {
    with_store(|store, root| {
        let [proved, rest, empty, foreign, lost, own] = [
            "20261101-000000-000001",
            "20261101-000000-000002",
            "20261101-000000-000003",
            "20261101-000000-000004",
            "20261101-000000-000005",
            ID,
        ];
        publish(store, proved).unwrap();
        let writer = store.begin(INSTANCE, &id(rest)).unwrap();
        writer.object("home.tar.zst").unwrap().finish().unwrap();
        fs::write(root.join(INSTANCE).join(rest).join(".put-1-2-3"), b"half").unwrap();
        fs::create_dir(root.join(INSTANCE).join(empty)).unwrap();
        store.begin(INSTANCE, &id(foreign)).unwrap();
        fs::write(root.join(INSTANCE).join(foreign).join("in-progress"), br#"{"host":"elsewhere.example"}"#).unwrap();
        publish(store, lost).unwrap();
        fs::remove_file(root.join(INSTANCE).join(lost).join("manifest.json")).unwrap();
        store.begin(INSTANCE, &id(own)).unwrap();

        let swept = store.sweep(INSTANCE, &id(own)).unwrap();
        assert_eq!(swept.removed, [id(rest), id(empty)]);
        assert_eq!(swept.left.len(), 1);
        assert_eq!(swept.left[0].0, id(foreign));
        assert!(swept.left[0].1.contains("elsewhere.example"));
        assert_eq!(names(&root.join(INSTANCE)), [proved, foreign, lost, own]);
        assert!(matches!(state(store, lost), Some(SetState::Damaged(_))));
        assert_eq!(store.sweep(INSTANCE, &id(own)).unwrap().removed, []);
    });
}

#[test]
fn sets_are_listed_newest_first() {
    with_store(|store, _| {
        for id in ["20261101-000000-000001", "20261103-000000-000001", "20261102-000000-000001"] {
            publish(store, id).unwrap();
        }
        let ids: Vec<String> = store.list(INSTANCE).unwrap().iter().map(|e| e.id.to_string()).collect();
        assert_eq!(ids, ["20261103-000000-000001", "20261102-000000-000001", "20261101-000000-000001"]);
        assert_eq!(store.list("other").unwrap(), []);
    });
}

#[test]
fn a_missing_store_is_not_made_up() {
    with_store(|_, root| {
        let missing = root.join("a/b");
        let missing = missing.to_str().unwrap();
        for error in [Store::open(missing).unwrap_err(), Store::open_or_create(missing).unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::NotFound);
            assert!(error.hint_text().unwrap().contains("mounted"));
        }
        assert!(!root.join("a").exists());
        fs::write(root.join("file"), b"").unwrap();
        assert!(Store::open(root.join("file").to_str().unwrap()).unwrap_err().message().contains("not a directory"));
        for location in ["backups", "gs://bucket", "s3://a b", "nonsense://x", ""] {
            assert_eq!(Store::open(location).unwrap_err().kind(), ErrorKind::Config, "{location}");
        }
    });
}

/// A real file system of 1 MiB, unmounted when it is dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// None without the right to mount.
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        run("mount", &["-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", path]).then_some(Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run("umount", &["-l", self.0.path().to_str().unwrap()]);
    }
}

fn run(program: &str, arguments: &[&str]) -> bool {
    let output = std::process::Command::new(program).args(arguments).output();
    output.is_ok_and(|output| output.status.success())
}

#[test]
fn a_full_and_a_read_only_store_say_so() {
    let Some(disk) = SmallDisk::new() else {
        eprintln!("skipped: this user may not mount a file system");
        return;
    };
    let root = disk.0.path().to_owned();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let test = move || {
        let store = Store::open(root.to_str().unwrap()).unwrap();
        assert!(store.free_bytes().unwrap() <= 1 << 20);
        store.check_writable().unwrap();
        let writer = store.begin(INSTANCE, &id(ID)).unwrap();
        let mut object = writer.object("home.tar.zst").unwrap();
        let full = object.write_all(&vec![1; 4 << 20]).and_then(|()| object.finish().map_err(super::error::as_io));
        let full = full.unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
        let full = full.get_ref().unwrap().downcast_ref::<crate::Error>().unwrap();
        assert!(full.hint_text().unwrap().contains("store is full"), "{full:?}");
        // There is no room left, and still what was written can be given back.
        writer.abandon().unwrap();
        assert_eq!(state(&store, ID), None);

        assert!(run("mount", &["-o", "remount,ro", root.to_str().unwrap()]));
        for error in [store.check_writable().unwrap_err(), store.begin(INSTANCE, &id(ID)).unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Store);
            assert!(error.hint_text().unwrap().contains("read-only"), "{error:?}");
        }
    };
    runtime.block_on(async { tokio::task::spawn_blocking(test).await.unwrap() });
}

/// Publishes a set whose part builds on another.
fn publish_on(store: &Store, id_text: &str, base: &str) -> Result<()> {
    let writer = store.begin(INSTANCE, &id(id_text))?;
    for (file, bytes) in OBJECTS {
        let mut object = writer.object(file)?;
        object.write_all(bytes).unwrap();
        object.finish()?;
    }
    let mut manifest = manifest(id_text, OBJECTS);
    manifest.parts[0].snapshot.base = Some(id(base));
    writer.publish(&manifest)
}

#[test]
fn a_set_is_worth_no_more_than_what_it_builds_on() {
    with_store(|store, root| {
        let (full, one, two) = ("20261121-010000-000000", "20261121-020000-000000", "20261121-030000-000000");
        publish(store, full).unwrap();
        publish_on(store, one, full).unwrap();
        publish_on(store, two, one).unwrap();
        let needs = |id_text: &str| {
            let list = store.list(INSTANCE).unwrap();
            list.into_iter().find(|entry| entry.id.as_str() == id_text).unwrap().needs
        };
        assert_eq!((needs(full), needs(one), needs(two)), (vec![], vec![id(full)], vec![id(one)]));
        let proved = |id_text: &str| matches!(state(store, id_text), Some(SetState::Proved(_)));
        assert!(proved(full) && proved(one) && proved(two));
        let set = store.open_set(INSTANCE, &id(two)).unwrap();
        let bases: Vec<SetId> = set.bases("home").unwrap().into_iter().map(|base| base.manifest.id).collect();
        assert_eq!(bases, [id(full), id(one)], "the oldest first");

        // Another file of the base is not the part's: it stays usable.
        let at = root.join(INSTANCE).join(full);
        fs::write(at.join("other.tar.zst"), "x").unwrap();
        assert!(!proved(full) && proved(one) && proved(two));
        fs::remove_file(at.join("other.tar.zst")).unwrap();

        let broken = |what: &str| {
            for id_text in [one, two] {
                let Some(SetState::Damaged(why)) = state(store, id_text) else { panic!("{what}: {id_text}") };
                assert!(why.contains(full) && why.contains(what), "{what}: {why}");
                let set = store.open_set(INSTANCE, &id(id_text)).unwrap();
                let error = set.bases("home").unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Damaged);
                assert!(error.message().contains(full), "{error}");
            }
            assert_eq!(needs(two), [id(one)], "what it needs is told even so");
        };
        let object = at.join("home.tar.zst");
        fs::write(&object, "archiv").unwrap();
        broken("home.tar.zst has 6 bytes instead of 7");
        fs::write(&object, "archive").unwrap();
        assert!(proved(two));
        let manifest = fs::read(at.join("manifest.json")).unwrap();
        fs::write(at.join("manifest.json"), &manifest[1..]).unwrap();
        broken("is not whole");
        fs::write(at.join("manifest.json"), &manifest).unwrap();
        assert!(proved(two));
        store.delete(INSTANCE, &id(full)).unwrap();
        broken("is missing");
    });
}

#[test]
fn a_set_cannot_build_on_itself_or_on_a_newer_one() {
    with_store(|store, _| {
        for base in [ID, "20261122-014200-4f2a9c"] {
            let error = publish_on(store, ID, base).unwrap_err();
            assert!(error.message().contains("which is not older"), "{error}");
            store.abandon(INSTANCE, &id(ID)).unwrap();
        }
    });
}
