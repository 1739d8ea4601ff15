//! What the types cannot say: names, references between tables, values that contradict each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use toml::Spanned;
use toml::de::DeTable;

use super::application::{CommandApplication, ServiceApplication};
use super::document::{Step, find};
use super::hint::{form, nearest};
use super::keep::Retention;
use super::model::{Application, Bitbucket, Config, Encryption, Part, StoreConfig};
use super::notify::{Notify, Ping, Webhook};
use super::profile::{self, Profile};
use super::restore::RestoreConfig;
use super::source::{Place, Sources};
use crate::archive::{Exclude, check_name};
use crate::capability::manifest::Kind;
use crate::capability::{Grant, MAX_FREEZE, check_via};
use crate::error::{Error, Result};
use crate::store::check_location;
use crate::units::Span;

/// A configuration that is being checked.
pub(super) struct Checker<'a> {
    /// Where it was written.
    pub(super) sources: &'a Sources,
    /// The values, with their places.
    pub(super) root: &'a DeTable<'a>,
}

impl Checker<'_> {
    /// All checks.
    pub(super) fn check(&self, config: &Config) -> Result<()> {
        self.name(&[Step::Key("instance"), Step::Key("name")], "an instance", &config.instance.name)?;
        if let Some(state) = &config.instance.state {
            self.absolute(&[Step::Key("instance"), Step::Key("state")], state)?;
        }
        match &config.application {
            Application::Bitbucket(bitbucket) => self.bitbucket(bitbucket)?,
            Application::Service(service) => self.service(service)?,
            Application::Command(command) => self.command(command)?,
            Application::None(_) => {}
        }
        self.parts(&config.parts)?;
        self.stores(config)?;
        self.archive(config)?;
        self.keep(config)?;
        self.restore(&config.restore)?;
        config.encryption.iter().try_for_each(|encryption| self.encryption(encryption))?;
        self.drill(config)?;
        self.notify(&config.notify)?;
        self.grants(&config.grants)
    }

    fn place(&self, path: &[Step<'_>]) -> Option<Place> {
        // A value that is left out stands where its table does.
        (1..=path.len()).rev().find_map(|len| find(self.root, path.get(..len)?)).map(Spanned::span)
    }

    pub(super) fn error(&self, path: &[Step<'_>], message: &str) -> Error {
        self.sources.error(self.place(path).as_ref(), false, message)
    }

    /// An error that does not show the line.
    pub(super) fn hidden(&self, path: &[Step<'_>], message: &str) -> Error {
        self.sources.error(self.place(path).as_ref(), true, message)
    }

    /// An error whose hint is the form of the key.
    fn wrong(&self, path: &[Step<'_>], message: &str) -> Error {
        let error = self.error(path, message);
        match form(&shown(path)) {
            Some(form) => error.hint(form),
            None => error,
        }
    }

    fn name(&self, path: &[Step<'_>], what: &str, name: &str) -> Result<()> {
        check_name(what, name).map_err(|e| {
            let error = self.error(path, e.message());
            match e.hint_text() {
                Some(hint) => error.hint(hint),
                None => error,
            }
        })
    }

    pub(super) fn absolute(&self, path: &[Step<'_>], value: &Path) -> Result<()> {
        if value.is_absolute() {
            return Ok(());
        }
        Err(self.wrong(path, &format!("`{}` must be an absolute path, not `{}`", shown(path), value.display())))
    }

    fn positive(&self, path: &[Step<'_>], zero: bool) -> Result<()> {
        if zero { Err(self.wrong(path, &format!("`{}` must not be 0", shown(path)))) } else { Ok(()) }
    }

    fn bitbucket(&self, bitbucket: &Bitbucket) -> Result<()> {
        let at = |key| [Step::Key("application"), Step::Key(key)];
        let host = ["http://", "https://"].iter().find_map(|scheme| bitbucket.url.strip_prefix(scheme));
        if host.is_none_or(|host| host.is_empty() || host.starts_with(['/', ':']) || host.contains(char::is_whitespace))
        {
            return Err(self.wrong(&at("url"), "`application.url` must begin with http:// or https:// and name a host"));
        }
        if host.is_some_and(|host| host.split('/').next().is_some_and(|authority| authority.contains('@'))) {
            let error =
                self.sources.error(self.place(&at("url")).as_ref(), true, "`application.url` must not hold a password");
            return Err(error.hint("name the user in `username`, and say in `password` where the password is"));
        }
        if bitbucket.username.is_empty() {
            return Err(self.wrong(&at("username"), "`application.username` must not be empty"));
        }
        if bitbucket.username.contains(':') {
            return Err(self.wrong(&at("username"), "`application.username` must not hold a colon"));
        }
        if let Some(file) = &bitbucket.ca_file {
            self.absolute(&at("ca-file"), file)?;
        }
        self.positive(&at("drain-timeout"), bitbucket.drain_timeout.0.is_zero())?;
        self.positive(&at("max-lock-time"), bitbucket.max_lock_time.0.is_zero())?;
        if bitbucket.drain_timeout > bitbucket.max_lock_time {
            let Span(drain) = bitbucket.drain_timeout;
            return Err(self
                .error(
                    &at("drain-timeout"),
                    &format!(
                        "`drain-timeout` ({}) is longer than `max-lock-time` ({}), within which all has to be over",
                        Span(drain),
                        bitbucket.max_lock_time
                    ),
                )
                .hint("raise max-lock-time, or lower drain-timeout"));
        }
        Ok(())
    }

    fn service(&self, service: &ServiceApplication) -> Result<()> {
        let at = |key| [Step::Key("application"), Step::Key(key)];
        if service.services.is_empty() {
            return Err(self.wrong(&at("services"), "`application.services` must name at least one service"));
        }
        let mut seen = BTreeSet::new();
        for (index, name) in service.services.iter().enumerate() {
            let place = [Step::Key("application"), Step::Key("services"), Step::Index(index)];
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | ':' | '\\');
            let script = Path::new(name).is_absolute() && !name.contains(char::is_control);
            if !script && (name.is_empty() || name.starts_with(['-', '.']) || !name.chars().all(plain)) {
                let message = format!("`{}` cannot be the name of a service", name.escape_debug());
                return Err(self
                    .error(&place, &message)
                    .hint("write the name of a unit, or the absolute path of a script"));
            }
            if !seen.insert(name) {
                return Err(self.error(&place, &format!("the service `{name}` is named twice")));
            }
        }
        self.absolute(&at("systemctl"), &service.systemctl)?;
        self.rest_times(service.timeout, service.max_lock_time)
    }

    fn command(&self, command: &CommandApplication) -> Result<()> {
        let optional = [("at-rest", &command.at_rest), ("running", &command.running)];
        let optional = optional.into_iter().filter_map(|(key, argv)| Some((key, argv.as_ref()?)));
        for (key, argv) in [("quiesce", &command.quiesce), ("resume", &command.resume)].into_iter().chain(optional) {
            let at = [Step::Key("application"), Step::Key(key)];
            match argv.first() {
                None => return Err(self.wrong(&at, &format!("`application.{key}` must name a program"))),
                Some(program) => self.absolute(&at, Path::new(program))?,
            }
        }
        self.rest_times(command.timeout, command.max_lock_time)
    }

    fn rest_times(&self, timeout: Span, max: Span) -> Result<()> {
        let at = |key| [Step::Key("application"), Step::Key(key)];
        self.positive(&at("timeout"), timeout.0.is_zero())?;
        self.positive(&at("max-lock-time"), max.0.is_zero())?;
        if timeout > max {
            let message = format!(
                "`timeout` ({timeout}) is longer than `max-lock-time` ({max}), within which all has to be over"
            );
            return Err(self.error(&at("timeout"), &message).hint("raise max-lock-time, or lower timeout"));
        }
        Ok(())
    }

    fn parts(&self, parts: &[Part]) -> Result<()> {
        if parts.is_empty() {
            return Err(self.wrong(&[Step::Key("part")], "there is no [[part]]"));
        }
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for (index, part) in parts.iter().enumerate() {
            let at = |key| [Step::Key("part"), Step::Index(index), Step::Key(key)];
            self.name(&at("name"), "a part", &part.name)?;
            if let Some(first) = seen.insert(&part.name, index) {
                return Err(self
                    .error(
                        &at("name"),
                        &format!("two parts are called `{}`: number {} and number {}", part.name, first + 1, index + 1),
                    )
                    .hint("a part's name names its files in a set: give each its own"));
            }
            if part.plugin.is_empty() {
                return Err(self.wrong(&at("plugin"), &format!("the part `{}` names no plugin", part.name)));
            }
            if part.run_as.as_ref().is_some_and(String::is_empty) {
                return Err(self.wrong(&at("run-as"), "`run-as` must not be empty"));
            }
            if let Some(staging) = &part.staging {
                self.absolute(&at("staging"), staging)?;
            }
            check_via(&part.via).map_err(|why| self.wrong(&at("via"), &format!("`via` {why}")))?;
            self.left_out(index, part)?;
            for (program, file) in &part.programs {
                self.absolute(
                    &[Step::Key("part"), Step::Index(index), Step::Key("programs"), Step::Key(program)],
                    file,
                )?;
            }
            let limit = |key| [Step::Key("part"), Step::Index(index), Step::Key("limits"), Step::Key(key)];
            let limits = &part.limits;
            self.positive(&limit("memory"), limits.memory.is_some_and(|m| m.0 == 0))?;
            self.positive(&limit("cpu"), limits.cpu.is_some_and(|t| t.0.is_zero()))?;
            self.positive(&limit("call"), limits.call.is_some_and(|t| t.0.is_zero()))?;
            self.positive(&limit("long-call"), limits.long_call.is_some_and(|t| t.0.is_zero()))?;
            self.positive(&limit("freeze"), limits.freeze.is_some_and(|t| t.0.is_zero()))?;
            if limits.freeze.is_some_and(|t| t.0 > MAX_FREEZE) {
                return Err(self.wrong(&limit("freeze"), "`freeze` is more than 5m"));
            }
            self.offsite(index, part)?;
        }
        self.order(parts)
    }

    /// What is left out, and the options of the profile.
    fn left_out(&self, index: usize, part: &Part) -> Result<()> {
        let option = |key| [Step::Key("part"), Step::Index(index), Step::Key("options"), Step::Key(key)];
        match part.profile {
            None => {
                if let Some(key) = profile::set(&part.options).first() {
                    let message =
                        format!("`options.{key}` is an option of a profile, and part `{}` has none", part.name);
                    let names: Vec<_> = Profile::ALL.iter().map(|profile| profile.name()).collect();
                    return Err(self
                        .error(&option(key), &message)
                        .hint(format!("add profile = \"…\" to the [[part]]; there are {}", names.join(", "))));
                }
            }
            Some(profile) => {
                if let Some((key, valid)) = profile.stray_option(&part.options) {
                    let message = format!("the profile `{}` has no option `{key}`", profile.name());
                    let hint = match valid {
                        [] => "it has none: leave it out".to_owned(),
                        _ => format!("its options are: {}", valid.join(", ")),
                    };
                    return Err(self.error(&option(key), &message).hint(hint));
                }
            }
        }
        for (n, glob) in part.exclude.iter().enumerate() {
            let at = [Step::Key("part"), Step::Index(index), Step::Key("exclude"), Step::Index(n)];
            let exclude = Exclude::new([glob]).map_err(|e| {
                let error = self.error(&at, e.message());
                match e.hint_text() {
                    Some(hint) => error.hint(hint),
                    None => error,
                }
            })?;
            if exclude.is_everything() {
                let message = format!("the exclude pattern `{glob}` leaves out everything");
                return Err(self.error(&at, &message).hint("to keep nothing of it, leave out the [[part]]"));
            }
        }
        Ok(())
    }

    fn offsite(&self, index: usize, part: &Part) -> Result<()> {
        for (n, place) in part.offsite.iter().enumerate() {
            let table = [Step::Key("part"), Step::Index(index), Step::Key("offsite"), Step::Index(n)];
            let at = |key| [&table[..], &[Step::Key(key)]].concat();
            self.name(&at("name"), "a place", &place.name)?;
            if part.offsite.iter().take(n).any(|other| other.name == place.name) {
                let message = format!("two places of the part `{}` are called `{}`", part.name, place.name);
                return Err(self
                    .error(&at("name"), &message)
                    .hint("the copies carry the name: give each place its own"));
            }
            self.positive(&at("timeout"), place.timeout.0.is_zero())?;
            self.retention(&at("retention"), &place.retention)?;
        }
        Ok(())
    }

    /// Checks `after`: only parts that exist, and no circle.
    fn order(&self, parts: &[Part]) -> Result<()> {
        let names: BTreeSet<&str> = parts.iter().map(|part| part.name.as_str()).collect();
        for (index, part) in parts.iter().enumerate() {
            let unknown = part.after.iter().enumerate().find(|(_, other)| !names.contains(other.as_str()));
            if let Some((n, other)) = unknown {
                let at = [Step::Key("part"), Step::Index(index), Step::Key("after"), Step::Index(n)];
                let hint = match nearest(other, names.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("the parts are: {}", names.iter().copied().collect::<Vec<_>>().join(", ")),
                };
                return Err(self
                    .error(&at, &format!("the part `{}` comes after `{other}`, which does not exist", part.name))
                    .hint(hint));
            }
        }
        // Take away, again and again, what waits for nothing: what stays waits for itself.
        let mut left: Vec<&Part> = parts.iter().collect();
        loop {
            let waiting: BTreeSet<&str> = left.iter().map(|part| part.name.as_str()).collect();
            let before = left.len();
            left.retain(|part| part.after.iter().any(|other| waiting.contains(other.as_str())));
            if left.is_empty() {
                return Ok(());
            }
            if left.len() == before {
                return Err(self.circle(parts, &left));
            }
        }
    }

    fn circle(&self, parts: &[Part], left: &[&Part]) -> Error {
        let step = |from: &str| {
            let part = left.iter().find(|part| part.name == from)?;
            part.after.iter().find(|other| left.iter().any(|part| part.name == **other)).map(String::as_str)
        };
        let mut way: Vec<&str> = left.first().map(|part| part.name.as_str()).into_iter().collect();
        while let Some(next) = way.last().copied().and_then(step) {
            let met = way.iter().position(|name| *name == next);
            way.push(next);
            if let Some(met) = met {
                way.drain(..met);
                break;
            }
        }
        let index = way.first().and_then(|name| parts.iter().position(|part| part.name == *name)).unwrap_or(0);
        self.error(
            &[Step::Key("part"), Step::Index(index), Step::Key("after")],
            &format!("the parts wait for each other: {}", way.join(" after ")),
        )
        .hint("take one of them out of `after`")
    }

    fn stores(&self, config: &Config) -> Result<()> {
        if config.stores.is_empty() {
            return Err(self.wrong(&[Step::Key("store")], "there is no [[store]]"));
        }
        for (index, store) in config.stores.iter().enumerate() {
            self.store(index, store)?;
            let at = |key| [Step::Key("store"), Step::Index(index), Step::Key(key)];
            let before = config.stores.iter().take(index);
            if before.clone().any(|other| (&other.to, &other.endpoint) == (&store.to, &store.endpoint)) {
                let message = format!("there are two stores `{}`", store.to);
                return Err(self.error(&at("to"), &message).hint("a second copy belongs elsewhere: keep one"));
            }
            if before.into_iter().any(|other| other.name() == store.name()) {
                let message = format!("two stores are called `{}`", store.name());
                return Err(self.error(&at("name"), &message).hint("give each a name = \"…\" of its own"));
            }
        }
        if !config.stores.iter().any(|store| store.required) {
            let at = [Step::Key("store"), Step::Index(0), Step::Key("required")];
            return Err(self
                .error(&at, "no store is required: a run that stored nothing would be a success")
                .hint("leave `required` out of at least one [[store]]"));
        }
        Ok(())
    }

    fn store(&self, index: usize, store: &StoreConfig) -> Result<()> {
        let at = |key| [Step::Key("store"), Step::Index(index), Step::Key(key)];
        check_location(&store.to).map_err(|(message, hint)| self.error(&at("to"), &message).hint(hint))?;
        if let Some(name) = &store.name {
            self.name(&at("name"), "a store", name)?;
        }
        if !store.to.starts_with("s3://") {
            let plain =
                StoreConfig { name: store.name.clone(), required: store.required, ..StoreConfig::at(&store.to) };
            let keys = serde_json::to_value(store).unwrap_or_default();
            let plain = serde_json::to_value(plain).unwrap_or_default();
            let other = keys.as_object().into_iter().flatten().find(|(key, value)| plain.get(key) != Some(value));
            if let Some((key, _)) = other {
                let message = format!("`{key}` is a key of a bucket, and the store `{}` is a directory", store.to);
                return Err(self.error(&at(key), &message).hint("leave it out"));
            }
            return Ok(());
        }
        if let Some(file) = &store.ca_file {
            self.absolute(&at("ca-file"), file)?;
        }
        if store.access_key.is_some() != store.secret_key.is_some()
            || (store.session_token.is_some() && store.access_key.is_none())
        {
            let has = if store.access_key.is_some() { "access-key" } else { "secret-key" };
            let error = self.error(&at(has), "`access-key` and `secret-key` of a store go together");
            return Err(
                error.hint("write both, with { file = \"…\" } or { env = \"…\" }; or none, for the usual places")
            );
        }
        if store.kms_key.is_some() && store.encryption != Some(Encryption::AwsKms) {
            return Err(self.wrong(&at("kms-key"), "`kms-key` goes with `encryption = \"aws-kms\"`"));
        }
        if let Some(class) = store.storage_class.as_deref().filter(|class| matches!(*class, "GLACIER" | "DEEP_ARCHIVE"))
        {
            let message = format!("nothing can be read back from the storage class {class}, and so no set be proved");
            return Err(self
                .error(&at("storage-class"), &message)
                .hint("choose GLACIER_IR, or let a rule of the bucket move objects there that are some days old"));
        }
        for (key, value) in
            [("storage-class", &store.storage_class), ("kms-key", &store.kms_key), ("region", &store.region)]
        {
            if value.as_ref().is_some_and(|text| text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic())) {
                return Err(self.wrong(&at(key), &format!("`{key}` of a store must be a word")));
            }
        }
        self.positive(&at("timeout"), store.timeout.is_some_and(|time| time.0.is_zero()))
    }

    fn retention(&self, table: &[Step<'_>], retention: &Retention) -> Result<()> {
        let at = |key| [table, &[Step::Key(key)]].concat();
        self.positive(&at("keep-within"), retention.keep_within.is_some_and(|t| t.0.is_zero()))?;
        if retention.keep_proved_min == 0 {
            let key = shown(&at("keep-proved-min"));
            let message = format!("`{key}` must be at least 1: the last proved set is never deleted");
            return Err(self.wrong(&at("keep-proved-min"), &message));
        }
        if let Some(zone) = retention.time_zone.as_deref().filter(|zone| jiff::tz::TimeZone::get(zone).is_err()) {
            let key = shown(&at("time-zone"));
            let message = format!("`{key}`: this machine knows no time zone `{}`", zone.escape_debug());
            return Err(self.wrong(&at("time-zone"), &message));
        }
        Ok(())
    }

    fn keep(&self, config: &Config) -> Result<()> {
        self.positive(&[Step::Key("instance"), Step::Key("rpo")], config.instance.rpo.is_some_and(|t| t.0.is_zero()))?;
        self.retention(&[Step::Key("retention")], &config.retention)?;
        let at = |key, n| [Step::Key("coverage"), Step::Key(key), Step::Index(n)];
        for (n, part) in config.coverage.parts.iter().enumerate() {
            self.name(&at("parts", n), "a part", part)?;
        }
        for (n, kind) in config.coverage.kinds.iter().enumerate() {
            if !Kind::ALL.iter().any(|known| known.name() == kind) {
                let message = format!("`coverage.kinds`: there is no kind `{}`", kind.escape_debug());
                return Err(self.wrong(&at("kinds", n), &message));
            }
        }
        for (n, path) in config.coverage.paths.iter().enumerate() {
            self.absolute(&at("paths", n), path)?;
        }
        if let Some(file) = &config.metrics.textfile {
            let at = [Step::Key("metrics"), Step::Key("textfile")];
            self.absolute(&at, file)?;
            if file.extension().is_none_or(|extension| extension != "prom") {
                let message = "`metrics.textfile` must end in .prom: the textfile collector reads nothing else";
                return Err(self.wrong(&at, message));
            }
        }
        Ok(())
    }

    fn restore(&self, restore: &RestoreConfig) -> Result<()> {
        for (key, commands) in [("before", &restore.before), ("after", &restore.after)] {
            for (n, argv) in commands.iter().enumerate() {
                let at = [Step::Key("restore"), Step::Key(key), Step::Index(n)];
                match argv.first() {
                    None => return Err(self.wrong(&at, &format!("a command of `restore.{key}` must name a program"))),
                    Some(program) => self.absolute(&at, Path::new(program))?,
                }
            }
        }
        self.positive(&[Step::Key("restore"), Step::Key("timeout")], restore.timeout.0.is_zero())
    }

    fn archive(&self, config: &Config) -> Result<()> {
        let archive = &config.archive;
        let most = archive.format.max_level();
        if let Some(level) = archive.level.filter(|level| !(1..=most).contains(level)) {
            return Err(self.wrong(
                &[Step::Key("archive"), Step::Key("level")],
                &format!("`archive.level` must be from 1 (fast) to {most} (small), not {level}"),
            ));
        }
        if archive.threads > 256 {
            let at = [Step::Key("archive"), Step::Key("threads")];
            return Err(self.wrong(&at, &format!("`archive.threads` must be at most 256, not {}", archive.threads)));
        }
        Ok(())
    }

    fn drill(&self, config: &Config) -> Result<()> {
        let drill = &config.drill;
        let at = |key| [Step::Key("drill"), Step::Key(key)];
        if let Some(scratch) = &drill.scratch {
            self.absolute(&at("scratch"), scratch)?;
        }
        self.positive(&at("check-timeout"), drill.check_timeout.0.is_zero())?;
        for (index, name) in drill.skip.iter().enumerate() {
            if !config.parts.iter().any(|part| part.name == *name) {
                let names: Vec<&str> = config.parts.iter().map(|part| part.name.as_str()).collect();
                let path = [Step::Key("drill"), Step::Key("skip"), Step::Index(index)];
                return Err(self
                    .error(
                        &path,
                        &format!("`drill.skip` names the part `{}`, which does not exist", name.escape_debug()),
                    )
                    .hint(format!("the parts are: {}", names.join(", "))));
            }
        }
        for (index, argv) in drill.check.iter().enumerate() {
            let path = [Step::Key("drill"), Step::Key("check"), Step::Index(index)];
            let program = argv.first().filter(|program| !program.is_empty());
            let program = program.ok_or_else(|| self.wrong(&at("check"), "a `drill.check` names no program"))?;
            self.absolute(&path, Path::new(program))?;
        }
        Ok(())
    }

    fn notify(&self, channels: &[Notify]) -> Result<()> {
        let mut names = BTreeSet::new();
        for (index, channel) in channels.iter().enumerate() {
            let at = |key| [Step::Key("notify"), Step::Index(index), Step::Key(key)];
            if !names.insert(channel.name()) {
                let message = format!("two notification channels are called `{}`", channel.name());
                return Err(self.error(&at("name"), &message).hint("give each a name = \"…\" of its own"));
            }
            if channel.on().is_empty() {
                return Err(self.wrong(&at("on"), "a notification channel with an empty `on` is never used"));
            }
            match channel {
                Notify::Webhook(Webhook { url, url_from, .. }) | Notify::Ping(Ping { url, url_from, .. }) => {
                    if url.is_some() == url_from.is_some() {
                        let message = "a notification channel has either `url` or `url-from`";
                        return Err(self.wrong(&at("url"), message));
                    }
                }
                Notify::Mail(mail) => {
                    if mail.to.is_empty() {
                        return Err(self.wrong(&at("to"), "a mail needs at least one recipient"));
                    }
                    if mail.server.contains('@') {
                        let place = self.place(&at("server"));
                        let message = "`notify.server` must not hold a user or a password";
                        return Err(self
                            .sources
                            .error(place.as_ref(), true, message)
                            .hint("name the user in `username`, and say in `password` where the password is"));
                    }
                    if mail.username.is_some() != mail.password.is_some() {
                        let message = "`username` and `password` of a mail server go together";
                        return Err(self.wrong(&at("username"), message));
                    }
                }
                Notify::Command(command) => match command.program() {
                    None => return Err(self.wrong(&at("command"), "`command` must name a program")),
                    Some(program) => self.absolute(&at("command"), &program)?,
                },
            }
        }
        Ok(())
    }

    fn grants(&self, grants: &[Grant]) -> Result<()> {
        let mut seen = BTreeSet::new();
        for (index, grant) in grants.iter().enumerate() {
            let at = |key| [Step::Key("grant"), Step::Index(index), Step::Key(key)];
            let digest = grant.sha256.to_ascii_lowercase();
            if digest.len() != 64 || !digest.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(
                    self.wrong(&at("sha256"), &format!("the grant for `{}` has no SHA-256 digest", grant.plugin))
                );
            }
            if !seen.insert(digest) {
                return Err(self
                    .error(&at("sha256"), &format!("there are two grants for the plugin `{}`", grant.plugin))
                    .hint("keep one, with all that the plugin may do"));
            }
            for (n, path) in grant.read.iter().enumerate() {
                self.absolute(&[Step::Key("grant"), Step::Index(index), Step::Key("read"), Step::Index(n)], path)?;
            }
            for (n, path) in grant.write.iter().enumerate() {
                self.absolute(&[Step::Key("grant"), Step::Index(index), Step::Key("write"), Step::Index(n)], path)?;
            }
            for (n, path) in grant.freeze.iter().enumerate() {
                self.absolute(&[Step::Key("grant"), Step::Index(index), Step::Key("freeze"), Step::Index(n)], path)?;
            }
            for (id, path) in &grant.exec {
                self.absolute(&[Step::Key("grant"), Step::Index(index), Step::Key("exec"), Step::Key(id)], path)?;
            }
        }
        Ok(())
    }
}

/// A path as it is written in messages.
fn shown(path: &[Step<'_>]) -> String {
    path.iter().fold(String::new(), |text, step| match step {
        Step::Key(key) if text.is_empty() => (*key).to_owned(),
        Step::Key(key) => format!("{text}.{key}"),
        Step::Index(index) => format!("{text}[{index}]"),
    })
}
