//! `freeze`: file systems that stand still for a moment, over the gate.

use wasmtime::component::Resource;

use crate::capability::{CallError, Frozen};
use crate::plugin::bindings::bkhost::snapshot::freeze::{Host, HostFrozen};
use crate::plugin::bindings::bkhost::snapshot::types::Error;
use crate::plugin::state::State;

impl Host for State {
    async fn freeze(&mut self, directories: Vec<String>) -> wasmtime::Result<Result<Resource<Frozen>, Error>> {
        if !self.capturing {
            let e = CallError::denied("file systems are frozen in `capture` only")
                .hint("no line of bkhost.toml allows this: it is a defect of the plugin");
            return Ok(Err(e.into()));
        }
        Ok(match self.gate.freeze(&directories).await {
            Ok(frozen) => Ok(self.table.push(frozen)?),
            Err(e) => Err(e.into()),
        })
    }

    async fn can_freeze(&mut self, directories: Vec<String>) -> wasmtime::Result<Result<(), Error>> {
        Ok(self.gate.freezable(&directories).await.map(drop).map_err(Into::into))
    }
}

impl HostFrozen for State {
    async fn thaw(&mut self, frozen: Resource<Frozen>) -> wasmtime::Result<Result<(), Error>> {
        Ok(self.table.get(&frozen)?.thaw().await.map_err(Into::into))
    }

    async fn drop(&mut self, frozen: Resource<Frozen>) -> wasmtime::Result<()> {
        // The contract: dropping it thaws. What becomes of it is seen when the capture ends.
        let _ = self.table.delete(frozen)?.thaw().await;
        Ok(())
    }
}
