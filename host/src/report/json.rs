//! One JSON object per line, for programs.

use std::io::Write;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Event, Sink};

/// Progress of all parts together is told this often; all else always.
const EVERY: Duration = Duration::from_millis(200);

/// Writes each event as a line of JSON, with `at` (UTC) and `elapsed-ms`.
pub struct JsonLines<W> {
    writer: W,
    start: Instant,
    last_progress: Option<Instant>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Line<'a> {
    at: jiff::Timestamp,
    elapsed_ms: u64,
    #[serde(flatten)]
    event: &'a Event,
}

impl<W: Write + Send> JsonLines<W> {
    /// Writes to `writer`.
    pub fn new(writer: W) -> Self {
        Self { writer, start: Instant::now(), last_progress: None }
    }
}

impl<W: Write + Send> Sink for JsonLines<W> {
    fn event(&mut self, event: &Event) {
        if let Event::Progress { done, total, .. } = event {
            let now = Instant::now();
            let due = self.last_progress.is_none_or(|last| now.duration_since(last) >= EVERY);
            if !due && *total != Some(*done) {
                return;
            }
            self.last_progress = Some(now);
        }
        let elapsed_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let line = Line { at: jiff::Timestamp::now(), elapsed_ms, event };
        if let Ok(json) = serde_json::to_string(&line) {
            // In one piece: several programs may write to the same pipe. A closed one must not fail a backup.
            let _ = self.writer.write_all(format!("{json}\n").as_bytes());
            let _ = self.writer.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Level, Phase};

    #[test]
    fn each_line_is_an_object() {
        let mut bytes = Vec::new();
        let mut sink = JsonLines::new(&mut bytes);
        sink.event(&Event::PhaseEnded { phase: Phase::Lock, millis: 41, ok: true });
        sink.event(&Event::Message { level: Level::Warning, part: None, text: "a\n\"b\"".into() });
        for done in 0..1000 {
            sink.event(&Event::Progress { part: "home".into(), what: "archive".into(), done, total: Some(999) });
        }
        let lines: Vec<serde_json::Value> =
            String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["event"], "phase-ended");
        assert_eq!(lines[0]["phase"], "lock");
        assert_eq!(lines[0]["millis"], 41);
        assert!(lines[0]["at"].as_str().unwrap().ends_with('Z'));
        assert!(lines[0]["elapsed-ms"].is_u64());
        assert_eq!(lines[1]["text"], "a\n\"b\"");
        // Progress is thinned out, but its end is told.
        assert!(lines.len() < 100, "{}", lines.len());
        assert_eq!(lines.last().unwrap()["done"], 999);
    }
}
