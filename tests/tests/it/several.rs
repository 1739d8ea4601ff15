//! Several stores of an instance, and copying between them.

use std::collections::BTreeMap;
use std::time::Duration;

use bkhost_tests::s3::{Bucket, Fault, IMPATIENT, collect};
use bkhost_tests::{Bkhost, Simulator, application_none, directory_part, listing, noise, until};
use rustix::process::Signal;
use serde_json::Value;

/// Larger than two parts of an upload.
const LARGE: usize = 20 << 20;

/// A directory and a bucket, each called so.
fn stores(bk: &Bkhost, bucket: &Bucket, keys: &str) -> [String; 2] {
    [
        format!("[[store]]\nto = \"{}\"\nname = \"here\"\n", bk.path("backups").display()),
        bucket.store(bk, &format!("name = \"there\"\n{keys}")),
    ]
}

fn world(bytes: usize, keys: &str) -> (Bkhost, Bucket) {
    let (bk, bucket) = (Bkhost::new(), Bucket::new());
    std::fs::create_dir(bk.path("home")).unwrap();
    std::fs::write(bk.path("home/noise"), noise(3, bytes)).unwrap();
    std::fs::write(bk.path("home/file"), "text\n").unwrap();
    configure(&bk, &bucket, keys, "");
    (bk, bucket)
}

fn configure(bk: &Bkhost, bucket: &Bucket, keys: &str, more: &str) {
    let [here, there] = stores(bk, bucket, keys);
    bk.config_for(&[&application_none(), &directory_part("home", &bk.path("home")), more], &[&here, &there]);
}

/// What is in the directory.
fn here(bk: &Bkhost) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    collect(&bk.path("backups"), &bk.path("backups"), &mut files);
    files
}

/// Without what is told of sets beside them.
fn sets(mut files: BTreeMap<String, String>) -> BTreeMap<String, String> {
    files.retain(|key, _| !key.contains("/records/"));
    files
}

/// The states of a set in all stores, by their names.
fn states(bk: &Bkhost, id: &str) -> Vec<(String, String)> {
    let listed = bk.run(&["list", "--json"]).ok().json();
    let mut states = Vec::new();
    for store in listed["stores"].as_array().unwrap() {
        for set in store["sets"].as_array().unwrap().iter().filter(|set| set["id"] == id) {
            states.push((store["name"].as_str().unwrap().to_owned(), set["state"].as_str().unwrap().to_owned()));
        }
    }
    states
}

fn proved(names: &[&str]) -> Vec<(String, String)> {
    names.iter().map(|name| ((*name).to_owned(), "proved".to_owned())).collect()
}

