//! What one part's plugin may do: its manifest ∩ the operator's grant, with the part's configuration filled in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::authenticate::{self, Authorization};
use super::manifest::{EnvValue, ExecRequest, config_key};
use super::mask::Mask;
use super::program::{self, Program, SYSTEM_DIRS};
use super::server::{self, Server};
use super::sign::{self, Signing};
use super::slots::{Filled, Forms, config_value, texts};
use super::user::User;
use super::via::Via;
use super::{Access, CallError, Code, Grant, Manifest, Secret, stanza};
use crate::{Error, ErrorKind, Result, ResultExt};

/// Where a plugin comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It came with this bkhost: its digest is in the build's list. It is granted what its manifest asks for.
    Shipped,
    /// Anyone else's: it needs a `[[grant]]`.
    ThirdParty,
}

/// All that the rights of a part follow from.
#[derive(Debug, Clone)]
pub struct RightsRequest<'a> {
    /// What the plugin asks for.
    pub manifest: &'a Manifest,
    /// The SHA-256 of its file, in lower-case hexadecimal.
    pub digest: &'a str,
    /// Where it comes from.
    pub origin: Origin,
    /// The plugin as `[[part]] plugin` names it.
    pub plugin: &'a str,
    /// The grant for this plugin, if there is one. For a shipped plugin it may be missing, and only adds `private`
    /// servers.
    pub grant: Option<&'a Grant>,
    /// The part's name.
    pub part: &'a str,
    /// `[part.config]`, complete and valid against the plugin's schema.
    pub config: &'a Value,
    /// `[part.secrets]`, resolved.
    pub secrets: BTreeMap<String, Secret>,
    /// `[part.programs]`: where a program is, by its name in the manifest. For shipped plugins; a grant names its own.
    pub programs: BTreeMap<String, PathBuf>,
    /// `[[part]] via`: the words in front of every command.
    pub via: Vec<String>,
    /// The user the commands run as (without supplementary groups); none: ours.
    pub run_as: Option<String>,
    /// `/staging`.
    pub staging: PathBuf,
    /// `/state`.
    pub state: PathBuf,
    /// `/target`, in a restore into a directory.
    pub target: Option<PathBuf>,
    /// `--to`, in a restore to a name.
    pub restore_to: Option<String>,
}

/// A command that is in the manifest: its slots, and its program if that is granted.
#[derive(Debug, Clone)]
pub(super) struct Command {
    pub(super) request: ExecRequest,
    pub(super) forms: Forms,
    /// What is run: the command's program, or the one that takes it elsewhere.
    pub(super) program: Result<Program, CallError>,
    /// The command's program, where another one takes it: a path or a name there.
    pub(super) inner: Option<String>,
    /// As whom it runs, where that is not as the part's other commands do.
    pub(super) user: Option<Result<User, CallError>>,
}

/// A server of the manifest with this part's configuration.
#[derive(Debug, Clone)]
pub(super) struct Reachable {
    pub(super) server: Server,
    /// What a request has to ask for to be meant for this entry, where there are several of the server.
    pub(super) name: Option<String>,
    /// Its name may resolve to an address that is not public.
    pub(super) private: bool,
    pub(super) allowed: Result<(), CallError>,
    /// How the host signs what goes there.
    pub(super) sign: Option<Signing>,
    /// The host's `Authorization` for it.
    pub(super) authorization: Option<Authorization>,
    /// A PEM file of the certificates that alone are trusted for it.
    pub(super) ca_file: Option<PathBuf>,
}

/// What one part's plugin may do.
#[derive(Debug, Clone)]
pub struct Rights {
    pub(super) manifest: Manifest,
    pub(super) origin: Origin,
    pub(super) part: String,
    pub(super) config: Value,
    pub(super) secrets: BTreeMap<String, Secret>,
    pub(super) commands: BTreeMap<String, Command>,
    pub(super) reachable: Vec<Reachable>,
    pub(super) grant: Grant,
    pub(super) run_as: Option<User>,
    pub(super) via: Option<Via>,
    pub(super) staging: PathBuf,
    pub(super) state: PathBuf,
    pub(super) target: Option<PathBuf>,
    pub(super) mask: Mask,
}

