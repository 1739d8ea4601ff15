//! Plain lines with the elapsed time: for logs, cron and pipes.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use super::text::{self, Verbosity};
use super::{Event, Sink};

/// Progress of one part is told this often: nothing else may be told meanwhile, and five seconds are promised.
const EVERY: Duration = Duration::from_secs(4);

/// Writes a line per event; of progress only one now and then, and the last of a step.
pub struct Lines<W> {
    writer: W,
    verbosity: Verbosity,
    clock: Box<dyn Fn() -> Duration + Send>,
    /// When progress of a part's step was told, and whether that was its end.
    told: BTreeMap<(String, String), (Duration, bool)>,
}

impl<W: Write + Send> Lines<W> {
    /// Writes to `writer`; the elapsed time counts from now.
    pub fn new(writer: W, verbosity: Verbosity) -> Self {
        let start = Instant::now();
        Self::with_clock(writer, verbosity, move || start.elapsed())
    }

    fn with_clock(writer: W, verbosity: Verbosity, clock: impl Fn() -> Duration + Send + 'static) -> Self {
        Self { writer, verbosity, clock: Box::new(clock), told: BTreeMap::new() }
    }

    /// Whether this progress is worth a line.
    fn due(&mut self, part: &str, what: &str, ended: bool) -> bool {
        let now = (self.clock)();
        let told = self.told.get(&(part.to_owned(), what.to_owned()));
        let due = match told {
            None => true,
            Some((_, true)) if ended => false,
            Some((at, _)) => ended || now.saturating_sub(*at) >= EVERY,
        };
        if due {
            self.told.insert((part.to_owned(), what.to_owned()), (now, ended));
        }
        due
    }
}

impl<W: Write + Send> Sink for Lines<W> {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Progress { part, what, done, total } if !self.due(part, what, *total == Some(*done)) => return,
            // The next phase's steps are other ones, even of the same name.
            Event::PhaseStarted { .. } => self.told.clear(),
            _ => {}
        }
        if let Some(line) = text::line(event, self.verbosity) {
            // A pipe that was closed must not fail a backup.
            let _ = writeln!(self.writer, "[{}] {line}", text::elapsed((self.clock)()));
            let _ = self.writer.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::report::{Level, Phase};

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// A run's events, with the second at which each comes.
    fn run() -> Vec<(u64, Event)> {
        let phase = |phase| Event::PhaseStarted { phase };
        let ended = |phase, millis, ok| Event::PhaseEnded { phase, millis, ok };
        let progress =
            |what: &str, done, total| Event::Progress { part: "home".into(), what: what.into(), done, total };
        let message = |level, part: Option<&str>, text: &str| Event::Message {
            level,
            part: part.map(str::to_owned),
            text: text.into(),
        };
        let argv: Vec<String> = ["zfs", "snapshot", "tank/home@x"].map(str::to_owned).to_vec();
        vec![
            (0, Event::Started { what: "backup", instance: "bitbucket".into(), set: "20261121-014200-4f2a9c".into() }),
            (0, phase(Phase::Check)),
            (0, message(Level::Info, Some("home"), "zfs 2.2.7")),
            (0, message(Level::Debug, Some("home"), "details")),
            (1, message(Level::Warning, None, "the store has 3.0 GiB left")),
            (1, ended(Phase::Check, 812, true)),
            (1, phase(Phase::Drain)),
            (1, Event::Call { what: "GET /mvc/maintenance".into(), planned: false }),
            (6, Event::Waiting { what: "Bitbucket to drain".into(), millis: 5000 }),
            (7, ended(Phase::Drain, 6003, true)),
            (7, Event::Command { part: "home".into(), argv: argv.clone(), planned: false }),
            (7, Event::Command { part: "home".into(), argv, planned: true }),
            (7, Event::Call { what: "POST /mvc/maintenance/lock".into(), planned: true }),
            (7, Event::Unlocked { locked: 6150, drain: 6003 }),
            (7, phase(Phase::Archive)),
            (7, progress("archive", 0, Some(100 << 20))),
            (8, progress("archive", 10 << 20, Some(100 << 20))),
            (12, progress("archive", 40 << 20, Some(100 << 20))),
            (13, progress("archive", 50 << 20, Some(100 << 20))),
            (14, progress("archive", 100 << 20, Some(100 << 20))),
            (14, progress("archive", 100 << 20, Some(100 << 20))),
            (14, ended(Phase::Archive, 7000, true)),
            (14, phase(Phase::Verify)),
            (14, progress("archive", 1 << 20, None)),
            (3700, ended(Phase::Verify, 3_686_000, false)),
            (3700, message(Level::Error, Some("home"), "home.tar.zst is not what was written")),
        ]
    }

    fn told(verbosity: Verbosity) -> String {
        let (written, seconds) = (Shared::default(), Arc::new(AtomicU64::new(0)));
        let clock = Arc::clone(&seconds);
        let mut lines =
            Lines::with_clock(written.clone(), verbosity, move || Duration::from_secs(clock.load(Ordering::Relaxed)));
        for (second, event) in run() {
            seconds.store(second, Ordering::Relaxed);
            lines.event(&event);
        }
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_run_as_it_is_read() {
        assert_eq!(
            told(Verbosity::Normal),
            "\
[0:00:00] backup of bitbucket: set 20261121-014200-4f2a9c
[0:00:00] check …
[0:00:00] home: zfs 2.2.7
[0:00:01] warning: the store has 3.0 GiB left
[0:00:01] check: done in 812 ms
[0:00:01] drain …
[0:00:06] waiting for Bitbucket to drain, since 5.0 s
[0:00:07] drain: done in 6.0 s
[0:00:07] home: would run: zfs snapshot tank/home@x
[0:00:07] would do: POST /mvc/maintenance/lock
[0:00:07] application given back: locked for 6.2 s, of that 6.0 s draining
[0:00:07] archive …
[0:00:07] home: archive: 0 B of 100.0 MiB (0 %)
[0:00:12] home: archive: 40.0 MiB of 100.0 MiB (40 %)
[0:00:14] home: archive: 100.0 MiB of 100.0 MiB (100 %)
[0:00:14] archive: done in 7.0 s
[0:00:14] verify …
[0:00:14] home: archive: 1.0 MiB
[1:01:40] verify: FAILED after 1h 01m
[1:01:40] error: home: home.tar.zst is not what was written
"
        );
    }

    #[test]
    fn quiet_tells_what_went_wrong() {
        assert_eq!(
            told(Verbosity::Quiet),
            "\
[0:00:01] warning: the store has 3.0 GiB left
[1:01:40] verify: FAILED after 1h 01m
[1:01:40] error: home: home.tar.zst is not what was written
"
        );
    }

    #[test]
    fn verbose_tells_commands_and_calls_too() {
        let text = told(Verbosity::Verbose);
        for line in ["home: details", "does: GET /mvc/maintenance", "home: runs: zfs snapshot tank/home@x"] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_closed_pipe_is_borne() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
        }
        let mut lines = Lines::new(Closed, Verbosity::Verbose);
        run().iter().for_each(|(_, event)| lines.event(event));
    }
}
