//! A restore under way.

use std::path::Path;
use std::sync::Arc;

use super::partial::Partial;
use super::past;
use super::plan::Planned;
use super::repositories::{Aftercare, Repositories, profile_of, tell};
use super::step::Means;
use crate::archive::{Control, ExtractOptions, OwnersBy, SetId};
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Level, waiting, waiting_for};
use crate::run::identity::ProcessId;
use crate::run::journal::{Journal, Record};
use crate::run::keeper::JournalKeeper;
use crate::run::prune::blocking;
use crate::run::session::Session;

/// A restore under way, with its journal.
pub(super) struct Going<'a> {
    session: &'a Session,
    id: &'a SetId,
    journal: Arc<Journal>,
    keeper: Arc<JournalKeeper>,
    owners: OwnersBy,
}

impl<'a> Going<'a> {
    /// Begin the journal of the restore `id` of this set.
    pub(super) fn start(session: &'a Session, id: &'a SetId, set: &SetId, owners: OwnersBy) -> Result<Self> {
        let journal = Arc::new(Journal::create(&session.dirs.runs(), id)?);
        journal.write(Record::Begun { instance: session.instance().to_owned(), host: ProcessId::own()? })?;
        journal.write(Record::Restore { set: set.clone() })?;
        let keeper = Arc::new(JournalKeeper::new(Arc::clone(&journal), id, session.reporter.clone()));
        Ok(Self { session, id, journal, keeper, owners })
    }

    /// No step is taken.
    pub(super) fn nothing(&self) -> Result<()> {
        self.journal.write(Record::Ended { ok: false })
    }

    /// Take the steps. When one fails, what it made is removed; what those before it restored stays.
    pub(super) async fn take(&self, steps: &[Planned<'_>]) -> Result<Vec<Aftercare>> {
        let error = match self.all(steps).await {
            Ok(aftercare) => {
                self.journal.write(Record::Ended { ok: true })?;
                return Ok(aftercare);
            }
            Err(error) => error,
        };
        // Those that are completed already are gone on with by the next restore.
        match past::clean(self.session, self.id, &self.journal).await {
            Ok(()) => {
                self.journal.write(Record::Ended { ok: false })?;
                Err(error)
            }
            Err(left) => {
                let left = left.in_full();
                self.session.reporter.message(Level::Error, None, left.clone());
                Err(error.detail("not cleaned up", left))
            }
        }
    }

    async fn all(&self, steps: &[Planned<'_>]) -> Result<Vec<Aftercare>> {
        // First, so that a restore that dies right now does not forget them.
        for step in steps.iter().filter(|step| step.done.is_some()) {
            let part = step.part.name().to_owned();
            self.journal.write(Record::Restoring {
                part: part.clone(),
                to: step.place(),
                partial: None,
                name: None,
            })?;
            self.journal.write(Record::Restored { part })?;
        }
        let mut aftercare = Vec::new();
        for step in steps.iter().filter(|step| step.done.is_none()) {
            let recorded = step.record.left_out.as_ref().and_then(|left_out| left_out.profile.as_deref());
            let profile = profile_of(step.part, recorded);
            // Of single files that were asked for, all are wanted.
            let whole = profile.filter(|_| step.chosen.is_none());
            let repositories = whole.and_then(|profile| Repositories::of(step.part, profile)).map(Arc::new);
            self.step(step, repositories.clone())
                .await
                .map_err(|e| e.within(format!("part `{}`", step.part.name())))?;
            aftercare
                .extend(whole.map(|profile| tell(&self.session.reporter, step.part, profile, repositories.as_deref())));
        }
        Ok(aftercare)
    }

    async fn step(&self, step: &Planned<'_>, repositories: Option<Arc<Repositories>>) -> Result<()> {
        let Self { session, id, journal, .. } = self;
        if session.cancel.is_cancelled() {
            return Err(Error::new(ErrorKind::Cancelled, "the restore was cancelled"));
        }
        let part = step.part.name().to_owned();
        let partial = match (&step.chosen, &step.directory) {
            (Some(chosen), _) => Some(Partial::some(&chosen.into, id, chosen.replace)?),
            (None, Some(directory)) => Some(Partial::whole(directory, id)?),
            (None, None) => None,
        };
        let (to, name) = (step.place(), step.name());
        journal.write(Record::Restoring { part: part.clone(), to, partial: partial.clone(), name })?;
        if let Some(partial) = partial.clone() {
            blocking(move || partial.make()).await?;
        }
        let into = partial.as_ref().map(|partial| partial.path.as_path());
        self.write(step, partial.as_ref(), into, repositories).await?;
        let Some(partial) = partial else { return journal.write(Record::Restored { part }) };
        let changed = partial.changed()?;
        journal.write(Record::Settling { part: part.clone(), changed: changed.clone() })?;
        let what = format!("{} to come into its place", partial.path.display());
        let settling = partial.clone();
        let settle = blocking(move || settling.settle(&changed, &Control::none()));
        if let Err(error) = waiting(&session.reporter, &what, settle).await {
            // Something has come into being there meanwhile, and nothing of this was brought in: it goes like all that fails.
            if error.kind() == ErrorKind::Conflict {
                blocking(move || partial.clear(&Control::none())).await?;
                journal.write(Record::Cleared { part })?;
            }
            return Err(error);
        }
        journal.write(Record::Restored { part })
    }

    async fn write(
        &self,
        step: &Planned<'_>,
        partial: Option<&Partial>,
        into: Option<&Path>,
        repositories: Option<Arc<Repositories>>,
    ) -> Result<()> {
        let Self { session, id, keeper, owners, .. } = self;
        if let (Some(chosen), Some(partial)) = (&step.chosen, partial) {
            let options = ExtractOptions { owners: *owners };
            return chosen.extract(partial, options, &session.reporter, &session.cancel).await;
        }
        let what = format!("part `{}` to be restored by {}", step.part.name(), step.part.plugin.name());
        let label = Some(id.label(session.instance()));
        let means = Means { witness: Arc::clone(keeper) as _, owners: *owners, repositories, label };
        let restore = step.take(session, into, means);
        waiting_for(&session.reporter, || keeper.running_in(&what), restore).await
    }
}
