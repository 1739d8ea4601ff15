//! Whether a strategy would refuse a restore to a name: it is let begin, and stopped before it changes anything.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use cap_std::fs::Dir;
use tokio_util::sync::CancellationToken;

use super::step::Step;
use crate::archive::{ExtractOptions, SetId};
use crate::capability::Mode;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::plugin::{Archived, Item};
use crate::report::{Reporter, waiting};
use crate::run::archived::ArchivedPart;
use crate::run::part::{Purpose, Workspace};
use crate::run::session::Session;

/// Whoever has not come to a change by then has found nothing that refuses it.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the strategy says against this step as things stand, in a directory of the host's that nothing else uses.
///
/// # Errors
/// Why it refuses.
pub(super) async fn refusal(session: &Session, step: &Step<'_>) -> Result<()> {
    let made = || "cannot make a directory in the state directory".to_owned();
    let place = tempfile::Builder::new()
        .prefix("foresight-")
        .tempdir_in(session.dirs.instance())
        .or_error(ErrorKind::Io, made)?;
    // Whom its commands run as has to come to what is its own below it, whatever the umask.
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o711)).or_error(ErrorKind::Io, made)?;
    let below = |name: &str| {
        let path = place.path().join(name);
        std::fs::create_dir(&path).map(|()| path).or_error(ErrorKind::Io, made)
    };
    let workspace = Workspace { staging: below("staging")?, state: below("state")?, mirrors: below("mirrors")? };
    let what = format!("part `{}` to tell whether it can be restored", step.part.name());
    let asked = asked(session, step, workspace);
    waiting(&session.reporter, &what, asked).await.map_err(|e| e.within(format!("part `{}`", step.part.name())))
}

async fn asked(session: &Session, step: &Step<'_>, workspace: Workspace) -> Result<()> {
    let (abandon, reached) = (session.cancel.child_token(), CancellationToken::new());
    // What it has to say on its way, it says again when it is restored.
    let quiet = Session { reporter: Reporter::silent(), ..session.beside(abandon.clone()) };
    let label = SetId::generate()?.label(session.instance());
    let archived = ArchivedPart::new(step.chain.clone(), ExtractOptions::default(), Reporter::silent());
    let archived = archived.labelled(Some(label));
    let purpose = Purpose {
        mode: Mode::DryRun,
        restore_to: step.to.clone(),
        archived: Some(Arc::new(Named { archived, reached: reached.clone() })),
        workspace: Some(workspace),
        foresight: Some(reached.clone()),
        ..Purpose::plain(abandon)
    };
    let mut live = step.part.start(&quiet, purpose).await?;
    let result = tokio::select! {
        biased;
        () = reached.cancelled() => Ok(()),
        result = live.instance.restore(&step.record.snapshot, step.to.as_deref()) => result,
        () = tokio::time::sleep(PATIENCE) => Ok(()),
    };
    live.stop().await;
    if reached.is_cancelled() { Ok(()) } else { result }
}

/// What was archived, of which nothing is read.
struct Named {
    archived: ArchivedPart,
    reached: CancellationToken,
}

impl Named {
    fn reach(&self) -> Error {
        self.reached.cancel();
        Error::new(ErrorKind::Cancelled, "nothing is read: it is only asked whether this would be refused")
    }
}

impl Archived for Named {
    fn items(&self) -> Vec<Item> {
        self.archived.items()
    }

    fn label(&self) -> Option<String> {
        self.archived.label()
    }

    fn extract(&self, _: Option<&str>, _: &str, _: Dir, _: &CancellationToken) -> Result<u64> {
        Err(self.reach())
    }

    fn stream(&self, _: Option<&str>, _: &str) -> Result<Box<dyn Read + Send>> {
        Err(self.reach())
    }
}
