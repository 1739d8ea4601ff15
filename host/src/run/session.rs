//! What every command on an instance works with.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use super::access::Access;
use super::crypto::Crypto;
use super::part::Part;
use super::state::StateDirs;
use crate::application::Application;
use crate::archive::Format;
use crate::config::Config;
use crate::error::{ErrorKind, Result, ResultExt};
use crate::notify::{self, Channels};
use crate::plugin::PluginHost;
use crate::report::{Event, Heartbeat, Phase, Reporter};
use crate::store::Store;

/// How long giving the application back may take before that is told to everybody.
const SHOUT_AFTER: Duration = Duration::from_secs(10);

/// One instance, opened for work.
pub struct Session {
    /// Its configuration.
    pub config: Config,
    /// Its directories on this machine.
    pub dirs: StateDirs,
    /// Loads and runs plugins.
    pub host: Arc<PluginHost>,
    /// Where everything is reported.
    pub reporter: Reporter,
    /// Who is told how the work ended.
    pub notify: Channels,
    /// The operator's cancel.
    pub cancel: CancellationToken,
    /// What `[encryption]` comes to, once somebody asked.
    pub crypto: OnceCell<Crypto>,
}

impl Session {
    /// The same, for work that may outlive the borrow of this one. What `[encryption]` comes to is not shared.
    pub(super) fn beside(&self, cancel: CancellationToken) -> Self {
        Self {
            config: self.config.clone(),
            dirs: self.dirs.clone(),
            host: Arc::clone(&self.host),
            reporter: self.reporter.clone(),
            notify: self.notify.clone(),
            cancel,
            crypto: OnceCell::new(),
        }
    }

    /// The instance's name.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.config.instance.name
    }

    /// To whom is encrypted, and what opens.
    ///
    /// # Errors
    /// If what the configuration names cannot be read, or is not what it should be.
    pub async fn crypto(&self) -> Result<&Crypto> {
        self.crypto.get_or_try_init(|| Crypto::resolve(&self.config, &self.reporter)).await
    }

    /// The format of what is stored.
    ///
    /// # Errors
    /// As [`Session::crypto`].
    pub async fn format(&self) -> Result<Format> {
        let recipients = self.crypto().await?.recipients.clone();
        Ok(Format { compression: self.config.archive.compression(), recipients })
    }

    /// The application, ready to be asked.
    ///
    /// # Errors
    /// If its settings cannot work or its password cannot be had.
    pub async fn application(&self) -> Result<Arc<dyn Application>> {
        Access::resolve(&self.config.application).await?.connect()
    }

    /// The parts of the configuration, their plugins loaded and their config checked.
    ///
    /// # Errors
    /// If a plugin cannot be loaded, is not granted, or does not accept the part's config.
    pub async fn parts(&self) -> Result<Vec<Part>> {
        try_join_all(self.config.parts.iter().map(|part| Part::load(self, part))).await
    }

    /// The first required store of the configuration.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub async fn store(&self) -> Result<Store> {
        let store = self
            .config
            .stores
            .iter()
            .find(|store| store.required)
            .ok_or("no store")
            .or_error(ErrorKind::Config, || "the configuration names no [[store]]")?;
        self.open_store(store).await
    }

    /// Wait for the application to be given back by `release`. When that takes long, it is told on every channel.
    ///
    /// # Errors
    /// Those of `release`.
    pub(super) async fn while_locked<T>(&self, release: impl Future<Output = Result<T>>) -> Result<T> {
        notify::while_waiting(&self.notify, &self.reporter, self.instance(), SHOUT_AFTER, release).await
    }

    /// Run `work` as a phase of the run: told before and after, and named in its error.
    ///
    /// # Errors
    /// Those of `work`.
    pub async fn phase<T>(&self, phase: Phase, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.reporter.event(&Event::PhaseStarted { phase });
        let start = std::time::Instant::now();
        let beat = Heartbeat::around(&self.reporter, 1, format!("the phase {} to end", phase.name()));
        let result = work.await;
        drop(beat);
        let millis = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.reporter.event(&Event::PhaseEnded { phase, millis, ok: result.is_ok() });
        result.map_err(|e| e.within(phase.name()))
    }
}
