//! Cancelled or killed in each phase: the application is given back, and nothing is left.

use std::time::{Duration, Instant};

use bkhost_tests::{Bkhost, Postgres, Simulator, Zfs, postgres, until, zfs};
use rustix::process::Signal;

/// The application has to be free so soon after the signal.
const SOON: Duration = Duration::from_secs(2);

/// A program that does what it should, but takes a minute for some of it, and says so by a file.
fn slow(bk: &Bkhost, program: &str, when: &str) -> String {
    let mark = bk.path("slow-began").display().to_string();
    let script = format!(r#"case "$*" in {when}) touch "{mark}"; sleep 60 ;; esac; exec {program} "$@""#);
    format!("[part.programs]\n{program} = \"{}\"\n", bk.program(&format!("slow-{program}"), &script).display())
}

/// A psql that does not go on when it should fix the consistency point.
fn slow_point(bk: &Bkhost) -> String {
    let mark = bk.path("slow-began").display().to_string();
    let script = format!(
        r#"case "$*" in *ON_ERROR_STOP=1) ;; *) exec psql "$@" ;; esac
           while IFS= read -r line; do
               case "$line" in *pg_export_snapshot*) touch "{mark}"; sleep 60 ;; esac
               printf '%s\n' "$line"
           done | psql "$@""#
    );
    format!("[part.programs]\npsql = \"{}\"\n", bk.program("slow-psql", &script).display())
}

/// An instance with a dataset and a database.
struct Both {
    bk: Bkhost,
    zfs: &'static Zfs,
    postgres: &'static Postgres,
    simulator: Simulator,
    dataset: String,
}

impl Both {
    fn new(simulator: &[&str]) -> Self {
        let (zfs, postgres) = (zfs(), postgres());
        let bk = Bkhost::inside(zfs);
        let dataset = zfs.create(bk.instance());
        std::fs::write(zfs.files(&dataset).join("f"), "1").unwrap();
        postgres.create(bk.instance(), 100);
        Self { simulator: Simulator::start(simulator), bk, zfs, postgres, dataset }
    }

    fn configured(&self, of_zfs: &str, of_postgres: &str) {
        self.bk.config(&[
            &self.bk.application(&self.simulator, ""),
            &(self.zfs.part("home", &[&self.dataset]) + of_zfs),
            &(self.postgres.part("database", self.bk.instance(), "") + of_postgres),
        ]);
    }

    fn slow_began(&self) {
        until("the slow program", Duration::from_secs(30), || self.bk.path("slow-began").exists());
    }

    /// Nothing is left of the run.
    fn nothing_left(&self) {
        self.simulator.is_free();
        self.bk.no_child_left();
        assert_eq!(self.zfs.snapshots(&self.dataset), [""; 0]);
        assert_eq!(self.zfs.datasets(&self.dataset), [self.dataset.as_str()], "clones");
        assert_eq!(self.bk.stored(), [""; 0], "of an unpublished set");
        until("no session is left", Duration::from_secs(5), || self.postgres.sessions(self.bk.instance()) == 0);
        self.bk.run(&["recover"]).ok();
    }

    /// A later run is not bothered.
    fn works_again(&self) {
        self.configured("", "");
        let id = self.bk.backup_id();
        self.bk.run(&["verify", &id]).ok();
    }
}

