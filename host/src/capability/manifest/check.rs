//! What the types cannot say: whether the parts of a manifest fit together.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use super::{
    API, Argv, Authenticate, Effect, Element, EnvValue, ExecRequest, Manifest, OneOf, PathRoot, Sign, SignRole, Slot,
};
use crate::capability::freeze::MAX_FREEZE;
use crate::capability::{server, slots};

/// What is wrong, and where.
pub(super) struct Problem {
    pub(super) message: String,
    pub(super) hint: &'static str,
    /// Key and value on lines that lead to the place, each looked for from the one before.
    trail: Vec<(String, String)>,
}

impl Problem {
    fn new(message: impl Into<String>, hint: &'static str) -> Self {
        Self { message: message.into(), hint, trail: Vec::new() }
    }

    /// The place is on (or below) a line that has both texts; earlier calls win.
    fn on(mut self, key: &str, value: &str) -> Self {
        self.trail.push((key.to_owned(), value.to_owned()));
        self
    }

    /// As [`Problem::on`], for what encloses the places that are known so far.
    fn below(mut self, key: &str, value: &str) -> Self {
        self.trail.insert(0, (key.to_owned(), value.to_owned()));
        self
    }

    /// The line it is on, from 1.
    pub(super) fn line(&self, text: &str) -> Option<usize> {
        let mut found = None;
        for (key, value) in &self.trail {
            let next = text
                .lines()
                .enumerate()
                .skip(found.unwrap_or(0))
                .find(|(_, line)| line.contains(key.as_str()) && line.contains(value.as_str()));
            found = next.map(|(n, _)| n).or(found);
        }
        found.map(|n| n + 1)
    }
}

type Checked = Result<(), Problem>;

const CONFIG_FORM: &str = "write \"config.<key>\", where <key> is a key of [part.config]";

/// Variables that make a program load code or look elsewhere for it.
const LOADER_VARIABLES: &[&str] = &[
    "PATH",
    "HOME",
    "IFS",
    "ENV",
    "SHELL",
    "TZ",
    "LC_ALL",
    "BASH_ENV",
    "SHELLOPTS",
    "BASHOPTS",
    "PS4",
    "GCONV_PATH",
    "LOCPATH",
    "NLSPATH",
    "GLIBC_TUNABLES",
    "HOSTALIASES",
    "RES_OPTIONS",
    "PERL5LIB",
    "PERL5OPT",
    "PERLLIB",
    "PERL5DB",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "RUBYLIB",
    "RUBYOPT",
    "NODE_OPTIONS",
    "NODE_PATH",
    "JAVA_TOOL_OPTIONS",
    "_JAVA_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "CLASSPATH",
    "EDITOR",
    "VISUAL",
    "PAGER",
    "OPENSSL_CONF",
    "OPENSSL_ENGINES",
    "PSQL_EDITOR",
    "PSQL_PAGER",
];
const LOADER_PREFIXES: &[&str] = &["LD_", "DYLD_", "MALLOC_", "BASH_FUNC_", "BKHOST_"];

