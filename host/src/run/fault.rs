//! Fault points: where a crash test makes this process stop or die.
//!
//! There is one before, in the middle of, and after the writing of each journal record. They are in every build, since a
//! build for tests would not be the one that is used; they do something only if `BKHOST_TEST=1` is set as well:
//! `BKHOST_FAULT_POINT=<before|torn|after>:<record>:<n>[:stop]` is the n-th record of that sort that this process writes
//! (from 1). SIGKILL, or with `:stop` SIGSTOP, which lets the test decide what happens next.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

use super::journal::Record;

/// Where, relative to the writing of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// Nothing is written.
    Before,
    /// Half of the record is written.
    Torn,
    /// It is on disk.
    After,
}

impl When {
    pub(super) const ALL: [Self; 3] = [Self::Before, Self::Torn, Self::After];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::Torn => "torn",
            Self::After => "after",
        }
    }
}

/// All fault points, as `<when>:<record>`.
#[must_use]
pub fn fault_points() -> Vec<String> {
    let of = |kind: &'static str| When::ALL.into_iter().map(move |when| format!("{}:{kind}", when.name()));
    Record::KINDS.into_iter().flat_map(of).collect()
}

struct Point {
    when: When,
    record: String,
    /// So many more have to pass.
    left: AtomicU32,
    signal: Signal,
}

static POINT: OnceLock<Option<Point>> = OnceLock::new();

fn point() -> Option<&'static Point> {
    POINT
        .get_or_init(|| {
            if std::env::var("BKHOST_TEST").ok()?.as_str() != "1" {
                return None;
            }
            parse(&std::env::var("BKHOST_FAULT_POINT").ok()?)
        })
        .as_ref()
}

fn parse(text: &str) -> Option<Point> {
    let mut fields = text.split(':');
    let when = fields.next()?;
    let when = When::ALL.into_iter().find(|known| known.name() == when)?;
    let record = fields.next()?.to_owned();
    let left = AtomicU32::new(fields.next()?.parse().ok()?);
    let signal = match fields.next() {
        None => Signal::KILL,
        Some("stop") => Signal::STOP,
        Some(_) => return None,
    };
    Some(Point { when, record, left, signal })
}

/// Whether this is the fault point that was asked for. To be followed by [`strike`].
pub(super) fn is_here(when: When, record: &str) -> bool {
    point().is_some_and(|point| {
        point.when == when && point.record == record && point.left.fetch_sub(1, Ordering::Relaxed) == 1
    })
}

/// Stop or die here.
pub(super) fn strike() {
    let Some(point) = point() else { return };
    let _ = kill_process(getpid(), point.signal);
    // The signal may be delivered to another thread first: nothing may happen here until it has taken effect.
    std::thread::sleep(Duration::from_millis(50));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_read() {
        let point = parse("torn:captured:2:stop").unwrap();
        assert_eq!((point.when, point.record.as_str(), point.signal), (When::Torn, "captured", Signal::STOP));
        assert_eq!(parse("after:begun:1").unwrap().signal, Signal::KILL);
        for wrong in ["", "begun", "after:begun", "after:begun:x", "amid:begun:1", "after:begun:1:term"] {
            assert!(parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn without_the_test_variable_nothing_strikes() {
        assert!(!is_here(When::Before, "begun"));
    }
}
