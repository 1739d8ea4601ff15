//! `others`: what another part of the run captures.

use std::path::PathBuf;

use async_trait::async_trait;

use super::archive::below;
use crate::capability::{Access, CallError, Code};
use crate::error::Result;
use crate::plugin::bindings::bkhost::snapshot::others::{self as contract, Host};
use crate::plugin::bindings::bkhost::snapshot::types::Error;
use crate::plugin::state::State;
use crate::plugin::text;

/// Where a directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The directory: absolute, without symbolic links.
    pub path: PathBuf,
    /// The number of the device that its files tell.
    pub device: u64,
    /// Where the file system is mounted that holds it.
    pub mount_point: PathBuf,
    /// What is mounted there.
    pub source: String,
    /// The kind of file system.
    pub file_system: String,
}

/// A volume that a part captures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Volumes with the same text are captured at one instant.
    pub instant: String,
}

/// How another part captures a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The volume that holds it.
    pub volume: Volume,
    /// The run captures that part only after the one that asks.
    pub later: bool,
    /// What lies in it and is on other volumes, relative to it.
    pub outside: Vec<String>,
}

/// The other parts of a run, as one part sees them.
#[async_trait]
pub trait Others: Send + Sync {
    /// Whether this part captures the directory, which has no symbolic links. With `through`, the whole tree is looked through for
    /// what is on other volumes.
    ///
    /// # Errors
    /// There is no such part, its plugin cannot tell, or what it tells is an error.
    async fn holds(&self, part: &str, directory: PathBuf, through: bool) -> Result<Option<Held>, CallError>;
}

impl State {
    async fn held(&mut self, part: &str, directory: &str, through: bool) -> Result<Option<Held>, CallError> {
        if !below(directory, "/source") {
            let path = text::line(directory, 200);
            return Err(CallError::denied(format!(
                "another part is asked for what is below /source, and not for {path}"
            )));
        }
        let Some(others) = self.others.clone() else {
            return Err(CallError::new(Code::Unavailable, "other parts can be asked in a run only"));
        };
        let real = self.gate.host_path(directory, Access::Read).await?;
        real.dir()?;
        self.interrupt.or(None, others.holds(part, real.path().to_owned(), through)).await
    }
}

impl Host for State {
    async fn holds(
        &mut self,
        part: String,
        directory: String,
        through: bool,
    ) -> wasmtime::Result<Result<Option<contract::Held>, Error>> {
        let held = self.held(&part, &directory, through).await;
        Ok(held.map_err(Into::into).map(|held| {
            held.map(|Held { volume, later, outside }| contract::Held {
                volume: volume.name,
                instant: volume.instant,
                later,
                outside,
            })
        }))
    }
}