#[test]
fn one_pass_writes_all_and_each_is_enough() {
    let (bk, bucket) = world(LARGE, "");
    let id = bk.backup_id();
    assert_eq!(states(&bk, &id), proved(&["here", "there"]));
    assert_eq!(here(&bk), bucket.objects(), "the same bytes");
    let verified = bk.run(&["verify", &id]).ok();
    assert_eq!(verified.stdout.matches("all as they were").count(), 2, "{verified}");
    // One of them is lost.
    std::fs::rename(bk.path("backups"), bk.path("lost")).unwrap();
    let to = bk.path("restored");
    let restored = bk.run(&["restore", "latest", "--to", to.to_str().unwrap(), "--confirm", bk.instance()]).ok();
    assert!(restored.stderr.contains("the store `here` is left out"), "{restored}");
    assert_eq!(listing(&to), listing(&bk.path("home")));
    std::fs::rename(bk.path("lost"), bk.path("backups")).unwrap();
    // It is damaged in one of them: the other is read, and that is said.
    let object = bk.set(&id).join("home.tar.zst");
    let bytes = std::fs::read(&object).unwrap();
    std::fs::write(&object, &bytes[1..]).unwrap();
    bk.run(&["verify", &id]).fails(8, &["home.tar.zst"]);
    let to = bk.path("again");
    let restored = bk.run(&["restore", &id, "--to", to.to_str().unwrap(), "--confirm", bk.instance()]).ok();
    assert!(restored.stderr.contains("is read from s3://"), "{restored}");
    assert_eq!(listing(&to), listing(&bk.path("home")));
    bk.run(&["show", &id, "--store", "here"]).fails(8, &["home.tar.zst"]);
    // What `show` prints opens it. The stand-in for Amazon's tool takes from its server what it is asked for.
    let shown = bk.run(&["show", &id, "--store", "there"]).ok().stdout;
    let aws = format!(
        "[ \"$1 $2 $3 $5 $6 $8\" = 's3 cp --endpoint-url --region us-east-1 -' ] && [ \"$4\" = '{}' ] && exec cat '{}'/\"${{7#s3://}}\"",
        bucket.endpoint(),
        bucket.root().display()
    );
    let path = format!("{}:/usr/bin:/bin", bk.program("aws", &aws).parent().unwrap().display());
    std::fs::create_dir(bk.path("opened")).unwrap();
    for command in shown.lines().filter_map(|line| line.strip_prefix("opens with")) {
        let mut bash = std::process::Command::new("bash");
        bash.args(["-euo", "pipefail", "-c", command]).env("PATH", &path).current_dir(bk.path("opened"));
        bkhost_tests::tool(bash);
    }
    assert_eq!(listing(&bk.path("opened")), listing(&bk.path("home")), "{shown}");
    bk.run(&["show", &id, "--store", "nowhere"]).fails(13, &["here, there"]);
}

/// Wherever it fails: the run goes on without it, says so, and leaves nothing there.
#[test]
fn one_that_is_not_required_drops_out() {
    let mail = |bk: &Bkhost| {
        let script = bk.program("tell", &format!("cat >> \"{}\"", bk.path("told").display()));
        format!("[[notify]]\ntype = \"command\"\ncommand = [\"{}\"]\non = [\"failure\"]\n", script.display())
    };
    for (method, target, fault) in [
        ("", "", Fault::Status(403, "AccessDenied")),
        ("PUT", "lease.json", Fault::Status(403, "AccessDenied")),
        ("PUT", "in-progress", Fault::Status(503, "SlowDown")),
        ("PUT", "partNumber=2", Fault::Reset),
        ("POST", "uploadId=", Fault::Status(500, "InternalError")),
        ("PUT", "index.jsonl", Fault::Flip),
        ("PUT", "manifest.json", Fault::Status(403, "AccessDenied")),
    ] {
        let (bk, bucket) = world(LARGE, "required = false");
        configure(&bk, &bucket, &format!("required = false\n{IMPATIENT}"), &mail(&bk));
        bucket.spoil(method, target, u32::MAX, fault);
        let run = bk.run(&["run"]).ok();
        assert!(run.stderr.contains("`there` drops out"), "{target}: {run}");
        let told = std::fs::read_to_string(bk.path("told")).unwrap_or_default();
        assert!(told.contains("there") && told.contains("bkhost copy"), "{target}: {told}");
        bucket.heal();
        let id = bk.list()[0].0.clone();
        assert_eq!(states(&bk, &id), proved(&["here"]), "{target}");
        assert!(!bucket.objects().keys().any(|key| key.ends_with("manifest.json")), "{:?}", bucket.objects());
        configure(&bk, &bucket, "required = false", "");
        // The next one is in both, and nothing of the first is left.
        let next = bk.backup_id();
        assert_eq!(states(&bk, &next), proved(&["here", "there"]), "{target}");
        assert!(bucket.objects().keys().all(|key| key.contains(&next)), "{target}: {:?}", bucket.objects());
        assert_eq!(bucket.uploads(), [""; 0], "{target}");
    }
}

