//! `config`: which part an instance works for.

use crate::plugin::bindings::bkhost::snapshot::config::Host;
use crate::plugin::state::State;

impl Host for State {
    async fn get(&mut self) -> wasmtime::Result<String> {
        Ok(self.config.clone())
    }

    async fn instance(&mut self) -> wasmtime::Result<String> {
        Ok(self.instance.clone())
    }

    async fn part(&mut self) -> wasmtime::Result<String> {
        Ok(self.part.clone())
    }

    async fn excludes(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(self.excludes.clone())
    }
}
