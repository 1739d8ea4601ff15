//! Freezes the file systems of its directories while it captures, and then does what its configuration names.

use std::fs;
use std::hint::black_box;
use std::time::Duration;

use bkhost_sdk::bindings::bkhost::snapshot::freeze as raw;
use bkhost_sdk::{Archived, Error, Finding, Frozen, Result, Snapshot, Source, Strategy, can_freeze, freeze, info};
use serde::Deserialize;

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Behaviour {
    /// Thaws as soon as it is told to: by a file `go` in `/source/signal`.
    Wait,
    /// Takes its time, and makes nothing of what the host says then.
    Ignore,
    /// Waits for ever.
    Hang,
    /// Computes for ever.
    Spin,
    /// Writes to what it froze.
    Write,
    /// Dies.
    Trap,
    /// Keeps it, and says that all is well.
    Leave,
    /// Fails.
    Fail,
    /// Freezes it once more.
    Twice,
    /// Thaws it twice.
    ThawTwice,
    /// Freezes what was not asked for.
    Stranger,
    /// Freezes outside of `capture`.
    Early,
}

#[derive(Deserialize)]
struct Config {
    behaviour: Behaviour,
    directories: Vec<String>,
    #[serde(default)]
    stranger: String,
}

struct Freezer {
    config: Config,
    frozen: Option<Frozen>,
}

impl Freezer {
    fn directories(&self) -> Vec<String> {
        (0..self.config.directories.len()).map(|n| format!("/source/volumes/{n}")).collect()
    }

    fn act(&mut self) -> Result<()> {
        let directories = self.directories();
        let frozen = freeze(&directories)?;
        info!("frozen");
        match self.config.behaviour {
            Behaviour::Wait | Behaviour::Stranger | Behaviour::Early => {
                while fs::metadata("/source/signal/go").is_err() {
                    std::thread::sleep(Duration::from_millis(5));
                }
                frozen.thaw()
            }
            Behaviour::Ignore => {
                std::thread::sleep(Duration::from_millis(1500));
                let _ = frozen.thaw();
                Ok(())
            }
            Behaviour::Hang => {
                std::thread::sleep(Duration::from_secs(3600));
                frozen.thaw()
            }
            Behaviour::Spin => {
                let mut n = 0_u64;
                loop {
                    n = black_box(n.wrapping_add(1));
                }
            }
            Behaviour::Write => {
                fs::write("/source/signal/mine", "x").map_err(|e| Error::io("mine", &e))?;
                frozen.thaw()
            }
            #[allow(clippy::panic)]
            Behaviour::Trap => panic!("with something frozen"),
            Behaviour::Leave => {
                self.frozen = Some(frozen);
                Ok(())
            }
            Behaviour::Fail => {
                self.frozen = Some(frozen);
                Err(Error::other("the snapshot failed"))
            }
            Behaviour::Twice => match freeze(&directories) {
                Ok(_) => Err(Error::other("it was frozen twice")),
                Err(error) => {
                    info!("second: {:?} {}", error.code, error.message);
                    frozen.thaw()
                }
            },
            Behaviour::ThawTwice => {
                frozen.thaw()?;
                let frozen = raw::freeze(&directories)?;
                frozen.thaw()?;
                frozen.thaw()
            }
        }
    }
}

impl Strategy for Freezer {
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        Ok(Self { config, frozen: None })
    }

    fn check(&mut self) -> Result<Vec<Finding>> {
        if self.config.behaviour == Behaviour::Early {
            freeze(&self.directories())?.thaw()?;
        }
        Ok(match can_freeze(&self.directories()) {
            Ok(()) => Vec::new(),
            Err(error) => vec![Finding::warning("freeze", error.message)],
        })
    }

    fn capture(&mut self, label: &str) -> Result<Snapshot> {
        if self.config.behaviour == Behaviour::Stranger {
            freeze(&[&self.config.stranger])?.thaw()?;
        }
        self.act()?;
        Snapshot::atomic(label, &serde_json::json!({}))
    }

    fn open(&mut self, snapshot: &Snapshot) -> Result<Vec<Source>> {
        Ok(vec![Source::Held(snapshot.id.clone())])
    }

    fn restore(&mut self, _: &Snapshot, _: &[Archived], _: Option<&str>) -> Result<()> {
        Ok(())
    }

    fn delete(&mut self, _: &Snapshot) -> Result<()> {
        Ok(())
    }

    fn discard(&mut self, _: &str) -> Result<()> {
        Ok(())
    }
}

bkhost_sdk::export!(Freezer, manifest = "manifests/freezer.toml", schema = "manifests/freezer.schema.json");
