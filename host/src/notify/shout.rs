//! Telling again and again, for as long as the application is still locked.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::{Channels, Notification};
use crate::config::Occasion;
use crate::report::Reporter;

/// The pauses between the first shouts, and between all later ones.
const PAUSES: [Duration; 3] = [Duration::from_secs(60), Duration::from_secs(240), Duration::from_secs(600)];
const LAST_PAUSE: Duration = Duration::from_secs(3600);

/// Shouts until it is told that all is well, or dropped.
pub struct Shouting {
    channels: Channels,
    reporter: Reporter,
    freed: Notification,
    task: JoinHandle<()>,
}

impl Shouting {
    /// Shout at once, and then again and again.
    #[must_use]
    pub fn start(channels: &Channels, locked: Notification, reporter: &Reporter) -> Self {
        Self::with_pauses(channels, locked, reporter, PAUSES.into_iter().chain(std::iter::repeat(LAST_PAUSE)))
    }

    pub(super) fn with_pauses(
        channels: &Channels,
        locked: Notification,
        reporter: &Reporter,
        pauses: impl Iterator<Item = Duration> + Send + 'static,
    ) -> Self {
        let freed = Notification {
            subject: format!("bkhost: {} is no longer locked", locked.instance),
            text: "The application was given back.".to_owned(),
            ..locked.clone()
        };
        let (to, told) = (channels.clone(), reporter.clone());
        let task = tokio::spawn(async move {
            for pause in pauses {
                to.send(&Notification { time: jiff::Timestamp::now(), ..locked.clone() }, &told).await;
                sleep(pause).await;
            }
        });
        Self { channels: channels.clone(), reporter: reporter.clone(), freed, task }
    }

    /// All is well: those who heard the shouting hear that too.
    pub async fn freed(self) {
        self.task.abort();
        let freed = Notification { time: jiff::Timestamp::now(), ..self.freed.clone() };
        self.channels.send(&freed, &self.reporter).await;
    }
}

impl Drop for Shouting {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Wait for the application to be given back; when that takes longer than `patience`, shout.
pub async fn while_waiting<T, E>(
    channels: &Channels,
    reporter: &Reporter,
    instance: &str,
    patience: Duration,
    release: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let mut release = std::pin::pin!(release);
    tokio::select! {
        biased;
        result = &mut release => return result,
        () = sleep(patience) => {}
    }
    let shouting = Shouting::start(channels, locked(instance), reporter);
    let result = release.await;
    if result.is_ok() {
        shouting.freed().await;
    }
    result
}

/// That an instance's application is still locked.
#[must_use]
pub fn locked(instance: &str) -> Notification {
    Notification::new(
        Occasion::Locked,
        instance,
        format!("bkhost: {instance} IS STILL LOCKED"),
        "The application was locked for a backup and could not be given back so far. bkhost goes on trying; `bkhost \
         status` shows how far it is, `bkhost recover` takes over. Look whether the application answers.",
    )
}