/// One that is required fails the run: before the first is published, nothing is left anywhere.
#[test]
fn one_that_is_required_fails_the_run() {
    for (method, target, fault) in [
        ("PUT", "in-progress", Fault::Status(403, "AccessDenied")),
        ("PUT", "partNumber=2", Fault::Status(403, "AccessDenied")),
        ("PUT", "index.jsonl", Fault::Flip),
    ] {
        let (bk, bucket) = world(LARGE, "");
        bucket.spoil(method, target, u32::MAX, fault);
        let run = bk.run(&["run"]);
        assert!([7, 8].contains(&run.code), "{target}: {run}");
        bucket.heal();
        assert_eq!((here(&bk), bucket.objects()), (BTreeMap::new(), BTreeMap::new()), "{target}");
        assert_eq!(bucket.uploads(), [""; 0], "{target}");
        let _ = bk.backup_id();
    }
}

/// Published in the first, and the second fails in that moment: a failure that says what to do, and what it says works.
#[test]
fn published_in_one_and_not_in_the_other() {
    let (bk, bucket) = world(LARGE, "");
    let simulator = Simulator::start(&[]);
    let [first, second] = stores(&bk, &bucket, "");
    let tables = [bk.application(&simulator, ""), directory_part("home", &bk.path("home"))];
    bk.config_for(&[&tables[0], &tables[1]], &[&first, &second]);
    bucket.spoil("PUT", "manifest.json", u32::MAX, Fault::Status(403, "AccessDenied"));
    let run = bk.run(&["run"]);
    let id = bk.run(&["list", "--json", "--store", "here"]).ok().json()["sets"][0]["id"].as_str().unwrap().to_owned();
    let command = format!("bkhost copy {id} --from here --to there");
    run.fails(7, &["is published in `here`, and not in `there`", &command]);
    simulator.is_free();
    bucket.heal();
    assert_eq!(states(&bk, &id), proved(&["here"]));
    assert_eq!(bucket.objects(), BTreeMap::new());
    let recovered = bk.run(&["recover"]).ok();
    assert!(!recovered.stderr.contains("did not end"), "{recovered}");
    bk.run(&["copy", &id, "--from", "here", "--to", "there"]).ok();
    assert_eq!(here(&bk), sets(bucket.objects()));
    assert_eq!(states(&bk, &id), proved(&["here", "there"]));
}

/// The run is killed between the two: what is published stays, and what is not goes.
#[test]
fn killed_between_the_two() {
    let (bk, bucket) = world(100, "");
    bucket.spoil("PUT", "manifest.json", u32::MAX, Fault::Stall(Duration::from_secs(20)));
    let run = bk.spawn(&["run"]);
    until("the second is being published", Duration::from_secs(20), || bucket.hits() > 0);
    run.signal(Signal::KILL);
    let _ = run.end_with_guard();
    bucket.heal();
    bk.run(&["recover"]).ok();
    let id = bk.list()[0].0.clone();
    assert_eq!(states(&bk, &id), proved(&["here"]));
    assert_eq!(bucket.objects(), BTreeMap::new());
    bk.run(&["copy", "latest", "--to", "there"]).ok();
    assert_eq!(here(&bk), sets(bucket.objects()));
    bk.run(&["verify", &id]).ok();
}

#[test]
fn each_is_pruned_by_itself() {
    let (bk, bucket) = world(100, "");
    let (first, second) = (bk.backup_id(), bk.backup_id());
    bk.run(&["prune", "--confirm", bk.instance(), "--keep-last", "1", "--store", "there"]).ok();
    assert_eq!(states(&bk, &first), proved(&["here"]));
    assert_eq!(states(&bk, &second), proved(&["here", "there"]));
    bk.run(&["prune", "--confirm", bk.instance(), "--keep-last", "1"]).ok();
    assert_eq!(states(&bk, &first), []);
    assert_eq!(here(&bk), bucket.objects());
}

