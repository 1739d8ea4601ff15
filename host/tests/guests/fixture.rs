//! A part with the hostile guest in it: directories, rights, and ears for what is reported.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use bkhost::capability::{Gate, Grant, HttpGrant, Mode, Rights, RightsRequest, Secret, Witness};
use bkhost::plugin::{
    Archived, History, HostOptions, Instance, Limits, Origin, PartContext, Plugin, PluginHost, Severity, Snapshot,
};
use bkhost::report::{Event, Level, Reporter, Sink};
use bkhost::{Error, Result};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// What a limit may be overrun by.
pub(crate) const SLACK: Duration = Duration::from_secs(1);
pub(crate) const LABEL: &str = "bkhost-test-20261121-014200-4f2a9c";
pub(crate) const PASSWORD: &str = "correct-horse-battery";

/// The component of a test guest.
pub(crate) fn guest(name: &str) -> PathBuf {
    let dir = std::env::var_os("BKHOST_TEST_GUESTS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-guests"), PathBuf::from);
    let path = dir.join(format!("{name}.wasm"));
    assert!(
        path.is_file(),
        "{} is missing: run `sdk/build-guests.sh --tests` (`make test` does), and set BKHOST_TEST_GUESTS if the build \
         is not in target/",
        path.display()
    );
    path
}

/// One host for all tests: the guest is compiled once.
pub(crate) static HOST: LazyLock<PluginHost> = LazyLock::new(|| PluginHost::new(HostOptions::default()).unwrap());
static HOSTILE: LazyLock<Arc<Plugin>> = LazyLock::new(|| {
    let plugin = HOST.load(&guest("hostile")).unwrap();
    plugin.compile().unwrap();
    plugin
});

#[derive(Clone, Default)]
pub(crate) struct Ears(Arc<Mutex<Vec<Event>>>);

impl Sink for Ears {
    fn event(&mut self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Ears {
    pub(crate) fn messages(&self) -> Vec<(Level, String)> {
        let events = self.0.lock().unwrap();
        let messages = events.iter().filter_map(|event| match event {
            Event::Message { level, text, .. } => Some((*level, text.clone())),
            _ => None,
        });
        messages.collect()
    }

    pub(crate) fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.0.lock().unwrap().iter().filter(|event| wanted(event)).count()
    }
}

/// Remembers process groups.
#[derive(Default)]
pub(crate) struct Groups(Mutex<Vec<u32>>);

impl Witness for Groups {
    fn child_started(&self, pgid: u32, _: &[String]) {
        self.0.lock().unwrap().push(pgid);
    }

    fn child_ended(&self, _: u32) {}
}

impl Groups {
    pub(crate) fn started(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Those that are still there, zombies included.
    pub(crate) fn alive(&self) -> Vec<u32> {
        let groups = self.0.lock().unwrap();
        groups.iter().copied().filter(|pid| Path::new(&format!("/proc/{pid}")).exists()).collect()
    }
}

/// A part to be.
pub(crate) struct Part {
    root: tempfile::TempDir,
    config: Value,
    pub(crate) grant: Grant,
    pub(crate) limits: Limits,
    pub(crate) cancel: CancellationToken,
    pub(crate) archived: Option<Arc<dyn Archived>>,
    pub(crate) history: Option<Arc<dyn History>>,
    pub(crate) ears: Ears,
    pub(crate) groups: Arc<Groups>,
}

impl Part {
    pub(crate) fn new(behaviour: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        for dir in ["tree", "outside", "staging", "state", "target", "mirrors"] {
            fs::create_dir(root.path().join(dir)).unwrap();
        }
        fs::write(root.path().join("tree/file"), "granted").unwrap();
        fs::write(root.path().join("outside/secret"), "not granted").unwrap();
        let tree = root.path().join("tree");
        let program = |name: &str| {
            let path = fs::canonicalize(Path::new("/usr/bin").join(name)).unwrap();
            (if name == "env" { "environment".to_owned() } else { name.to_owned() }, path)
        };
        let grant = Grant {
            plugin: "hostile.wasm".into(),
            sha256: HOSTILE.digest().into(),
            exec: ["sleep", "echo", "env", "cat"].map(program).into(),
            read: vec![tree.clone()],
            write: vec![],
            freeze: vec![],
            http: vec![HttpGrant::Origin("https://granted.example".into())],
            sign: Vec::new(),
        };
        Self {
            config: json!({ "behaviour": behaviour, "tree": tree }),
            root,
            grant,
            limits: Limits::default(),
            cancel: CancellationToken::new(),
            archived: None,
            history: None,
            ears: Ears::default(),
            groups: Arc::default(),
        }
    }

