//! The strategy against a server that the test plays.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bkhost_sdk::exec::{Command, Output};
use bkhost_sdk::testing::{self, Host, Part, Process};
use bkhost_sdk::{ArchivedForm, path};

use super::*;

const LABEL: &str = "bkhost-i-20261121-014200-4f2a9c";

#[derive(Debug, Default)]
struct Server {
    calls: RefCell<Vec<String>>,
    databases: RefCell<Vec<String>>,
    /// The connection is dead.
    lost: Cell<bool>,
    /// Exit status of `pg_dump`, and how many of its files are missing.
    dump: Cell<(i32, usize)>,
    /// Exit status of `pg_restore`.
    restore: Cell<i32>,
}

#[derive(Debug, Clone, Default)]
struct Played(Rc<Server>);

fn output(status: i32, stdout: impl Into<String>, stderr: impl Into<String>) -> Output {
    Output { status, stdout: stdout.into(), stderr: stderr.into(), ..Output::default() }
}

impl Host for Played {
    fn run(&mut self, command: &Command) -> Result<Output> {
        let server = &self.0;
        let value = |slot: &str| command.values(slot).and_then(|values| values.first()).cloned().unwrap_or_default();
        server.calls.borrow_mut().push(command.id().to_owned());
        Ok(match command.id() {
            "dump" => {
                let (status, missing) = server.dump.get();
                let directory = path::local(&value("directory"));
                std::fs::create_dir(&directory).unwrap();
                for file in ["toc.dat", "1.dat", "2.dat"].iter().skip(missing) {
                    std::fs::write(directory.join(file), "0123456789").unwrap();
                }
                output(status, "", "pg_dump: error: no space left on device")
            }
            "pg-dump-version" => output(0, "pg_dump (PostgreSQL) 15.20\n", ""),
            "pg-restore-version" => output(0, "pg_restore (PostgreSQL) 15.20\n", ""),
            "contents" => {
                let listing = ";     TOC Entries: 9\n1; 0 1 TABLE DATA public a o\n2; 0 2 TABLE DATA public b o\n";
                output(0, listing, "")
            }
            "server" => {
                let databases = serde_json::to_string(&*server.databases.borrow()).unwrap();
                output(
                    0,
                    format!(
                        "{{\"version_num\":150020,\"version\":\"15.20\",\"databases\":{databases},\"roles\":[\"o\"],\"may_create\":true}}\n"
                    ),
                    "",
                )
            }
            "create" => {
                server.databases.borrow_mut().push(value("temporary"));
                output(0, "", "")
            }
            "drop" => {
                server.databases.borrow_mut().retain(|name| *name != value("temporary"));
                output(0, "", "")
            }
            "restore" => output(server.restore.get(), "", "pg_restore: error: role \"x\" does not exist"),
            "analyze" => output(0, "", ""),
            other => panic!("unexpected command {other}"),
        })
    }

    fn session(&mut self, command: &Command) -> Result<Box<dyn Process>> {
        self.0.calls.borrow_mut().push(command.id().to_owned());
        // What was lost is the connection before this one.
        self.0.lost.set(false);
        let names = ["temporary", "new", "original"];
        let slots = names.map(|slot| command.values(slot).and_then(|values| values.first()).cloned());
        Ok(Box::new(Psql { server: Rc::clone(&self.0), slots, answer: RefCell::default() }))
    }

    fn extract(&mut self, name: &str, to: &str) -> Result<u64> {
        assert!(name.is_empty() && path::local(to).is_dir());
        Ok(3)
    }
}

#[derive(Debug)]
struct Psql {
    server: Rc<Server>,
    slots: [Option<String>; 3],
    answer: RefCell<Option<String>>,
}

