//! How a call into a guest ended, in words an operator can use.

use std::time::Duration;

use wasmtime::Trap;
use wasmtime_wasi::I32Exit;

use super::limits::Stop;
use super::text;
use crate::capability::manifest::Limits;
use crate::capability::{CallError, Code, overdue_freeze};
use crate::error::{Error, ErrorKind};
use crate::units::{human_bytes, human_duration};

/// Why a call has no result and its instance is gone.
pub(super) enum End {
    /// The guest trapped, or a limit stopped it.
    Trap(wasmtime::Error),
    /// It took too long by the clock on the wall.
    TimedOut(Duration),
    /// The run was cancelled.
    Cancelled,
    /// It kept file systems frozen for so long.
    Frozen(Duration),
}

/// Bytes that a guest may hand over in one call.
pub(super) const CALL_BYTES: usize = 8 << 20;
const MAX_DETAILS: usize = 50;
const AUTHOR: &str = "this is a defect of the plugin: report it to its author, with the details";

/// A failure that the guest reported.
pub(super) fn reported(e: CallError, cancelled: bool, denial: Option<CallError>) -> Error {
    let mut e = CallError {
        code: match (e.code, cancelled) {
            (_, true) => Code::Interrupted,
            // Nobody cancelled anything: the guest's word alone does not make it so.
            (Code::Interrupted, false) => Code::Other,
            (code, false) => code,
        },
        message: text::line(&e.message, 2000),
        hint: e.hint.map(|hint| text::block(&hint, 4000)),
        details: e
            .details
            .into_iter()
            .take(MAX_DETAILS)
            .map(|(name, value)| (text::line(&name, 100), text::block(&value, 64 << 10)))
            .collect(),
    };
    if let Some(denial) = denial {
        e.details.push(("denied".to_owned(), denial.message));
        e.hint = e.hint.or(denial.hint);
    }
    e.into()
}

/// The end of an instance. `output` is what the guest wrote last to its standard streams.
pub(super) fn ended(end: End, limits: &Limits, output: &str) -> Error {
    let error = match end {
        End::Cancelled => return Error::new(ErrorKind::Cancelled, "it was cancelled"),
        End::Frozen(limit) => overdue_freeze(limit).into(),
        End::TimedOut(limit) => {
            Error::new(ErrorKind::TimedOut, format!("the plugin did not end within {}", human_duration(limit)))
                .hint("if it needs longer, raise `call` (or `long-call`, for finish and restore) in [part.limits]")
                .detail("limit", format!("wall time {}", human_duration(limit)))
        }
        End::Trap(e) => trap(&e, limits, output),
    };
    if output.trim().is_empty() { error } else { error.detail("output", text::block(output.trim(), 64 << 10)) }
}

fn trap(e: &wasmtime::Error, limits: &Limits, output: &str) -> Error {
    if let Some(stop) = e.downcast_ref::<Stop>() {
        return stopped(*stop, limits);
    }
    if let Some(I32Exit(status)) = e.downcast_ref::<I32Exit>() {
        return plugin(format!("the plugin ended itself with status {status}")).hint(AUTHOR);
    }
    let Some(trap) = e.downcast_ref::<Trap>() else {
        // The engine has no type for it.
        if e.root_cause().to_string().contains("fuel allocated for hostcalls") {
            let limit = human_bytes(CALL_BYTES as u64);
            return plugin(format!("the plugin handed over more than {limit} in one call"))
                .hint(AUTHOR)
                .detail("limit", format!("{limit} per call"));
        }
        return plugin(format!("the plugin was stopped: {}", text::line(&e.root_cause().to_string(), 500)))
            .hint(AUTHOR);
    };
    match trap {
        Trap::StackOverflow => plugin("the plugin used up its stack").hint(AUTHOR).detail("limit", "stack 1.0 MiB"),
        Trap::UnreachableCodeReached => match panic_message(output) {
            Some(message) => plugin(format!("the plugin panicked: {message}")).hint(AUTHOR),
            None => {
                let last = output.lines().rev().map(str::trim).find(|line| !line.is_empty());
                let last = last.map(|line| format!(": {}", text::line(line, 500))).unwrap_or_default();
                plugin(format!("the plugin aborted{last}")).hint(AUTHOR)
            }
        },
        trap => plugin(format!("the plugin crashed: {trap}")).hint(AUTHOR),
    }
}

