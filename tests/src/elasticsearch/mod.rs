//! A stub of Elasticsearch and OpenSearch: the API of snapshots, and as much around it as a client of that needs.
//!
//! It is no search server: it keeps documents and their snapshots, and answers in the forms of the public documentation, of
//! each version that it plays. A `fs` repository is a directory of files here too, so that what is missing or damaged there
//! is found as it would be. A shard's copy is made when the shard begins, not before and not after.

mod answers;
mod files;
mod rules;
mod signature;
mod world;

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::aws::http::Message;
pub use rules::{Fault, Request, Rule};
use world::World;
pub use world::{Auth, Flavor, Outcome};

/// A stub of a cluster of one node. It ends with the test's process.
#[derive(Debug, Clone)]
pub struct Search {
    url: String,
    world: Arc<Mutex<World>>,
    dir: Arc<tempfile::TempDir>,
}

impl Search {
    /// A cluster of this version, whose `path.repo` is a directory of its own.
    #[must_use]
    pub fn new(flavor: Flavor) -> Self {
        let dir = Arc::new(tempfile::Builder::new().prefix("bkhost-search-").tempdir().unwrap());
        std::fs::create_dir(dir.path().join("repo")).unwrap();
        Self::with(flavor, dir)
    }

    /// Another cluster, empty, which sees the same directories.
    #[must_use]
    pub fn anew(&self, flavor: Flavor) -> Self {
        Self::with(flavor, Arc::clone(&self.dir))
    }

    fn with(flavor: Flavor, dir: Arc<tempfile::TempDir>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let world = Arc::new(Mutex::new(World::new(flavor, dir.path().join("repo"))));
        let ours = Arc::clone(&world);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let world = Arc::clone(&ours);
                std::thread::spawn(move || serve(&stream, &world));
            }
        });
        Self { url, world, dir }
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The directory that `path.repo` names.
    #[must_use]
    pub fn path_repo(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    fn world(&self) -> MutexGuard<'_, World> {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.tick();
        world
    }

    /// Let in only who says so.
    pub fn auth(&self, auth: Auth) {
        self.world().auth = auth;
    }

    /// An action that nobody has the privilege for: `cluster:admin/repository/put`.
    pub fn deny(&self, action: &str) {
        self.world().denied.push(action.to_owned());
    }

    /// The setting `path.repo`; none: it is not set.
    pub fn set_path_repo(&self, path: Option<&Path>) {
        self.world().path_repo = path.map(Path::to_owned);
    }

    /// Whether the plugin `repository-s3` is there.
    pub fn set_s3(&self, there: bool) {
        self.world().s3 = there;
    }

    /// The version that it says it is.
    pub fn set_version(&self, version: &str) {
        self.world().version = version.to_owned();
    }

    /// How long a shard waits before it begins, and how many bytes a second it copies.
    pub fn timing(&self, wait: Duration, rate: u64) {
        let mut world = self.world();
        world.wait = wait;
        world.rate = rate;
    }

    /// What becomes of the next snapshot.
    pub fn next(&self, outcome: Outcome) {
        self.world().outcomes.push_back(outcome);
    }

    /// An empty index.
    pub fn create(&self, name: &str, shards: u32) {
        self.world().create(name, shards);
    }

    /// An alias of an index.
    pub fn alias(&self, index: &str, alias: &str) {
        self.world().indices.get_mut(index).unwrap().aliases.push(alias.to_owned());
    }

    /// The aliases of an index.
    #[must_use]
    pub fn aliases(&self, index: &str) -> Vec<String> {
        self.world().indices.get(index).unwrap().aliases.clone()
    }

    /// A primary shard of it is missing.
    pub fn break_index(&self, name: &str) {
        self.world().indices.get_mut(name).unwrap().broken = Some("node left".to_owned());
    }

    /// Index a document.
    pub fn put(&self, index: &str, id: &str, document: Value) {
        let mut world = self.world();
        let index = world.indices.get_mut(index).unwrap_or_else(|| panic!("no index {index}"));
        assert!(index.open, "the index is closed");
        index.documents.insert(id.to_owned(), document);
    }

    /// Delete an index.
    pub fn delete(&self, name: &str) {
        assert!(self.world().indices.remove(name).is_some(), "{name}");
    }

    /// The indices.
    #[must_use]
    pub fn indices(&self) -> Vec<String> {
        self.world().indices.keys().cloned().collect()
    }

    /// Whether an index is open.
    #[must_use]
    pub fn is_open(&self, name: &str) -> bool {
        self.world().indices.get(name).unwrap().open
    }

    /// What an index holds, which has to be there and to work.
    #[must_use]
    #[track_caller]
    pub fn documents(&self, name: &str) -> BTreeMap<String, Value> {
        let world = self.world();
        let index = world.indices.get(name).unwrap_or_else(|| panic!("no index {name}"));
        assert!(index.works(), "{name} does not work");
        index.documents.clone()
    }

    /// Register a repository of type `fs` at a directory below `path.repo`.
    pub fn register(&self, name: &str, directory: &str, settings: &[(&str, &str)]) {
        let location = self.path_repo().join(directory);
        let mut all = BTreeMap::from([("location".to_owned(), location.display().to_string())]);
        all.extend(settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        self.world().register(name, "fs", all);
    }

    /// The repositories: name, type, settings.
    #[must_use]
    pub fn repositories(&self) -> BTreeMap<String, (String, BTreeMap<String, String>)> {
        self.world().repositories.iter().map(|(name, r)| (name.clone(), (r.kind.clone(), r.settings.clone()))).collect()
    }

    /// The snapshots in a repository, those included that are being taken: `name STATE`.
    #[must_use]
    pub fn snapshots(&self, repository: &str) -> Vec<String> {
        let world = self.world();
        let text = |shot: &Value, key: &str| shot[key].as_str().unwrap().to_owned();
        let all = world.shots(repository).into_iter();
        let mut names: Vec<_> =
            all.map(|shot| format!("{} {}", text(&shot, "snapshot"), text(&shot, "state"))).collect();
        names.sort();
        names
    }

    /// Somebody's snapshot of all indices, of this name and with this metadata, as by hand.
    pub fn snapshot(&self, repository: &str, name: &str, metadata: &Value) {
        self.world().by_hand(repository, name, metadata);
    }

    /// Delete a snapshot by hand.
    pub fn delete_snapshot(&self, repository: &str, name: &str) {
        self.world().delete(repository, name);
    }

    /// The directory of a repository.
    #[must_use]
    pub fn directory(&self, repository: &str) -> PathBuf {
        self.world().repositories[repository].directory.clone()
    }

    /// Something goes wrong with some calls.
    pub fn fault(&self, rule: Rule) {
        self.world().rules.push(rule);
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        let mut world = self.world();
        world.rules.clear();
        world.outcomes.clear();
        world.denied.clear();
    }

    /// The calls so far: `PUT /_snapshot/x/y`, without what is asked for.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        self.world().calls.iter().map(|call| format!("{} {}", call.method, call.path)).collect()
    }

    /// The calls, whole.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.world().calls.clone()
    }
}

