//! `archive`: what was archived, for a restore.

use std::io::Read;

use cap_std::fs::Dir;
use rustix::fs::{Mode, OFlags};
use tokio_util::sync::CancellationToken;

use super::convert::arguments;
use crate::archive::SetId;
use crate::archive::set::SourceRecord;
use crate::capability::{Access, CallError, Code};
use crate::error::Result;
use crate::plugin::bindings::bkhost::snapshot::archive::Host;
use crate::plugin::bindings::bkhost::snapshot::exec::{Argument, Completed};
use crate::plugin::bindings::bkhost::snapshot::types::Error;
use crate::plugin::state::State;

/// What was archived of a part. Every byte is checked against the set's manifest while it is read. Its functions block:
/// they are called on threads that may.
pub trait Archived: Send + Sync {
    /// The sources as `open` named them: those of the oldest set that is needed first.
    fn items(&self) -> Vec<Item>;

    /// Writes the archived tree `name` of `set` (none: the set that is restored) into `into`, which is empty. Returns the
    /// number of entries.
    ///
    /// # Errors
    /// There is no such tree; what was stored is damaged; it cannot be written; `cancel` fired.
    fn extract(&self, set: Option<&str>, name: &str, into: Dir, cancel: &CancellationToken) -> Result<u64>;

    /// The archived stream `name` of `set` (none: the set that is restored). A read fails when what was stored is damaged.
    ///
    /// # Errors
    /// There is no such stream, or it cannot be opened.
    fn stream(&self, set: Option<&str>, name: &str) -> Result<Box<dyn Read + Send>>;

    /// The label of the restore; none: it is no restore.
    fn label(&self) -> Option<String> {
        None
    }

    /// Looks after a tree that was restored, but not by `extract`.
    ///
    /// # Errors
    /// `cancel` fired.
    fn restored(&self, tree: Dir, cancel: &CancellationToken) -> Result<()> {
        let _nothing_to_look_after = (tree, cancel);
        Ok(())
    }
}

/// An archived source and the set it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The set that is restored, or one on which it builds.
    pub set: SetId,
    /// The source.
    pub source: SourceRecord,
}

impl State {
    fn archived(&self) -> Result<std::sync::Arc<dyn Archived>, CallError> {
        self.archived.clone().ok_or_else(|| {
            CallError::new(
                Code::Unsupported,
                "nothing archived is offered in this call: only `restore`, `verify` and `rehearse` read archives",
            )
        })
    }

    async fn extract_tree(&mut self, set: Option<String>, name: String, to: String) -> Result<u64, CallError> {
        if !["/target", "/staging"].iter().any(|root| below(&to, root)) {
            return Err(CallError::denied(format!("archives are extracted below /target or /staging, not into {to}")));
        }
        let archived = self.archived()?;
        let into = self.gate.host_path(&to, Access::Write).await?.dir()?;
        let stop = self.work.token().child_token();
        let cancel = stop.clone();
        let work = blocking(move || {
            let occupied =
                into.entries().map_err(|e| CallError::new(Code::Other, format!("{to}: {e}")))?.next().is_some();
            if occupied {
                return Err(CallError::new(Code::Conflict, format!("{to} is not empty")));
            }
            archived.extract(set.as_deref(), &name, into, &cancel).map_err(Into::into)
        });
        self.interrupt.or(Some(&stop), work).await
    }

    /// Nothing is done but what the part's profile says, whichever of its directories the guest names.
    async fn look_after(&mut self, directory: &str) -> Result<(), CallError> {
        if !["/source", "/target", "/staging"].iter().any(|root| below(directory, root)) {
            return Err(CallError::denied(format!(
                "what is restored is below /source, /target or /staging, not {directory}"
            )));
        }
        let archived = self.archived()?;
        let place = self.gate.host_path(directory, Access::Read).await?;
        // Not as it was opened before the restore: another file system may be mounted there by now.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::open(place.path(), flags, Mode::empty())
            .map_err(|e| CallError::new(Code::Other, format!("{}: {e}", place.path().display())))?;
        let tree = Dir::from_std_file(opened.into());
        let stop = self.work.token().child_token();
        let cancel = stop.clone();
        let work = blocking(move || archived.restored(tree, &cancel).map_err(Into::into));
        self.interrupt.or(Some(&stop), work).await
    }

    async fn feed_command(
        &mut self,
        set: Option<String>,
        name: String,
        command: &str,
        args: Vec<Argument>,
    ) -> Result<Completed, CallError> {
        let archived = self.archived()?;
        let input = blocking(move || archived.stream(set.as_deref(), &name).map_err(Into::into)).await?;
        let args = arguments(args);
        let work = self.gate.feed(command, &args, input);
        self.interrupt.or(None, work).await.map(Into::into)
    }
}

/// Whether a guest path is `root` or below it.
pub(super) fn below(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Runs work that blocks. It watches the cancellation itself.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CallError> + Send + 'static,
) -> Result<T, CallError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(CallError::new(Code::Other, format!("the host failed: {e}"))),
    }
}

impl Host for State {
    async fn extract(&mut self, set: Option<String>, name: String, to: String) -> wasmtime::Result<Result<u64, Error>> {
        Ok(self.extract_tree(set, name, to).await.map_err(Into::into))
    }

    async fn label(&mut self) -> wasmtime::Result<Result<String, Error>> {
        let label = self.archived.as_ref().and_then(|archived| archived.label());
        let none = || CallError::new(Code::Unsupported, "only a `restore` has a label");
        Ok(label.ok_or_else(none).map_err(Into::into))
    }

    async fn restored(&mut self, directory: String) -> wasmtime::Result<Result<(), Error>> {
        Ok(self.look_after(&directory).await.map_err(Into::into))
    }

    async fn feed(
        &mut self,
        set: Option<String>,
        name: String,
        command: String,
        args: Vec<Argument>,
    ) -> wasmtime::Result<Result<Completed, Error>> {
        Ok(self.feed_command(set, name, &command, args).await.map_err(Into::into))
    }
}
