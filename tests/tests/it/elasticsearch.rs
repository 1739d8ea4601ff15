//! Elasticsearch and OpenSearch: the strategy against a stub of their API of snapshots, whose repositories are files.

mod faults;
mod refusals;
mod restores;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bkhost_tests::elasticsearch::{Auth, Flavor, Outcome, Search};
use bkhost_tests::{Bkhost, Outcome as Ended, Running, Simulator, application_none, until};
use rustix::process::Signal;
use serde_json::{Value, json};

const ALL: [Flavor; 5] =
    [Flavor::Elastic710, Flavor::Elastic7, Flavor::Elastic8, Flavor::OpenSearch1, Flavor::OpenSearch2];

/// A cluster with Bitbucket's indices, and an instance that backs it up.
struct World {
    search: Search,
    bk: Bkhost,
}

impl World {
    fn new(flavor: Flavor) -> Self {
        let search = Search::new(flavor);
        search.create("bitbucket-search", 3);
        search.create("bitbucket-project", 1);
        search.put("bitbucket-project", "1", json!({ "key": "PROJECT_1" }));
        for n in 0..30 {
            search.put("bitbucket-search", &format!("file-{n}"), json!({ "content": format!("line {n}") }));
        }
        search.create("other", 1);
        search.create(".hidden", 1);
        let world = Self { search, bk: Bkhost::new() };
        world.configure("indices = [\"bitbucket-*\"]");
        world
    }

    fn part(&self, name: &str, keys: &str) -> String {
        part(&self.search, name, keys)
    }

    fn configure(&self, keys: &str) {
        self.bk.config(&[&application_none(), &self.part("search", keys), "[retention]\nkeep-last = 2\n"]);
    }

    fn restore(&self, id: &str, more: &[&str]) -> Ended {
        self.bk.run(&[&["restore", id, "--confirm", self.bk.instance()], more].concat())
    }

    fn both(&self, prefix: &str) -> [BTreeMap<String, Value>; 2] {
        ["bitbucket-search", "bitbucket-project"].map(|name| self.search.documents(&format!("{prefix}{name}")))
    }

    fn snapshots(&self) -> Vec<String> {
        self.search.snapshots("bkhost")
    }
}

/// A part whose repository is a directory below `path.repo`.
fn part(search: &Search, name: &str, keys: &str) -> String {
    format!(
        "[[part]]\nname = \"{name}\"\nplugin = \"elasticsearch.wasm\"\n[part.config]\nurl = \"{}\"\n{keys}\n\
         [part.config.repository]\nname = \"bkhost\"\ntype = \"fs\"\nlocation = \"{}\"\n",
        search.url(),
        search.path_repo().join("bkhost").display()
    )
}