impl Process for Psql {
    fn send(&self, line: &str, _: &[(&str, &str)]) -> Result<()> {
        self.server.calls.borrow_mut().push(format!("> {line}"));
        *self.answer.borrow_mut() = match line {
            "version" => Some("150020".into()),
            "point" => Some(r#"{"snapshot":"00000003-0000001B-1","now":1700000000123,"lsn":"0/1","transactions":"7:7:"}"#.into()),
            "facts" => Some(
                r#"{"version":"15.20","version_num":150020,"size":5,"encoding":"UTF8","owner":"o","database":{"datcollate":"C","datctype":"C","datlocprovider":"c"},"system":"1"}"#
                    .into(),
            ),
            _ => None,
        };
        if line == "rename" {
            let [Some(temporary), new, original] = self.slots.clone() else { panic!("{:?}", self.slots) };
            let mut databases = self.server.databases.borrow_mut();
            databases.retain(|name| *name != temporary);
            databases.extend(new.or(original));
        }
        Ok(())
    }

    fn read_line(&self, _: u32) -> Result<Option<String>> {
        Ok(if self.server.lost.get() { None } else { self.answer.take() })
    }

    fn close_input(&self) -> Result<()> {
        Ok(())
    }

    fn wait(&self, _: u32) -> Result<Output> {
        Ok(if self.server.lost.get() { output(2, "", "connection to server was lost") } else { output(0, "", "") })
    }

    fn kill(&self) -> Result<()> {
        Ok(())
    }
}

fn at<T>(played: &Played, name: &str, body: impl FnOnce(&mut Postgresql) -> T) -> T {
    let root = std::env::temp_dir().join(format!("bkhost-postgresql-{}-{name}", std::process::id()));
    std::fs::create_dir_all(root.join("staging")).unwrap();
    let part = Part { root: root.clone(), ..Part::default() };
    let config = r#"{"host":"/s","port":5432,"database":"app","maintenance-database":"postgres","jobs":2,"compress":0,"owners":true}"#;
    let mut strategy = Postgresql::new(serde_json::from_str(config).unwrap()).unwrap();
    let result = testing::host(part, played.clone(), || body(&mut strategy)).0;
    std::fs::remove_dir_all(root).unwrap();
    result
}

fn staged() -> usize {
    std::fs::read_dir(path::local(path::STAGING)).unwrap().count()
}

fn finished(played: &Played, name: &str) -> Snapshot {
    at(played, name, |strategy| {
        strategy.prepare().unwrap();
        let snapshot = strategy.capture(LABEL).unwrap();
        strategy.finish(snapshot).unwrap()
    })
}

fn archived() -> Vec<Archived> {
    vec![Archived { set: "this".into(), name: String::new(), form: ArchivedForm::Tree, bytes: 30 }]
}

#[test]
fn under_the_lock_there_is_one_transaction_on_a_connection_that_stands() {
    let played = Played::default();
    at(&played, "lock", |strategy| {
        strategy.prepare().unwrap();
        played.0.calls.borrow_mut().clear();
        let snapshot = strategy.capture(LABEL).unwrap();
        assert_eq!(*played.0.calls.borrow(), ["> begin", "> point"]);
        assert_eq!((snapshot.id.as_str(), snapshot.created), ("00000003-0000001B-1", 1_700_000_000_123));
        let snapshot = strategy.finish(snapshot).unwrap();
        assert_eq!(snapshot.bytes, Some(30));
        assert_eq!(snapshot.versions[1], ("pg_dump".to_owned(), "15.20".to_owned()));
        let sources = strategy.open(&snapshot).unwrap();
        assert!(matches!(&sources[..], [Source::Tree(tree)] if path::local(&tree.root).join("toc.dat").exists()));
        strategy.close(&snapshot).unwrap();
        strategy.close(&snapshot).unwrap();
        assert_eq!(staged(), 0);
    });
}

#[test]
fn a_connection_that_was_lost_while_the_application_drained_is_made_again() {
    let played = Played::default();
    at(&played, "again", |strategy| {
        strategy.prepare().unwrap();
        played.0.lost.set(true);
        strategy.capture(LABEL).unwrap();
        assert_eq!(played.0.calls.borrow().iter().filter(|call| *call == "session").count(), 2);
    });
}

#[test]
fn a_transaction_that_was_lost_before_the_dump_fails_the_run() {
    let played = Played::default();
    at(&played, "lost", |strategy| {
        strategy.prepare().unwrap();
        let snapshot = strategy.capture(LABEL).unwrap();
        played.0.lost.set(true);
        assert_eq!(strategy.finish(snapshot).unwrap_err().code, ErrorCode::Unavailable);
        assert!(!played.0.calls.borrow().iter().any(|call| call == "dump"));
    });
    at(&played, "fresh", |strategy| {
        let state =
            r#"{"label":"l","database":"app","point":{"snapshot":"1-2-3","now":1,"lsn":null,"transactions":""}}"#;
        let mut snapshot = Snapshot::exported("x", &()).unwrap();
        snapshot.state = state.into();
        assert_eq!(strategy.finish(snapshot).unwrap_err().code, ErrorCode::Unavailable);
    });
}

#[test]
fn half_a_dump_is_never_offered() {
    for dump in [(1, 0), (0, 1)] {
        let played = Played::default();
        played.0.dump.set(dump);
        at(&played, &format!("half{}", dump.0), |strategy| {
            strategy.prepare().unwrap();
            let snapshot = strategy.capture(LABEL).unwrap();
            strategy.finish(snapshot).unwrap_err();
            assert!(!path::local(&dump::directory(LABEL)).exists());
            strategy.discard(LABEL).unwrap();
            assert_eq!(staged(), 0);
        });
    }
}

#[test]
fn leftovers_of_a_run_that_died_are_removed_and_nothing_else() {
    let played = Played::default();
    at(&played, "leftovers", |strategy| {
        std::fs::create_dir_all(path::local("/staging/bkhost-i-old.partial/sub")).unwrap();
        std::fs::create_dir_all(path::local("/staging/mine")).unwrap();
        strategy.prepare().unwrap();
        assert_eq!(staged(), 1);
    });
}

#[test]
fn a_restore_fills_a_name_of_its_own_and_renames_it() {
    let played = Played::default();
    let snapshot = finished(&played, "restore");
    at(&played, "restore", |strategy| strategy.restore(&snapshot, &archived(), None).unwrap());
    assert_eq!(*played.0.databases.borrow(), ["app"]);
    at(&played, "restore", |strategy| strategy.restore(&snapshot, &archived(), Some("new")).unwrap());
    assert_eq!(*played.0.databases.borrow(), ["app", "new"]);
    let calls = played.0.calls.borrow().len();
    let error = at(&played, "restore", |strategy| strategy.restore(&snapshot, &archived(), None).unwrap_err());
    assert_eq!(error.code, ErrorCode::AlreadyExists);
    assert_eq!(played.0.calls.borrow()[calls..], ["server"]);
}

#[test]
fn a_failed_restore_drops_what_it_has_created() {
    let played = Played::default();
    let snapshot = finished(&played, "failed");
    played.0.databases.borrow_mut().push("other".into());
    played.0.restore.set(1);
    at(&played, "failed", |strategy| {
        let error = strategy.restore(&snapshot, &archived(), Some("new")).unwrap_err();
        assert!(error.hint.is_some_and(|hint| hint.contains("owners = false")));
        assert_eq!(staged(), 0);
    });
    assert_eq!(*played.0.databases.borrow(), ["other"]);
}