pub(super) fn check(manifest: &Manifest) -> Checked {
    let plugin = &manifest.plugin;
    if plugin.api != API {
        return Err(Problem::new(
            format!("api {:?} is not one that this bkhost speaks (it speaks {API:?})", plugin.api),
            "build the plugin against the SDK of this bkhost, or use the bkhost it was built for",
        )
        .on("api", &plugin.api));
    }
    if let Some(text) = &manifest.restore.rehearsal
        && let Some(wrong) = super::rehearsal::wrong(text)
    {
        return Err(Problem::new(
            format!("`restore.rehearsal`: {wrong}"),
            "write literals, {instance}, {part} and {config.<key>}",
        )
        .on("rehearsal", text));
    }
    name("plugin name", &plugin.name).map_err(|p| p.on("name", &plugin.name))?;
    if plugin.version.trim().is_empty() {
        return Err(
            Problem::new("the plugin has no version", "write for example version = \"0.1.0\"").on("version", "")
        );
    }
    unique("command", "id", manifest.exec.iter().map(|e| e.id.as_str()))?;
    unique("directory", "name", manifest.directory.iter().map(|d| d.name.as_str()))?;
    unique("secret", "name", manifest.secret.iter().map(|s| s.name.as_str()))?;
    for secret in &manifest.secret {
        name("secret", &secret.name)
            .and_then(|()| reason(&secret.reason))
            .map_err(|p| p.below("name", &quoted(&secret.name)))?;
    }
    for command in &manifest.exec {
        exec(manifest, command).map_err(|p| p.below("id", &quoted(&command.id)))?;
    }
    for directory in &manifest.directory {
        self::directory(manifest, directory).map_err(|p| p.below("name", &quoted(&directory.name)))?;
    }
    for http in &manifest.http {
        server::check_template(&http.url)
            .map_err(|e| Problem::new(e, "write an origin: https://host or https://host:port"))
            .and_then(|()| reason(&http.reason))
            .and_then(|()| http.name.as_deref().map_or(Ok(()), |name| self::name("name of a server", name)))
            .and_then(|()| http.sign.as_ref().map_or(Ok(()), |sign| self::sign(manifest, sign)))
            .and_then(|()| http.authenticate.iter().try_for_each(|how| authenticate(manifest, how)))
            .and_then(|()| match &http.ca_file {
                Some(file) if config_key(file).is_none() => {
                    Err(Problem::new(format!("{file:?} is no key"), "write ca-file = \"config.<key>\"")
                        .on("ca-file", ""))
                }
                _ => Ok(()),
            })
            .map_err(|p| p.below("url", &http.url))?;
    }
    limits(manifest)
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

fn name(what: &str, text: &str) -> Checked {
    let mut bytes = text.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let rest = bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    if first && rest && text.len() <= 32 {
        return Ok(());
    }
    Err(Problem::new(
        format!("{text:?} is no {what}"),
        "1 to 32 of a-z, 0-9, - and _, starting with a letter or a digit",
    ))
}

fn reason(text: &str) -> Checked {
    if text.trim().is_empty() {
        return Err(Problem::new("the reason is empty", "say why it is needed: the operator reads it").on("reason", ""));
    }
    Ok(())
}

fn unique<'a>(what: &str, key: &str, names: impl Iterator<Item = &'a str>) -> Checked {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            let twice = Problem::new(format!("there are two of the {what} {name:?}"), "give one of them another name");
            return Err(twice.on(key, &quoted(name)));
        }
    }
    Ok(())
}

/// `config.<key>` → key.
pub(in crate::capability) fn config_key(reference: &str) -> Option<&str> {
    let key = reference.strip_prefix("config.")?;
    let good =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    key.split('.').all(good).then_some(key)
}

fn exec(manifest: &Manifest, command: &ExecRequest) -> Checked {
    name("command id", &command.id)?;
    reason(&command.reason)?;
    program(&command.program).map_err(|p| p.on("program", ""))?;
    for directory in &command.search {
        let plain = directory.split('/').skip(1).all(|component| !matches!(component, "" | "." | ".."));
        if !directory.starts_with('/') || !plain || directory.matches('*').count() > 1 {
            let hint = "write absolute paths, such as /usr/lib/postgresql/*/bin";
            return Err(Problem::new(format!("{directory:?} is no directory to search"), hint).on("search", directory));
        }
    }
    if let Some(user) = &command.never_root {
        self::name("user", user).map_err(|p| p.on("never-root", user))?;
    }
    if command.timeout.0.is_zero() {
        return Err(Problem::new("the timeout is 0", "write for example timeout = \"10m\"").on("timeout", ""));
    }
    if command.max_output.0 > 64 << 20 {
        return Err(Problem::new(
            format!("max-output {} is more than 64MiB", command.max_output),
            "bulk data belongs in a source of `open`, not in the plugin's memory",
        )
        .on("max-output", ""));
    }
    let used = templates(command)?;
    for (name, slot) in &command.slots {
        if !used.contains_key(name) {
            return Err(Problem::new(
                format!("the slot {name:?} is used nowhere"),
                "use it in argv, stdin or env, or drop it",
            )
            .on("slots", name));
        }
        self::slot(manifest, slot).map_err(|mut p| {
            p.message = format!("slot {name:?}: {}", p.message);
            p.below("slots", name)
        })?;
    }
    if let Some(missing) = used.keys().find(|name| !command.slots.contains_key(*name)) {
        let place = if command.env_slots().any(|slot| slot == missing) { "slot" } else { "{" };
        return Err(Problem::new(
            format!("{{{missing}}} is used, and no slot says what it may hold"),
            "add a table [exec.slots.<name>] with one-of, pattern or path",
        )
        .on(place, missing));
    }
    for (variable, value) in &command.env {
        env(manifest, variable, value).map_err(|p| p.on(variable, ""))?;
    }
    Ok(())
}

