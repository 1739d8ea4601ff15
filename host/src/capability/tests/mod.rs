//! What the gate allows and what it refuses, with real children, real directories and real (loopback) servers.

mod authenticate;
mod files;
mod manifest;
mod requests;
mod rights;
mod roles;
mod running;
mod secrets;
mod signing;
mod slots;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    Argument, CallError, Gate, Grant, Manifest, Mode, NoWitness, Origin, Place, Rights, RightsRequest, Secret, Witness,
};
use crate::report::{Event, Reporter, Sink};

const DIGEST: &str = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

/// A part with a plugin whose programs are scripts in a directory of its own.
struct Fixture {
    dir: tempfile::TempDir,
    manifest: Manifest,
    config: Value,
    secrets: BTreeMap<String, Secret>,
    programs: BTreeMap<String, PathBuf>,
    grant: Option<Grant>,
    origin: Origin,
    mode: Mode,
    cancel: CancellationToken,
    witness: Arc<dyn Witness>,
    via: Vec<String>,
    restore_to: Option<String>,
    target: Option<PathBuf>,
    events: Arc<Mutex<Vec<Event>>>,
}

struct Recorder(Arc<Mutex<Vec<Event>>>);

impl Sink for Recorder {
    fn event(&mut self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

fn manifest(rest: &str) -> String {
    format!(
        "[plugin]\nname = \"acme\"\nversion = \"1.0.0\"\napi = \"0.1\"\nkind = \"other\"\nconsistency = \"atomic\"\n{rest}"
    )
}

/// A manifest with one command `go` of program `acme`.
fn one(argv: &str, rest: &str) -> String {
    manifest(&format!(
        "[[exec]]\nid = \"go\"\nprogram = \"acme\"\nargv = {argv}\nreason = \"test\"\neffect = \"read\"\n{rest}"
    ))
}

impl Fixture {
    fn new(manifest: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["staging", "state"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self {
            dir,
            manifest: Manifest::parse(manifest).unwrap(),
            config: json!({}),
            secrets: BTreeMap::new(),
            programs: BTreeMap::new(),
            grant: None,
            origin: Origin::Shipped,
            mode: Mode::Live,
            cancel: CancellationToken::new(),
            witness: Arc::new(NoWitness),
            via: Vec::new(),
            restore_to: None,
            target: None,
            events: Arc::default(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(name)
    }

    /// Makes `acme` this shell script.
    fn script(mut self, text: &str) -> Self {
        let path = script(&self.path("acme"), text);
        self.programs.insert("acme".into(), path);
        self
    }

    fn config(mut self, config: Value) -> Self {
        self.config = config;
        self
    }

    fn secret(mut self, name: &str, value: &str) -> Self {
        self.secrets.insert(name.into(), Secret::new(value));
        self
    }

    fn granted(mut self, grant: &str) -> Self {
        self.origin = Origin::ThirdParty;
        self.programs.clear();
        self.grant = Some(toml::from_str(&format!("plugin = \"acme.wasm\"\nsha256 = \"{DIGEST}\"\n{grant}")).unwrap());
        self
    }

    fn rights(&self) -> crate::Result<Rights> {
        Rights::resolve(RightsRequest {
            manifest: &self.manifest,
            digest: DIGEST,
            origin: self.origin,
            plugin: "acme.wasm",
            grant: self.grant.as_ref(),
            part: "home",
            config: &self.config,
            secrets: self.secrets.clone(),
            programs: self.programs.clone(),
            via: self.via.clone(),
            run_as: None,
            staging: self.path("staging"),
            state: self.path("state"),
            target: self.target.clone(),
            restore_to: self.restore_to.clone(),
        })
    }

    fn gate(&self) -> Gate {
        let reporter = Reporter::new(vec![Box::new(Recorder(Arc::clone(&self.events)))]);
        Gate::new(self.rights().unwrap(), reporter, self.mode, self.cancel.clone(), Arc::clone(&self.witness))
    }

    /// The commands that were reported: their arguments and whether they were planned.
    fn commands(&self) -> Vec<(Vec<String>, bool)> {
        let events = self.events.lock().unwrap();
        let command = |event: &Event| match event {
            Event::Command { argv, planned, .. } => Some((argv.clone(), *planned)),
            _ => None,
        };
        events.iter().filter_map(command).collect()
    }
}

fn script(path: &Path, text: &str) -> PathBuf {
    std::fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.to_owned()
}

fn given(slots: &[(&str, &[&str])]) -> Vec<Argument> {
    let values = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect();
    slots.iter().map(|(slot, given)| Argument { slot: (*slot).to_owned(), values: values(given) }).collect()
}

fn hint(e: &CallError) -> &str {
    e.hint.as_deref().unwrap_or_default()
}
