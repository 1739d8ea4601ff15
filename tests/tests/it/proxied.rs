//! A fault proxy between bkhost and the application: every call × every fault. Each ends with a clear message, the right
//! exit code, and the application as it was found.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use bkhost_tests::{Bkhost, Call, Fault, Outcome, Proxy, Running, Simulator, directory_part, until};

/// So many cases at once: most of their time is waiting.
const WORKERS: usize = 12;
const FOREVER: u32 = 1_000_000;
/// How long an outage lasts that begins under the lock.
const OUTAGE: Duration = Duration::from_millis(1500);
const LATE: Duration = Duration::from_secs(30);

/// One case.
#[derive(Debug, Clone, Copy)]
struct Case {
    call: Call,
    fault: Fault,
    times: u32,
}

/// What has to come of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// A proved set; nobody has noticed, or a warning was enough.
    Proved,
    /// A failure with this exit code. The application is free.
    Fails(i32),
    /// A failure, since it is not known whether the application is locked. It is not, and the guard finds out when the
    /// fault is over.
    Unknown,
    /// The application is locked and nobody has the token: until an administrator restarts it.
    Lost,
}

/// What is wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    /// It never got there.
    Unsent,
    /// It was refused: in these plain words.
    Denied,
    Conflict,
    /// It may have been done or not, and was not.
    NotDone,
    /// It was done, and the answer is of no use.
    Done,
    /// It was done, and the answer is late.
    Late,
    /// It is right all the same.
    Right,
}

fn sort(fault: Fault) -> Sort {
    match fault {
        Fault::Refused | Fault::Nameless => Sort::Unsent,
        Fault::Status(401 | 403) => Sort::Denied,
        Fault::Status(409) => Sort::Conflict,
        Fault::Status(_) | Fault::Html(_) | Fault::HalfClosed => Sort::NotDone,
        Fault::HtmlAfter | Fault::Lost | Fault::Cut | Fault::Garbage | Fault::Truncated | Fault::Huge => Sort::Done,
        Fault::Late(_) => Sort::Late,
        Fault::WrongType => Sort::Right,
    }
}

