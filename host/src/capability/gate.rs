//! The gate of one part: every effect a guest can have goes through here, and is decided here before it happens.

mod freeze;

use std::collections::BTreeSet;
use std::fmt;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::aws::Keys;
use super::freeze::{FreezeRules, Freezes};
use super::http::{self, Egress, Resolver, SystemResolver};
use super::manifest::{DirectoryRequest, Discover, Effect, PathRoot, config_key};
use super::paths::{self, Root};
use super::process::{Options, Running, Spec, launch};
use super::program::SYSTEM_DIRS;
use super::rights::Command;
use super::sign;
use super::slots::{Filled, config_value, texts};
use super::user::User;
use super::via::Via;
use super::{
    Access, Argument, CallError, Code, Completed, HostPath, HttpTimeouts, Preopen, Process, ResponseBody, Rights,
    Witness,
};
use crate::report::{Event, Heartbeat, Level, Reporter};

/// So many different denials are remembered: a guest must not fill the host's memory with them.
const DENIALS: usize = 100;

/// Whether things really happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// They do.
    Live,
    /// Commands with `effect = "change"` and requests other than GET and HEAD are only recorded.
    DryRun,
}

/// The gate of one part.
pub struct Gate {
    rights: Rights,
    reporter: Reporter,
    mode: Mode,
    cancel: CancellationToken,
    witness: Arc<dyn Witness>,
    /// Fired by the first thing that would change something, which then fails.
    foresight: Option<CancellationToken>,
    egress: Egress,
    /// The tasks that watch over children.
    tasks: TaskTracker,
    rules: FreezeRules,
    freezes: Freezes,
    base: OnceCell<Vec<Root>>,
    sources: OnceCell<Sources>,
    /// What was denied, in its words.
    denied: Mutex<BTreeSet<String>>,
}

