//! `history`: earlier sets to build on.

use async_trait::async_trait;

use crate::archive::SetId;
use crate::archive::set::SnapshotRecord;
use crate::error::Result;
use crate::plugin::bindings::bkhost::snapshot::history::{self as contract, Host};
use crate::plugin::bindings::bkhost::snapshot::types::Error;
use crate::plugin::record;
use crate::plugin::state::State;

/// A set that can be built on.
#[derive(Debug, Clone, PartialEq)]
pub struct Earlier {
    /// The set.
    pub set: SetId,
    /// What the part captured for it.
    pub snapshot: SnapshotRecord,
    /// How many sets its own archive needs beneath itself.
    pub depth: u32,
}

/// The earlier sets of a part.
#[async_trait]
pub trait History: Send + Sync {
    /// The newest one of which everything that a restore of the part needs is undamaged. It watches the run's cancellation
    /// itself.
    ///
    /// # Errors
    /// The store cannot be read, or the run was cancelled.
    async fn previous(&self) -> Result<Option<Earlier>>;
}

impl Host for State {
    async fn previous(&mut self) -> wasmtime::Result<Result<Option<contract::Earlier>, Error>> {
        let Some(history) = self.history.clone() else { return Ok(Ok(None)) };
        Ok(match history.previous().await {
            Ok(earlier) => {
                self.offered = earlier.as_ref().map(|earlier| earlier.set.clone());
                Ok(earlier.map(|Earlier { set, snapshot, depth }| contract::Earlier {
                    set: set.to_string(),
                    snapshot: record::contract(&snapshot),
                    depth,
                }))
            }
            Err(error) => Err(crate::capability::CallError::from(error).into()),
        })
    }
}