impl Case {
    /// What an administrator would expect.
    fn end(self) -> End {
        let sort = sort(self.fault);
        let always = self.times == FOREVER;
        let html = matches!(self.fault, Fault::Html(_) | Fault::HtmlAfter);
        // Those whose repetition changes nothing are repeated.
        let hiccup = |lasting| if always { lasting } else { End::Proved };
        match (self.call, sort) {
            (Call::Cancel, _) => End::Fails(12),
            (_, Sort::Right) | (Call::Progress | Call::Unlock, _) => End::Proved,
            // Nothing is locked before the application has said who it is.
            (Call::Version | Call::Lock | Call::Begin | Call::Poll | Call::Confirm | Call::Status, Sort::Denied) => {
                End::Fails(4)
            }
            (Call::Version, Sort::Late) => End::Fails(12),
            (Call::Version, _) => End::Fails(5),
            // What a login page in Bitbucket's place answers is no hiccup.
            (Call::Status, sort) => {
                if html || sort == Sort::Unsent {
                    End::Fails(5)
                } else {
                    End::Proved
                }
            }
            // Its answer is worth waiting for: it holds the token.
            (Call::Lock | Call::Begin, Sort::Late) => End::Proved,
            (Call::Lock, Sort::Unsent | Sort::Conflict) => End::Fails(5),
            (Call::Lock, Sort::NotDone) => {
                if always {
                    End::Unknown
                } else {
                    End::Fails(5)
                }
            }
            (Call::Lock, _) => End::Lost,
            (Call::Begin, _) => End::Fails(5),
            (Call::Poll | Call::Confirm, Sort::Conflict) => End::Fails(5),
            (Call::Poll | Call::Confirm, Sort::Unsent) => End::Proved,
            (Call::Poll, Sort::Late) => End::Proved,
            (Call::Poll, _) => hiccup(End::Fails(12)),
            (Call::Confirm, Sort::Late) => End::Fails(12),
            (Call::Confirm, _) => hiccup(End::Fails(5)),
            (Call::Owner, _) => unreachable!(),
        }
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let once_and_always = [
        Fault::Status(401),
        Fault::Status(403),
        Fault::Status(409),
        Fault::Status(500),
        Fault::Html(200),
        Fault::Html(502),
        Fault::HalfClosed,
        Fault::HtmlAfter,
        Fault::Lost,
        Fault::Cut,
        Fault::Garbage,
        Fault::Truncated,
        Fault::Huge,
    ];
    for call in Call::ALL {
        // Unlock is tried until it works, so that it has to work some time.
        let always = if call == Call::Unlock { 4 } else { FOREVER };
        let mut add = |fault, times| cases.push(Case { call, fault, times });
        for fault in once_and_always {
            add(fault, 1);
            // A lost token is lost the first time; what fails before the lock fails the first time, too.
            if !matches!(call, Call::Version | Call::Status | Call::Begin)
                && (call, sort(fault)) != (Call::Lock, Sort::Done)
            {
                add(fault, always);
            }
        }
        add(Fault::Status(503), 2);
        add(Fault::Status(503), always);
        add(Fault::Refused, 1);
        add(Fault::Nameless, 1);
        add(Fault::Late(LATE), 1);
        add(Fault::WrongType, always);
    }
    // Those that take longest first.
    cases.sort_by_key(|case| match case.fault {
        Fault::Late(_) => 0,
        _ if case.times == FOREVER && matches!(case.call, Call::Lock | Call::Confirm) => 1,
        _ => 2,
    });
    cases
}

/// An instance that reaches its application through the proxy.
struct World {
    bk: Bkhost,
    simulator: Option<Simulator>,
    proxy: Proxy,
}

impl World {
    fn new(case: Case) -> Self {
        let mut bk = Bkhost::new();
        std::fs::create_dir(bk.path("home")).unwrap();
        std::fs::write(bk.path("home/f"), "1").unwrap();
        let cancelled = case.call == Call::Cancel;
        let simulator = Simulator::start(&["--drain", if cancelled { "1h" } else { "30ms" }]);
        let outage = match case.call {
            Call::Version | Call::Status | Call::Lock => Duration::from_secs(1000),
            _ => OUTAGE,
        };
        let hosts = (case.fault == Fault::Nameless).then(|| bk.path("hosts"));
        if hosts.is_some() {
            // A name service of its own: this file, and a server that is not there.
            std::fs::write(bk.path("resolv.conf"), "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n").unwrap();
            bk.wrap(
                r#"exec unshare --mount --propagation private bash -c 'mount --bind hosts /etc/hosts &&
                mount --bind resolv.conf /etc/resolv.conf && exec "$@"' unshare "$@""#,
            );
        }
        let proxy = Proxy::start(&simulator.url(), case.call, case.fault, case.times, outage, hosts);
        let drain = match case.call {
            Call::Cancel => "1s",
            Call::Poll if case.times == FOREVER => "2s",
            _ => "60s",
        };
        let application =
            bk.application(&simulator, &format!("drain-timeout = \"{drain}\"")).replace(&simulator.url(), &proxy.url());
        bk.config(&[&application, &directory_part("home", &bk.path("home"))]);
        Self { bk, simulator: Some(simulator), proxy }
    }

    fn simulator(&self) -> &Simulator {
        self.simulator.as_ref().unwrap()
    }

    /// The administrator restarts the application, which ends its lock.
    fn restart(&mut self) {
        self.simulator = self.simulator.take().map(Simulator::restart);
    }

