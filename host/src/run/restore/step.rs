//! One part on its way back.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::repositories::Repositories;
use crate::archive::set::PartRecord;
use crate::archive::{ExtractOptions, OwnersBy};
use crate::capability::Witness;
use crate::error::{Error, ErrorKind, Result};
use crate::run::archived::ArchivedPart;
use crate::run::chain::Chain;
use crate::run::part::{Part, Purpose};
use crate::run::session::Session;

/// How long a strategy may take to remove what a cancelled restore has made.
const PATIENCE: Duration = Duration::from_secs(120);

/// One part, and where it goes.
pub(in crate::run) struct Step<'a> {
    /// The part, as it is configured here.
    pub(in crate::run) part: &'a Part,
    /// The part of the set.
    pub(in crate::run) record: &'a PartRecord,
    /// The part in this set and in those on which it builds.
    pub(in crate::run) chain: Chain,
    /// The operator's target; none: the original place.
    pub(in crate::run) to: Option<String>,
    /// The directory that this is, for a plugin that restores into one.
    pub(in crate::run) directory: Option<PathBuf>,
}

/// With what a step is taken.
pub(in crate::run) struct Means {
    /// Is told about children.
    pub(in crate::run) witness: Arc<dyn Witness>,
    /// Whom files are given to.
    pub(in crate::run) owners: OwnersBy,
    /// Looks after the repositories in it.
    pub(in crate::run) repositories: Option<Arc<Repositories>>,
    /// By what the strategy marks what it makes; none: no journal knows of this.
    pub(in crate::run) label: Option<String>,
}

impl Step<'_> {
    /// The operator's target, for a strategy that restores to a name.
    pub(in crate::run) fn name(&self) -> Option<String> {
        self.to.clone().filter(|_| self.directory.is_none())
    }

    /// Have the strategy restore the part: into `into`, which is there and empty, or else into what `to` names. What was
    /// archived has to be proved before. When the operator cancels, the strategy is given time to remove what it made.
    ///
    /// # Errors
    /// What the strategy reports; `Cancelled`.
    pub(in crate::run) async fn take(&self, session: &Session, into: Option<&Path>, means: Means) -> Result<()> {
        // What a strategy has made, only it can remove: it is interrupted, and given time for that.
        let abandon = CancellationToken::new();
        let options = ExtractOptions { owners: means.owners };
        let archived = ArchivedPart::new(self.chain.clone(), options, session.reporter.clone());
        let archived = Arc::new(archived.looking_after(means.repositories).labelled(means.label));
        let purpose = Purpose {
            target: into.map(Path::to_owned),
            restore_to: if into.is_none() { self.to.clone() } else { None },
            archived: Some(archived),
            witness: means.witness,
            ..Purpose::plain(abandon.clone())
        };
        let mut live = self.part.start(session, purpose).await?;
        let to = if into.is_some() { Some("/target") } else { self.to.as_deref() };
        let interrupt = live.instance.interruption();
        let result = {
            let mut restore = std::pin::pin!(live.instance.restore(&self.record.snapshot, to));
            tokio::select! {
                biased;
                result = &mut restore => result,
                () = session.cancel.cancelled() => {
                    interrupt.cancel();
                    match tokio::time::timeout(PATIENCE, &mut restore).await {
                        Ok(result) => result,
                        Err(_) => {
                            abandon.cancel();
                            restore.await
                        }
                    }
                    .map_err(|e| Error::new(ErrorKind::Cancelled, "the restore was cancelled").because(e))
                }
            }
        };
        live.stop().await;
        result
    }
}
