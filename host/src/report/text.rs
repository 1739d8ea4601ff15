//! Events as text for people: one line each, the same words in every sink.

use std::time::Duration;

use super::{Event, Level};
use crate::units::{human_bytes, human_duration};

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Verbosity {
    /// Warnings and errors (`--quiet`).
    Quiet,
    /// What a person wants to know who watches.
    #[default]
    Normal,
    /// Also each command and call (`--verbose`).
    Verbose,
}

/// Words in the name of a step that counts things; any other step counts bytes.
const COUNTED: [&str; 7] = ["file", "item", "object", "entries", "table", "dataset", "volume"];

/// What is told about an event, other than progress and waiting. None if that is too much for this verbosity.
pub(super) fn line(event: &Event, verbosity: Verbosity) -> Option<String> {
    let (text, from) = match event {
        Event::Started { what, instance, set } => (format!("{what} of {instance}: set {set}"), Verbosity::Normal),
        Event::PhaseStarted { phase } => (format!("{} …", phase.name()), Verbosity::Normal),
        Event::PhaseEnded { phase, millis, ok: true } => {
            (format!("{}: done in {}", phase.name(), time(*millis)), Verbosity::Normal)
        }
        Event::PhaseEnded { phase, millis, ok: false } => {
            (format!("{}: FAILED after {}", phase.name(), time(*millis)), Verbosity::Quiet)
        }
        Event::Command { part, argv, planned: true } => {
            (format!("{part}: would run: {}", command(argv)), Verbosity::Normal)
        }
        Event::Command { part, argv, planned: false } => {
            (format!("{part}: runs: {}", command(argv)), Verbosity::Verbose)
        }
        Event::Call { what, planned: true } => (format!("would do: {what}"), Verbosity::Normal),
        Event::Call { what, planned: false } => (format!("does: {what}"), Verbosity::Verbose),
        Event::Unlocked { locked, drain } => {
            let (locked, drain) = (time(*locked), time(*drain));
            (format!("application given back: locked for {locked}, of that {drain} draining"), Verbosity::Normal)
        }
        Event::Message { level, part, text } => {
            let (prefix, from) = match level {
                Level::Debug => ("", Verbosity::Verbose),
                Level::Info => ("", Verbosity::Normal),
                Level::Warning => ("warning: ", Verbosity::Quiet),
                Level::Error => ("error: ", Verbosity::Quiet),
            };
            let part = part.as_ref().map(|part| format!("{part}: ")).unwrap_or_default();
            (format!("{prefix}{part}{text}"), from)
        }
        Event::Waiting { what, millis } => (waiting(what, *millis), Verbosity::Normal),
        Event::Progress { part, what, done, total } => {
            (format!("{part}: {what}: {}", amount(what, *done, *total)), Verbosity::Normal)
        }
    };
    (verbosity >= from).then(|| plain(&text))
}

/// What is waited for, and since when.
pub(super) fn waiting(what: &str, millis: u64) -> String {
    plain(&format!("waiting for {what}, since {}", time(millis)))
}

/// How far a step is: `1.5 GiB of 3.0 GiB (50 %)`.
pub(super) fn amount(what: &str, done: u64, total: Option<u64>) -> String {
    let counted = COUNTED.iter().any(|word| what.contains(word));
    let show = |n: u64| if counted { n.to_string() } else { human_bytes(n) };
    match total {
        // More than was expected: a growing file.
        Some(total) if total > 0 && done <= total => {
            let percent = u128::from(done) * 100 / u128::from(total);
            format!("{} of {} ({percent} %)", show(done), show(total))
        }
        _ => show(done),
    }
}

/// Time since the beginning, as long for an hour as for a second: `0:00:03`.
pub(super) fn elapsed(since: Duration) -> String {
    let seconds = since.as_secs();
    format!("{}:{:02}:{:02}", seconds / 3600, seconds % 3600 / 60, seconds % 60)
}

fn time(millis: u64) -> String {
    human_duration(Duration::from_millis(millis))
}

/// An argument vector as one could type it.
fn command(argv: &[String]) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    let quoted = argv.iter().map(|argument| {
        if !argument.is_empty() && argument.chars().all(bare) {
            argument.clone()
        } else {
            format!("'{}'", argument.replace('\'', "'\\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// Without control characters: a plugin's or a server's words must not drive the terminal, nor make up lines.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts() {
        for (what, done, total, text) in [
            ("archive", 0, None, "0 B"),
            ("archive", 1 << 30, Some(3 << 30), "1.0 GiB of 3.0 GiB (33 %)"),
            ("archive", 5, Some(5), "5 B of 5 B (100 %)"),
            ("archive", 9, Some(5), "9 B"),
            ("archive", 0, Some(0), "0 B"),
            ("dump tables", 3, Some(12), "3 of 12 (25 %)"),
            ("archive", u64::MAX, Some(u64::MAX), "16.0 EiB of 16.0 EiB (100 %)"),
        ] {
            assert_eq!(amount(what, done, total), text);
        }
    }

    #[test]
    fn commands_could_be_typed() {
        let argv = ["zfs", "snapshot", "a b", "it's", "", "x=1,2", "$HOME"].map(str::to_owned);
        assert_eq!(command(&argv), r"zfs snapshot 'a b' 'it'\''s' '' x=1,2 '$HOME'");
    }

    #[test]
    fn the_terminal_is_not_driven() {
        let event =
            Event::Message { level: Level::Info, part: Some("home".into()), text: "one\ntwo\x1b[2J\u{9b}31m\r".into() };
        let line = line(&event, Verbosity::Normal).unwrap();
        assert!(!line.contains(char::is_control), "{line:?}");
    }

    #[test]
    fn elapsed_time_has_one_form() {
        assert_eq!(elapsed(Duration::from_millis(3999)), "0:00:03");
        assert_eq!(elapsed(Duration::from_secs(100 * 3600 + 61)), "100:01:01");
    }
}
