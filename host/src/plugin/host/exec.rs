//! `exec`: commands, over the gate.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::Resource;

use super::convert::arguments;
use crate::capability::Process;
use crate::plugin::bindings::bkhost::snapshot::exec::{Argument, Completed, Host, HostProcess, Standing};
use crate::plugin::bindings::bkhost::snapshot::types::Error;
use crate::plugin::state::State;

fn millis(millis: u32) -> Duration {
    Duration::from_millis(u64::from(millis))
}

impl Host for State {
    async fn run(&mut self, command: String, args: Vec<Argument>) -> wasmtime::Result<Result<Completed, Error>> {
        let args = arguments(args);
        let work = self.gate.run(&command, &args);
        Ok(self.interrupt.or(None, work).await.map(Into::into).map_err(Into::into))
    }

    async fn spawn(
        &mut self,
        command: String,
        args: Vec<Argument>,
    ) -> wasmtime::Result<Result<Resource<Process>, Error>> {
        Ok(match self.gate.spawn(&command, &arguments(args)).await {
            Ok(process) => Ok(self.table.push(process)?),
            Err(e) => Err(e.into()),
        })
    }
}

impl HostProcess for State {
    async fn send(
        &mut self,
        process: Resource<Process>,
        line: String,
        args: Vec<Argument>,
    ) -> wasmtime::Result<Result<(), Error>> {
        Ok(self.table.get_mut(&process)?.send(&line, &arguments(args)).await.map_err(Into::into))
    }

    async fn close_input(&mut self, process: Resource<Process>) -> wasmtime::Result<Result<(), Error>> {
        Ok(self.table.get_mut(&process)?.close_input().await.map_err(Into::into))
    }

    async fn read_line(
        &mut self,
        process: Resource<Process>,
        timeout_ms: u32,
    ) -> wasmtime::Result<Result<Option<String>, Error>> {
        let (gate, process) = (Arc::clone(&self.gate), self.table.get_mut(&process)?);
        let _beat = gate.beat(process);
        Ok(process.read_line(millis(timeout_ms)).await.map_err(Into::into))
    }

    async fn look(&mut self, process: Resource<Process>) -> wasmtime::Result<Result<Standing, Error>> {
        let standing = self.table.get(&process)?.look();
        Ok(standing.map(|(stderr, status)| Standing { stderr, status }).map_err(Into::into))
    }

    async fn wait(
        &mut self,
        process: Resource<Process>,
        timeout_ms: u32,
    ) -> wasmtime::Result<Result<Completed, Error>> {
        let (gate, process) = (Arc::clone(&self.gate), self.table.get_mut(&process)?);
        let _beat = gate.beat(process);
        Ok(process.wait(millis(timeout_ms)).await.map(Into::into).map_err(Into::into))
    }

    async fn kill(&mut self, process: Resource<Process>) -> wasmtime::Result<Result<(), Error>> {
        Ok(self.table.get_mut(&process)?.kill().await.map_err(Into::into))
    }

    async fn drop(&mut self, process: Resource<Process>) -> wasmtime::Result<()> {
        // The contract: dropping it kills its process group and reaps it.
        let mut process = self.table.delete(process)?;
        if let Err(e) = process.kill().await {
            tracing::warn!("{:?}: {e}", process.argv());
        }
        Ok(())
    }
}