/// The directories below `/source`.
struct Sources {
    roots: Vec<Root>,
    missing: Vec<(String, CallError)>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("part", &self.rights.part()).field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl Gate {
    /// A gate that grants these rights. Once `cancel` fires, what runs is ended and nothing more is started.
    #[must_use]
    pub fn new(
        rights: Rights,
        reporter: Reporter,
        mode: Mode,
        cancel: CancellationToken,
        witness: Arc<dyn Witness>,
    ) -> Self {
        let egress = Egress::new(Arc::new(SystemResolver), Keys::new(|name| rights.secrets.get(name).cloned()));
        Self {
            rights,
            reporter,
            mode,
            cancel: cancel.child_token(),
            witness,
            foresight: None,
            egress,
            tasks: TaskTracker::new(),
            rules: FreezeRules::default(),
            freezes: Freezes::default(),
            base: OnceCell::new(),
            sources: OnceCell::new(),
            denied: Mutex::default(),
        }
    }

    /// The same gate with another way to resolve host names.
    #[must_use]
    pub fn with_resolver(mut self, resolver: Arc<dyn Resolver>) -> Self {
        self.egress.resolve_by(resolver);
        self
    }

    /// The same gate with other rules for freezing.
    #[must_use]
    pub fn with_freeze_rules(mut self, rules: FreezeRules) -> Self {
        self.rules = rules;
        self
    }

    /// The same gate for a look ahead, in a dry run: the first thing that would change something fires this, and fails.
    #[must_use]
    pub fn with_foresight(mut self, reached: Option<CancellationToken>) -> Self {
        self.foresight = reached;
        self
    }

    /// Something would be changed now.
    fn foreseen(&self) -> Result<(), CallError> {
        let Some(reached) = &self.foresight else { return Ok(()) };
        reached.cancel();
        Err(CallError::new(Code::Interrupted, "nothing is changed: it is only asked whether this would be refused"))
    }

    /// The rights it grants.
    #[must_use]
    pub fn rights(&self) -> &Rights {
        &self.rights
    }

    /// Whether things really happen.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Run a command and wait for its end. A status other than 0 is no error.
    ///
    /// # Errors
    /// `denied`, before anything ran; `timed-out`, `interrupted`: its group was killed and reaped.
    pub async fn run(&self, command: &str, arguments: &[Argument]) -> Result<Completed, CallError> {
        let mut process = self.audited(self.start(command, arguments, false).await)?;
        let _beat = self.beat(&process);
        process.join().await
    }

    /// Tells, until it is dropped, that this command is waited for.
    #[must_use]
    pub fn beat(&self, process: &Process) -> Heartbeat {
        Heartbeat::start(&self.reporter, format!("part `{}`: `{}` to go on", self.rights.part(), process.call()))
    }

    /// Start a command and go on.
    ///
    /// # Errors
    /// As [`Gate::run`].
    pub async fn spawn(&self, command: &str, arguments: &[Argument]) -> Result<Process, CallError> {
        self.audited(self.start(command, arguments, false).await)
    }

    /// Run a command with `input` on its stdin. If `input` fails, the command is killed before its stdin is closed. An
    /// input error of the kind `InvalidData` is `corrupt`.
    ///
    /// # Errors
    /// As [`Gate::run`]; `corrupt` or `other` if `input` fails.
    pub async fn feed(
        &self,
        command: &str,
        arguments: &[Argument],
        input: Box<dyn Read + Send>,
    ) -> Result<Completed, CallError> {
        let mut process = self.audited(self.start(command, arguments, true).await)?;
        let _beat = self.beat(&process);
        process.feed(input).await
    }

    /// The directories the guest sees. A source that is denied or missing is left out; see [`Gate::missing`].
    /// Runs the manifest's `discover` commands the first time.
    ///
    /// # Errors
    /// `/staging`, `/state` or `/target` cannot be opened; `interrupted`.
    pub async fn preopens(&self) -> Result<Vec<Preopen>, CallError> {
        let base = self.base().await?;
        let sources = self.sources().await?;
        Ok(base.iter().chain(&sources.roots).map(|root| root.preopen.clone()).collect())
    }

    /// The sources that are not there, by guest path, with the reason.
    ///
    /// # Errors
    /// As [`Gate::preopens`].
    pub async fn missing(&self) -> Result<Vec<(String, CallError)>, CallError> {
        Ok(self.sources().await?.missing.clone())
    }

    /// The host's file or directory that a guest path names.
    ///
    /// # Errors
    /// `denied`: outside of what is granted, `..`, or a symbolic link on the way. `not-found`: it does not exist.
    pub async fn host_path(&self, guest: &str, access: Access) -> Result<HostPath, CallError> {
        self.audited(self.locate(guest, access).await)
    }

    /// Send a request to a granted server, signed if the manifest says so. Redirects are not followed. What a dry run does
    /// not send is answered with an empty 202.
    ///
    /// # Errors
    /// `denied`, before anything was sent; `unavailable`, `timed-out`, `interrupted`.
    pub async fn http<B>(
        &self,
        request: ::http::Request<B>,
        timeouts: HttpTimeouts,
    ) -> Result<::http::Response<ResponseBody>, CallError>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let method = request.method().clone();
        let decided = http::target(&method, request.uri(), request.headers(), &self.rights.reachable);
        let target = self.audited(decided)?;
        let known = target.known;
        let planned = self.mode == Mode::DryRun && !matches!(method.as_str(), "GET" | "HEAD");
        if planned {
            self.foreseen()?;
        }
        // Without the query, which may hold a signature.
        let what = format!("{method} {}{}", known.server, target.url.path());
        self.reporter.event(&Event::Call { what: what.clone(), planned });
        if planned {
            http::drain(request.into_body(), &self.cancel).await;
            return Ok(http::planned());
        }
        let response = self.audited(self.egress.send(target, request, timeouts, &self.cancel).await)?;
        if known.sign.is_some()
            && response.status().is_client_error()
            && let Some(text) = sign::skew(response.headers(), &known.server, jiff::Timestamp::now())
        {
            self.reporter.message(Level::Error, Some(self.rights.part()), text);
        }
        Ok(response)
    }

