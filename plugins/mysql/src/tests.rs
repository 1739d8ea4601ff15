//! The strategy against servers that the test plays, with the answers that MySQL and MariaDB give.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use bkhost_sdk::exec::{self, Command, Output};
use bkhost_sdk::testing::{self, Host, Part, Process};
use bkhost_sdk::{ArchivedForm, ErrorCode};

use super::*;
use crate::server::Server;
use crate::version::Tools;

const MARIADB: (&str, &str) = ("10.11.6-MariaDB-log", "mysql  Ver 15.1 Distrib 10.11.6-MariaDB, for Linux (x86_64)");
const MYSQL57: (&str, &str) = ("5.7.44-log", "mysqldump  Ver 10.13 Distrib 5.7.44, for Linux (x86_64)");
const MYSQL80: (&str, &str) = ("8.0.36", "mysqldump  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)");
const MYSQL84: (&str, &str) = ("8.4.3", "mysqldump  Ver 8.4.3 for Linux on x86_64 (MySQL Community Server - GPL)");

#[derive(Debug, Default)]
struct Played {
    version: String,
    tool: String,
    /// What `mysqldump --help` says.
    help: String,
    /// All that was asked, with the values of its slots.
    asked: RefCell<Vec<String>>,
    schemas: RefCell<Vec<String>>,
    /// How loading ends.
    load: i32,
    /// How many tables there are after loading.
    tables: usize,
}

#[derive(Debug, Clone)]
struct Machine(Rc<Played>);

impl Machine {
    fn new((version, tool): (&str, &str), help: &str) -> Self {
        Self(Rc::new(Played {
            version: version.into(),
            tool: tool.into(),
            help: help.into(),
            tables: 1,
            ..Played::default()
        }))
    }

    fn asked(&self, what: &str) -> bool {
        self.0.asked.borrow().iter().any(|asked| asked == what)
    }
}

fn said(stdout: &str) -> Output {
    Output { stdout: stdout.into(), ..Output::default() }
}

impl Host for Machine {
    fn run(&mut self, command: &Command) -> Result<Output> {
        Ok(match command.id() {
            "client-version" | "dump-version" => said(&self.0.tool),
            "dump-help" => said(&self.0.help),
            other => panic!("unexpected command {other}"),
        })
    }

    fn session(&mut self, _: &Command) -> Result<Box<dyn Process>> {
        Ok(Box::new(Client { played: Rc::clone(&self.0), lines: RefCell::default() }))
    }

    fn feed(&mut self, name: &str, command: &Command) -> Result<Output> {
        assert_eq!((name, command.id()), ("dump", "load"));
        self.0.asked.borrow_mut().push("load".into());
        Ok(Output {
            command: "load".into(),
            status: self.0.load,
            stderr: "ERROR 1273 (HY000)".into(),
            ..Output::default()
        })
    }
}

#[derive(Debug)]
struct Client {
    played: Rc<Played>,
    lines: RefCell<VecDeque<String>>,
}

impl Process for Client {
    fn send(&self, line: &str, slots: &[(&str, &str)]) -> Result<()> {
        let values: Vec<_> = slots.iter().map(|(_, value)| *value).collect();
        self.played.asked.borrow_mut().push(format!("{line} {}", values.join(" ")).trim().to_owned());
        let name = values.first().copied().unwrap_or_default().to_owned();
        let mut lines = self.lines.borrow_mut();
        match line.split('-').next().unwrap_or_default() {
            "variables" => {
                let comment =
                    if self.played.version.contains("MariaDB") { "Debian 12" } else { "MySQL Community Server - GPL" };
                lines.extend([
                    format!("version\t{}", self.played.version),
                    format!("version_comment\t{comment}"),
                    "log_bin\tON".into(),
                    "lower_case_table_names\t0".into(),
                ]);
            }
            "grants" => lines.push_back("GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost`".into()),
            "position" => lines.push_back("binlog.000002\t157\t\t\t3e11fa47:1-5,\\n3e11fa48:1-2".into()),
            "snapshot" => lines.extend(["Binlog_snapshot_file\tb.1".into(), "Binlog_snapshot_position\t9".into()]),
            "schemas" => {
                lines.extend(self.played.schemas.borrow().iter().map(|n| format!("{n}\tutf8mb4\tutf8mb4_bin")))
            }
            "create" => self.played.schemas.borrow_mut().push(name),
            "drop" => self.played.schemas.borrow_mut().retain(|schema| *schema != name),
            "tables" => lines.extend((0..self.played.tables).map(|n| format!("{name}\tt{n}\tBASE TABLE\tInnoDB"))),
            _ => {}
        }
        lines.push_back("bkhost:end".into());
        Ok(())
    }