/// Pinned once, it stays in each.
#[test]
fn a_pinned_set_stays_in_each() {
    let (bk, _bucket) = world(100, "");
    let (first, second) = (bk.backup_id(), bk.backup_id());
    bk.run(&["keep", &first]).ok();
    bk.run(&["prune", "--confirm", bk.instance(), "--keep-last", "1"]).ok();
    assert_eq!(states(&bk, &first), proved(&["here", "there"]));
    bk.run(&["keep", &first, "--release"]).ok();
    bk.run(&["prune", "--confirm", bk.instance(), "--keep-last", "1"]).ok();
    assert_eq!(states(&bk, &first), []);
    assert_eq!(states(&bk, &second), proved(&["here", "there"]));
}

#[test]
fn sets_are_copied_once_and_never_changed() {
    let (bk, bucket) = world(LARGE, "required = false");
    let [first, second] = stores(&bk, &bucket, "");
    let tables = [application_none(), directory_part("home", &bk.path("home"))];
    bk.config_for(&[&tables[0], &tables[1]], &[&first]);
    let (one, two) = (bk.backup_id(), bk.backup_id());
    let before = here(&bk);
    bk.config_for(&[&tables[0], &tables[1]], &[&first, &second]);
    // Killed in the middle: what is there then is not sent again.
    bucket.spoil_after(1, "PUT", "partNumber=2", u32::MAX, Fault::Stall(Duration::from_secs(20)));
    let run = bk.spawn(&["copy", "--all", "--to", "there"]);
    until("the second set is under way", Duration::from_secs(30), || bucket.hits() > 0);
    run.signal(Signal::KILL);
    let _ = run.end();
    bucket.heal();
    assert_eq!(states(&bk, &one), proved(&["here", "there"]));
    let copied = bk.run(&["copy", "--all", "--to", "there", "--json"]).ok().json();
    assert_eq!((copied["present"][0].as_str(), copied["copied"][0].as_str()), (Some(&*one), Some(&*two)), "{copied}");
    assert_eq!((here(&bk), sets(bucket.objects())), (before.clone(), before.clone()));
    let again = bk.run(&["copy", "--all", "--from", "here", "--to", "there", "--json"]).ok().json();
    assert_eq!((again["copied"].as_array().unwrap().len(), again["bytes"].as_u64()), (0, Some(0)), "{again}");
    bk.run(&["verify", "--all", "--store", "there"]).ok();
    // Back again, to a third place that has no name.
    let third = bk.path("third");
    std::fs::create_dir(&third).unwrap();
    bk.run(&["copy", &two, "--from", "there", "--to", third.to_str().unwrap()]).ok();
    let mut files = BTreeMap::new();
    collect(&third, &third, &mut files);
    let files = sets(files);
    assert_eq!(files.len(), 3, "{files:?}");
    assert!(files.iter().all(|(key, hash)| before.get(key) == Some(hash)), "{files:?}");
    bk.run(&["copy", &one, "--from", "here", "--to", "here"]).fails(3, &["two stores", "other than"]);
}

#[test]
fn what_is_not_the_same_is_refused() {
    let (bk, _bucket) = world(100_000, "required = false");
    let id = bk.backup_id();
    let third = bk.path("third");
    std::fs::create_dir(&third).unwrap();
    let copy = || bk.run(&["copy", &id, "--from", "here", "--to", third.to_str().unwrap()]);
    // A flipped bit where it is copied from: nothing is published.
    let object = bk.set(&id).join("home.tar.zst");
    let good = std::fs::read(&object).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    std::fs::write(&object, &bad).unwrap();
    copy().fails(8, &["home.tar.zst", "damaged"]);
    assert!(!third.join(bk.instance()).join(&id).join("manifest.json").exists());
    std::fs::write(&object, &good).unwrap();
    copy().fails(8, &["is damaged in store `here`", "found on", "`bkhost verify`"]);
    bk.run(&["verify", &id, "--store", "here"]).ok();
    copy().ok();
    // Another set of this id, whole or not: nothing of it is touched, and it does not pass for the same.
    let manifest = third.join(bk.instance()).join(&id).join("manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let (body, _) = text.split_once("  \"checksum\"").unwrap();
    let other = body.replacen("\"skew-ms\": 0", "\"skew-ms\": 1", 1);
    assert_ne!(other, body);
    let other = format!("{other}  \"checksum\": \"blake3:{}\"\n}}\n", blake3::hash(other.as_bytes()).to_hex());
    for other in [other.clone(), other.replacen("\"skew-ms\": 1", "\"skew-ms\": 2", 1)] {
        std::fs::write(&manifest, &other).unwrap();
        copy().fails(9, &["another set of this id"]);
        assert_eq!(std::fs::read_to_string(&manifest).unwrap(), other);
    }
}