    fn log(&self) -> String {
        self.bk.guard_log()
    }
}

/// The failure names the call, where it went, and what to do.
fn is_clear(case: Case, world: &World, outcome: &Outcome) {
    let (method, path) = match (case.call, sort(case.fault)) {
        // Of the answers before the lock, this one could be done without; the next could not.
        (Call::Status, Sort::Unsent) => Call::Version.line(),
        (call, _) => call.line(),
    };
    let call = format!("{method} {}{path}", world.proxy.url());
    let error = outcome.stderr.split_once("\nerror: ").unwrap_or_else(|| panic!("{case:?}: {outcome}")).1;
    let told = if case.call == Call::Cancel { "has not drained within" } else { &call };
    assert!(error.contains(told), "{case:?} does not name {told}: {outcome}");
    assert!(error.contains("  hint: "), "{case:?} says not what to do: {outcome}");
}

fn strike(case: Case) {
    let mut world = World::new(case);
    let mut run = world.bk.spawn(&["run"]);
    let code = run.code();
    let end = case.end();
    match end {
        End::Proved | End::Fails(_) => {
            let outcome = run.end();
            let wanted = if let End::Fails(code) = end { code } else { 0 };
            assert_eq!(code, wanted, "{case:?}: {outcome}");
            if code != 0 {
                is_clear(case, &world, &outcome);
            } else if case.call == Call::Unlock && !matches!(case.fault, Fault::WrongType | Fault::Truncated) {
                assert!(outcome.stderr.contains("cannot unlock yet, trying again"), "{case:?}: {outcome}");
                assert!(outcome.stderr.contains("DELETE http://"), "{case:?}: {outcome}");
            }
            let secret = outcome.stderr.contains("token=") || outcome.stdout.contains("token=");
            assert!(!secret, "{case:?}: {outcome}");
        }
        End::Unknown => {
            let outcome = ends_unknown(case, run, code);
            is_clear(case, &world, &outcome);
            assert!(outcome.stderr.contains("it is not known whether Bitbucket is locked"), "{case:?}: {outcome}");
            world.proxy.heal();
            until(&format!("{case:?}: the guard finds out"), Duration::from_secs(20), || {
                world.log().contains("is free again")
            });
        }
        End::Lost => {
            assert!(world.simulator().locked(), "{case:?}");
            let outcome = ends_unknown(case, run, code);
            assert!(outcome.stderr.contains("the token is not known"), "{case:?}: {outcome}");
            is_clear(case, &world, &outcome);
            world.restart();
            until(&format!("{case:?}: the guard notices"), Duration::from_secs(20), || {
                world.log().contains("is free again")
            });
        }
    }
    assert!(world.proxy.hits() >= 1, "{case:?}: the call was never made");
    world.simulator().is_free();
    world.proxy.heal();
    let outcome = world.bk.run(&["recover"]);
    assert_eq!(outcome.code, 0, "{case:?}: {outcome}");
    let sets = world.bk.list();
    assert_eq!((sets.len(), world.bk.stored().len()), if end == End::Proved { (1, 1) } else { (0, 0) }, "{case:?}");
}

/// A run that could not find out, and leaves that to its guard. Whoever waits for its output does not wait for the guard.
fn ends_unknown(case: Case, run: Running, code: i32) -> Outcome {
    let ended = Instant::now();
    let outcome = run.end_with_guard();
    assert!(ended.elapsed() < Duration::from_secs(30), "{case:?}: the guard holds the run's output: {outcome}");
    assert_eq!(code, 5, "{case:?}: {outcome}");
    assert!(outcome.stderr.contains("STILL LOCKED"), "{case:?}: {outcome}");
    assert!(outcome.stderr.contains("guard.log"), "{case:?}: {outcome}");
    outcome
}

#[test]
fn every_call_and_every_fault() {
    assert!(rustix::process::geteuid().is_root(), "a name service of one's own needs root: sudo make test");
    let start = Instant::now();
    let cases = cases();
    let total = cases.len();
    let cases = Mutex::new(cases.into_iter());
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(case) = { cases.lock().unwrap().next() } {
                    // All that fail are of interest, not only the first.
                    let result = std::panic::catch_unwind(|| strike(case));
                    if result.is_err() {
                        failed.lock().unwrap().push(case);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {total} cases failed: {failed:#?}", failed.len());
    println!("{total} cases of a call and a fault, {:?}", start.elapsed());
}

#[test]
fn somebody_elses_lock_is_left_alone_whatever_becomes_of_our_calls() {
    let faults =
        [Fault::HalfClosed, Fault::Status(500), Fault::Status(409), Fault::Lost, Fault::Garbage, Fault::HtmlAfter];
    std::thread::scope(|scope| {
        for fault in faults {
            scope.spawn(move || {
                let case = Case { call: Call::Lock, fault, times: 1 };
                let mut world = World::new(case);
                world.simulator = None;
                let simulator = Simulator::start(&["--locked-by-other"]);
                let proxy = Proxy::start(&simulator.url(), Call::Lock, fault, 1, OUTAGE, None);
                world.bk.config(&[
                    &world.bk.application(&simulator, "").replace(&simulator.url(), &proxy.url()),
                    &directory_part("home", &world.bk.path("home")),
                ]);
                let mut run = world.bk.spawn(&["run"]);
                let code = run.code();
                if fault == Fault::Status(409) {
                    run.end().fails(5, &["already locked, by somebody else: somebody-else"]);
                } else {
                    let outcome = ends_unknown(case, run, code);
                    assert!(outcome.stderr.contains("the lock is somebody-else's"), "{outcome}");
                }
                assert_eq!((simulator.locked(), simulator.count("unlock")), (true, 0), "{fault:?}");
                let simulator = simulator.restart();
                until("the guard ends", Duration::from_secs(20), || {
                    fault == Fault::Status(409) || world.log().contains("is free again")
                });
                let _ = world.bk.run(&["recover"]).ok();
                simulator.is_free();
            });
        }
    });
}
