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
            "place" => {
                std::fs::create_dir(path::local(&value("directory"))).unwrap();
                output(0, "", "")
            }
            "globals" => output(0, "CREATE ROLE o;\n", ""),
            "terminate" => output(0, "0\n", ""),
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
                        "{{\"version_num\":150020,\"version\":\"15.20\",\"databases\":{databases},\"roles\":[\"o\"],\"tablespaces\":[\"pg_default\",\"fast\"],\"may_create\":true,\"may_create_roles\":true}}\n"
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
        let value = |slot: &str| command.values(slot).and_then(|values| values.first()).cloned().unwrap_or_default();
        if command.id() == "dump" {
            let (status, missing) = self.0.dump.get();
            let directory = path::local(&value("directory"));
            std::fs::create_dir(&directory).unwrap();
            for file in ["toc.dat", "1.dat", "2.dat"].iter().skip(missing) {
                std::fs::write(directory.join(file), "0123456789").unwrap();
            }
            return Ok(Box::new(Dump(status)));
        }
        // What was lost is the connection before this one.
        self.0.lost.set(false);
        Ok(Box::new(Psql { server: Rc::clone(&self.0), answers: RefCell::default() }))
    }

    fn extract(&mut self, name: &str, to: &str) -> Result<u64> {
        assert!(path::local(to).is_dir());
        if name == globals::JSON {
            let roles = r#"{"roles":[{"name":"o"},{"name":"p"}],"members":[{"role":"o","member":"p"}]}"#;
            std::fs::write(path::local(to).join(name), roles).unwrap();
        } else {
            assert_eq!(name, dump::DUMPS);
        }
        Ok(3)
    }
}

/// `pg_dump` at its end.
#[derive(Debug)]
struct Dump(i32);

impl Process for Dump {
    fn send(&self, line: &str, _: &[(&str, &str)]) -> Result<()> {
        panic!("{line}")
    }

    fn read_line(&self, _: u32) -> Result<Option<String>> {
        Ok(None)
    }

    fn close_input(&self) -> Result<()> {
        Ok(())
    }

    fn wait(&self, _: u32) -> Result<Output> {
        Ok(output(self.0, "", "pg_dump: error: no space left on device"))
    }

