//! What a restore will do, before it does it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use super::paths::Chosen;
use super::step::Step;
use super::target::{directory_of, refuse_unless_empty};
use super::{Request, foresee, past};
use crate::archive::set::{ObjectRole, PartRecord};
use crate::archive::{OwnersBy, SetId, check_name, escape};
use crate::capability::manifest::RestoreTarget;
use crate::error::{Error, ErrorKind, Result};
use crate::report::waiting;
use crate::run::chain::Chain;
use crate::run::coverage::{self, resolved};
use crate::run::fingerprint::Fingerprint;
use crate::run::part::{Part, Purpose};
use crate::run::session::Session;
use crate::store::StoredSet;

/// The steps of a restore, in their order. Making it changes nothing.
pub struct Plan<'a> {
    pub(super) steps: Vec<Planned<'a>>,
    pub(super) owners: OwnersBy,
    set: &'a StoredSet,
    accept: Option<String>,
    /// Also what was completed before.
    again: bool,
    /// Why it would be refused as things stand.
    refusals: Vec<Error>,
}

/// A step, and what else is planned of it.
pub(super) struct Planned<'a> {
    step: Step<'a>,
    /// Only these paths.
    pub(super) chosen: Option<Chosen>,
    /// An earlier restore has completed it.
    pub(super) done: Option<Timestamp>,
    /// It goes where it came from, also if that was typed.
    original: bool,
}

impl<'a> Deref for Planned<'a> {
    type Target = Step<'a>;

    fn deref(&self) -> &Step<'a> {
        &self.step
    }
}

impl Planned<'_> {
    /// Where it goes, for people.
    pub(super) fn place(&self) -> String {
        match (&self.chosen, &self.step.directory, &self.step.to) {
            (Some(chosen), _, _) => chosen.into.display().to_string(),
            (None, Some(directory), _) => directory.display().to_string(),
            (None, None, Some(to)) => to.clone(),
            (None, None, None) => "its original place".to_owned(),
        }
    }
}

/// One step, for people and programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PlannedStep {
    /// The part.
    pub part: String,
    /// The strategy that restores it.
    pub plugin: String,
    /// Where to.
    pub to: String,
    /// Whether that is where it came from.
    pub original: bool,
    /// The objects that are read: the set, the file, and its size in the store.
    pub objects: Vec<(SetId, String, u64)>,
    /// What stays with the vendor, by its name there.
    pub held: Option<String>,
    /// Only these paths; empty: all.
    pub paths: Vec<String>,
    /// Files among them take the place of files.
    pub replace: bool,
    /// When an earlier restore of the set, which did not come to its end, has completed it: it is not done again.
    pub done: Option<Timestamp>,
    /// Bytes of content.
    pub bytes: u64,
    /// Entries in the archive.
    pub entries: u64,
}

impl<'a> Plan<'a> {
    /// Work out the steps. What would refuse them as things stand is part of the plan.
    ///
    /// # Errors
    /// The request does not fit the set or the configuration; what it needs cannot be found.
    pub async fn make(session: &Session, set: &'a StoredSet, parts: &'a [Part], request: &Request) -> Result<Self> {
        let records = chosen(&set.manifest.parts, &request.parts)?;
        if records.len() > 1 && !request.paths.is_empty() {
            let names: Vec<&str> = records.iter().map(|record| record.name.as_str()).collect();
            return Err(Error::new(ErrorKind::Config, "`--path` does not say of which part")
                .hint(format!("choose one with --part: {}", names.join(", "))));
        }
        let mut targets = targets(&records, &request.to)?;
        let mut steps = Vec::new();
        for record in records {
            let part = configured(parts, record)?;
            let to = targets.remove(&record.name);
            let selected = match request.paths.as_slice() {
                [] => None,
                paths => {
                    let request = (paths, to.as_deref(), request.replace);
                    Some(Chosen::find(&session.reporter, set, record, part, request).await?)
                }
            };
            let directory = match part.plugin.manifest().restore.target_of(&part.values) {
                RestoreTarget::Directory if selected.is_none() => Some(directory_of(part, to.as_deref())?),
                RestoreTarget::Directory | RestoreTarget::Name => None,
            };
            let chain = Chain::find(set, record).await?;
            let step = Step { part, record, chain, to, directory };
            let original = is_original(&step, selected.as_ref());
            steps.push(Planned { step, chosen: selected, done: None, original });
        }
        in_order(&mut steps);
        let (owners, accept) = (request.owners, request.accept.clone());
        let mut plan = Self { steps, owners, set, accept, again: request.again, refusals: Vec::new() };
        plan.skip_completed(session);
        plan.refusals = plan.look(session, &past::unfinished(&session.dirs)).await;
        Ok(plan)
    }