fn program(text: &str) -> Checked {
    let good = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-@".contains(&b))
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if good {
        return Ok(());
    }
    Err(Problem::new(
        format!("{text:?} is no program name"),
        "write the file name alone, such as \"zfs\": the operator decides which file it is",
    ))
}

/// Checks the texts of `argv` and `stdin`; returns the slots that they and `env` use, and whether each is repeated.
fn templates(command: &ExecRequest) -> Result<BTreeMap<String, bool>, Problem> {
    let bad = |message: String| {
        let hint = "literals and {slots}; {slot...} alone is repeated; a literal brace is written twice";
        Problem::new(message, hint)
    };
    let mut used = BTreeMap::new();
    let mut note = |element: &Element, place: &str| {
        let repeated = matches!(element, Element::Repeated(_));
        for slot in element.slots() {
            if *used.entry(slot.to_owned()).or_insert(repeated) != repeated {
                return Err(
                    bad(format!("the slot {slot:?} is repeated in one place and plain in another")).on(place, "")
                );
            }
        }
        Ok(())
    };
    for entry in &command.argv {
        let texts = match entry {
            Argv::One(text) => std::slice::from_ref(text),
            Argv::Group(texts) => texts.as_slice(),
        };
        let mut slots = 0;
        for text in texts {
            let element = Element::parse(text).map_err(|e| bad(e).on("argv", "").on(text, ""))?;
            slots += element.slots().count();
            note(&element, "argv")?;
        }
        if matches!(entry, Argv::Group(_)) && slots == 0 {
            return Err(bad("an optional group has no slot, so nothing says when it is wanted".into()).on("argv", ""));
        }
    }
    for (id, line) in command.stdin.iter().flatten() {
        name("line id", id).map_err(|p| p.on(id, ""))?;
        let element = Element::parse(line).map_err(|e| bad(e).on("stdin", "").on(id, ""))?;
        if matches!(element, Element::Repeated(_)) {
            return Err(bad(format!("the line {id:?} cannot have a repeated slot")).on("stdin", "").on(id, ""));
        }
        note(&element, "stdin")?;
    }
    for slot in command.env_slots() {
        if *used.entry(slot.to_owned()).or_insert(false) {
            return Err(bad(format!("the slot {slot:?} is repeated in one place and plain in another")).on("env", slot));
        }
    }
    Ok(used)
}

fn slot(manifest: &Manifest, slot: &Slot) -> Checked {
    let forms = [slot.one_of.is_some(), slot.pattern.is_some(), slot.path.is_some()];
    if forms.iter().filter(|given| **given).count() != 1 {
        return Err(Problem::new("needs exactly one of one-of, pattern and path", "say what the value may be"));
    }
    if slot.one_of.is_none() && (slot.prefix.is_some() || slot.suffix.is_some()) {
        return Err(Problem::new("prefix and suffix go with one-of only", "put them into the pattern"));
    }
    if slot.path.is_some() && slot.encoding.is_some() {
        return Err(Problem::new("a path has no encoding", "leave it out").on("encoding", ""));
    }
    if slot.max_length.is_some_and(|n| n == 0 || n > slots::MAX_LENGTH) {
        return Err(Problem::new("max-length is out of range", "1 to 4096 bytes").on("max-length", ""));
    }
    for (key, pattern) in [("prefix", &slot.prefix), ("suffix", &slot.suffix), ("pattern", &slot.pattern)] {
        if let Some(pattern) = pattern {
            regex(pattern).map_err(|p| p.on(key, ""))?;
        }
    }
    if slot.path == Some(PathRoot::Target) && !manifest.restore.into_directory() {
        return Err(Problem::new("there is no /target", "add [restore] target = \"directory\"").on("path", ""));
    }
    match &slot.one_of {
        Some(OneOf::Reference(text)) if text != "restore.to" && config_key(text).is_none() => {
            let hint = "write \"config.<key>\", \"restore.to\", or a list of values";
            Err(Problem::new(format!("{text:?} is no reference"), hint).on("one-of", ""))
        }
        Some(OneOf::Values(values)) => {
            let bad = |e| Problem::new(e, "list the values that the command may get").on("one-of", "");
            if values.is_empty() {
                return Err(bad("one-of is empty".to_owned()));
            }
            values.iter().try_for_each(|value| slots::well_formed(value, slots::MAX_LENGTH).map_err(bad))
        }
        _ => Ok(()),
    }
}