    fn kill(&self) -> Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct Psql {
    server: Rc<Server>,
    answers: RefCell<std::collections::VecDeque<String>>,
}

impl Process for Psql {
    fn send(&self, line: &str, slots: &[(&str, &str)]) -> Result<()> {
        self.server.calls.borrow_mut().push(format!("> {line}"));
        let value = |name: &str| slots.iter().find(|(slot, _)| *slot == name).map(|(_, value)| (*value).to_owned());
        let answers: &[&str] = match line {
            "version" => &["150020"],
            "mark" => &["bkhost:end"],
            "point" => &[r#"{"snapshot":"00000003-0000001B-1","now":1700000000123,"lsn":"0/1","transactions":"7:7:"}"#],
            "facts" => &[
                r#"{"version":"15.20","version_num":150020,"size":5,"encoding":"UTF8","owner":"o","database":{"datcollate":"C","datctype":"C","datlocprovider":"c"},"system":"1","passwords":true,"tablespaces":["fast"]}"#,
            ],
            "count" => &[r#"["public","a",1]"#, r#"["public","b",2]"#],
            "roles" => &[r#"{"name":"o"}"#],
            "members" => &[r#"{"role":"o","member":"p"}"#],
            "role" if value("role").is_some_and(|role| role.contains("\"p\"")) => &[r#""p""#],
            _ => &[],
        };
        self.answers.borrow_mut().extend(answers.iter().map(|answer| (*answer).to_owned()));
        if let Some(target) = value("new").or_else(|| value("original")) {
            let mut databases = self.server.databases.borrow_mut();
            databases.retain(|name| Some(name) != value("temporary").as_ref());
            databases.push(target);
        }
        Ok(())
    }

    fn read_line(&self, _: u32) -> Result<Option<String>> {
        Ok(if self.server.lost.get() { None } else { self.answers.borrow_mut().pop_front() })
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

fn with<T>(played: &Played, name: &str, keys: serde_json::Value, body: impl FnOnce(&mut Postgresql) -> T) -> T {
    let root = std::env::temp_dir().join(format!("bkhost-postgresql-{}-{name}", std::process::id()));
    for dir in ["staging", "state"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    let part = Part { root: root.clone(), ..Part::default() };
    let mut config = serde_json::json!({"host": "/s", "port": 5432, "database": "app", "maintenance-database": "postgres",
        "format": "directory", "jobs": 2, "compress": 0, "count-rows": true, "globals": "auto", "restore-globals": false,
        "owners": true, "tablespaces": true});
    config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    let mut strategy = Postgresql::new(serde_json::from_value(config).unwrap()).unwrap();
    let result = testing::host(part, played.clone(), || body(&mut strategy)).0;
    std::fs::remove_dir_all(root).unwrap();
    result
}

fn at<T>(played: &Played, name: &str, body: impl FnOnce(&mut Postgresql) -> T) -> T {
    with(played, name, serde_json::json!({}), body)
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
    vec![Archived { set: "this".into(), name: dump::DUMPS.into(), form: ArchivedForm::Tree, bytes: 30 }]
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
        let [Source::File(sql), Source::File(roles), Source::File(rows), Source::Tree(tree)] = &sources[..] else {
            panic!("{sources:?}")
        };
        assert!(path::local(&tree.root).join("1-app/toc.dat").exists());
        let read = |path: &str| std::fs::read_to_string(path::local(path)).unwrap();
        assert_eq!(read(&sql.path), "CREATE ROLE o;\n");
        assert!(read(&roles.path).contains(r#""member":"p""#));
        assert_eq!(read(&rows.path), r#"{"databases":[{"name":"app","tables":[["public","a",1],["public","b",2]]}]}"#);
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
        let state = r#"{"label":"l","format":"directory","skew":0,"databases":[{"name":"app","archive":"1-app","point":{"snapshot":"1-2-3","now":1,"lsn":null,"transactions":""}}]}"#;
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
            strategy.discard(LABEL).unwrap();
            assert_eq!(staged(), 0);
            // What a client in a container may have left at the server.
            assert!(played.0.calls.borrow().iter().any(|call| call == "terminate"));
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

#[test]
fn several_databases_are_asked_before_the_first_one_answers() {
    let played = Played::default();
    with(&played, "several", serde_json::json!({"database": ["a", "b/c"]}), |strategy| {
        strategy.prepare().unwrap();
        played.0.calls.borrow_mut().clear();
        let snapshot = strategy.capture(LABEL).unwrap();
        assert_eq!(*played.0.calls.borrow(), ["> begin", "> point", "> begin", "> point"]);
        let snapshot = strategy.finish(snapshot).unwrap();
        let state: State = snapshot.state().unwrap();
        let archive: Vec<_> = state.databases.iter().map(|database| database.archive.as_str()).collect();
        assert_eq!(archive, ["1-a", "2-b_c"]);
        let restore = |strategy: &mut Postgresql, to| strategy.restore(&snapshot, &archived(), to);
        restore(strategy, Some("new-")).unwrap();
        assert_eq!(*played.0.databases.borrow(), ["new-a", "new-b/c"]);
        played.0.databases.borrow_mut().push("b/c".into());
        assert_eq!(restore(strategy, None).unwrap_err().code, ErrorCode::AlreadyExists);
        assert_eq!(played.0.databases.borrow().len(), 3);
        // One of several, by naming it; and only what is there.
        strategy.config.database = Names::Several(vec!["a".into()]);
        restore(strategy, Some("alone")).unwrap();
        assert!(played.0.databases.borrow().contains(&"alone".to_owned()));
        strategy.config.database = Names::One("z".into());
        assert_eq!(restore(strategy, None).unwrap_err().code, ErrorCode::NotFound);
    });
}

#[test]
fn roles_are_created_only_where_asked_and_go_with_a_failed_restore() {
    let played = Played::default();
    let snapshot = finished(&played, "roles");
    at(&played, "roles", |strategy| strategy.restore(&snapshot, &archived(), None).unwrap());
    assert!(!played.0.calls.borrow().iter().any(|call| call == "> role"));
    played.0.restore.set(1);
    played.0.calls.borrow_mut().clear();
    with(&played, "roles", serde_json::json!({"restore-globals": true}), |strategy| {
        strategy.restore(&snapshot, &archived(), Some("new")).unwrap_err();
        assert_eq!(staged(), 0);
    });
    let calls = played.0.calls.borrow();
    let count = |line: &str| calls.iter().filter(|call| *call == line).count();
    assert_eq!((count("> role"), count("> drop-role"), count("> complete-role")), (2, 1, 0), "{calls:?}");
}

#[test]
fn a_tablespace_that_is_missing_is_noticed_before_anything_is_made() {
    let played = Played::default();
    let snapshot = finished(&played, "space");
    let mut state: State = snapshot.state().unwrap();
    state.databases[0].facts.as_mut().unwrap().tablespaces = vec!["slow".into()];
    let mut snapshot = snapshot;
    snapshot.set_state(&state).unwrap();
    played.0.calls.borrow_mut().clear();
    let error = at(&played, "space", |strategy| strategy.restore(&snapshot, &archived(), None).unwrap_err());
    assert!(error.message.contains("slow") && error.hint.unwrap().contains("tablespaces = false"));
    assert_eq!(*played.0.calls.borrow(), ["server"]);
    let keys = serde_json::json!({"tablespaces": false});
    with(&played, "space", keys, |strategy| strategy.restore(&snapshot, &archived(), None).unwrap());
}