impl Rights {
    /// Work out the effective rights. Reads the user database and looks at program files; runs nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`]: a third party's plugin has no grant, or the grant is for another digest; the hint
    /// is the stanza to paste. [`ErrorKind::Config`]: the configuration contradicts itself. A single right that
    /// is missing is no error here: it is denied when it is used.
    pub fn resolve(request: RightsRequest<'_>) -> Result<Self> {
        let RightsRequest { manifest, part, config, .. } = request;
        let grant = granted(&request)?;
        undeclared(&request)?;
        let via = Via::new(&request.via);
        let run_as = request.run_as.as_deref().map(User::find).transpose()?;
        let mut commands = BTreeMap::new();
        for exec in &manifest.exec {
            let forms = Forms::new(exec, config, request.restore_to.as_deref())
                .or_error(ErrorKind::Plugin, || format!("command {} of {}", exec.id, request.plugin))?;
            let inner = via.as_ref().map(|_| inner(&request, &grant, exec));
            let (program, inner) = match (&via, inner) {
                (Some(via), Some(Ok(inner))) => (taken(via, exec), Some(inner)),
                (_, Some(Err(error))) => (Err(error), None),
                _ => (program(&request, &grant, exec), None),
            };
            let user = user(exec, run_as.as_ref(), via.is_some());
            commands.insert(exec.id.clone(), Command { request: exec.clone(), forms, program, inner, user });
        }
        let open = open_texts(config);
        Ok(Self {
            manifest: manifest.clone(),
            origin: request.origin,
            part: part.to_owned(),
            config: config.clone(),
            reachable: reachable(&request, &grant)?,
            commands,
            grant,
            run_as,
            via,
            mask: Mask::new(request.secrets.values(), |text| open.iter().any(|known| known == text)),
            secrets: request.secrets,
            staging: request.staging,
            state: request.state,
            target: request.target,
        })
    }

    /// The plugin's manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The part's name.
    #[must_use]
    pub fn part(&self) -> &str {
        &self.part
    }

    /// Give `/staging` to the user that the commands run as, if that is another than ours.
    ///
    /// # Errors
    /// [`ErrorKind::Io`]: its owner cannot be changed.
    pub fn own_staging(&self) -> Result<()> {
        self.give(&self.staging)
    }

    /// As [`Rights::own_staging`], for a target that was made for this: that of a rehearsal.
    ///
    /// # Errors
    /// As [`Rights::own_staging`].
    pub fn own_target(&self) -> Result<()> {
        self.target.as_deref().map_or(Ok(()), |target| self.give(target))
    }

    fn give(&self, directory: &Path) -> Result<()> {
        let Some(user) = &self.run_as else { return Ok(()) };
        if user.uid == rustix::process::geteuid().as_raw() {
            return Ok(());
        }
        std::os::unix::fs::chown(directory, Some(user.uid), Some(user.gid))
            .or_error(ErrorKind::Io, || format!("{} cannot be given to {}", directory.display(), user.name))
    }

    /// The program of each command, or why it may not be run. For `check` and `plugin inspect`.
    pub fn programs(&self) -> impl Iterator<Item = (&str, std::result::Result<&Path, &CallError>)> {
        self.commands.values().map(|c| (c.request.id.as_str(), c.program.as_ref().map(|p| p.path.as_path())))
    }

    /// The servers that may be called, or why not.
    pub fn servers(&self) -> impl Iterator<Item = (String, std::result::Result<(), &CallError>)> {
        self.reachable.iter().map(|r| (r.server.to_string(), r.allowed.as_ref().copied()))
    }

    /// The environment of a command with these values, beyond what [`super::Gate`] always sets.
    pub(super) fn environment(
        &self,
        Command { request: command, forms, .. }: &Command,
        filled: &Filled,
    ) -> Result<Vec<(String, String)>, CallError> {
        let mut environment = Vec::new();
        for (variable, value) in &command.env {
            let text = match value {
                EnvValue::Value(text) => Some(text.clone()),
                EnvValue::Slot(slot) => Some(forms.one(slot, filled)?.to_owned()),
                EnvValue::Secret(name) => self.secrets.get(name).map(|secret| secret.reveal().to_owned()),
                EnvValue::Config(reference) => {
                    let value = config_key(reference).and_then(|key| config_value(&self.config, key));
                    value.map(|value| texts(value).join(","))
                }
            };
            if let Some(text) = text {
                if text.contains('\0') {
                    let message = format!("command {}: the value for {variable} holds a NUL", command.id);
                    return Err(CallError::new(Code::InvalidConfig, message));
                }
                environment.push((variable.clone(), text));
            }
        }
        Ok(environment)
    }

