//! Figures in Prometheus' text format.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use jiff::Timestamp;

use super::health::{Health, Told};
use super::status::Status;
use crate::error::{ErrorKind, Result, ResultExt};
use crate::notify::Mark;

/// All figures about an instance.
#[must_use]
pub fn metrics(instance: &str, status: &Status, stores: &[Health], channels: &[Mark]) -> String {
    let mut all = Families(Vec::new());
    let label = |name: &str, value: &str| format!("{name}=\"{}\"", escaped(value));
    let own = label("instance", instance);
    all.add("metrics_timestamp_seconds", "When these figures were written", &own, seconds(Timestamp::now()));
    let locked = status.runs.iter().any(|run| run.held.is_some());
    all.add("locked", "Whether the application is held, or may be", &own, flag(locked));
    let ended = status.runs.iter().find(|run| matches!(run.state, "proved" | "undone"));
    if let Some(run) = ended {
        all.add("last_run_ok", "Whether the last run that ended published a set", &own, flag(run.state == "proved"));
        let at = run.latest.map_or(0.0, seconds);
        all.add("last_run_timestamp_seconds", "When the last run ended", &own, at);
    }
    for store in stores {
        let own = format!("{own},{}", label("store", &store.store));
        all.add("store_readable", "Whether the store could be looked into", &own, flag(store.error.is_none()));
        if let Some(rpo) = store.rpo_ms {
            all.add("rpo_seconds", "How old the newest proved set may be", &own, millis(rpo));
            let help = "Whether the newest proved set was older than it may be, or unknown, when this was written";
            all.add("overdue", help, &own, flag(store.overdue || store.error.is_some()));
        }
        if store.error.is_some() {
            continue;
        }
        let newest = store.newest.as_ref();
        let help = "When the run of the newest proved set began; 0: there is none";
        all.add("last_proved_timestamp_seconds", help, &own, newest.map_or(0.0, |newest| seconds(newest.created)));
        if let Some(newest) = newest {
            all.add("last_proved_bytes", "What the newest proved set takes in the store", &own, newest.bytes as f64);
            let help = "How long the run of the newest proved set took";
            all.add("last_proved_duration_seconds", help, &own, millis(newest.duration_ms));
            let help = "How long the application was locked for the newest proved set";
            all.add("last_proved_locked_seconds", help, &own, millis(newest.locked_ms));
        }
        let damaged = store.damaged.len() as u64;
        for (state, count) in [("proved", store.proved), ("damaged", damaged), ("unpublished", store.unpublished)] {
            let own = format!("{own},{}", label("state", state));
            all.add("sets", "Sets in the store", &own, count as f64);
        }
        all.add("pinned_sets", "Sets in the store that are pinned", &own, store.pinned as f64);
        for (what, told) in [("verify", &store.verified), ("drill", &store.drilled), ("restore", &store.restored)] {
            all.told(what, told.as_ref(), &own);
        }
    }
    for mark in channels {
        let own = format!("{own},{}", label("channel", &mark.channel));
        all.add(
            "notification_ok",
            "Whether the last notification on the channel was taken",
            &own,
            flag(mark.error.is_none()),
        );
        all.add("notification_timestamp_seconds", "When it was sent", &own, seconds(mark.at));
    }
    all.render()
}

/// Writes a file in one step: whoever reads it sees the old figures or the new ones. Anybody may read it.
///
/// # Errors
/// `Io` if it cannot be written.
pub fn write_textfile(path: &Path, text: &str) -> Result<()> {
    let cannot = || format!("cannot write the metrics to {}", path.display());
    let write = || -> std::io::Result<()> {
        let dir = path.parent().unwrap_or(Path::new("/"));
        // Not of the name that the collector reads.
        let mut draft = tempfile::Builder::new().prefix(".bkhost-").suffix(".tmp").tempfile_in(dir)?;
        draft.write_all(text.as_bytes())?;
        draft.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
        draft.persist(path)?;
        Ok(())
    };
    write().or_error(ErrorKind::Io, cannot).map_err(|e| e.hint("does its directory exist, and may bkhost write to it?"))
}

/// Metrics by their names, each with its help and its samples, in the order in which they came.
struct Families(Vec<(&'static str, &'static str, Vec<String>)>);

