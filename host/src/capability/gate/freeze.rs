//! Freezing file systems, for a moment.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Gate, Mode};
use crate::capability::freeze::{self, Frozen, Job, Place};
use crate::capability::paths::Root;
use crate::capability::{CallError, Code, slots};
use crate::report::Event;

impl Gate {
    /// Freeze the file systems that hold these directories of the guest, each once.
    ///
    /// # Errors
    /// `denied`, `unsupported`, `not-found`: nothing was frozen. `conflict`, `timed-out`, `interrupted`, `other`: what was
    /// frozen before is thawed, or the error says that it is not.
    pub async fn freeze(&self, directories: &[String]) -> Result<Frozen, CallError> {
        let places = self.audited(self.freezable(directories).await)?;
        let planned = self.mode == Mode::DryRun;
        if planned {
            self.foreseen()?;
        }
        for place in &places {
            let part = self.rights.part().to_owned();
            let argv = freeze::argv(true, &place.mount);
            self.reporter.event(&Event::Command { part, argv, planned });
        }
        if planned {
            return Ok(Frozen::planned());
        }
        self.flush(directories).await?;
        let (watched, standing) = freeze::watched(&self.cancel);
        // From here on dropping this call thaws.
        let frozen = Frozen::kept(watched.clone());
        let job = Job {
            places,
            limit: self.rules.limit,
            part: self.rights.part().to_owned(),
            witness: Arc::clone(&self.witness),
            reporter: self.reporter.clone(),
            cancel: self.cancel.clone(),
            overdue: self.freezes.overdue.clone(),
            ask: watched.ask.clone(),
            standing,
        };
        let (ready, result) = tokio::sync::oneshot::channel();
        self.tasks.spawn(freeze::keep(job, ready));
        let gone = |_| Err(CallError::new(Code::Other, "the host's task that freezes file systems is gone"));
        result.await.unwrap_or_else(gone)?;
        self.freezes.add(watched);
        Ok(frozen)
    }

    /// Whether [`Gate::freeze`] would refuse it; the file systems it would freeze.
    ///
    /// # Errors
    /// As [`Gate::freeze`], as far as it can be told without trying.
    pub async fn freezable(&self, directories: &[String]) -> Result<Vec<Place>, CallError> {
        let mut places: Vec<Place> = Vec::new();
        if directories.is_empty() {
            return Err(CallError::new(Code::InvalidConfig, "no directory is named whose file system is to be frozen"));
        }
        for guest in directories {
            let root = self.freezing_root(guest).await?;
            let (place, mount) = root.mount()?;
            freeze::refuse(&place, &mount, &self.rules.own)?;
            if !places.iter().any(|known| known.device == place.device) {
                places.push(place);
            }
        }
        Ok(places)
    }

    /// Thaw what this gate has frozen; to be called when a capture ends.
    ///
    /// # Errors
    /// Something still stood frozen, or did not for as long as it had to: what was captured is no consistency point.
    pub async fn settle_freezes(&self) -> Result<(), CallError> {
        self.freezes.settle().await
    }

    /// Fires when file systems stood frozen for too long, and were thawed.
    #[must_use]
    pub fn overdue(&self) -> (CancellationToken, Duration) {
        (self.freezes.overdue.clone(), self.rules.limit)
    }

    /// The source that a guest path names, if its file system may be frozen.
    async fn freezing_root(&self, guest: &str) -> Result<&Root, CallError> {
        let root = self.root(guest).await?;
        let mut parts = guest.trim_matches('/').split('/');
        let asked = parts.next() == Some("source")
            && parts
                .next()
                .is_some_and(|name| self.rights.manifest.directory.iter().any(|d| d.name == name && d.freeze));
        let refused =
            |why: &str| CallError::denied(format!("the file system of {} is not frozen: {why}", slots::shown(guest)));
        if !asked {
            return Err(refused("the plugin's manifest does not ask for it")
                .hint("no line of bkhost.toml allows this: only the plugin's author can add freeze = true"));
        }
        // Below it, another file system may be mounted, which nobody was asked about.
        if guest.trim_end_matches('/') != root.preopen.guest {
            return Err(refused("it is named by a directory of the manifest, not by one below it"));
        }
        self.rights.freezing(&root.preopen.host)?;
        Ok(root)
    }

    /// Write to disk what is to be written: a freeze that has to do it itself lasts longer.
    async fn flush(&self, directories: &[String]) -> Result<(), CallError> {
        for guest in directories {
            let dir = self.root(guest).await?.duplicate()?;
            let flushed = tokio::task::spawn_blocking(move || rustix::fs::syncfs(dir));
            tokio::select! {
                biased;
                // Whatever it says, the freeze says it again.
                _ = flushed => {}
                () = self.cancel.cancelled() => {
                    return Err(CallError::new(Code::Interrupted, "the run was cancelled before anything was frozen"));
                }
            }
        }
        Ok(())
    }
}