    /// The same plan, as things stand now: dead restores were cleaned up after.
    ///
    /// # Errors
    /// It is refused.
    pub(super) async fn again(mut self, session: &Session) -> Result<Self> {
        self.skip_completed(session);
        self.refusals = self.look(session, &[]).await;
        self.accepted()
    }

    /// What an earlier restore has completed is not done again.
    fn skip_completed(&mut self, session: &Session) {
        let completed = if self.again { Vec::new() } else { past::completed(&session.dirs, &self.set.manifest.id) };
        for planned in &mut self.steps {
            planned.done = completed
                .iter()
                .find(|done| done.part == planned.part.name() && done.to == planned.place())
                .filter(|done| planned.directory.as_ref().is_none_or(|path| !done.in_place || path.is_dir()))
                // What it looked at then may be otherwise now.
                .filter(|_| planned.chosen.is_none() && !refuses(planned.part))
                .map(|done| done.at);
        }
    }

    /// The directories that are written to.
    pub(super) fn directories(&self) -> impl Iterator<Item = &Path> {
        self.steps.iter().filter_map(|step| match &step.chosen {
            Some(chosen) => Some(chosen.into.as_path()),
            None => step.directory.as_deref(),
        })
    }

    /// The plan, unless it would be refused.
    ///
    /// # Errors
    /// The first reason.
    pub fn accepted(mut self) -> Result<Self> {
        if self.refusals.is_empty() { Ok(self) } else { Err(self.refusals.remove(0)) }
    }

    /// Why it would be refused as things stand.
    #[must_use]
    pub fn refusals(&self) -> &[Error] {
        &self.refusals
    }

    /// The steps, for people and programs.
    #[must_use]
    pub fn steps(&self) -> Vec<PlannedStep> {
        self.steps.iter().map(planned).collect()
    }

    /// Whether something goes where it came from.
    #[must_use]
    pub fn to_original(&self) -> bool {
        self.steps.iter().any(|step| step.done.is_none() && step.original)
    }

    /// Two parts would go into one directory: the first to come would be in the way of the second, or mixed with it.
    fn same_target(&self) -> Option<Error> {
        let wholes = self.steps.iter().filter(|step| step.chosen.is_none());
        let mut seen: BTreeMap<PathBuf, &str> = BTreeMap::new();
        for (step, directory) in wholes.filter_map(|step| Some((step, step.directory.as_deref()?))) {
            if let Some(other) = seen.insert(resolved(directory), step.part.name()) {
                let text = format!("parts `{other}` and `{}` would both go to {}", step.part.name(), step.place());
                return Some(
                    Error::new(ErrorKind::Conflict, text)
                        .hint("give each part a target of its own: --to PART=TARGET, or choose one with --part"),
                );
            }
        }
        None
    }

    /// `dead`: what restores that died have begun, which will be cleaned up before anything is restored.
    async fn look(&self, session: &Session, dead: &[(String, String)]) -> Vec<Error> {
        let mut refusals: Vec<Error> = self.same_target().into_iter().collect();
        let left = past::partials(&session.dirs);
        for step in self.steps.iter().filter(|step| step.done.is_none()) {
            if let Some(chosen) = &step.chosen {
                refusals.extend(chosen.refusal(&session.reporter, &session.cancel).await.err());
            } else if let Some(directory) = &step.directory {
                refusals.extend(refuse_unless_empty(directory, &left).err());
            }
        }
        if self.to_original() {
            let mut here = Fingerprint::here(session);
            for step in self.steps.iter().filter(|step| step.done.is_none() && step.original) {
                match system(session, step).await {
                    Ok(Some((then, now))) if then != now => here.other_system(step.part.name(), &then, &now),
                    Ok(_) => {}
                    Err(error) => refusals.push(error),
                }
            }
            let accepted = self.accept.as_ref().is_some_and(|typed| *typed == here.short());
            // The set of another instance was not made here, and the operator has said so.
            if !accepted && self.set.manifest.instance == session.instance() {
                refusals.extend(here.may_restore(&self.set.manifest).err());
            }
            // What stops it comes first.
            if session.config.restore.before.is_empty() {
                refusals.extend(refuse_running(session).await.err());
            }
        }
        let left = |step: &Planned<'_>| dead.iter().any(|(part, to)| part == step.part.name() && *to == step.place());
        let stands = |step: &Planned<'_>| !step.original || session.config.restore.before.is_empty();
        let now = |step: &&Planned<'_>| stands(step) && !left(step);
        refusals.extend(self.foreseen(session, now).await);
        refusals
    }