    /// Kill and reap whatever still runs; nothing more is started. Returns when all is reaped (after 20 seconds in any
    /// case).
    pub async fn shutdown(&self) {
        self.cancel.cancel();
        self.tasks.close();
        if tokio::time::timeout(Duration::from_secs(20), self.tasks.wait()).await.is_err() {
            let text = "a command's process cannot be killed: the kernel does not let it go";
            self.reporter.message(Level::Error, Some(self.rights.part()), text);
        }
    }

    /// Whether this text repeats something that was denied.
    #[must_use]
    pub fn has_denied(&self, text: &str) -> bool {
        let denied = self.denied.lock().unwrap_or_else(PoisonError::into_inner);
        denied.iter().any(|message| text.contains(message))
    }

    /// Every denial is in the report, whatever the guest makes of it.
    fn audited<T>(&self, result: Result<T, CallError>) -> Result<T, CallError> {
        if let Err(e) = &result
            && e.code == Code::Denied
        {
            let text = format!("denied: {}", e.message);
            self.reporter.message(Level::Warning, Some(self.rights.part()), text);
            let mut denied = self.denied.lock().unwrap_or_else(PoisonError::into_inner);
            if denied.len() < DENIALS {
                denied.insert(e.message.clone());
            }
        }
        result
    }

    async fn start(&self, id: &str, arguments: &[Argument], feed: bool) -> Result<Process, CallError> {
        let command = self.rights.commands.get(id).ok_or_else(|| {
            CallError::denied(format!("the plugin's manifest has no command {}", super::slots::shown(id)))
                .hint("no line of bkhost.toml allows this: only the plugin's author can add an [[exec]]")
        })?;
        let mut filled = command.forms.fill(arguments)?;
        // Before any path is looked at, and with it any discover command run: a call that cannot be does nothing.
        command.forms.argv(&command.request.argv, &filled)?;
        command.program.as_ref().map_err(Clone::clone)?;
        for (kind, value) in command.forms.paths(&mut filled) {
            if paths::root_kind(value)? != kind {
                let kind = format!("{kind:?}").to_lowercase();
                return Err(CallError::denied(format!("command {id}: {value} is not below /{kind}"))
                    .hint("no line of bkhost.toml allows this: the plugin's own manifest rules it out"));
            }
            let path = self.root(value).await?.path_for_command(value)?;
            *value = path.into_os_string().into_string().map_err(|path| {
                let path = path.to_string_lossy().into_owned();
                CallError::new(Code::Unsupported, format!("the path {path:?} is not UTF-8, as arguments have to be"))
            })?;
        }
        self.launch(command, &filled, feed).await
    }

