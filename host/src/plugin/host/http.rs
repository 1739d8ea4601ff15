//! `wasi:http`: the gate sends every request, or refuses it.

use std::sync::{Arc, Mutex, PoisonError};

use http::uri::Scheme;
use http_body_util::BodyExt;
use wasmtime_wasi_http::{Error, RequestOptions, Result, WasiBody, WasiHttpHooks};

use super::interrupt::Interrupt;
use crate::capability::{CallError, Code, Gate, HttpTimeouts};

type Done = Box<dyn Future<Output = Result<()>> + Send>;

/// The way out.
pub(in crate::plugin) struct Egress {
    gate: Arc<Gate>,
    interrupt: Interrupt,
    denied: Arc<Mutex<Option<CallError>>>,
}

impl Egress {
    pub(in crate::plugin) fn new(gate: Arc<Gate>, interrupt: Interrupt) -> Self {
        Self { gate, interrupt, denied: Arc::default() }
    }

    /// The refusal that the guest saw last: `wasi:http` tells it that there was one, but has no room for its reason.
    pub(in crate::plugin) fn take_denial(&self) -> Option<CallError> {
        self.denied.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl WasiHttpHooks for Egress {
    fn is_supported_scheme(&mut self, scheme: &Scheme) -> bool {
        // The gate decides by the whole origin: here, a refusal would have no reason.
        *scheme == Scheme::HTTPS || *scheme == Scheme::HTTP
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _processed: Done,
    ) -> Box<dyn Future<Output = Result<(http::Response<WasiBody>, Done)>> + Send> {
        let gate = self.gate.clone();
        let denied = self.denied.clone();
        let mut interrupt = self.interrupt.clone();
        let options = options.unwrap_or_default();
        let timeouts = HttpTimeouts {
            connect: options.connect_timeout,
            first_byte: options.first_byte_timeout,
            between_bytes: options.between_bytes_timeout,
        };
        Box::new(async move {
            match interrupt.or(None, gate.http(request, timeouts)).await {
                Ok(response) => {
                    let response = response.map(|body| body.map_err(wasi_error).boxed_unsync());
                    Ok((response, Box::new(async { Ok(()) }) as Done))
                }
                Err(e) => {
                    if e.code == Code::Denied {
                        *denied.lock().unwrap_or_else(PoisonError::into_inner) = Some(e.clone());
                    }
                    Err(wasi_error(e))
                }
            }
        })
    }
}

/// The SDK reads the code and the hint back out of the text; for anybody else it is a sentence.
fn wasi_error(e: CallError) -> Error {
    if e.code == Code::Denied {
        return Error::HttpRequestDenied;
    }
    let hint = e.hint.map(|hint| format!("\n{hint}")).unwrap_or_default();
    Error::InternalError(Some(format!("{}: {}{hint}", e.code.name(), e.message)))
}