    /// What strategies say against what goes to the original place, once the operator's commands before it were run.
    pub(super) async fn refused_now(&self, session: &Session) -> Vec<Error> {
        let then = |step: &&Planned<'_>| step.original && !session.config.restore.before.is_empty();
        self.foreseen(session, then).await
    }

    /// Targets of which only the strategy knows whether they are free: databases, datasets. Of one part alone, it refuses before
    /// anything else was touched anyway.
    async fn foreseen(&self, session: &Session, which: impl Fn(&&Planned<'_>) -> bool) -> Vec<Error> {
        let mut refusals = Vec::new();
        if self.steps.iter().filter(|step| step.done.is_none()).count() < 2 {
            return refusals;
        }
        let named = |step: &&Planned<'_>| step.done.is_none() && step.chosen.is_none() && step.directory.is_none();
        for step in self.steps.iter().filter(named).filter(which) {
            refusals.extend(foresee::refusal(session, step).await.err());
        }
        refusals
    }
}

/// Whether a step goes where it came from: nobody named another place, or what was named is that place, or is in it.
fn is_original(step: &Step<'_>, chosen: Option<&Chosen>) -> bool {
    let Some(to) = &step.to else { return true };
    let directory = chosen.map(|chosen| &chosen.into).or(step.directory.as_ref());
    match (directory, step.part.original_directory()) {
        (Some(directory), Some(original)) => resolved(directory).starts_with(resolved(Path::new(&original))),
        (Some(_), None) => false,
        // As `datasets = ["tank/home"]`, or as `database = "app"` for `database=app`.
        (None, _) => {
            let values = &step.part.values;
            let named = |pair: &str| {
                pair.split_once('=').is_some_and(|(key, value)| values.get(key).is_some_and(|own| *own == value))
            };
            let mut texts = BTreeSet::new();
            coverage::texts(values, &mut texts);
            texts.contains(to.as_str()) || to.split(',').all(named)
        }
    }
}

/// The identifiers of the system that a part was made of, and of the one that it would be restored to.
async fn system(session: &Session, step: &Step<'_>) -> Result<Option<(String, String)>> {
    let Some(then) = step.record.identity.clone() else { return Ok(None) };
    let mut live = step.part.start(session, Purpose::plain(session.cancel.child_token())).await?;
    let what = format!("part `{}` to tell which system it is", step.part.name());
    let now = waiting(&session.reporter, &what, live.instance.identity()).await;
    live.stop().await;
    now.map(|now| now.map(|now| (then, now)))
}

/// The part of the configuration that made this one.
fn configured<'a>(parts: &'a [Part], record: &PartRecord) -> Result<&'a Part> {
    let part = parts.iter().find(|part| part.name() == record.name).ok_or_else(|| {
        Error::new(ErrorKind::Config, format!("part `{}` of the set is not configured here", record.name))
            .hint("restore with the configuration that made the set, or choose other parts with --part")
    })?;
    if part.plugin.name() == record.plugin {
        return Ok(part);
    }
    Err(Error::new(
        ErrorKind::Config,
        format!(
            "part `{}` was made by the plugin {}, and is configured for {}",
            record.name,
            record.plugin,
            part.plugin.name()
        ),
    )
    .hint("restore with the configuration that made the set"))
}