    /// Whether a directory of the host may be read or written. `real` has no symbolic links.
    ///
    /// # Errors
    /// `denied`, with the line of the grant.
    pub(super) fn directory(&self, real: &Path, access: Access) -> Result<(), CallError> {
        if self.origin == Origin::Shipped {
            return Ok(());
        }
        let below = |dir: &PathBuf| dir.canonicalize().is_ok_and(|dir| real.starts_with(dir));
        let granted = match access {
            Access::Read => self.grant.read.iter().chain(&self.grant.write).any(below),
            Access::Write => self.grant.write.iter().any(below),
        };
        if granted {
            return Ok(());
        }
        let (key, list) = match access {
            Access::Read => ("read", &self.grant.read),
            Access::Write => ("write", &self.grant.write),
        };
        let verb = if access == Access::Write { "write" } else { "read" };
        Err(CallError::denied(format!("the grant for {} does not let it {verb} {}", self.grant.plugin, real.display()))
            .hint(self.grant_line(&stanza::paths(key, list.iter().map(PathBuf::as_path).chain([real])))))
    }

    /// Whether the file system that holds this directory may be frozen. `real` has no symbolic links.
    ///
    /// # Errors
    /// `denied`, with the line of the grant.
    pub(super) fn freezing(&self, real: &Path) -> Result<(), CallError> {
        let below = |dir: &PathBuf| dir.canonicalize().is_ok_and(|dir| real.starts_with(dir));
        if self.origin == Origin::Shipped || self.grant.freeze.iter().any(below) {
            return Ok(());
        }
        let line = stanza::paths("freeze", self.grant.freeze.iter().map(PathBuf::as_path).chain([real]));
        let what = format!("freeze the file system of {}", real.display());
        Err(CallError::denied(format!("the grant for {} does not let it {what}", self.grant.plugin))
            .hint(self.grant_line(&line)))
    }

    fn grant_line(&self, line: &str) -> String {
        grant_line(&self.grant.plugin, line)
    }
}

/// Secrets and programs of the configuration that the plugin does not ask for are mistakes.
fn undeclared(request: &RightsRequest<'_>) -> Result<()> {
    let RightsRequest { manifest, plugin, .. } = request;
    let refuse = |what: String, known: Vec<&str>| {
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Err(Error::new(ErrorKind::Config, format!("the plugin {plugin} {what}")).hint(format!("those it has: {known}")))
    };
    let secrets: Vec<_> = manifest.secret.iter().map(|s| s.name.as_str()).collect();
    if let Some(name) = request.secrets.keys().find(|name| !secrets.contains(&name.as_str())) {
        return refuse(format!("asks for no secret {name:?}"), secrets);
    }
    let programs = stanza::programs(manifest);
    if let Some(name) = request.programs.keys().find(|name| !programs.contains(&name.as_str())) {
        return refuse(format!("runs no program {name:?}"), programs);
    }
    Ok(())
}

pub(super) fn grant_line(plugin: &str, line: &str) -> String {
    format!("in the [[grant]] for {plugin}: {line}")
}