/// One exchange.
fn serve(stream: &TcpStream, world: &Mutex<World>) {
    let Ok(Some(message)) = Message::read(stream) else { return };
    let Some(request) = Request::parse(&message) else { return };
    let fault = {
        let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
        world.calls.push(request.clone());
        world.rules.iter_mut().find_map(|rule| rule.applies(&request))
    };
    let answer = || {
        let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
        world.tick();
        match signature::lets_in(&world.auth, world.flavor, &request) {
            Some(refusal) => refusal,
            None => answers::answer(&mut world, &request),
        }
    };
    let (answer, announce) = match fault {
        None => (answer(), 0),
        Some(Fault::Slow(pause)) => {
            std::thread::sleep(pause);
            (answer(), 0)
        }
        Some(Fault::Status(status, kind, reason)) => (answers::error(status, &kind, &reason), 0),
        Some(Fault::Html(status)) => {
            (Message::response(status, "text/html", "<html><body>Please log in</body></html>"), 0)
        }
        Some(Fault::Text(status, body)) => (Message::response(status, "application/json", &body), 0),
        Some(Fault::LoseRequest) => return,
        Some(Fault::LoseReply) => {
            answer();
            return;
        }
        Some(Fault::CutReply) => {
            let mut answer = answer();
            let length = answer.body.len();
            answer.body.truncate(length / 2);
            (answer, length - length / 2)
        }
    };
    // Whoever has gone away does not want it.
    let _ = answer.write(stream, announce);
}