fn regex(pattern: &str) -> Checked {
    // By itself, so that no parenthesis of it can close the one that anchors it.
    let parsed = Regex::new(pattern).and_then(|_| slots::anchored(pattern));
    parsed.map(drop).map_err(|e| {
        let last = e.to_string().lines().last().unwrap_or_default().trim().to_owned();
        Problem::new(format!("{pattern:?} is no regular expression: {last}"), "see https://docs.rs/regex/#syntax")
    })
}

fn env(manifest: &Manifest, variable: &str, value: &EnvValue) -> Checked {
    let good = variable.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
        && variable.bytes().next().is_some_and(|b| b.is_ascii_uppercase());
    if !good {
        return Err(Problem::new(format!("{variable:?} is no environment variable"), "A-Z, then A-Z, 0-9 and _"));
    }
    if LOADER_VARIABLES.contains(&variable) || LOADER_PREFIXES.iter().any(|p| variable.starts_with(p)) {
        return Err(Problem::new(
            format!("the variable {variable} is not for a plugin to set"),
            "it decides which code runs, or the host sets it; leave it out",
        ));
    }
    match value {
        EnvValue::Secret(name) if !manifest.secret.iter().any(|s| s.name == *name) => Err(Problem::new(
            format!("the secret {name:?} is not declared"),
            "add a [[secret]] with its name and reason",
        )),
        EnvValue::Config(reference) if config_key(reference).is_none() => {
            Err(Problem::new(format!("{reference:?} is no config key"), CONFIG_FORM))
        }
        EnvValue::Value(text) if text.chars().any(char::is_control) => {
            Err(Problem::new(format!("the value of {variable} holds a control character"), "leave it out"))
        }
        _ => Ok(()),
    }
}

