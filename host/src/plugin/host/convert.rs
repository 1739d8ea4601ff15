//! Between the contract's types and the gate's.

use crate::capability::{Argument, CallError, Code, Completed};
use crate::plugin::bindings::bkhost::snapshot::{exec, types};

impl From<CallError> for types::Error {
    fn from(e: CallError) -> Self {
        let code = match e.code {
            Code::InvalidConfig => types::ErrorCode::InvalidConfig,
            Code::NotFound => types::ErrorCode::NotFound,
            Code::AlreadyExists => types::ErrorCode::AlreadyExists,
            Code::Denied => types::ErrorCode::Denied,
            Code::Conflict => types::ErrorCode::Conflict,
            Code::Unavailable => types::ErrorCode::Unavailable,
            Code::TimedOut => types::ErrorCode::TimedOut,
            Code::Corrupt => types::ErrorCode::Corrupt,
            Code::Unsupported => types::ErrorCode::Unsupported,
            Code::Interrupted => types::ErrorCode::Interrupted,
            Code::Other => types::ErrorCode::Other,
        };
        Self { code, message: e.message, hint: e.hint, details: e.details }
    }
}

impl From<types::Error> for CallError {
    fn from(e: types::Error) -> Self {
        let code = match e.code {
            types::ErrorCode::InvalidConfig => Code::InvalidConfig,
            types::ErrorCode::NotFound => Code::NotFound,
            types::ErrorCode::AlreadyExists => Code::AlreadyExists,
            types::ErrorCode::Denied => Code::Denied,
            types::ErrorCode::Conflict => Code::Conflict,
            types::ErrorCode::Unavailable => Code::Unavailable,
            types::ErrorCode::TimedOut => Code::TimedOut,
            types::ErrorCode::Corrupt => Code::Corrupt,
            types::ErrorCode::Unsupported => Code::Unsupported,
            types::ErrorCode::Interrupted => Code::Interrupted,
            types::ErrorCode::Other => Code::Other,
        };
        Self { code, message: e.message, hint: e.hint, details: e.details }
    }
}

impl From<Completed> for exec::Completed {
    fn from(c: Completed) -> Self {
        Self { status: c.status, stdout: c.stdout, stderr: c.stderr, truncated: c.truncated, planned: c.planned }
    }
}

/// The values a guest gave for the slots of a command.
pub(super) fn arguments(arguments: Vec<exec::Argument>) -> Vec<Argument> {
    arguments.into_iter().map(|a| Argument { slot: a.slot, values: a.values }).collect()
}
