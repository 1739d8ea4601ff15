//! Printing results and errors.

use std::io::Write;

use serde::Serialize;

use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::report::{Finding, Severity};

/// Print a line on stdout. A reader that went away (`bkhost list | head -1`) is no failure.
pub(super) fn line(text: impl AsRef<str>) {
    let _ = writeln!(std::io::stdout(), "{}", text.as_ref());
}

/// Print a result as JSON, on one line: the last one.
///
/// # Errors
/// If it cannot be expressed, which is a bug.
pub(super) fn json(value: &impl Serialize) -> Result<()> {
    line(serde_json::to_string(value).or_error(ErrorKind::Internal, || "cannot express the result as JSON")?);
    Ok(())
}

/// Print a failure: for people on stderr, and with `--json` also as the last line of stdout.
pub(super) fn error(error: &Error, as_json: bool) {
    let mut text = format!("error: {error}\n");
    for cause in error.causes() {
        text.push_str(&format!("  because: {cause}\n"));
    }
    for (name, value) in error.details() {
        text.push_str(&format!("  {name}: {}\n", value.trim_end().replace('\n', "\n    ")));
    }
    if let Some(hint) = error.hint_text() {
        text.push_str(&format!("  hint: {}\n", hint.trim_end().replace('\n', "\n    ")));
    }
    let _ = std::io::stderr().write_all(text.as_bytes());
    if as_json {
        line(serde_json::json!({ "error": error.to_json() }).to_string());
    }
}

/// Print what was found about somebody.
pub(super) fn finding(whom: &str, finding: &Finding) {
    let mark = match finding.severity {
        Severity::Info => "ok     ",
        Severity::Warning => "warning",
        Severity::Failure => "FAILURE",
    };
    line(format!("{mark}  {whom}: {}: {}", finding.subject, finding.message));
    if let Some(hint) = &finding.hint {
        line(format!("         hint: {hint}"));
    }
}

/// Print rows in columns as wide as their widest cell.
pub(super) fn table(header: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .chain(header.get(column).map(|name| name.len()))
            .max()
            .unwrap_or(0)
    };
    let render = |cells: Vec<&str>| {
        let last = cells.len().saturating_sub(1);
        let mut out = String::new();
        for (column, cell) in cells.into_iter().enumerate() {
            out.push_str(cell);
            if column < last {
                let padding = width(column).saturating_sub(cell.chars().count()) + 2;
                out.push_str(&" ".repeat(padding));
            }
        }
        out
    };
    line(render(header.to_vec()));
    for row in rows {
        line(render(row.iter().map(String::as_str).collect()));
    }
}