/// Two directories, of which the second may be away.
fn directories(bk: &Bkhost, tables: &str) {
    let store =
        |name: &str, keys: &str| format!("[[store]]\nto = \"{}\"\nname = \"{name}\"\n{keys}", bk.path(name).display());
    let _ = std::fs::create_dir(bk.path("home"));
    let part = directory_part("home", &bk.path("home"));
    bk.config_for(&[&application_none(), &part, tables], &[&store("here", ""), &store("there", "required = false\n")]);
}

/// As `list --json` shows a set in a store.
fn listed(bk: &Bkhost, store: &str, id: &str) -> Value {
    let sets = bk.run(&["list", "--json", "--store", store, "--instance", bk.instance()]).ok().json();
    let set = sets["sets"].as_array().unwrap().iter().find(|set| set["id"] == id);
    set.unwrap_or_else(|| panic!("{id} is not in {store}: {sets}")).clone()
}

/// A pin holds wherever the set is. What was found out in one store does not count in another, and stays known; what the
/// copy itself has read is proved.
#[test]
fn what_is_known_of_a_set_when_it_is_copied() {
    let bk = Bkhost::new();
    directories(&bk, "");
    std::fs::write(bk.path("home/noise"), noise(3, 50_000)).unwrap();
    std::fs::write(bk.path("there"), "no directory: this store is away").unwrap();
    let (one, two) = (bk.backup_id(), bk.backup_id());
    let here = ["--store", "here"];
    bk.run(&[&["verify", &one][..], &here].concat()).ok();
    bk.run(&[&["drill", &one][..], &here].concat()).ok();
    bk.run(&[&["keep", &one, "--note", "before the upgrade"][..], &here].concat()).ok();
    let to = bk.path("restored").display().to_string();
    bk.run(&["restore", &one, "--to", &to, "--confirm", bk.instance()]).ok();
    std::fs::remove_file(bk.path("there")).unwrap();
    std::fs::create_dir(bk.path("there")).unwrap();
    let copy = |args: &[&str]| bk.run(&[&["copy", "--json"], args].concat());
    let copied = copy(&["--all", "--from", "here", "--to", "there"]).ok().json();
    assert_eq!(copied["pinned"], serde_json::json!([&one]), "{copied}");
    let (there, before) = (listed(&bk, "there", &one), listed(&bk, "here", &one));
    assert_eq!((&there["proved"], &there["pinned"]), (&before["proved"], &before["pinned"]), "{there}");
    assert_eq!((&there["verified"]["ok"], &there["verified"]["detail"]["depth"]), (&true.into(), &"objects".into()));
    assert!(there["verified"]["at"].as_str() > before["verified"]["at"].as_str(), "of the copy itself: {there}");
    for counts in ["drilled", "restored", "restore-ms"] {
        assert!(there[counts].is_null() && !before[counts].is_null(), "nobody has done that from there: {there}");
    }
    let two_there = listed(&bk, "there", &two);
    assert_eq!((&two_there["verified"]["ok"], &two_there["pinned"]), (&true.into(), &Value::Null), "{two_there}");
    let shown = bk.run(&["show", &one, "--store", "there"]).ok().stdout;
    for told in
        ["from the store `here`", "verify in the store `here`", "drill in the store `here`", "before the upgrade"]
    {
        assert!(shown.contains(told), "{told}: {shown}");
    }
    // Nothing is told twice, and what is pinned since comes along.
    let records = || std::fs::read_dir(bk.path("there").join(bk.instance()).join("records")).unwrap().count();
    let count = records();
    assert_eq!(copy(&["--all", "--from", "here", "--to", "there"]).ok().json()["pinned"], serde_json::json!([]));
    assert_eq!(records(), count);
    bk.run(&[&["keep", &two][..], &here].concat()).ok();
    let third = bk.backup_id();
    assert_eq!(copy(&[&two, "--from", "here", "--to", "there"]).ok().json()["pinned"], serde_json::json!([&two]));
    bk.run(&["prune", "--confirm", bk.instance(), "--keep-last", "1", "--store", "there"]).ok();
    assert!([&one, &two, &third].iter().all(|id| listed(&bk, "there", id)["state"] == "proved"), "pinned there too");
    // From there to a third: what is known of the first place stays so.
    let away = bk.path("third").display().to_string();
    std::fs::create_dir(&away).unwrap();
    copy(&[&one, "--from", "there", "--to", &away]).ok();
    let shown = bk.run(&["show", &one, "--store", &away]).ok().stdout;
    for told in ["verify in the store `there`", "drill in the store `here`", "restore in the store `here`"] {
        assert!(shown.contains(told), "{told}: {shown}");
    }
}