/// Cancel while the run is in `phase`, and in what makes it last.
fn cancelled(both: &Both, phase: &str, slow: bool, signals: &[Signal], lasts: Duration) {
    let mut run = both.bk.spawn(&["run", "--json"]);
    run.reaches(phase);
    if slow {
        both.slow_began();
    } else {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(run.runs());
    let start = Instant::now();
    for signal in signals {
        run.signal(*signal);
        std::thread::sleep(Duration::from_millis(50));
    }
    until("the application is free", lasts + SOON, || !both.simulator.locked());
    let outcome = run.end().fails(11, &["error: "]);
    assert!(start.elapsed() < lasts + 2 * SOON, "it took {:?}: {outcome}", start.elapsed());
    both.nothing_left();
}

#[test]
fn in_check() {
    let both = Both::new(&[]);
    both.configured("", &slow(&both.bk, "psql", "--version"));
    cancelled(&both, "check", true, &[Signal::INT], Duration::ZERO);
    assert_eq!(both.simulator.count("lock"), 0);
    both.works_again();
}

#[test]
fn in_prepare() {
    let both = Both::new(&[]);
    both.configured("", &slow(&both.bk, "psql", "*ON_ERROR_STOP=1"));
    cancelled(&both, "prepare", true, &[Signal::HUP], Duration::ZERO);
    assert_eq!(both.simulator.count("lock"), 0);
}

#[test]
fn in_lock() {
    let both = Both::new(&["--fault", "lock=slow:2sx1"]);
    both.configured("", "");
    // The reply has to be awaited: it holds the token.
    cancelled(&both, "lock", false, &[Signal::TERM], Duration::from_secs(2));
    assert_eq!(both.simulator.count("unlock"), 1);
    both.works_again();
}

#[test]
fn in_drain() {
    let both = Both::new(&["--drain", "60s"]);
    both.configured("", "");
    cancelled(&both, "drain", false, &[Signal::HUP], Duration::ZERO);
    assert!(both.simulator.count("cancel") >= 1, "{:?}", both.simulator.calls());
}

#[test]
fn in_capture_of_a_database() {
    let both = Both::new(&[]);
    both.configured("", &slow_point(&both.bk));
    cancelled(&both, "capture", true, &[Signal::INT], Duration::ZERO);
    both.works_again();
}

#[test]
fn in_capture_of_a_dataset_twice() {
    let both = Both::new(&[]);
    both.configured(&slow(&both.bk, "zfs", "snapshot*"), "");
    cancelled(&both, "capture", true, &[Signal::INT, Signal::INT, Signal::TERM], Duration::ZERO);
    both.works_again();
}

#[test]
fn in_unlock() {
    let both = Both::new(&["--fault", "unlock=503x4"]);
    both.configured("", "");
    cancelled(&both, "unlock", false, &[Signal::INT, Signal::INT], Duration::from_secs(4));
    assert!(both.simulator.count("unlock") >= 5);
}

#[test]
fn in_archive() {
    let both = Both::new(&[]);
    both.configured("", &slow(&both.bk, "pg_dump", "*--format*"));
    cancelled(&both, "archive", true, &[Signal::TERM], Duration::ZERO);
    assert_eq!(both.simulator.count("unlock"), 1, "it was free since the capture");
    both.works_again();
}

#[test]
fn in_a_restore() {
    let both = Both::new(&[]);
    both.configured("", &slow(&both.bk, "pg_restore", "*--exit-on-error*"));
    let id = both.bk.backup_id();
    let to = format!("{}-new", both.bk.instance());
    let restore = ["restore", &id, "--part", "database", "--to", &to, "--confirm", both.bk.instance(), "--json"];
    let run = both.bk.spawn(&restore);
    both.slow_began();
    run.signal(Signal::INT);
    let outcome = run.end().fails(11, &["cancelled"]);
    assert!(outcome.elapsed < Duration::from_secs(20), "{outcome}");
    let temporary = format!("bkhost-restore-{}", id.replace('-', ""));
    assert_eq!(both.postgres.databases(&temporary), [""; 0], "the database that was being filled");
    assert_eq!(both.postgres.databases(&to), [""; 0]);
    both.bk.no_child_left();
}

#[test]
fn in_a_restore_of_a_dataset() {
    let both = Both::new(&[]);
    // It says so when the files are to be mounted where they belong, at the end.
    both.configured(&slow(&both.bk, "zfs", "inherit?mountpoint*"), "");
    let id = both.bk.backup_id();
    let to = format!("{}-new", both.dataset);
    let restore = ["restore", &id, "--part", "home", "--to", &to, "--confirm", both.bk.instance()];
    let run = both.bk.spawn(&restore);
    both.slow_began();
    run.signal(Signal::TERM);
    run.end().fails(11, &["cancelled"]);
    assert_eq!(both.zfs.datasets(&both.dataset), [both.dataset.as_str()], "the dataset that was being filled");
    both.configured("", "");
    both.bk.run(&restore).ok();
}

/// kill -9 in a phase; then `recover`, or the next run, puts everything right.
fn killed(both: &Both, phase: &str, slow: bool) {
    let mut run = both.bk.spawn(&["run", "--json"]);
    run.reaches(phase);
    if slow {
        both.slow_began();
    } else {
        std::thread::sleep(Duration::from_millis(300));
    }
    run.signal(Signal::KILL);
    until("the run is dead", SOON, || !run.runs());
}

/// Recover, once nobody else does.
fn recovers(both: &Both) {
    let start = Instant::now();
    until("recovered", Duration::from_secs(30), || match both.bk.run(&["recover", "--json"]) {
        outcome if outcome.code == 10 => false,
        outcome => {
            let _ = outcome.ok();
            true
        }
    });
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn killed_in_drain() {
    let both = Both::new(&["--drain", "60s"]);
    both.configured("", "");
    killed(&both, "drain", false);
    recovers(&both);
    both.nothing_left();
}

#[test]
fn killed_in_capture() {
    let both = Both::new(&[]);
    both.configured("", &slow_point(&both.bk));
    killed(&both, "capture", true);
    recovers(&both);
    both.nothing_left();
    both.works_again();
}

#[test]
fn killed_in_archive_and_the_next_run_recovers() {
    let both = Both::new(&[]);
    both.configured("", &slow(&both.bk, "pg_dump", "*--format*"));
    killed(&both, "archive", true);
    both.configured("", "");
    let mut id = String::new();
    until("the next run", Duration::from_secs(30), || {
        let outcome = both.bk.run(&["run", "--json"]);
        if outcome.code == 10 {
            return false;
        }
        id = outcome.ok().json()["id"].as_str().unwrap().to_owned();
        true
    });
    both.simulator.is_free();
    both.bk.no_child_left();
    assert_eq!(both.bk.stored(), [id.clone()]);
    assert_eq!(both.zfs.snapshots(&both.dataset), [format!("bkhost-{}-{id}", both.bk.instance())]);
    assert_eq!(both.zfs.datasets(&both.dataset), [both.dataset.as_str()]);
}
