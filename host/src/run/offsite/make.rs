//! Making one copy.

use std::pin::pin;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::known::{Detail, Known};
use super::undo::undo_copy;
use super::{Wanted, call, captured};
use crate::archive::set::SnapshotRecord;
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Level, waiting};
use crate::run::journal::{CopyRecord, Journal, Record};
use crate::run::part::Purpose;
use crate::run::patience::patiently;
use crate::run::prune::blocking;
use crate::run::sealed;
use crate::run::session::Session;
use crate::run::stores::{self, Stores};
use crate::store::{Record as StoreRecord, RecordKind};

/// With what copies are made.
pub(super) struct Make<'a> {
    pub(super) session: &'a Session,
    pub(super) stores: &'a Stores,
    pub(super) known: &'a Known,
    pub(super) journal: &'a Journal,
}

impl Make<'_> {
    /// Make a copy and record it. Whether it was there already.
    ///
    /// # Errors
    /// It was not made: that is recorded, and nothing of it is left, or the journal tells.
    pub(super) async fn one(&self, wanted: &Wanted<'_>) -> Result<bool> {
        let start = Instant::now();
        let (set, part, place) = (&wanted.set, wanted.part.name(), wanted.place.settings.name.as_str());
        if self.session.cancel.is_cancelled() {
            return Err(Error::new(ErrorKind::Cancelled, "it was cancelled"));
        }
        let record = captured(self.session, wanted).await?;
        let key = (set, part, place);
        if self.known.copy(set, part, place).is_some() {
            if self.is_there(wanted).await? {
                return Ok(true);
            }
            let text =
                format!("the copy of set {set} at `{place}` is recorded, and not there any more: it is made again");
            self.session.reporter.message(Level::Warning, Some(part), text);
            // From here on nothing says that there is one: what a copy that dies leaves is undone.
            self.known.forget(self.session, key, false).await?;
        }
        let copy = CopyRecord {
            set: set.clone(),
            part: part.to_owned(),
            place: place.to_owned(),
            snapshot: record.snapshot.clone(),
        };
        self.journal.write(Record::CopyingOffsite { copy: copy.clone() })?;
        let what = format!("part `{part}`: copy {} to `{place}`", record.snapshot.id);
        call(self.session, what.clone());
        let work = self.copy(wanted, &record.snapshot);
        let result = waiting(&self.session.reporter, &format!("{what} to be complete"), work).await;
        let over = || Record::CopiedOffsite { set: set.clone(), part: part.to_owned(), place: place.to_owned() };
        match result {
            Ok(made) => {
                self.record(wanted, Ok(made), start.elapsed()).await?;
                self.known.forget(self.session, key, true).await?;
                self.journal.write(over())?;
                Ok(false)
            }
            Err(error) => {
                let undone = undo_copy(self.session, wanted.part, &copy).await;
                match &undone {
                    Ok(()) => self.journal.write(over())?,
                    Err(left) => self.session.reporter.message(Level::Error, Some(part), left.to_string()),
                }
                if let Err(unrecorded) = self.record(wanted, Err(&error), start.elapsed()).await {
                    self.session.reporter.message(Level::Warning, Some(part), unrecorded.to_string());
                }
                Err(match undone {
                    Ok(()) => error,
                    Err(left) => error.detail("not undone, and tried again later", left.to_string()),
                })
            }
        }
    }

    /// Whether the vendor has the copy that is recorded.
    async fn is_there(&self, wanted: &Wanted<'_>) -> Result<bool> {
        let purpose = Purpose::at(&wanted.place.settings.name, self.session.cancel.child_token());
        let mut live = wanted.part.start(self.session, purpose).await?;
        let found = live.instance.find_copy(&wanted.set.label(self.session.instance())).await;
        live.stop().await;
        Ok(found?.is_some())
    }

    /// Have the strategy copy. A cancel, and the place's `timeout`, interrupt it; it is given time to close what it opened.
    async fn copy(&self, wanted: &Wanted<'_>, snapshot: &SnapshotRecord) -> Result<SnapshotRecord> {
        let settings = &wanted.place.settings;
        let abandon = CancellationToken::new();
        let mut live = wanted.part.start(self.session, Purpose::at(&settings.name, abandon.clone())).await?;
        let interrupt = live.instance.interruption();
        let stop = self.session.cancel.child_token();
        let result = {
            let mut work = pin!(patiently(&stop, &interrupt, &abandon, "copy", live.instance.copy(snapshot)));
            tokio::select! {
                biased;
                result = &mut work => result,
                () = tokio::time::sleep(settings.timeout.0) => {
                    stop.cancel();
                    work.await
                }
            }
        };
        live.stop().await;
        result.map_err(|error| {
            if stop.is_cancelled() && !self.session.cancel.is_cancelled() {
                Error::new(ErrorKind::TimedOut, format!("the copy is not complete after {}", settings.timeout))
                    .hint("raise `timeout` of its [[part.offsite]], if nothing else is wrong")
                    .because(error)
            } else {
                error
            }
        })
    }

    /// Tell the stores that have the set.
    async fn record(&self, wanted: &Wanted<'_>, outcome: Result<SnapshotRecord, &Error>, took: Duration) -> Result<()> {
        let hidden = sealed::hides(&wanted.record);
        let detail = Detail {
            part: wanted.part.name().to_owned(),
            place: wanted.place.settings.name.clone(),
            plugin: wanted.part.plugin.name().to_owned(),
            created: wanted.created,
            copy: outcome.as_ref().ok().filter(|_| !hidden).cloned(),
        };
        let detail = serde_json::to_value(&detail).unwrap_or_default();
        let record = StoreRecord::new(RecordKind::Offsite, &wanted.set).took(took).detail(detail);
        let record = match outcome {
            Ok(_) => record,
            Err(error) if hidden => record.failed(format!("{:?}", error.kind())),
            Err(error) => record.failed(error.to_string()),
        };
        let mut written = None;
        for target in self.stores.live() {
            let instance = self.session.instance().to_owned();
            if !stores::has(&target.store, &instance, &wanted.set).await? {
                continue;
            }
            let (store, record) = (target.store.clone(), record.clone());
            let result = blocking(move || store.record(&instance, &record).map(|_| ())).await;
            match result {
                Ok(()) => written = Some(()),
                Err(error) => target.failed(error)?,
            }
        }
        written.ok_or_else(|| Error::new(ErrorKind::Store, "no store took the record of the copy"))
    }
}