/// The grant that applies; an empty one for a shipped plugin.
fn granted(request: &RightsRequest<'_>) -> Result<Grant> {
    let (plugin, digest, manifest) = (request.plugin, request.digest, request.manifest);
    let empty = || Grant { plugin: plugin.to_owned(), sha256: digest.to_owned(), ..Grant::default() };
    let Some(grant) = request.grant else {
        if request.origin == Origin::Shipped {
            return Ok(empty());
        }
        return Err(Error::new(
            ErrorKind::Denied,
            format!("the plugin {plugin} did not come with this bkhost and has no grant"),
        )
        .hint(format!("if you trust it with this, add to bkhost.toml:\n\n{}", stanza::full(request)))
        .detail("sha256", digest));
    };
    if !grant.sha256.trim().eq_ignore_ascii_case(digest) {
        return Err(Error::new(
            ErrorKind::Denied,
            format!("the plugin {plugin} is not the file that was granted"),
        )
        .hint(format!(
            "it has changed since, or was replaced. If you trust the new one, compare what it asks for (bkhost plugin \
             inspect) and set in its [[grant]]:\nsha256 = \"{digest}\""
        ))
        .detail("granted sha256", grant.sha256.trim())
        .detail("actual sha256", digest));
    }
    if let Some(unknown) = grant.exec.keys().find(|id| manifest.command(id).is_none()) {
        let ids: Vec<_> = manifest.exec.iter().map(|e| e.id.as_str()).collect();
        return Err(Error::new(
            ErrorKind::Config,
            format!("the grant for {plugin} names the command {unknown:?}, which the plugin does not have"),
        )
        .hint(if ids.is_empty() { "it has none".to_owned() } else { format!("it has: {}", ids.join(", ")) }));
    }
    if let Some(relative) = grant.read.iter().chain(&grant.write).chain(&grant.freeze).find(|dir| !dir.is_absolute()) {
        return Err(Error::new(
            ErrorKind::Config,
            format!("the grant for {plugin} names the directory {}, which is no absolute path", relative.display()),
        )
        .hint("write the whole path, from /"));
    }
    Ok(grant.clone())
}

/// Its path in a third party's grant.
fn granted_program(request: &RightsRequest<'_>, grant: &Grant, exec: &ExecRequest) -> Result<PathBuf, CallError> {
    grant.exec.get(&exec.id).cloned().ok_or_else(|| {
        let name = &exec.program;
        let path = program::find(name, &exec.search).unwrap_or_else(|| Path::new("/path/of").join(name));
        let all = grant.exec.iter().map(|(id, path)| (id.as_str(), path.as_path()));
        let line = stanza::exec(all.chain([(exec.id.as_str(), path.as_path())]));
        CallError::denied(format!("command {}: the grant for {} does not allow it", exec.id, request.plugin))
            .hint(grant_line(request.plugin, &line))
    })
}

/// The program of a command that another one takes elsewhere: what it is there cannot be looked at from here.
fn inner(request: &RightsRequest<'_>, grant: &Grant, exec: &ExecRequest) -> Result<String, CallError> {
    let path = match request.origin {
        Origin::ThirdParty => granted_program(request, grant, exec)?,
        Origin::Shipped => match request.programs.get(&exec.program) {
            Some(path) => path.clone(),
            None => return Ok(exec.program.clone()),
        },
    };
    path.into_os_string().into_string().map_err(|path| {
        let path = path.to_string_lossy().into_owned();
        CallError::new(Code::Unsupported, format!("command {}: the path {path:?} is not UTF-8", exec.id))
    })
}

/// The program that takes a command elsewhere.
fn taken(via: &Via, exec: &ExecRequest) -> Result<Program, CallError> {
    via.program.clone().map_err(|why| {
        CallError::denied(format!("command {}: via: {why}", exec.id)).hint(
            "correct the file, or `via` of the [[part]]: only root's or our own files run that no one else can change",
        )
    })
}

/// As whom a command runs that must not run as root, where it would.
fn user(exec: &ExecRequest, run_as: Option<&User>, elsewhere: bool) -> Option<Result<User, CallError>> {
    let name = exec.never_root.as_deref()?;
    let root = run_as.map_or_else(|| rustix::process::geteuid().is_root(), |user| user.uid == 0);
    (root && !elsewhere).then(|| {
        User::find(name).map_err(|error| {
            CallError::new(Code::NotFound, format!("command {}: {error}", exec.id))
                .hint(format!("{} does not run as root: name another user with run-as in the [[part]]", exec.program))
        })
    })
}

