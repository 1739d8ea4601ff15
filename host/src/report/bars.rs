//! Bars on a terminal: a line for the phase, a line per part, and above them what happened.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::text::{self, Verbosity};
use super::{Event, Sink};

/// How often the spinner turns.
const TICK: Duration = Duration::from_millis(200);

/// Draws on a terminal. What it drew last is removed when it is dropped.
pub struct Bars {
    all: MultiProgress,
    verbosity: Verbosity,
    phase: Option<ProgressBar>,
    parts: BTreeMap<String, ProgressBar>,
}

impl Bars {
    /// Draws on stderr.
    #[must_use]
    pub fn stderr(verbosity: Verbosity) -> Self {
        Self::on(ProgressDrawTarget::stderr(), verbosity)
    }

    fn on(target: ProgressDrawTarget, verbosity: Verbosity) -> Self {
        Self { all: MultiProgress::with_draw_target(target), verbosity, phase: None, parts: BTreeMap::new() }
    }

    fn begin(&mut self, phase: &str) {
        self.clear();
        let spinner = self.all.add(ProgressBar::new_spinner().with_style(style("{spinner} {prefix} {elapsed} {msg}")));
        spinner.set_prefix(phase.to_owned());
        spinner.enable_steady_tick(TICK);
        self.phase = Some(spinner);
    }

    fn progress(&mut self, part: &str, what: &str, done: u64, total: Option<u64>) {
        let bar = self.parts.entry(part.to_owned()).or_insert_with(|| {
            let bar = self.all.add(ProgressBar::no_length());
            bar.set_prefix(text::plain(part));
            bar
        });
        // The style follows the step: the same part goes from one that knows its end to one that does not.
        let known = total.filter(|total| *total > 0);
        if bar.length() != known || bar.position() == 0 {
            bar.set_style(style(match known {
                Some(_) => "  {prefix:12} {bar:24} {msg}",
                None => "  {prefix:12} {spinner} {msg}",
            }));
            match known {
                Some(total) => bar.set_length(total),
                None => bar.unset_length(),
            }
        }
        bar.set_position(done);
        bar.set_message(format!("{}: {}", text::plain(what), text::amount(what, done, total)));
        // Outside of a phase nothing else ends it.
        if self.phase.is_none() && total == Some(done) {
            self.clear();
        }
    }

    fn clear(&mut self) {
        for bar in self.phase.take().into_iter().chain(std::mem::take(&mut self.parts).into_values()) {
            bar.finish_and_clear();
            self.all.remove(&bar);
        }
    }
}

/// A style of indicatif; the templates are ours, so a wrong one only looks wrong.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

impl Sink for Bars {
    fn event(&mut self, event: &Event) {
        let quiet = self.verbosity == Verbosity::Quiet;
        match event {
            Event::PhaseStarted { phase } if !quiet => return self.begin(phase.name()),
            Event::Progress { part, what, done, total } if !quiet => return self.progress(part, what, *done, *total),
            Event::Waiting { what, millis } if !quiet => {
                if let Some(phase) = &self.phase {
                    phase.set_message(text::waiting(what, *millis));
                    return;
                }
            }
            Event::PhaseEnded { .. } => self.clear(),
            _ => {}
        }
        if let Some(line) = text::line(event, self.verbosity) {
            // `println` of indicatif is silent when nothing can be drawn: then the line alone goes to stderr.
            if self.all.is_hidden() {
                eprintln!("{line}");
            } else {
                let _ = self.all.println(line);
            }
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use indicatif::TermLike;

    use super::*;
    use crate::report::{Level, Phase};

    /// A terminal that keeps all that was ever written to it.
    #[derive(Debug, Clone, Default)]
    struct Paper(Arc<Mutex<String>>);

    impl Paper {
        fn write(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }
    }

    impl TermLike for Paper {
        fn width(&self) -> u16 {
            120
        }

        fn height(&self) -> u16 {
            40
        }

        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write(&format!("{text}\n"))
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.write(text)
        }

        fn clear_line(&self) -> io::Result<()> {
            self.write("\n")
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn drawn(events: &[Event], verbosity: Verbosity) -> String {
        let paper = Paper::default();
        let mut bars = Bars::on(ProgressDrawTarget::term_like_with_hz(Box::new(paper.clone()), 255), verbosity);
        for event in events {
            bars.event(event);
            // Slower than the rate at which indicatif draws.
            std::thread::sleep(Duration::from_millis(12));
        }
        drop(bars);
        paper.0.lock().unwrap().clone()
    }

    fn run() -> Vec<Event> {
        let progress =
            |part: &str, done, total| Event::Progress { part: part.into(), what: "archive".into(), done, total };
        vec![
            Event::PhaseStarted { phase: Phase::Archive },
            progress("home", 1 << 20, Some(2 << 20)),
            progress("database", 3 << 20, None),
            Event::Waiting { what: "the store".into(), millis: 3000 },
            progress("database", 4 << 20, Some(8 << 20)),
            Event::Message { level: Level::Warning, part: Some("home".into()), text: "a\x1b[2Jb".into() },
            Event::PhaseEnded { phase: Phase::Archive, millis: 1500, ok: true },
        ]
    }

    #[test]
    fn parts_and_phase_have_a_line_each() {
        let text = drawn(&run(), Verbosity::Normal);
        for wanted in [
            "archive: 1.0 MiB of 2.0 MiB (50 %)",
            "archive: 3.0 MiB",
            "archive: 4.0 MiB of 8.0 MiB (50 %)",
            "waiting for the store, since 3.0 s",
            "warning: home: a [2Jb",
            "archive: done in 1.5 s",
            "home",
            "database",
        ] {
            assert!(text.contains(wanted), "{wanted}\n{text}");
        }
        assert!(!text.contains("\x1b[2J"), "{text:?}");
    }

    #[test]
    fn quiet_draws_no_bars() {
        let text = drawn(&run(), Verbosity::Quiet);
        assert!(text.contains("warning: home"), "{text}");
        assert!(!text.contains("MiB") && !text.contains("waiting"), "{text}");
    }
}