fn plugin(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Plugin, message)
}

fn stopped(stop: Stop, limits: &Limits) -> Error {
    match stop {
        Stop::Cancelled => Error::new(ErrorKind::Cancelled, "it was cancelled"),
        Stop::Memory => {
            let limit = human_bytes(limits.memory.0);
            plugin(format!("the plugin needs more than its {limit} of memory"))
                .hint("if you trust it with more, raise `memory` in [part.limits]")
                .detail("limit", format!("memory {limit}"))
        }
        Stop::Cpu => {
            let limit = human_duration(limits.cpu.0);
            Error::new(ErrorKind::TimedOut, format!("the plugin used more than its {limit} of CPU time in one call"))
                .hint("it may be in an endless loop; if it needs more, raise `cpu` in [part.limits]")
                .detail("limit", format!("CPU time {limit}"))
        }
    }
}

/// What Rust's panic handler wrote: `thread '…' panicked at <place>:`, the message, and a note on backtraces.
fn panic_message(output: &str) -> Option<String> {
    let (_, report) = output.rsplit_once("panicked at ")?;
    let mut lines = report.lines();
    let place = lines.next()?.trim_end_matches(':');
    let message: Vec<&str> = lines.take_while(|line| !line.starts_with("note: ") && !line.is_empty()).collect();
    Some(format!("{} (at {})", text::line(&message.join(" "), 500), text::line(place, 200)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_shows_its_message_and_place() {
        let output = "debugging\n\nthread '<unnamed>' (1) panicked at src/lib.rs:7:9:\nno such thing: \x1b[31mx\n\
                      note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n";
        let error = ended(End::Trap(Trap::UnreachableCodeReached.into()), &Limits::default(), output);
        assert_eq!(error.kind(), ErrorKind::Plugin);
        assert_eq!(error.message(), "the plugin panicked: no such thing: \\u{1b}[31mx (at src/lib.rs:7:9)");
        assert!(error.details().iter().any(|(name, value)| name == "output" && value.starts_with("debugging")));
    }

    #[test]
    fn an_abort_shows_the_last_line() {
        let error = ended(
            End::Trap(Trap::UnreachableCodeReached.into()),
            &Limits::default(),
            "memory allocation of 9 bytes failed\n",
        );
        assert_eq!(error.message(), "the plugin aborted: memory allocation of 9 bytes failed");
    }

    #[test]
    fn limits_are_named_with_the_line_that_raises_them() {
        for (stop, kind, key) in
            [(Stop::Memory, ErrorKind::Plugin, "`memory`"), (Stop::Cpu, ErrorKind::TimedOut, "`cpu`")]
        {
            let error = ended(End::Trap(stop.into()), &Limits::default(), "");
            assert_eq!(error.kind(), kind);
            assert!(error.hint_text().unwrap().contains(key), "{error:?}");
            assert_eq!(error.details().len(), 1, "{error:?}");
        }
    }

    #[test]
    fn only_the_host_says_that_it_cancelled() {
        let e = || CallError::new(Code::Interrupted, "I was interrupted");
        assert_eq!(reported(e(), false, None).kind(), ErrorKind::Plugin);
        assert_eq!(reported(e(), true, None).kind(), ErrorKind::Cancelled);
    }

    #[test]
    fn a_refused_request_keeps_the_line_that_would_allow_it() {
        let denial = CallError::denied("https://a.example is not granted").hint("http = [\"https://a.example\"]");
        let error = reported(CallError::new(Code::Other, "request denied"), false, Some(denial));
        assert_eq!(error.hint_text(), Some("http = [\"https://a.example\"]"));
    }
}