fn directory(manifest: &Manifest, directory: &super::DirectoryRequest) -> Checked {
    name("directory name", &directory.name)?;
    reason(&directory.reason)?;
    let discover = match (&directory.path, &directory.discover) {
        (Some(path), None) => {
            return match config_key(path) {
                Some(_) => Ok(()),
                None => Err(Problem::new(format!("{path:?} is no config key"), CONFIG_FORM).on("path", "")),
            };
        }
        (None, Some(discover)) => discover,
        _ => return Err(Problem::new("needs exactly one of path and discover", "say which directory it is")),
    };
    let bad = |message: String, hint| Err(Problem::new(message, hint).on("discover", ""));
    if config_key(&discover.each).is_none() {
        return bad(format!("each: {:?} is no config key", discover.each), CONFIG_FORM);
    }
    let Some(command) = manifest.command(&discover.exec) else {
        return bad(format!("there is no command {:?}", discover.exec), "add an [[exec]] with this id");
    };
    if command.effect != Effect::Read {
        let message = format!("the command {:?} changes things, and the host runs it by itself", command.id);
        return bad(message, "only a command with effect = \"read\" can discover directories");
    }
    if command.slots.get(&discover.slot).is_some_and(|slot| slot.path.is_some()) {
        return bad(format!("the slot {:?} is a guest path", discover.slot), "fill it from a value: one-of or pattern");
    }
    let required: BTreeSet<String> = command
        .argv
        .iter()
        .filter_map(|entry| match entry {
            Argv::One(text) => Element::parse(text).ok(),
            Argv::Group(_) => None,
        })
        .flat_map(|element| element.slots().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    if required.len() != 1 || !required.contains(&discover.slot) {
        let message = format!("the command {:?} has to need the slot {:?} and no other", command.id, discover.slot);
        return bad(message, "the host fills this one slot with each value");
    }
    Ok(())
}

fn sign(manifest: &Manifest, sign: &Sign) -> Checked {
    let word = |text: &str| {
        (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if !word(&sign.service) {
        let message = format!("{:?} is no service to sign for", sign.service);
        return Err(Problem::new(message, "write for example service = \"ec2\"").on("service", ""));
    }
    if config_key(&sign.region).is_none() && !word(&sign.region) {
        let message = format!("{:?} is no region to sign for", sign.region);
        return Err(Problem::new(message, "write region = \"config.<key>\"").on("region", ""));
    }
    if sign.optional && config_key(&sign.region).is_none() {
        let message = "a signature is optional where its region is a key that may not be set";
        return Err(Problem::new(message, "write region = \"config.<key>\"").on("region", ""));
    }
    sign.role.as_ref().map_or(Ok(()), |role| self::role(manifest, role))
}

/// Which role it is, the operator says, and nobody else.
fn role(manifest: &Manifest, role: &SignRole) -> Checked {
    for (key, reference) in [("arn", Some(&role.arn)), ("endpoint", role.endpoint.as_ref())] {
        if let Some(wrong) = reference.filter(|reference| config_key(reference).is_none()) {
            return Err(Problem::new(format!("{wrong:?} is no {key} of a role"), CONFIG_FORM).on(key, wrong));
        }
    }
    match &role.external_id {
        Some(secret) if !manifest.secret.iter().any(|asked| asked.name == *secret) => {
            let message = format!("the external id {secret:?} is no secret of the manifest");
            Err(Problem::new(message, "add a [[secret]] of that name").on("external-id", secret))
        }
        _ => Ok(()),
    }
}

fn authenticate(manifest: &Manifest, how: &Authenticate) -> Checked {
    let Authenticate { scheme, secret, username } = how;
    let token = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if !(1..=32).contains(&scheme.len()) || !scheme.bytes().all(token) {
        let message = format!("{scheme:?} is no scheme of an Authorization header");
        return Err(Problem::new(message, "write for example scheme = \"Basic\"").on("scheme", ""));
    }
    if manifest.secret.iter().all(|known| known.name != *secret) {
        let message = format!("the manifest asks for no secret {secret:?}");
        return Err(Problem::new(message, "add a [[secret]] of this name").on("secret", ""));
    }
    match username.as_deref().map(config_key) {
        Some(Some(_)) if scheme == "Basic" => Ok(()),
        None if scheme != "Basic" => Ok(()),
        _ => Err(Problem::new(
            format!("the scheme {scheme} and its user name do not fit"),
            "Basic needs username = \"config.<key>\"; other schemes take none",
        )
        .on("scheme", "")),
    }
}

fn limits(manifest: &Manifest) -> Checked {
    let limits = &manifest.limits;
    if limits.memory.0 < 1 << 20 || limits.memory.0 > 4 << 30 {
        return Err(Problem::new("limits: memory is out of range", "1MiB to 4GiB").on("limits", "").on("memory", ""));
    }
    if limits.freeze.0 > MAX_FREEZE {
        return Err(Problem::new("limits: freeze is more than 5m", "everything that writes there waits for so long")
            .on("limits", "")
            .on("freeze", ""));
    }
    let spans =
        [("cpu", limits.cpu), ("long-call", limits.long_call), ("call", limits.call), ("freeze", limits.freeze)];
    for (key, span) in spans {
        if span.0.is_zero() {
            return Err(Problem::new(format!("limits: {key} is 0"), "write for example \"60s\"")
                .on("limits", "")
                .on(key, ""));
        }
    }
    Ok(())
}
