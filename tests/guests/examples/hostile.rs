//! Does, in the phase that its configuration names, the one thing that its configuration names. What it sees is in the
//! `observed` of the snapshot's state, or in the failure it reports.

use std::fs;
use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::time::Duration;

use bkhost_sdk::bindings::bkhost::snapshot::config as raw;
use bkhost_sdk::mirror::{self, Pass};
use bkhost_sdk::{
    Archived, Consistency, Drill, Error, ErrorCode, Finding, Result, Snapshot, Source, Strategy, Verify, archive,
    config, digest, exec, history, now, progress,
};
use serde::Deserialize;
use wasip2::filesystem::preopens;
use wasip2::http::{outgoing_handler, types};

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Phase {
    New,
    Check,
    Prepare,
    Capture,
    Finish,
    Open,
    Close,
    Restore,
    List,
    Delete,
    Discard,
    Verify,
    Rehearse,
    Clear,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Behaviour {
    None,
    Abort,
    BadSourceName,
    BadState,
    Digest,
    DigestGunzip,
    EchoConfig,
    EndlessHostCalls,
    EndlessLoop,
    Environment,
    EscapeCodes,
    ExecDash,
    ExecNewline,
    ExecNotConfigured,
    ExecSecret,
    ExecUndeclared,
    Exit,
    Extract,
    Feed,
    GiantState,
    Http,
    HugeState,
    LogFlood,
    MemoryBomb,
    MirrorOutside,
    OpenFiles,
    OpenOutside,
    Panic,
    ProgressFlood,
    ReadGranted,
    ReportError,
    ReportFailure,
    Sleep,
    SourceOutside,
    SourceOutput,
    SourceTree,
    SpawnAndHang,
    SpawnAndLeave,
    StackOverflow,
    StderrFlood,
    SymlinkEscape,
    UnofferedBase,
    WeakerConsistency,
    WriteReadOnly,
}

#[derive(Deserialize)]
struct Config {
    behaviour: Behaviour,
    phase: Phase,
    target: String,
}

struct Hostile {
    config: Config,
    observed: String,
    process: Option<exec::Process>,
}

impl Hostile {
    fn at(&mut self, phase: Phase) -> Result<()> {
        if phase == self.config.phase {
            self.observed = self.act()?;
        }
        Ok(())
    }

    fn is(&self, behaviour: Behaviour) -> bool {
        self.config.behaviour == behaviour
    }

    fn act(&mut self) -> Result<String> {
        let target = self.config.target.as_str();
        match self.config.behaviour {
            Behaviour::EndlessLoop => endless_loop(),
            Behaviour::EndlessHostCalls => loop {
                black_box(config::part());
            },
            Behaviour::Sleep => {
                std::thread::sleep(Duration::from_secs(3600));
                Ok(String::new())
            }
            Behaviour::MemoryBomb => memory_bomb(),
            Behaviour::StackOverflow => Ok(recurse(1).to_string()),
            Behaviour::Abort => std::process::abort(),
            Behaviour::Exit => std::process::exit(3),
            #[allow(clippy::panic)]
            Behaviour::Panic => panic!("the sky is falling"),
            Behaviour::LogFlood => {
                for n in 0..200_000 {
                    bkhost_sdk::info!("message {n}");
                }
                Ok("done".into())
            }
            Behaviour::ProgressFlood => {
                for n in 0..200_000 {
                    progress::report("flood", n, Some(n));
                }
                Ok("done".into())
            }
            Behaviour::StderrFlood => {
                let line = "x".repeat(1023) + "\n";
                for _ in 0..4096 {
                    std::io::stderr().write_all(line.as_bytes()).map_err(|e| Error::io("stderr", &e))?;
                }
                Ok("done".into())
            }
            Behaviour::EscapeCodes => {
                bkhost_sdk::info!("first\nsecond \x1b[2J\x07");
                Err(Error::other("red \x1b[31m\nalarm"))
            }
            Behaviour::ReportError => Err(Error::conflict("newer snapshots are in the way")
                .hint("roll back further")
                .detail("command", "acme rollback")),
            Behaviour::EchoConfig => Ok(format!("{} {} {}", config::instance(), config::part(), raw::get())),
            Behaviour::Environment => {
                let variables: Vec<_> = std::env::vars().collect();
                let arguments: Vec<_> = std::env::args().collect();
                let mut input = String::new();
                let _ = std::io::stdin().read_to_string(&mut input);
                Ok(format!("{variables:?} {arguments:?} {input:?}"))
            }
            Behaviour::ReadGranted => fs::read_to_string("/source/tree/file").map_err(|e| Error::io("file", &e)),
            Behaviour::OpenOutside => Ok(escapes(&[
                "/",
                "/etc/passwd",
                "/proc/self/environ",
                "../../../../etc/passwd",
                "/source/../etc/passwd",
                "/source/tree/../../../../../../etc/passwd",
                "/source/tree/./../../outside/secret",
                "/source/tree//etc/passwd",
                "/staging/../../../../etc/passwd",
                "/source",
                target,
            ])),
            Behaviour::SymlinkEscape => {
                link_in_staging("/etc", "etc");
                link_in_staging("../../..", "up");
                Ok(escapes(&[
                    "/source/tree/link",
                    "/source/tree/link/",
                    "/source/tree/directory-link/secret",
                    "/source/tree/relative-link",
                    "/staging/etc/passwd",
                    "/staging/up/etc/passwd",
                ]))
            }
            Behaviour::WriteReadOnly => {
                let attempts = [
                    fs::write("/source/tree/new", "x").is_ok(),
                    fs::write("/source/tree/file", "x").is_ok(),
                    fs::remove_file("/source/tree/file").is_ok(),
                    fs::rename("/source/tree/file", "/staging/file").is_ok(),
                    fs::hard_link("/source/tree/file", "/staging/file").is_ok(),
                    fs::create_dir("/source/tree/directory").is_ok(),
                    fs::OpenOptions::new().append(true).open("/source/tree/file").is_ok(),
                ];
                fs::write("/staging/mine", "x").map_err(|e| Error::io("/staging/mine", &e))?;
                Ok(format!("{attempts:?}"))
            }
            Behaviour::OpenFiles => {
                let mut open = Vec::new();
                loop {
                    match fs::File::open("/source/tree/file") {
                        Ok(file) => open.push(file),
                        Err(e) => return Ok(format!("{} files: {e}", open.len())),
                    }
                }
            }
            Behaviour::ExecUndeclared => ran(exec::run("shell", &[])),
            Behaviour::ExecDash => ran(exec::run("echo", &[("word", "-n")])),
            Behaviour::ExecNewline => ran(exec::run("echo", &[("word", "hello\nrm")])),
            Behaviour::ExecNotConfigured => ran(exec::run("echo", &[("word", target)])),
            Behaviour::ExecSecret => ran(exec::run("environment", &[])),
            Behaviour::SpawnAndHang => {
                self.process = Some(exec::command("sleep").slot("seconds", target).spawn()?);
                endless_loop()
            }
            Behaviour::SpawnAndLeave => {
                self.process = Some(exec::command("sleep").slot("seconds", target).spawn()?);
                Ok("left".into())
            }
            Behaviour::Http => get(target),
            Behaviour::MirrorOutside => {
                mirror::copy(target, "/staging/copy", &[], Pass::Live)?;
                Ok("copied".into())
            }
            Behaviour::UnofferedBase => Ok(match history::previous()? {
                Some(earlier) => format!("{} {} {}", earlier.set, earlier.snapshot.id, earlier.depth),
                None => String::new(),
            }),
            Behaviour::Digest => digest::file(target, digest::Algorithm::Md5, false),
            Behaviour::DigestGunzip => digest::file(target, digest::Algorithm::Md5, true),
            Behaviour::Extract => archive::extract("tree", target).map(|n| n.to_string()),
            Behaviour::Feed => archive::feed("stream", exec::command("cat")).map(|output| output.stdout),
            Behaviour::None
            | Behaviour::BadSourceName
            | Behaviour::BadState
            | Behaviour::GiantState
            | Behaviour::HugeState
            | Behaviour::ReportFailure
            | Behaviour::SourceOutside
            | Behaviour::SourceOutput
            | Behaviour::SourceTree
            | Behaviour::WeakerConsistency => Ok(String::new()),
        }
    }

    fn state(&self) -> String {
        match self.config.behaviour {
            Behaviour::BadState => "[]".into(),
            Behaviour::HugeState => format!("{{\"x\":\"{}\"}}", "x".repeat(256 << 10)),
            Behaviour::GiantState => format!("{{\"x\":\"{}\"}}", "x".repeat(16 << 20)),
            _ => serde_json::json!({ "observed": self.observed }).to_string(),
        }
    }
}

#[allow(clippy::empty_loop)]
fn endless_loop() -> ! {
    let mut n = 0_u64;
    loop {
        n = black_box(n.wrapping_add(1));
    }
}

fn memory_bomb() -> ! {
    let mut kept = Vec::new();
    loop {
        kept.push(black_box(vec![1_u8; 16 << 20]));
    }
}

#[allow(unconditional_recursion)]
fn recurse(n: u64) -> u64 {
    let frame = black_box([n; 64]);
    recurse(n + 1) + frame.iter().sum::<u64>()
}

/// Which of these could be opened.
fn escapes(paths: &[&str]) -> String {
    let opened: Vec<&&str> = paths
        .iter()
        .filter(|path| !path.is_empty() && (fs::File::open(path).is_ok() || fs::read_dir(path).is_ok()))
        .collect();
    format!("{opened:?}")
}

/// A symbolic link in `/staging`, if the host lets us make it.
fn link_in_staging(target: &str, name: &str) {
    for (directory, path) in preopens::get_directories() {
        if path == "/staging" {
            let _ = directory.symlink_at(target, name);
        }
    }
}

fn ran(result: Result<exec::Output>) -> Result<String> {
    result.map(|output| format!("{} {}", output.status, output.stdout))
}

/// The status, the `Location` and the start of the body.
fn get(url: &str) -> Result<String> {
    let failed = |what: &str| Error::other(what.to_owned());
    let (scheme, rest) = url.split_once("://").ok_or_else(|| failed("no URL"))?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let request = types::OutgoingRequest::new(types::Fields::new());
    let scheme = if scheme == "http" { types::Scheme::Http } else { types::Scheme::Https };
    request.set_scheme(Some(&scheme)).map_err(|()| failed("scheme"))?;
    request.set_authority(Some(authority)).map_err(|()| failed("authority"))?;
    request.set_path_with_query(Some(&format!("/{path}"))).map_err(|()| failed("path"))?;
    let future = outgoing_handler::handle(request, None).map_err(|e| failed(&format!("{e:?}")))?;
    future.subscribe().block();
    let response = match future.get() {
        Some(Ok(Ok(response))) => response,
        Some(Ok(Err(e))) => return Err(failed(&format!("request failed: {e:?}"))),
        _ => return Err(failed("no response")),
    };
    let location: Vec<String> =
        response.headers().get("location").iter().map(|v| String::from_utf8_lossy(v).into_owned()).collect();
    let body = response.consume().map_err(|()| failed("body"))?;
    let stream = body.stream().map_err(|()| failed("stream"))?;
    let text = stream.blocking_read(64).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
    Ok(format!("{} {location:?} {text:?}", response.status()))
}

impl Strategy for Hostile {
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        let mut hostile = Self { config, observed: String::new(), process: None };
        hostile.at(Phase::New)?;
        Ok(hostile)
    }

    fn check(&mut self) -> Result<Vec<Finding>> {
        self.at(Phase::Check)?;
        Ok(vec![Finding::info("hostile", "\x1b[31mready")])
    }

    fn prepare(&mut self) -> Result<()> {
        self.at(Phase::Prepare)
    }

    fn capture(&mut self, label: &str) -> Result<Snapshot> {
        self.at(Phase::Capture)?;
        let consistency =
            if self.is(Behaviour::WeakerConsistency) { Consistency::Copied } else { Consistency::Exported };
        Ok(Snapshot {
            id: label.to_owned(),
            created: now(),
            consistency,
            bytes: None,
            versions: vec![("hostile".into(), "1".into())],
            state: self.state(),
            base: self.is(Behaviour::UnofferedBase).then(|| self.config.target.clone()),
        })
    }

    fn finish(&mut self, snapshot: Snapshot) -> Result<Snapshot> {
        self.at(Phase::Finish)?;
        Ok(snapshot)
    }

    fn open(&mut self, _: &Snapshot) -> Result<Vec<Source>> {
        self.at(Phase::Open)?;
        Ok(match self.config.behaviour {
            Behaviour::BadSourceName => vec![Source::tree("../../etc", "/source/tree")],
            Behaviour::SourceOutside => vec![Source::tree("", self.config.target.as_str())],
            Behaviour::SourceTree => {
                vec![
                    Source::tree("tree", "/source/tree"),
                    Source::file("one", "/source/tree/file"),
                    Source::Held("v-1".into()),
                ]
            }
            Behaviour::SourceOutput => {
                vec![Source::output("stream", exec::command("echo").slot("word", "hello").spawn()?)]
            }
            _ => Vec::new(),
        })
    }

    fn close(&mut self, _: &Snapshot) -> Result<()> {
        self.process = None;
        self.at(Phase::Close)
    }

    fn restore(&mut self, _: &Snapshot, archived: &[Archived], to: Option<&str>) -> Result<()> {
        self.at(Phase::Restore)?;
        let names: Vec<&str> = archived.iter().map(|a| a.name.as_str()).collect();
        Err(Error::new(ErrorCode::Other, format!("observed {} of {names:?} for {to:?}", self.observed)))
    }

    fn list(&mut self) -> Result<Vec<Snapshot>> {
        self.at(Phase::List)?;
        Ok(Vec::new())
    }

    fn delete(&mut self, _: &Snapshot) -> Result<()> {
        self.at(Phase::Delete)
    }

    fn discard(&mut self, _: &str) -> Result<()> {
        self.at(Phase::Discard)
    }
}

impl Hostile {
    /// What it saw, as a finding: a failure when what it did failed.
    fn findings(&mut self, phase: Phase, archived: &[Archived]) -> Result<Vec<Finding>> {
        self.at(phase)?;
        let names: Vec<&str> = archived.iter().map(|a| a.name.as_str()).collect();
        let finding = if self.is(Behaviour::ReportFailure) { Finding::failure } else { Finding::info };
        Ok(vec![finding("hostile", format!("observed {} of {names:?}", self.observed))])
    }
}

impl Verify for Hostile {
    fn verify(&mut self, _: &Snapshot, archived: &[Archived]) -> Result<Vec<Finding>> {
        self.findings(Phase::Verify, archived)
    }
}

impl Drill for Hostile {
    fn rehearse(&mut self, _: &Snapshot, archived: &[Archived]) -> Result<Vec<Finding>> {
        self.findings(Phase::Rehearse, archived)
    }

    fn clear(&mut self) -> Result<()> {
        self.at(Phase::Clear)
    }
}

bkhost_sdk::export!(Hostile: Verify + Drill, manifest = "manifests/hostile.toml", schema = "manifests/hostile.schema.json");