impl Families {
    fn add(&mut self, name: &'static str, help: &'static str, labels: &str, value: f64) {
        let sample = format!("bkhost_{name}{{{labels}}} {value}");
        match self.0.iter_mut().find(|family| family.0 == name) {
            Some(family) => family.2.push(sample),
            None => self.0.push((name, help, vec![sample])),
        }
    }

    fn told(&mut self, what: &str, told: Option<&Told>, labels: &str) {
        let Some(told) = told else { return };
        let labels = format!("{labels},action=\"{what}\"");
        self.add(
            "last_action_timestamp_seconds",
            "When a set was last verified, drilled, restored",
            &labels,
            seconds(told.at),
        );
        self.add("last_action_ok", "Whether that went well", &labels, flag(told.ok));
        if let Some(duration) = told.duration_ms {
            self.add("last_action_duration_seconds", "How long that took", &labels, millis(duration));
        }
    }

    fn render(self) -> String {
        let mut text = String::new();
        for (name, help, samples) in self.0 {
            let _ = writeln!(text, "# HELP bkhost_{name} {help}.\n# TYPE bkhost_{name} gauge");
            samples.iter().for_each(|sample| {
                let _ = writeln!(text, "{sample}");
            });
        }
        text
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn seconds(time: Timestamp) -> f64 {
    time.as_millisecond() as f64 / 1000.0
}

fn millis(millis: u64) -> f64 {
    millis as f64 / 1000.0
}

fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(ok: bool) -> Told {
        let at = "2026-01-01T00:00:00Z".parse().unwrap();
        Told { set: "20260101-000000-4f2a9c".parse().unwrap(), at, ok, duration_ms: Some(1500) }
    }

    #[test]
    fn figures() {
        let store = Health {
            store: "/back\"ups".into(),
            error: None,
            rpo_ms: Some(3_600_000),
            newest: None,
            overdue: true,
            proved: 0,
            damaged: Vec::new(),
            unpublished: 1,
            pinned: 0,
            verified: None,
            drilled: Some(told(false)),
            restored: None,
        };
        let unreadable = Health { store: "/other".into(), error: Some("gone".into()), ..store.clone() };
        let mark = Mark::new("mail", "failure", Some("550 no\nsuch user".into()));
        let status = Status { under_way: None, runs: Vec::new() };
        let text = metrics("wiki", &status, &[store, unreadable], &[mark]);
        for line in [
            "# TYPE bkhost_overdue gauge",
            r#"bkhost_overdue{instance="wiki",store="/back\"ups"} 1"#,
            r#"bkhost_overdue{instance="wiki",store="/other"} 1"#,
            r#"bkhost_last_proved_timestamp_seconds{instance="wiki",store="/back\"ups"} 0"#,
            r#"bkhost_rpo_seconds{instance="wiki",store="/back\"ups"} 3600"#,
            r#"bkhost_sets{instance="wiki",store="/back\"ups",state="unpublished"} 1"#,
            r#"bkhost_last_action_ok{instance="wiki",store="/back\"ups",action="drill"} 0"#,
            r#"bkhost_last_action_duration_seconds{instance="wiki",store="/back\"ups",action="drill"} 1.5"#,
            r#"bkhost_last_action_timestamp_seconds{instance="wiki",store="/back\"ups",action="drill"} 1767225600"#,
            r#"bkhost_store_readable{instance="wiki",store="/other"} 0"#,
            r#"bkhost_notification_ok{instance="wiki",channel="mail"} 0"#,
            r#"bkhost_locked{instance="wiki"} 0"#,
        ] {
            assert!(text.lines().any(|is| is == line), "{line}\n{text}");
        }
        assert!(!text.contains("last_proved_timestamp_seconds{instance=\"wiki\",store=\"/other\"}"), "{text}");
        // Each family is told once, with its samples below it.
        let help: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()).collect();
        let mut once = help.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), help.len());
    }

    #[test]
    fn the_file_is_there_in_one_step() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.prom");
        write_textfile(&path, "one\n").unwrap();
        write_textfile(&path, "two\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(write_textfile(&dir.path().join("none/a.prom"), "x").unwrap_err().hint_text().is_some());
    }
}