    fn read_line(&self, _: u32) -> Result<Option<String>> {
        Ok(self.lines.borrow_mut().pop_front())
    }

    fn close_input(&self) -> Result<()> {
        Ok(())
    }

    fn wait(&self, _: u32) -> Result<Output> {
        Ok(Output::default())
    }

    fn kill(&self) -> Result<()> {
        Ok(())
    }
}

fn config(more: &str) -> Config {
    let all = format!(
        r#"{{"databases":["app"],"port":3306,"socket":"/s","username":"u","non-transactional":"refuse","count-rows":true,"method":"dump","parallel":2{more}}}"#
    );
    serde_json::from_str(&all).unwrap()
}

fn on<T>(machine: &Machine, body: impl FnOnce() -> T) -> T {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("state")).unwrap();
    let part = Part { root: root.path().to_owned(), ..Part::default() };
    testing::host(part, machine.clone(), body).0
}

/// The slots of the dump that this machine would get, and where it says that its binary log is.
fn dump_on(machine: &Machine, config: &Config) -> (Command, Option<Position>) {
    on(machine, || {
        let tools = Tools::find().unwrap();
        let mut server = Server::connect(config, tools.client.flavor).unwrap();
        let position = server.position().unwrap();
        (dump::command(config, &tools, &server, "bkhost-i-1"), position)
    })
}

fn slot<'a>(command: &'a Command, name: &str) -> Option<&'a str> {
    command.values(name).and_then(|values| values.first()).map(String::as_str)
}

#[test]
fn every_mysqldump_gets_the_options_that_it_has() {
    let gtid = "  --set-gtid-purged[=name] \n";
    let both = "  --set-gtid-purged[=name] \n  --column-statistics Add an ANALYZE TABLE statement\n";
    for (server, help, position, purged, statistics) in [
        (MARIADB, "  --gtid  Used together with\n", Some("2"), None, None),
        (MYSQL57, gtid, None, Some("OFF"), None),
        (MYSQL80, both, None, Some("OFF"), Some("0")),
        (MYSQL84, both, None, Some("OFF"), Some("0")),
    ] {
        let machine = Machine::new(server, help);
        let (command, _) = dump_on(&machine, &config(""));
        assert_eq!(slot(&command, "position"), position, "{server:?}");
        assert_eq!((slot(&command, "gtid-purged"), slot(&command, "statistics")), (purged, statistics), "{server:?}");
        assert_eq!((slot(&command, "protocol"), slot(&command, "database")), (Some("socket"), Some("app")));
    }
}

#[test]
fn the_binary_log_is_asked_for_in_the_words_of_the_version() {
    for (server, asked) in [(MYSQL57, "position"), (MYSQL80, "position"), (MYSQL84, "position-84")] {
        let machine = Machine::new(server, "");
        let (_, position) = dump_on(&machine, &config(""));
        assert!(machine.asked(asked), "{server:?}");
        let position = position.unwrap();
        assert_eq!((position.file.as_str(), position.position), ("binlog.000002", 157));
        assert_eq!(position.gtid.as_deref(), Some("3e11fa47:1-5,3e11fa48:1-2"));
    }
    // MariaDB notes it in the dump, and needs no right for that.
    let machine = Machine::new(MARIADB, "");
    assert_eq!(dump_on(&machine, &config("")).1, None);
    assert!(!machine.asked("position") && !machine.asked("position-84"));
}

