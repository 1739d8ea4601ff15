//! What the stub keeps, and how it goes on with time.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::files;
use super::rules::{Request, Rule};

/// Which product and version is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavor {
    /// Elasticsearch 7.10, which lists snapshots by repositories.
    Elastic710,
    /// Elasticsearch 7.17.
    Elastic7,
    /// Elasticsearch 8.
    Elastic8,
    /// OpenSearch 1, which calls itself by its own version.
    OpenSearch1,
    /// OpenSearch 2.
    OpenSearch2,
}

impl Flavor {
    pub(super) fn is_opensearch(self) -> bool {
        matches!(self, Self::OpenSearch1 | Self::OpenSearch2)
    }

    fn version(self) -> &'static str {
        match self {
            Self::Elastic710 => "7.10.2",
            Self::Elastic7 => "7.17.9",
            Self::Elastic8 => "8.11.3",
            Self::OpenSearch1 => "1.3.14",
            Self::OpenSearch2 => "2.11.1",
        }
    }
}

/// Who is let in.
#[derive(Debug, Clone)]
pub enum Auth {
    /// Anybody.
    Anybody,
    /// A user with a password.
    Basic(String, String),
    /// An API key.
    Key(String),
    /// Whoever signs as Amazon wants it.
    Amazon {
        /// The id of the key.
        key: String,
        /// The key.
        secret: String,
        /// The region to sign for.
        region: String,
    },
}

/// What becomes of a snapshot.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Some shards fail while they are copied.
    Partial(String),
    /// All fail.
    Failed(String),
    /// A shard fails when it begins.
    FailsAtStart(String),
    /// Its shards never begin.
    Waits,
    /// It never ends.
    Hangs,
    /// In the end it says that it is this.
    State(String),
}

#[derive(Debug)]
pub(super) struct Index {
    pub(super) open: bool,
    pub(super) shards: u32,
    pub(super) documents: BTreeMap<String, Value>,
    pub(super) aliases: Vec<String>,
    /// Why a primary shard is missing.
    pub(super) broken: Option<String>,
    pub(super) restored: Option<Restored>,
}

/// Where an index came from.
#[derive(Debug, Clone)]
pub(super) struct Restored {
    pub(super) repository: String,
    pub(super) snapshot: String,
    pub(super) begun: Instant,
    pub(super) ends: Instant,
    pub(super) bytes: u64,
}

impl Index {
    pub(super) fn works(&self) -> bool {
        self.broken.is_none() && !self.is_restoring()
    }

    pub(super) fn is_restoring(&self) -> bool {
        self.restored.as_ref().is_some_and(|restored| Instant::now() < restored.ends)
    }
}

#[derive(Debug)]
pub(super) struct Repository {
    pub(super) kind: String,
    pub(super) settings: BTreeMap<String, String>,
    /// Where the stub keeps its files.
    pub(super) directory: PathBuf,
}

/// A snapshot that is being taken.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) repository: String,
    pub(super) name: String,
    uuid: String,
    metadata: Value,
    global_state: bool,
    started: u64,
    outcome: Option<Outcome>,
    pub(super) shards: Vec<Shard>,
}

/// A shard that is being copied.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) index: String,
    pub(super) number: u32,
    begins: Instant,
    rate: u64,
    pub(super) ends: Option<Instant>,
    /// What it holds: known when it begins.
    pub(super) copy: Option<BTreeMap<String, Value>>,
    pub(super) bytes: u64,
    pub(super) failure: Option<String>,
}

impl Shard {
    pub(super) fn stage(&self) -> &'static str {
        match (&self.failure, self.ends) {
            (Some(_), _) => "FAILURE",
            (None, None) => "INIT",
            (None, Some(ends)) if Instant::now() < ends => "STARTED",
            (None, Some(_)) => "DONE",
        }
    }
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) flavor: Flavor,
    pub(super) version: String,
    pub(super) auth: Auth,
    pub(super) denied: Vec<String>,
    pub(super) path_repo: Option<PathBuf>,
    pub(super) s3: bool,
    pub(super) wait: Duration,
    pub(super) rate: u64,
    pub(super) outcomes: VecDeque<Outcome>,
    pub(super) indices: BTreeMap<String, Index>,
    pub(super) repositories: BTreeMap<String, Repository>,
    pub(super) running: Vec<Running>,
    pub(super) rules: Vec<Rule>,
    pub(super) calls: Vec<Request>,
    count: u32,
    files: PathBuf,
}