    /// Start a command whose slots are filled.
    async fn launch(&self, command: &Command, filled: &Filled, feed: bool) -> Result<Process, CallError> {
        let request = &command.request;
        let program = command.program.as_ref().map_err(Clone::clone)?;
        let arguments = command.forms.argv(&request.argv, filled)?;
        let environment = self.rights.environment(command, filled)?;
        if self.cancel.is_cancelled() {
            return Err(CallError::new(Code::Interrupted, format!("command {}: the run was cancelled", request.id)));
        }
        let arguments = match (&self.rights.via, &command.inner) {
            (Some(via), Some(inner)) => {
                let variables = ["LC_ALL", "TZ"].into_iter().chain(environment.iter().map(|(name, _)| name.as_str()));
                via.arguments(variables, inner, arguments)
            }
            _ => arguments,
        };
        let user = match &command.user {
            Some(user) => Some(user.as_ref().map_err(Clone::clone)?),
            None => self.rights.run_as.as_ref(),
        };
        let mask = &self.rights.mask;
        let argv: Vec<_> = std::iter::once(program.path.to_string_lossy().into_owned())
            .chain(arguments.iter().map(|argument| mask.text(argument.as_bytes())))
            .collect();
        let planned = self.mode == Mode::DryRun && request.effect == Effect::Change;
        if planned {
            self.foreseen()?;
        }
        let part = self.rights.part().to_owned();
        let spec = Spec {
            id: request.id.clone(),
            argv: argv.clone(),
            timeout: request.timeout,
            forms: command.forms.clone(),
            lines: request.stdin.clone().unwrap_or_default(),
            mask: mask.clone(),
        };
        if planned {
            self.reporter.event(&Event::Command { part, argv, planned });
            return Ok(Process::new(spec, None));
        }
        program.check_again().map_err(|why| CallError::denied(format!("command {}: {why}", request.id)))?;
        self.reporter.event(&Event::Command { part, argv: argv.clone(), planned });
        let failed =
            |e: std::io::Error| CallError::new(Code::Other, format!("command {} cannot be started: {e}", request.id));
        let mut tries = 0;
        let launched = loop {
            let stdin = feed || request.stdin.is_some();
            match launch(
                self.command(&program.path, &arguments, &environment, user, command.user.is_some()),
                stdin,
                self.witness.owner(),
            ) {
                // Somebody who was writing the file a moment ago is just forking.
                Err(e) if e.kind() == std::io::ErrorKind::ExecutableFileBusy && tries < 20 => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                other => break other.map_err(failed)?,
            }
        };
        let running = Running::start(
            launched,
            Options {
                timeout: request.timeout.0,
                max_output: usize::try_from(request.max_output.0).unwrap_or(usize::MAX),
                argv,
                cancel: self.cancel.clone(),
                witness: Arc::clone(&self.witness),
                tasks: self.tasks.clone(),
            },
        )
        .map_err(failed)?;
        Ok(Process::new(spec, Some(running)))
    }