    pub(crate) fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.config[key] = value.into();
        self
    }

    pub(crate) fn at(self, phase: &str) -> Self {
        self.set("phase", phase)
    }

    /// A host path of this part: `tree`, `outside`, `staging`, `state`, `target`.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    pub(crate) async fn start(&self) -> Result<Instance> {
        let config = HOSTILE.schema().complete(&self.config)?;
        let rights = Rights::resolve(RightsRequest {
            manifest: HOSTILE.manifest(),
            digest: HOSTILE.digest(),
            origin: Origin::ThirdParty,
            plugin: "hostile.wasm",
            grant: Some(&self.grant),
            part: "home",
            config: &config,
            secrets: BTreeMap::from([("password".to_owned(), Secret::new(PASSWORD))]),
            programs: BTreeMap::new(),
            via: Vec::new(),
            run_as: None,
            staging: self.path("staging"),
            state: self.path("state"),
            target: Some(self.path("target")),
            restore_to: None,
        })?;
        let reporter = Reporter::new(vec![Box::new(self.ears.clone())]);
        let gate = Gate::new(rights, reporter.clone(), Mode::Live, self.cancel.clone(), self.groups.clone());
        HOSTILE
            .instantiate(PartContext {
                excludes: Vec::new(),
                instance: "test".into(),
                part: "home".into(),
                config,
                gate: Arc::new(gate),
                reporter,
                limits: self.limits.clone(),
                cancel: self.cancel.clone(),
                archived: self.archived.clone(),
                others: None,
                history: self.history.clone(),
                mirrors: self.path("mirrors"),
            })
            .await
    }

    /// Start it and capture.
    pub(crate) async fn capture(&self) -> Result<Snapshot> {
        self.start().await.unwrap().capture(LABEL).await
    }

    /// What the guest saw while it captured.
    pub(crate) async fn observed(&self) -> String {
        let snapshot = self.capture().await.unwrap_or_else(|e| panic!("{e:?}"));
        snapshot.state["observed"].as_str().unwrap().to_owned()
    }

    /// How its capture failed, no later than `limit` and a second.
    pub(crate) async fn fails_within(&self, limit: Duration) -> Error {
        let mut instance = self.start().await.unwrap();
        let begin = Instant::now();
        let result = instance.capture(LABEL).await;
        let took = begin.elapsed();
        let error = result.expect_err("it must fail");
        assert!(took < limit + SLACK, "{error}: took {took:?}, the limit is {limit:?}");
        assert!(error.message().starts_with("hostile capture: "), "{error}");
        error
    }

    /// How its capture failed; the instance must refuse to go on.
    pub(crate) async fn ends_within(&self, limit: Duration) -> Error {
        let mut instance = self.start().await.unwrap();
        let begin = Instant::now();
        let result = instance.capture(LABEL).await;
        let took = begin.elapsed();
        let error = result.expect_err("it must end");
        assert!(took < limit + SLACK, "{error}: took {took:?}, the limit is {limit:?}");
        if !self.cancel.is_cancelled() {
            let again = instance.discard(LABEL).await.expect_err("the instance is gone");
            assert!(again.message().ends_with("hostile discard: the plugin was ended in capture"), "{again}");
        }
        error
    }
}

/// The snapshot of a guest that does nothing.
pub(crate) async fn snapshot(instance: &mut Instance) -> Snapshot {
    instance.capture(LABEL).await.unwrap_or_else(|e| panic!("{e:?}"))
}

pub(crate) fn failures(findings: &[bkhost::plugin::Finding]) -> Vec<String> {
    findings.iter().filter(|f| f.severity == Severity::Failure).map(|f| f.message.clone()).collect()
}
