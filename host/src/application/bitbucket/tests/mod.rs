//! The driver against the simulator.

mod check;
mod faults;
mod life;
mod recovery;
mod tls;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::{Bitbucket, Settings, Timing};
use crate::application::simulator::{Fault, Options, Simulator};
use crate::application::{Held, HeldState, Hooks, Keeper, Stage};
use crate::capability::Secret;
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Event, Reporter, Sink};

const PASSWORD: &str = "hunter2-hunter2";

/// A journal in memory, which may be told to fail.
#[derive(Default)]
struct Notes {
    notes: Mutex<Vec<Held>>,
    /// The number of the note that fails, from 0.
    fails_at: Option<usize>,
    calls: Mutex<usize>,
}

#[async_trait]
impl Keeper for Notes {
    async fn note(&self, held: &Held) -> Result<()> {
        let call = std::mem::replace(&mut *self.calls.lock().unwrap(), 0) + 1;
        *self.calls.lock().unwrap() = call;
        if Some(call - 1) == self.fails_at {
            return Err(Error::new(ErrorKind::Io, "the disk is full"));
        }
        self.notes.lock().unwrap().push(held.clone());
        Ok(())
    }
}

impl Notes {
    fn stages(&self) -> Vec<Stage> {
        self.notes.lock().unwrap().iter().map(|held| held.stage).collect()
    }

    fn last(&self) -> Held {
        self.notes.lock().unwrap().last().unwrap().clone()
    }

    fn tokens(&self) -> Vec<String> {
        let notes = self.notes.lock().unwrap();
        let tokens = notes.iter().flat_map(|held| {
            let HeldState::Bitbucket { unlock_token, cancel_token, .. } = &held.state else { panic!("{held:?}") };
            [unlock_token.clone(), cancel_token.clone()]
        });
        tokens.flatten().map(|token| token.reveal().to_owned()).collect()
    }
}

/// Everything that was reported, as text.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<String>>);

impl Sink for Told {
    fn event(&mut self, event: &Event) {
        self.0.lock().unwrap().push_str(&serde_json::to_string(event).unwrap());
    }
}

/// A simulator, and a driver for it.
struct Bench {
    simulator: Simulator,
    bitbucket: Bitbucket,
    notes: Arc<Notes>,
    told: Told,
    hooks: Hooks,
}

fn options(faults: &[&str]) -> Options {
    let faults = faults.iter().map(|fault| fault.parse::<Fault>().unwrap()).collect();
    Options { password: Secret::new(PASSWORD), faults, ..Options::default() }
}

/// Quick to give up, so that tests are quick.
fn settings(url: &str) -> Settings {
    Settings {
        drain_timeout: Duration::from_secs(5),
        max_lock_time: Duration::from_secs(20),
        timing: Timing {
            connect: Duration::from_secs(2),
            call: Duration::from_millis(400),
            token: Duration::from_millis(600),
            courtesy: Duration::from_millis(200),
            pause_min: Duration::from_millis(1),
            pause_max: Duration::from_millis(20),
            patience: Duration::from_millis(800),
        },
        ..Settings::new(url, "admin", Secret::new(PASSWORD))
    }
}

impl Bench {
    async fn new(options: Options) -> Self {
        Self::with(options, Notes::default(), |_| ()).await
    }

    async fn with(options: Options, notes: Notes, change: impl FnOnce(&mut Settings)) -> Self {
        let simulator = Simulator::start(SocketAddr::from(([127, 0, 0, 1], 0)), options).await.unwrap();
        let mut settings = settings(&simulator.url());
        change(&mut settings);
        let bitbucket = Bitbucket::new(settings).unwrap();
        let (notes, told) = (Arc::new(notes), Told::default());
        let hooks = Hooks {
            run: "20261121-014200-4f2a9c".into(),
            keeper: Arc::clone(&notes) as Arc<dyn Keeper>,
            reporter: Reporter::new(vec![Box::new(told.clone())]),
            cancel: CancellationToken::new(),
        };
        Self { simulator, bitbucket, notes, told, hooks }
    }

    /// The calls so far, by name.
    fn calls(&self) -> Vec<String> {
        self.simulator.state().history.into_iter().map(|entry| entry.call).collect()
    }

    fn locked(&self) -> bool {
        self.simulator.state().locked
    }
}