#[test]
fn tls_in_the_words_of_the_client() {
    for (tls, mysql, mariadb) in [
        ("off", Some("DISABLED"), (Some("0"), None)),
        ("required", Some("REQUIRED"), (Some("1"), Some("0"))),
        ("verify", Some("VERIFY_IDENTITY"), (Some("1"), Some("1"))),
    ] {
        let config = config(&format!(r#","host":"db","tls":"{tls}","tls-ca":"/ca""#));
        let of = |flavor| server::connection(&config, flavor, exec::command("dump"));
        let (one, other) = (of(Flavor::Mysql), of(Flavor::Mariadb));
        assert_eq!((slot(&one, "ssl-mode"), slot(&one, "ssl")), (mysql, None));
        assert_eq!((slot(&other, "ssl"), slot(&other, "verify")), mariadb);
        assert_eq!(slot(&other, "ssl-mode"), None);
        assert_eq!(
            (slot(&one, "protocol"), slot(&one, "host"), slot(&one, "ca")),
            (Some("tcp"), Some("db"), Some("/ca"))
        );
        assert_eq!(slot(&one, "socket"), None);
    }
    let config = config(r#","tls":"required""#);
    let machine = Machine::new(MARIADB, "");
    let error = on(&machine, || Server::connect(&config, Flavor::Mariadb).map(drop).unwrap_err());
    assert!(error.message.contains("not encrypted"), "the server has no TLS, and MariaDB's client does not mind");
    assert!(Mysql::new(self::config(r#","tls":"verify""#)).is_err());
}

#[test]
fn settings_that_contradict_each_other() {
    let of = |more: &str, databases: &str| {
        let all = format!(
            r#"{{"databases":[{databases}],"port":3306,"socket":"/s","username":"u","count-rows":true,"parallel":2,{more}}}"#
        );
        Mysql::new(serde_json::from_str(&all).unwrap()).map(drop).map_err(|error| error.message)
    };
    let dump = r#""method":"dump","non-transactional":"refuse""#;
    let physical = r#""method":"physical","non-transactional":"refuse""#;
    assert!(of(dump, r#""app""#).is_ok() && of(physical, "").is_ok());
    assert!(of(dump, "").unwrap_err().contains("needs databases"));
    assert!(of(physical, r#""app""#).unwrap_err().contains("whole server"));
    assert!(of(&format!(r#"{physical},"host":"db""#), "").unwrap_err().contains("another machine"));
    assert!(of(&physical.replace("refuse", "lock"), "").unwrap_err().contains("non-transactional"));
}

fn state(databases: &[&str], flavor: Flavor) -> State {
    let database = |name: &&str| Database {
        name: (*name).to_owned(),
        charset: "utf8mb4".into(),
        collation: "utf8mb4_bin".into(),
        tables: 1,
    };
    State {
        label: "bkhost-i-1".into(),
        flavor,
        server: "8.0.36".into(),
        databases: databases.iter().map(database).collect(),
        position: None,
        rows_exact: None,
        tables_counted: None,
        definers: Vec::new(),
        bytes: Some(100),
    }
}

fn restore_on(machine: &Machine, state: &State, to: Option<&str>) -> Result<()> {
    let archived = [Archived { name: "dump".into(), form: ArchivedForm::Stream, bytes: 100, set: "20261121-1".into() }];
    on(machine, || restore::restore(&config(""), state, &archived, to))
}

#[test]
fn a_restore_makes_loads_and_completes() {
    let machine = Machine::new(MYSQL80, "");
    restore_on(&machine, &state(&["app"], Flavor::Mysql), Some("new")).unwrap();
    let asked = machine.0.asked.borrow().clone();
    let at = |what: &str| asked.iter().position(|asked| asked == what).unwrap_or_else(|| panic!("{what} of {asked:?}"));
    assert!(
        at("create-new new bkhost-test-20261121-120000-0a1b2c utf8mb4 utf8mb4_bin") < at("load")
            && at("load") < at("complete-new new")
    );
    assert!(!asked.iter().any(|asked| asked.starts_with("drop")));
    restore_on(&machine, &state(&["app"], Flavor::Mysql), None).unwrap();
    assert_eq!(*machine.0.schemas.borrow(), ["new", "app"]);
    let error = restore_on(&machine, &state(&["app"], Flavor::Mysql), None).unwrap_err();
    assert_eq!(error.code, ErrorCode::AlreadyExists);
}

#[test]
fn a_restore_that_fails_drops_what_it_made() {
    for (load, tables) in [(1, 1), (0, 0)] {
        let machine = Machine(Rc::new(Played {
            version: MYSQL80.0.into(),
            tool: MYSQL80.1.into(),
            load,
            tables,
            ..Played::default()
        }));
        machine.0.schemas.borrow_mut().push("other".into());
        restore_on(&machine, &state(&["app", "two"], Flavor::Mysql), None).unwrap_err();
        // Only what carries the label of this restore.
        for database in ["app", "two"] {
            assert!(machine.asked(&format!("drop-original {database} bkhost-test-20261121-120000-0a1b2c")));
        }
        assert_eq!(*machine.0.schemas.borrow(), ["other"]);
    }
}

#[test]
fn what_a_restore_refuses_makes_nothing() {
    let machine = Machine::new(MYSQL80, "");
    let code = |state: State, to| restore_on(&machine, &state, to).unwrap_err().code;
    assert_eq!(code(state(&["a", "b"], Flavor::Mysql), Some("new")), ErrorCode::Unsupported);
    assert_eq!(code(state(&["app"], Flavor::Mariadb), Some("new")), ErrorCode::Unsupported);
    let long = "x".repeat(65);
    for name in ["-x", "x ", "a\nb", &long] {
        assert_eq!(code(state(&["app"], Flavor::Mysql), Some(name)), ErrorCode::InvalidConfig, "{name}");
    }
    let unfinished = State { bytes: None, ..state(&["app"], Flavor::Mysql) };
    assert_eq!(code(unfinished, None), ErrorCode::NotFound);
    assert!(machine.0.schemas.borrow().is_empty());
}