fn program(request: &RightsRequest<'_>, grant: &Grant, exec: &ExecRequest) -> Result<Program, CallError> {
    let name = &exec.program;
    let denied = |why: String| CallError::denied(format!("command {}: {why}", exec.id));
    let (path, place) = match request.origin {
        Origin::ThirdParty => (granted_program(request, grant, exec)?, "its path in the [[grant]]"),
        Origin::Shipped => match request.programs.get(name).cloned().or_else(|| program::find(name, &exec.search)) {
            Some(path) => (path, "its path under [part.programs]"),
            None => {
                let places: Vec<_> =
                    SYSTEM_DIRS.iter().copied().chain(exec.search.iter().map(String::as_str)).collect();
                return Err(CallError::new(
                    Code::NotFound,
                    format!("command {}: the program {name} is in none of {}", exec.id, places.join(", ")),
                )
                .hint(format!("install it, or say where it is, under [part.programs]: {name} = \"/path/of/{name}\"")));
            }
        },
    };
    Program::check(&path).map_err(|why| {
        let hint =
            format!("correct the file, or {place}: only root's or our own files run that no one else can change");
        denied(why).hint(hint)
    })
}

fn reachable(request: &RightsRequest<'_>, grant: &Grant) -> Result<Vec<Reachable>> {
    let mut granted = Vec::new();
    for http in &grant.http {
        let server = Server::parse(http.url()).map_err(|why| {
            Error::new(ErrorKind::Config, format!("the grant for {}: http: {why}", request.plugin))
                .hint("write an origin: \"https://host\" or \"https://host:port\"")
        })?;
        granted.push((server, http.private()));
    }
    let mut all: Vec<Reachable> = Vec::new();
    let mut signed = Vec::new();
    for url in &grant.sign {
        signed.push(Server::parse(url).map_err(|why| {
            Error::new(ErrorKind::Config, format!("the grant for {}: sign: {why}", request.plugin))
                .hint("write an origin: \"https://host\" or \"https://host:port\"")
        })?);
    }
    for http in &request.manifest.http {
        let servers = server::resolve_template(&http.url, request.config)
            .map_err(|why| Error::new(ErrorKind::Config, why).hint("correct it under [part.config]"))?;
        for server in servers {
            let found = granted.iter().filter(|(candidate, _)| *candidate == server).map(|(_, private)| *private).max();
            let allowed = if request.origin == Origin::Shipped || found.is_some() {
                Ok(())
            } else {
                let urls = granted.iter().map(|(server, private)| (server.to_string(), *private));
                let line = stanza::http(urls.chain([(server.to_string(), false)]));
                Err(CallError::denied(format!("the grant for {} does not allow calls to {server}", request.plugin))
                    .hint(grant_line(request.plugin, &line)))
            };
            let sign = match &http.sign {
                Some(sign) => sign::signing(request, sign, &server, &signed)?,
                None => None,
            };
            let authorization = authenticate::authorization(request, &http.authenticate)?;
            if sign.is_some() && authorization.is_some() {
                let message =
                    format!("requests to {server} cannot be signed for AWS and carry a password or a key too");
                return Err(Error::new(ErrorKind::Config, message)
                    .hint("leave out the region under [part.config], or the secret under [part.secrets]"));
            }
            let ca_file = http.ca_file.as_deref().and_then(config_key);
            let ca_file = ca_file.and_then(|key| config_value(request.config, key)?.as_str().map(PathBuf::from));
            // The operator has named it in the configuration; a third party's plugin needs the grant as well.
            let private = found.unwrap_or(http.private && request.origin == Origin::Shipped);
            match all.iter().find(|known| known.server == server && known.name == http.name) {
                None => {
                    let name = http.name.clone();
                    all.push(Reachable { server, name, private, allowed, sign, authorization, ca_file });
                }
                Some(known) if known.sign == sign && known.authorization == authorization => {}
                Some(_) => {
                    let message = format!("the plugin {} asks twice for {server}, signed differently", request.plugin);
                    return Err(Error::new(ErrorKind::Config, message)
                        .hint("two URLs under [part.config] have to name different servers"));
                }
            }
        }
    }
    Ok(all)
}

/// Every text in the configuration.
fn open_texts(config: &Value) -> Vec<String> {
    match config {
        Value::Object(map) => map.values().flat_map(open_texts).collect(),
        Value::Array(values) => values.iter().flat_map(open_texts).collect(),
        other => texts(other),
    }
}