/// What was captured last comes back first: a part that refers to another is captured before it, and so is only back when
/// all that it refers to is there.
fn in_order(steps: &mut [Planned<'_>]) {
    steps.sort_by_key(|step| std::cmp::Reverse(step.record.snapshot.created));
    // Captured in the same millisecond, or by a clock that was set: the configuration's order counts.
    for i in 1..steps.len() {
        let mut at = i;
        while let Some(before) = at.checked_sub(1)
            && let (Some(first), Some(second)) = (steps.get(before), steps.get(at))
            && second.part.settings.after.iter().any(|name| name == first.part.name())
        {
            steps.swap(before, at);
            at = before;
        }
    }
    steps.sort_by_key(|step| !refuses(step.part));
}

/// Whether the part writes nothing when it is restored, but refuses what must not be done: which it has to before others write.
fn refuses(part: &Part) -> bool {
    part.plugin.manifest().restore.first
}

fn planned(step: &Planned<'_>) -> PlannedStep {
    let objects: Vec<_> = step
        .chain
        .links()
        .flat_map(|link| {
            let id = link.set.manifest.id.clone();
            link.part.objects.iter().map(move |object| (id.clone(), object.file.clone(), object.bytes))
        })
        .collect();
    let content = step.chain.links().flat_map(|link| &link.part.objects).filter(|o| o.role != ObjectRole::Index);
    PlannedStep {
        part: step.part.name().to_owned(),
        plugin: step.part.plugin.name().to_owned(),
        to: step.place(),
        original: step.original,
        held: objects.is_empty().then(|| step.record.snapshot.id.clone()),
        bytes: match &step.chosen {
            Some(chosen) => chosen.selection.bytes,
            None => content.fold(0, |sum, object| sum.saturating_add(object.content_bytes)),
        },
        entries: step.chosen.as_ref().map_or(step.record.entries, |chosen| chosen.selection.entries),
        paths: step.chosen.iter().flat_map(|chosen| &chosen.paths).map(|path| escape(path)).collect(),
        replace: step.chosen.as_ref().is_some_and(|chosen| chosen.replace),
        done: step.done,
        objects,
    }
}

fn chosen<'a>(records: &'a [PartRecord], names: &[String]) -> Result<Vec<&'a PartRecord>> {
    if names.is_empty() {
        return Ok(records.iter().collect());
    }
    names
        .iter()
        .map(|name| {
            records.iter().find(|record| record.name == *name).ok_or_else(|| {
                let have: Vec<&str> = records.iter().map(|record| record.name.as_str()).collect();
                Error::new(ErrorKind::NotFound, format!("the set has no part `{name}`"))
                    .hint(format!("its parts are: {}", have.join(", ")))
            })
        })
        .collect()
}

/// `PART=TARGET` for each, or a bare `TARGET` if it can only mean one part.
fn targets(records: &[&PartRecord], to: &[String]) -> Result<BTreeMap<String, String>> {
    let mut targets = BTreeMap::new();
    for text in to {
        let named = text.split_once('=').filter(|(part, _)| records.iter().any(|record| record.name == *part));
        let (part, target) = match (named, records) {
            (Some((part, target)), _) => (part.to_owned(), target),
            // Not a directory that is called so: a name that was mistyped, or a part that is not restored.
            (None, _) if text.split_once('=').is_some_and(|(part, _)| check_name("a part", part).is_ok()) => {
                let names: Vec<&str> = records.iter().map(|record| record.name.as_str()).collect();
                return Err(Error::new(ErrorKind::Config, format!("`--to {text}` is for no part that is restored"))
                    .hint(format!("write --to PART=TARGET; these are restored: {}", names.join(", "))));
            }
            (None, [only]) => (only.name.clone(), text.as_str()),
            (None, _) => {
                return Err(Error::new(ErrorKind::Config, format!("`--to {text}` does not say which part it is for"))
                    .hint("write --to PART=TARGET for each part, or choose one part with --part"));
            }
        };
        if target.is_empty() {
            return Err(Error::new(ErrorKind::Config, format!("`--to {text}` names no target")));
        }
        if targets.insert(part.clone(), target.to_owned()).is_some() {
            return Err(Error::new(ErrorKind::Config, format!("two targets for part `{part}`")));
        }
    }
    Ok(targets)
}

/// Nothing is put under an application that runs.
pub(super) async fn refuse_running(session: &Session) -> Result<()> {
    let application = session.application().await?;
    if application.is_running().await? {
        return Err(Error::new(ErrorKind::Conflict, format!("{} is running", application.describe()))
            .hint("stop it before its data is replaced, or restore to another place with --to"));
    }
    Ok(())
}