/// Which shard a document is in.
pub(super) fn shard_of(id: &str, shards: u32) -> u32 {
    id.bytes().map(u32::from).sum::<u32>() % shards
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

impl World {
    pub(super) fn new(flavor: Flavor, path_repo: PathBuf) -> Self {
        Self {
            flavor,
            version: flavor.version().to_owned(),
            auth: Auth::Anybody,
            denied: Vec::new(),
            files: path_repo.with_file_name("buckets"),
            path_repo: Some(path_repo),
            s3: false,
            wait: Duration::ZERO,
            rate: u64::MAX,
            outcomes: VecDeque::new(),
            indices: BTreeMap::new(),
            repositories: BTreeMap::new(),
            running: Vec::new(),
            rules: Vec::new(),
            calls: Vec::new(),
            count: 0,
        }
    }

    pub(super) fn create(&mut self, name: &str, shards: u32) {
        let index =
            Index { open: true, shards, documents: BTreeMap::new(), aliases: Vec::new(), broken: None, restored: None };
        assert!(self.indices.insert(name.to_owned(), index).is_none(), "{name} exists");
    }

    pub(super) fn register(&mut self, name: &str, kind: &str, settings: BTreeMap<String, String>) {
        let of = |key: &str| settings.get(key).cloned().unwrap_or_default();
        let directory = match kind {
            "fs" => Path::new(self.path_repo.as_ref().unwrap()).join(of("location")),
            _ => self.files.join(of("bucket")).join(of("base_path")),
        };
        std::fs::create_dir_all(&directory).unwrap();
        self.repositories.insert(name.to_owned(), Repository { kind: kind.to_owned(), settings, directory });
    }

    fn uuid(&mut self) -> String {
        self.count += 1;
        format!("uuid{:x}-{}-{}", now(), std::process::id(), self.count)
    }

    /// Begin a snapshot of these indices.
    pub(super) fn begin(
        &mut self,
        repository: &str,
        name: &str,
        indices: &[String],
        metadata: &Value,
        global_state: bool,
    ) {
        let outcome = self.outcomes.pop_front();
        let begins = Instant::now() + self.wait;
        let mut shards = Vec::new();
        for index in indices {
            for number in 0..self.indices[index].shards {
                let (ends, copy, rate) = (None, None, self.rate);
                shards.push(Shard { index: index.clone(), number, begins, rate, ends, copy, bytes: 0, failure: None });
            }
        }
        let uuid = self.uuid();
        self.running.push(Running {
            repository: repository.to_owned(),
            name: name.to_owned(),
            uuid,
            metadata: metadata.clone(),
            global_state,
            started: now(),
            outcome,
            shards,
        });
        self.tick();
    }

    pub(super) fn by_hand(&mut self, repository: &str, name: &str, metadata: &Value) {
        let indices: Vec<_> = self.indices.keys().cloned().collect();
        let timing = (std::mem::take(&mut self.wait), std::mem::replace(&mut self.rate, u64::MAX));
        self.begin(repository, name, &indices, metadata, false);
        (self.wait, self.rate) = timing;
        self.tick();
    }

    /// What is due by now. Before any call and any change of a document, so that a shard's copy is what it held when it began.
    pub(super) fn tick(&mut self) {
        let now = Instant::now();
        for running in &mut self.running {
            if matches!(running.outcome, Some(Outcome::Waits)) {
                continue;
            }
            for shard in running.shards.iter_mut().filter(|shard| shard.ends.is_none() && shard.begins <= now) {
                let copy: BTreeMap<String, Value> = match self.indices.get(&shard.index) {
                    Some(index) => {
                        let of_shard =
                            index.documents.iter().filter(|(id, _)| shard_of(id, index.shards) == shard.number);
                        of_shard.map(|(id, document)| (id.clone(), document.clone())).collect()
                    }
                    None => BTreeMap::new(),
                };
                shard.bytes =
                    copy.iter().map(|(id, document)| id.len() + document.to_string().len()).sum::<usize>() as u64;
                let takes = Duration::from_secs_f64(shard.bytes as f64 / self.rate.min(shard.rate) as f64);
                let hangs =
                    if matches!(running.outcome, Some(Outcome::Hangs)) { Duration::from_secs(9999) } else { takes };
                shard.ends = Some(shard.begins.max(now) + hangs);
                shard.copy = Some(copy);
                if let Some(Outcome::FailsAtStart(why)) = &running.outcome {
                    shard.failure = Some(why.clone());
                }
            }
        }
        let over = |running: &Running| running.shards.iter().all(|shard| shard.ends.is_some_and(|ends| ends <= now));
        let (over, running) = std::mem::take(&mut self.running).into_iter().partition(over);
        self.running = running;
        for done in over {
            self.complete(done);
        }
    }

    fn complete(&mut self, mut running: Running) {
        let total = running.shards.len();
        let fail = |shards: &mut [Shard], count: usize, why: &str| {
            shards.iter_mut().take(count).for_each(|shard| shard.failure = Some(why.to_owned()));
        };
        match running.outcome.take() {
            Some(Outcome::Partial(why)) => fail(&mut running.shards, total.div_ceil(2).max(1), &why),
            Some(Outcome::Failed(why)) => fail(&mut running.shards, total, &why),
            other => running.outcome = other,
        }
        let directory = &self.repositories[&running.repository].directory;
        for shard in running.shards.iter().filter(|shard| shard.failure.is_none()) {
            files::write_shard(directory, &running.uuid, shard);
        }
        let failed = running.shards.iter().filter(|shard| shard.failure.is_some()).count();
        let state = match &running.outcome {
            Some(Outcome::State(state)) => state.as_str(),
            _ if failed == 0 => "SUCCESS",
            _ if failed == total => "FAILED",
            _ => "PARTIAL",
        };
        let record = running.record(state, &self.version, &self.indices);
        files::write_record(directory, &record);
    }

    /// The records of a repository's snapshots, those included that are being taken.
    pub(super) fn shots(&self, repository: &str) -> Vec<Value> {
        let Some(known) = self.repositories.get(repository) else { return Vec::new() };
        let running = self.running.iter().filter(|running| running.repository == repository);
        let mut all: Vec<_> = running.map(|r| r.record("IN_PROGRESS", &self.version, &self.indices)).collect();
        all.extend(files::records(&known.directory));
        all
    }

    /// Delete a snapshot; one that is being taken is aborted. Whether there was one.
    pub(super) fn delete(&mut self, repository: &str, name: &str) -> bool {
        let before = self.running.len();
        self.running.retain(|running| running.repository != repository || running.name != name);
        files::remove(&self.repositories[repository].directory, name) || self.running.len() < before
    }
}

impl Running {
    /// As it is told of.
    fn record(&self, state: &str, version: &str, there: &BTreeMap<String, Index>) -> Value {
        let mut indices: Vec<&str> = self.shards.iter().map(|shard| shard.index.as_str()).collect();
        indices.dedup();
        let failures: Vec<_> = self
            .shards
            .iter()
            .filter_map(|shard| Some((shard, shard.failure.as_ref()?)))
            .map(|(shard, why)| {
                json!({ "index": shard.index, "index_uuid": shard.index, "shard_id": shard.number, "reason": why,
                        "node_id": "node-1", "status": "INTERNAL_SERVER_ERROR" })
            })
            .collect();
        let ended = if state == "IN_PROGRESS" { 0 } else { now() };
        let successful = if state == "IN_PROGRESS" { 0 } else { self.shards.len() - failures.len() };
        let meta: BTreeMap<_, _> = indices
            .iter()
            .filter_map(|name| Some((*name, there.get(*name)?)))
            .map(|(name, index)| (name, json!({ "shards": index.shards, "aliases": index.aliases })))
            .collect();
        json!({
            "snapshot": self.name, "uuid": self.uuid, "version": version, "version_id": 7_170_999, "indices": indices,
            "data_streams": [], "include_global_state": self.global_state, "metadata": self.metadata, "state": state,
            "start_time": "2026-11-21T12:00:00.000Z", "start_time_in_millis": self.started, "end_time": "1970-01-01T00:00:00.000Z",
            "end_time_in_millis": ended, "duration_in_millis": 0, "failures": failures,
            "shards": { "total": self.shards.len(), "failed": failures.len(), "successful": successful },
            "feature_states": [],
            "_meta": meta,
        })
    }
}
