//! `mirror`: copies, made by the host's data plane.

use crate::capability::{CallError, Code};
use crate::plugin::bindings::bkhost::snapshot::mirror::{Copied, Host, Pass};
use crate::plugin::bindings::bkhost::snapshot::types;
use crate::plugin::state::State;

impl Host for State {
    async fn copy(
        &mut self,
        _source: String,
        _destination: String,
        _exclude: Vec<String>,
        _pass: Pass,
    ) -> wasmtime::Result<Result<Copied, types::Error>> {
        Ok(Err(CallError::new(Code::Unsupported, "not available").into()))
    }
}

impl types::Host for State {}