/// What is known to be damaged is not copied, whatever its bytes are now: the copy would look as if nothing were known.
#[test]
fn what_was_found_damaged_is_not_copied_and_not_read() {
    let bk = Bkhost::new();
    directories(&bk, "");
    std::fs::write(bk.path("home/noise"), noise(3, 50_000)).unwrap();
    let (id, other) = (bk.backup_id(), bk.backup_id());
    let object = bk.path("here").join(bk.instance()).join(&id).join("home.tar.zst");
    let good = std::fs::read(&object).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    std::fs::write(&object, &bad).unwrap();
    bk.run(&["verify", &id, "--store", "here"]).fails(8, &["home.tar.zst"]);
    std::fs::write(&object, &good).unwrap();
    let third = bk.path("third").display().to_string();
    std::fs::create_dir(&third).unwrap();
    bk.run(&["copy", &id, "--from", "here", "--to", &third]).fails(8, &["is damaged in store `here`", "home.tar.zst"]);
    assert!(!bk.path("third").join(bk.instance()).join(&id).exists());
    // Where it is whole it is read, without being told so.
    std::fs::write(&object, &bad).unwrap();
    let to = bk.path("restored").display().to_string();
    bk.run(&["restore", &id, "--to", &to, "--confirm", bk.instance()]).ok();
    assert_eq!(listing(&bk.path("restored")), listing(&bk.path("home")));
    bk.run(&["copy", &id, "--to", &third]).ok();
    bk.run(&["verify", &id, "--store", &third, "--instance", bk.instance()]).ok();
    // Where it is damaged nothing is overwritten, and the others are copied all the same.
    std::fs::remove_dir_all(bk.path("here").join(bk.instance()).join(&other)).unwrap();
    let copied = bk.run(&["copy", "--all", "--from", "there", "--to", "here"]);
    copied.fails(8, &["was found damaged", "home.tar.zst", "remove its directory there by hand"]);
    assert_eq!(listed(&bk, "here", &other)["state"], "proved");
    std::fs::remove_dir_all(object.parent().unwrap()).unwrap();
    bk.run(&["copy", "--all", "--from", "there", "--to", "here"]).ok();
    assert_eq!(states(&bk, &id), proved(&["here", "there"]), "every byte of it was read back");
}