    /// The command as the system runs it: no environment but this, no directory but the part's own.
    fn command(
        &self,
        program: &Path,
        arguments: &[String],
        environment: &[(String, String)],
        user: Option<&User>,
        another: bool,
    ) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(program);
        // The staging area is the part's user's, and closed to another.
        let cwd = Some(self.rights.staging.as_path()).filter(|dir| !another && dir.is_dir()).unwrap_or(Path::new("/"));
        command.args(arguments).env_clear().current_dir(cwd);
        command.env("LC_ALL", "C").env("TZ", "UTC").env("PATH", SYSTEM_DIRS.join(":"));
        match user {
            Some(user) => {
                command.env("HOME", &user.home).env("USER", &user.name).env("LOGNAME", &user.name);
                if user.uid != rustix::process::geteuid().as_raw() {
                    command.uid(user.uid).gid(user.gid);
                }
            }
            None => {
                command.env("HOME", "/nonexistent");
            }
        }
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command
    }

    async fn base(&self) -> Result<&Vec<Root>, CallError> {
        self.base
            .get_or_try_init(async || {
                let mut roots = vec![
                    Root::open("/staging", &self.rights.staging, Access::Write)?,
                    Root::open("/state", &self.rights.state, Access::Write)?,
                ];
                if let Some(target) = &self.rights.target {
                    roots.push(Root::open("/target", target, Access::Write)?);
                }
                Ok(roots)
            })
            .await
    }

    async fn sources(&self) -> Result<&Sources, CallError> {
        self.sources
            .get_or_try_init(async || {
                let mut sources = Sources { roots: Vec::new(), missing: Vec::new() };
                // What commands of another machine find is there, and not here.
                let here = |directory: &&DirectoryRequest| {
                    directory.discover.is_none() || !self.rights.via.as_ref().is_some_and(Via::is_remote)
                };
                for directory in self.rights.manifest.directory.iter().filter(here) {
                    for (guest, host) in self.source_paths(directory).await? {
                        let root = host.and_then(|host| {
                            let root = Root::open(&guest, Path::new(&host), directory.access)?;
                            self.rights.directory(&root.preopen.host, directory.access)?;
                            Ok(root)
                        });
                        match root {
                            Ok(root) => sources.roots.push(root),
                            Err(e) => sources.missing.push((guest, e)),
                        }
                    }
                }
                Ok(sources)
            })
            .await
    }

    /// The guest paths of a directory request, each with its path on the host or the reason why there is none.
    async fn source_paths(
        &self,
        directory: &DirectoryRequest,
    ) -> Result<Vec<(String, Result<String, CallError>)>, CallError> {
        let guest = format!("/source/{}", directory.name);
        let value = |reference: &str| config_key(reference).and_then(|key| config_value(&self.rights.config, key));
        if let Some(discover) = &directory.discover {
            let mut found = Vec::new();
            for (n, value) in value(&discover.each).map(texts).unwrap_or_default().into_iter().enumerate() {
                let path = self.discover(discover, value).await;
                if let Err(e) = &path
                    && e.code == Code::Interrupted
                {
                    return Err(e.clone());
                }
                found.push((format!("{guest}/{n}"), path));
            }
            return Ok(found);
        }
        let Some(value) = directory.path.as_deref().and_then(value) else { return Ok(Vec::new()) };
        let paths = texts(value).into_iter();
        Ok(if value.is_array() {
            paths.enumerate().map(|(n, path)| (format!("{guest}/{n}"), Ok(path))).collect()
        } else {
            paths.map(|path| (guest.clone(), Ok(path))).collect()
        })
    }

    async fn discover(&self, discover: &Discover, value: String) -> Result<String, CallError> {
        let command = self
            .rights
            .commands
            .get(&discover.exec)
            .ok_or_else(|| CallError::denied(format!("there is no command {}", discover.exec)))?;
        let arguments = [Argument { slot: discover.slot.clone(), values: vec![value.clone()] }];
        let filled = command.forms.fill(&arguments)?;
        let done = self.launch(command, &filled, false).await?.join().await?;
        if done.status != 0 {
            let message = format!("command {}: no directory for {value}: status {}", discover.exec, done.status);
            return Err(CallError::new(Code::NotFound, message).detail("stderr", done.stderr));
        }
        // One newline is the tool's; any other is part of the path.
        let path = done.stdout.strip_suffix('\n').unwrap_or(&done.stdout);
        if path.starts_with('/') && !done.truncated {
            return Ok(path.to_owned());
        }
        let message = format!("command {}: no directory for {value}: it says {:?}", discover.exec, path);
        Err(CallError::new(Code::NotFound, message))
    }

    /// The root that a guest path is below.
    async fn root(&self, guest: &str) -> Result<&Root, CallError> {
        let source = paths::root_kind(guest)? == PathRoot::Source;
        let roots = if source { &self.sources().await?.roots } else { self.base().await? };
        for root in roots {
            if root.holds(guest)? {
                return Ok(root);
            }
        }
        if source {
            let below =
                |name: &str| guest.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            if let Some((_, reason)) = self.sources().await?.missing.iter().find(|(name, _)| below(name)) {
                return Err(reason.clone());
            }
        }
        Err(CallError::denied(format!(
            "the guest path {} is below no directory of the guest",
            super::slots::shown(guest)
        ))
        .hint("sources come from the plugin's manifest and [part.config]; /target is there in a restore with --to"))
    }

    async fn locate(&self, guest: &str, access: Access) -> Result<HostPath, CallError> {
        let root = self.root(guest).await?;
        if access > root.preopen.access {
            return Err(CallError::denied(format!("{guest} may be read, not written"))
                .hint("no line of bkhost.toml allows this: the plugin's manifest asks for access = \"read\""));
        }
        root.locate(guest)
    }
}