/// Indexes documents one after the other, as long as it is not dropped.
struct Indexer {
    count: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Indexer {
    fn start(search: &Search, index: &'static str) -> Self {
        let (count, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (ours, stopped, search) = (Arc::clone(&count), Arc::clone(&stop), search.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let n = ours.load(Ordering::Relaxed);
                search.put(index, &format!("live-{n:06}"), json!({ "n": n, "content": "x".repeat(200) }));
                ours.store(n + 1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Self { count, stop, thread: Some(thread) }
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl Drop for Indexer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}

/// The example, under continuous indexing: what is restored is what each shard held when it began, and no more.
#[test]
fn what_was_indexed_after_the_start_is_in_no_snapshot() {
    let world = World::new(Flavor::Elastic8);
    let (search, bk) = (&world.search, &world.bk);
    search.create("bitbucket-live", 3);
    let simulator = Simulator::start(&[]);
    let example = include_str!("../../../host/examples/bitbucket-search.toml")
        .replace("name = \"bitbucket\"", &format!("name = {:?}", bk.instance()))
        .replace("http://localhost:7990", &simulator.url())
        .replace("{ env = \"BITBUCKET_BACKUP_PASS\" }", &format!("{{ file = {:?} }}", bk.path("password")))
        .replace("http://localhost:7992", search.url())
        .replace("/var/search-backups", search.path_repo().to_str().unwrap())
        .replace("{ file = \"/etc/bkhost/search.password\" }", &format!("{{ file = {:?} }}", bk.path("password")))
        .replace("\"/backups\"", &format!("{:?}", bk.path("backups")));
    std::fs::write(bk.path("bkhost.toml"), &example).unwrap();
    search.auth(Auth::Basic("bkhost".to_owned(), "admin".to_owned()));
    bk.run(&["check"]).ok();

    let indexer = Indexer::start(search, "bitbucket-live");
    until("there is something", Duration::from_secs(20), || indexer.count() > 50);
    // Copying takes seconds, in which a thousand documents come.
    search.timing(Duration::from_millis(200), 10_000);
    let before = indexer.count();
    let set = bk.backup();
    let after = indexer.count();
    until("indexing goes on", Duration::from_secs(20), || indexer.count() > after + 20);
    drop(indexer);
    simulator.is_free();
    let application = &set["application"];
    let locked = application["locked-ms"].as_u64().unwrap() - application["drain-ms"].as_u64().unwrap();
    assert!(locked >= 200, "until the last shard had begun: {set}");
    let truth = world.both("");

    // Everything changes.
    for name in ["bitbucket-search", "bitbucket-project", "bitbucket-live"] {
        search.delete(name);
    }
    search.create("bitbucket-new", 1);
    search.timing(Duration::ZERO, u64::MAX);
    let id = set["id"].as_str().unwrap();
    world.restore(id, &["--to", "back-*"]).ok();
    assert_eq!(world.both("back-"), truth);
    let restored = search.documents("back-bitbucket-live");
    // Each shard's is a beginning of what was written to it.
    let shard = |id: &str| id.bytes().map(u32::from).sum::<u32>() % 3;
    let mut lengths = Vec::new();
    for number in 0..3 {
        let ids: Vec<_> = restored.keys().filter(|id| shard(id) == number).cloned().collect();
        let all: Vec<_> = (0..after).map(|n| format!("live-{n:06}")).filter(|id| shard(id) == number).collect();
        assert_eq!(ids[..], all[..ids.len()], "shard {number}");
        lengths.push(ids.len() as u64);
    }
    let restored = lengths.iter().sum::<u64>();
    assert!(before <= restored && restored < after, "{before} <= {restored} < {after}");
    assert!(search.indices().contains(&"bitbucket-new".to_owned()), "nothing else is touched");
}

#[test]
fn every_version_is_understood() {
    for flavor in ALL {
        let world = World::new(flavor);
        let (search, bk) = (&world.search, &world.bk);
        bk.run(&["check"]).ok();
        search.timing(Duration::from_millis(50), 50_000);
        let set = bk.backup();
        let state = &set["parts"][0]["snapshot"]["state"];
        assert_eq!(state["indices"], json!(["bitbucket-project", "bitbucket-search"]), "{flavor:?}: {set}");
        assert_eq!(state["shards"], 4);
        let truth = world.both("");
        search.put("bitbucket-search", "file-1", json!({ "content": "changed" }));
        let id = set["id"].as_str().unwrap();
        world.restore(id, &["--to", "old-*"]).ok();
        assert_eq!(world.both("old-"), truth, "{flavor:?}");
        bk.run(&["verify", id]).ok();
        let listed = bk.run(&["snapshots", "--json"]).ok().json();
        assert_eq!(listed["snapshots"].as_array().unwrap().len(), 1, "{flavor:?}: {listed}");
        let body =
            search.requests().into_iter().find(|call| call.method == "PUT" && call.path.contains("/bkhost-")).unwrap();
        assert_eq!(body.body["include_global_state"], false);
        assert_eq!(body.body["partial"], false);
        assert!(body.asks("wait_for_completion=false"));
    }
}

/// Figures: milliseconds under the lock (without the drain) while the data doubles twice.
#[test]
fn the_lock_does_not_grow_with_the_data() {
    let world = World::new(Flavor::Elastic7);
    let (search, bk) = (&world.search, &world.bk);
    search.timing(Duration::from_millis(100), 200_000);
    let mut figures = Vec::new();
    let mut documents = 0_u64;
    for size in [100_u64, 200, 400] {
        while documents < size {
            documents += 1;
            search.put("bitbucket-search", &format!("big-{documents}"), json!({ "content": "x".repeat(4000) }));
        }
        let simulator = Simulator::start(&[]);
        bk.config(&[&bk.application(&simulator, ""), &world.part("search", "")]);
        let start = Instant::now();
        let set = bk.backup();
        simulator.is_free();
        let application = &set["application"];
        let locked = application["locked-ms"].as_u64().unwrap() - application["drain-ms"].as_u64().unwrap();
        figures.push((documents * 4, locked, start.elapsed().as_millis()));
    }
    eprintln!("KB of documents, ms locked without the drain, ms in all: {figures:?}");
    // What takes seconds is the copying, which grows.
    assert!(figures.iter().all(|(_, locked, _)| *locked < 2_000), "{figures:?}");
    assert!(figures[2].2 - u128::from(figures[2].1) > 2_500, "{figures:?}");
}

#[test]
fn partial_search_snapshots_kept_while_good_ones_are_deleted() {
    let world = World::new(Flavor::Elastic7);
    let (search, bk) = (&world.search, &world.bk);
    let name = |id: &str| format!("bkhost-{}-{id}-search SUCCESS", bk.instance());
    let good = [bk.backup_id(), bk.backup_id()];
    let kept = good.each_ref().map(|id| name(id)).to_vec();
    assert_eq!(world.snapshots(), kept);
    // More failures than sets are kept: not one of the good ones goes, and not one of the others stays.
    for _ in 0..3 {
        search.next(Outcome::Partial("no_such_node_exception: node left the cluster".to_owned()));
        let outcome = bk.run(&["run"]).fails(6, &["is PARTIAL", "bitbucket-", "node left the cluster", "hint: "]);
        assert!(outcome.stderr.contains("2 of 4 shards") && outcome.stderr.contains("[0]"), "{outcome}");
        assert_eq!(world.snapshots(), kept);
        bk.run(&["prune", "--confirm", bk.instance()]).ok();
        assert_eq!(world.snapshots(), kept);
        assert_eq!(bk.list().len(), 2);
    }
    let third = bk.backup_id();
    assert_eq!(world.snapshots(), [name(&good[1]), name(&third)]);
    // One that somebody else has left in our name and that is partial is no backup either, and no good one goes for it.
    search.next(Outcome::Partial("x".to_owned()));
    let label = format!("bkhost-{}-20200101-000000-abcdef", bk.instance());
    let ours = json!({ "bkhost-instance": bk.instance(), "bkhost-part": "search", "bkhost-run": label });
    search.snapshot("bkhost", &format!("{label}-search"), &ours);
    bk.run(&["prune", "--confirm", bk.instance()]).ok();
    let left = world.snapshots();
    assert!(left.contains(&name(&good[1])) && left.contains(&name(&third)), "{left:?}");
    world.restore(&good[1], &["--to", "restored"]).ok();
}

#[test]
fn two_instances_in_one_repository() {
    let world = World::new(Flavor::OpenSearch2);
    let other = Bkhost::new();
    other.config(&[&application_none(), &world.part("search", ""), "[retention]\nkeep-last = 1\n"]);
    let (ours, theirs) = (world.bk.backup_id(), other.backup_id());
    let _ = other.backup_id();
    other.run(&["prune", "--confirm", other.instance(), "--keep-last", "1"]).ok();
    let left = world.snapshots();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(
        left.iter().any(|name| name.contains(&ours)) && !left.iter().any(|name| name.contains(&theirs)),
        "{left:?}"
    );
    // Without `indices`: all but the hidden ones.
    let set = other.run(&["list", "--json"]).ok().json()["sets"][0]["id"].as_str().unwrap().to_owned();
    let shown = std::fs::read_to_string(other.set(&set).join("manifest.json")).unwrap();
    assert!(shown.contains("\"other\"") && !shown.contains("\".hidden\""), "{shown}");
}

/// What an encrypted set hides is known to the machine that made it, and to nobody without its notes or a key.
#[test]
fn snapshots_of_encrypted_sets_are_known() {
    let world = World::new(Flavor::Elastic8);
    let bk = &world.bk;
    let (_, recipient) = crate::encryption::key(bk, "key");
    let encryption = format!("[encryption]\nrecipients = [\"{recipient}\"]\n");
    bk.config(&[&application_none(), &world.part("search", ""), &encryption]);
    let id = bk.backup_id();
    let listed = || bk.run(&["snapshots", "--json"]).ok();
    assert_eq!(listed().json()["snapshots"][0]["set"], id.as_str());
    std::fs::remove_dir_all(bk.state().join("sealed")).unwrap();
    let outcome = listed();
    assert_eq!(outcome.json()["snapshots"][0]["set"], Value::Null, "{outcome}");
    assert!(format!("{outcome}").contains(&format!("which snapshot set {id} has is not known")), "{outcome}");
}

/// A run that is killed while its shards wait to begin: the guard gives the application back, and `recover` deletes.
#[test]
fn a_killed_run_leaves_nothing_after_recovery() {
    let world = World::new(Flavor::Elastic8);
    let (search, bk) = (&world.search, &world.bk);
    let simulator = Simulator::start(&[]);
    bk.config(&[&bk.application(&simulator, ""), &world.part("search", "")]);
    search.next(Outcome::Waits);
    let run = bk.spawn(&["run"]);
    until("it is being taken", Duration::from_secs(60), || {
        world.snapshots().iter().any(|name| name.ends_with("IN_PROGRESS"))
    });
    run.signal(Signal::KILL);
    let _ = run.end_with_guard();
    until("it is given back", Duration::from_secs(60), || !simulator.locked());
    simulator.is_free();
    bk.run(&["recover"]).ok();
    assert_eq!(world.snapshots(), [""; 0]);
    assert!(bk.stored().is_empty());
    let _ = bk.backup();
}

#[test]
fn a_cancelled_run_aborts_the_snapshot() {
    let world = World::new(Flavor::Elastic8);
    let simulator = Simulator::start(&[]);
    world.bk.config(&[&world.bk.application(&simulator, ""), &world.part("search", "")]);
    // In the capture, and after it.
    for outcome in [Outcome::Waits, Outcome::Hangs] {
        let unlocked = simulator.count("unlock");
        world.search.next(outcome.clone());
        let run = world.bk.spawn(&["run"]);
        until("it is being taken", Duration::from_secs(60), || !world.snapshots().is_empty());
        if matches!(outcome, Outcome::Hangs) {
            until("it is unlocked", Duration::from_secs(60), || {
                simulator.count("unlock") > unlocked || !simulator.locked()
            });
        }
        run.signal(Signal::TERM);
        let outcome = run.end();
        assert_eq!(outcome.code, 11, "{outcome}");
        assert_eq!(world.snapshots(), [""; 0], "{outcome}");
        simulator.is_free();
    }
}

#[test]
fn a_declared_rebuild_captures_nothing_and_says_so() {
    let bk = Bkhost::new();
    let part = "[[part]]\nname = \"search\"\nplugin = \"elasticsearch.wasm\"\n[part.config]\nmode = \"rebuild\"\n";
    std::fs::create_dir(bk.path("home")).unwrap();
    std::fs::write(bk.path("home/file"), "content").unwrap();
    let home = bkhost_tests::directory_part("home", &bk.path("home"));
    bk.config(&[&application_none(), &home, part, "[coverage]\nkinds = [\"search\"]\n"]);
    let outcome = bk.run(&["run", "--json"]).ok();
    let set = outcome.json();
    assert!(format!("{outcome}").contains("`search` is declared and not backed up"), "{outcome}");
    let part = set["parts"].as_array().unwrap().iter().find(|part| part["name"] == "search").unwrap();
    assert!(part["snapshot"]["state"]["rebuild"][0].as_str().unwrap().contains("stop Bitbucket"), "{set}");
    let id = set["id"].as_str().unwrap();
    let outcome = bk.run(&["restore", id, "--part", "search", "--confirm", bk.instance()]).ok();
    let told = format!("{outcome}");
    assert!(
        told.contains("not in this set") && told.contains("step 4 of 4") && told.contains("bitbucket-index-version"),
        "{outcome}"
    );
    bk.run(&["verify", id]).ok();
    assert!(bk.run(&["check"]).ok().stdout.contains("nothing is captured"));

    // Its own steps, and no word of coverage for what is captured by another part of the kind.
    let world = World::new(Flavor::Elastic8);
    let own = "[[part]]\nname = \"index\"\nplugin = \"elasticsearch.wasm\"\n[part.config]\nmode = \"rebuild\"\n\
               [part.config.rebuild]\nsteps = [\"run reindex.sh\"]\n";
    world.bk.config(&[&application_none(), &world.part("search", ""), own, "[coverage]\nkinds = [\"search\"]\n"]);
    let outcome = world.bk.run(&["run", "--json"]).ok();
    assert!(!format!("{outcome}").contains("is declared and not backed up"), "{outcome}");
    let id = outcome.json()["id"].as_str().unwrap().to_owned();
    let outcome = world.bk.run(&["restore", &id, "--part", "index", "--confirm", world.bk.instance()]).ok();
    assert!(format!("{outcome}").contains("step 1 of 1: run reindex.sh"), "{outcome}");
}

#[test]
fn requests_are_signed_for_amazon() {
    let world = World::new(Flavor::OpenSearch2);
    let (search, bk) = (&world.search, &world.bk);
    search.set_s3(true);
    let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    search.auth(Auth::Amazon {
        key: "AKIDEXAMPLE".to_owned(),
        secret: secret.to_owned(),
        region: "eu-west-1".to_owned(),
    });
    let part = format!(
        "[[part]]\nname = \"search\"\nplugin = \"elasticsearch.wasm\"\n[part.config]\nurl = \"{}\"\nregion = \"eu-west-1\"\n\
         indices = [\"bitbucket-*\"]\n[part.config.repository]\nname = \"bkhost\"\ntype = \"s3\"\nbucket = \"backups\"\n\
         base-path = \"search/one\"\nregion = \"eu-west-1\"\nrole-arn = \"arn:aws:iam::123456789012:role/search-backup\"\n",
        search.url()
    );
    bk.config(&[&application_none(), &part]);
    let run = |args: &[&str], secret: &str| {
        let mut command = bk.command(args);
        command.env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", secret);
        Running::start(command, false).end()
    };
    run(&["check"], "another").fails(6, &["403", "does not match"]);
    run(&["check"], secret).ok();
    let id = run(&["run", "--json"], secret).ok().json()["id"].as_str().unwrap().to_owned();
    let (kind, settings) = &search.repositories()["bkhost"];
    assert_eq!((kind.as_str(), settings["role_arn"].as_str()), ("s3", "arn:aws:iam::123456789012:role/search-backup"));
    assert_eq!((settings["bucket"].as_str(), settings["base_path"].as_str()), ("backups", "search/one"));
    let truth = world.both("");
    run(&["snapshots"], secret).ok();
    run(&["restore", &id, "--to", "new-*", "--confirm", bk.instance()], secret).ok();
    assert_eq!(world.both("new-"), truth);
    run(&["prune", "--confirm", bk.instance(), "--keep-last", "1"], secret).ok();

    bk.config(&[&application_none(), &part.replace("role-arn", "# role-arn")]);
    run(&["check"], secret).fails(3, &["names no role"]);
    let both = format!("{part}[part.secrets]\napi-key = {{ file = {:?} }}\n", bk.path("password"));
    bk.config(&[&application_none(), &both]);
    run(&["check"], secret).fails(3, &["signed for AWS"]);
}

#[test]
fn an_api_key_says_who_asks() {
    let world = World::new(Flavor::Elastic8);
    world.search.auth(Auth::Key("bXktaWQ6bXkta2V5LXRoYXQtaXMtc2VjcmV0".to_owned()));
    let key = world.bk.path("key");
    std::fs::write(&key, "bXktaWQ6bXkta2V5LXRoYXQtaXMtc2VjcmV0\n").unwrap();
    let secrets = format!("[part.secrets]\napi-key = {{ file = {key:?} }}\n");
    world.bk.config(&[&application_none(), &world.part("search", ""), &secrets]);
    world.bk.run(&["check"]).ok();
    let outcome = world.bk.run(&["run", "--json", "-v"]);
    assert!(!format!("{outcome}").contains("bXktaWQ6"), "{outcome}");
    let password = format!("{secrets}password = {{ file = {key:?} }}\n");
    world.bk.config(&[&application_none(), &world.part("search", "username = \"x\""), &password]);
    world.bk.run(&["check"]).fails(3, &["one of the secrets password and api-key"]);
    let alone = format!("[part.secrets]\npassword = {{ file = {key:?} }}\n");
    world.bk.config(&[&application_none(), &world.part("search", ""), &alone]);
    world.bk.run(&["check"]).fails(3, &["needs a user name in username"]);
}