/// A store that was away has the sets that it has, and loses none of them for those that it has not got.
#[test]
fn a_store_that_was_away_keeps_its_own() {
    let bk = Bkhost::new();
    directories(&bk, "[retention]\nkeep-last = 1\nkeep-proved-min = 2\n");
    std::fs::write(bk.path("home/file"), "text").unwrap();
    let ids = |store: &str| {
        let sets = bk.run(&["list", "--json", "--store", store]).ok().json();
        sets["sets"].as_array().unwrap().iter().map(|set| set["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let mut made: Vec<String> = (0..2).map(|_| bk.backup_id()).collect();
    std::fs::rename(bk.path("there"), bk.path("away")).unwrap();
    std::fs::write(bk.path("there"), "no directory").unwrap();
    made.extend((0..2).map(|_| bk.backup_id()));
    std::fs::remove_file(bk.path("there")).unwrap();
    std::fs::rename(bk.path("away"), bk.path("there")).unwrap();
    assert_eq!(
        (ids("here"), ids("there")),
        (made[2..].iter().rev().cloned().collect(), made[..2].iter().rev().cloned().collect())
    );
    let next = bk.backup_id();
    assert_eq!((ids("here"), ids("there")), (vec![next.clone(), made[3].clone()], vec![next, made[1].clone()]));
}

/// How much there was is told by all stores: one that is new, or was put back to what it held long ago, does not hide it.
#[test]
fn a_new_store_does_not_hide_how_much_there_was() {
    let bk = Bkhost::new();
    directories(&bk, "");
    let fill = |bytes| std::fs::write(bk.path("home/noise"), noise(3, bytes)).unwrap();
    fill(200_000);
    let id = bk.backup_id();
    std::fs::rename(bk.path("here"), bk.path("lost")).unwrap();
    fill(20);
    bk.run(&["run"]).fails(8, &["part `home` has 20 B", &id, "less than 50%"]);
    // And one that has only old ones is no measure either.
    std::fs::rename(bk.path("here"), bk.path("empty")).unwrap();
    std::fs::rename(bk.path("lost"), bk.path("here")).unwrap();
    bk.run(&["run", "--accept-shrink", "home"]).ok();
    let newest = bk.list()[0].0.clone();
    std::fs::remove_dir_all(bk.path("here").join(bk.instance()).join(newest)).unwrap();
    bk.run(&["run"]).ok();
}

#[test]
fn what_a_server_does_not_guarantee_is_said() {
    let (bk, bucket) = world(100, "");
    let check = bk.run(&["check"]).ok();
    assert!(check.stdout.contains("cannot be listed") && !check.stdout.contains("conditional"), "{check}");
    assert_eq!(bucket.objects(), BTreeMap::new(), "the check leaves nothing");
    bucket.spoil("PUT", "", u32::MAX, Fault::Status(501, "NotImplemented"));
    bk.run(&["check"]).fails(7, &[]);
    let moto = Bucket::moto();
    configure(&bk, &moto, "", "");
    assert!(!bk.run(&["check"]).ok().stdout.contains("warning"));
    moto.spoil("PUT", "", u32::MAX, Fault::Unconditional);
    let check = bk.run(&["check"]).ok();
    assert_eq!(check.stdout.matches("ignores conditional writes").count(), 2, "{check}");
    // It is used all the same.
    let id = bk.backup_id();
    assert_eq!(states(&bk, &id), proved(&["here", "there"]));
    assert!(moto.keys_of_moto().iter().all(|key| !key.contains(".bkhost-check")));
}

#[test]
fn the_example() {
    let (bk, bucket) = world(1000, "");
    let place = bucket.place(&bk);
    let line = |key: &str| place.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
    let example = include_str!("../../../host/examples/two-stores.toml");
    let mut text = String::new();
    for of in example.lines() {
        let own = ["to = \"s3", "endpoint", "access-key", "secret-key"].into_iter().find(|key| of.starts_with(key));
        text.push_str(&own.map_or_else(|| of.to_owned(), line));
        text.push('\n');
    }
    let text = text
        .replace("name = \"files\"", &format!("name = \"{}\"", bk.instance()))
        .replace("\"/srv\"", &format!("{:?}", bk.path("home")))
        .replace("\"/backups\"", &format!("{:?}", bk.path("backups")));
    std::fs::write(bk.path("bkhost.toml"), text).unwrap();
    let id = bk.backup_id();
    assert_eq!(states(&bk, &id), proved(&["here", "offsite"]));
}
