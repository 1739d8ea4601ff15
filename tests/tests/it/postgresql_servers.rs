//! PostgreSQL of other major versions, with TLS, and as a standby.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bkhost_tests::{Bkhost, Postgres, application_none, postgres, tool, until};

const SUMS: &str = "SELECT count(*), md5(string_agg(id || m, ',' ORDER BY id)) FROM t";

/// A `[[part]]` with the database `app`, these keys, and these tables behind it.
fn part(server: &Postgres, keys: &str, tables: &str) -> String {
    server.part("database", "app", keys) + tables
}

/// Back up, change everything, restore under a new name and under the old one, compare.
fn there_and_back(bk: &Bkhost, server: &Postgres) -> String {
    let before = server.sql("app", SUMS);
    let id = bk.backup_id();
    server.sql("app", "DELETE FROM t WHERE id % 2 = 0");
    bk.run(&["restore", &id, "--to", "database=new", "--confirm", bk.instance()]).ok();
    assert_eq!(server.sql("new", SUMS), before);
    server.drop("app");
    bk.run(&["restore", &id, "--confirm", bk.instance()]).ok();
    assert_eq!(server.sql("app", SUMS), before);
    id
}

#[test]
fn other_majors_with_tools_of_their_own() {
    for (major, format) in [(16, "directory"), (18, "custom")] {
        let server = Postgres::start(Some(major), &[]);
        let bk = Bkhost::new();
        server.create("app", 5000);
        bk.config(&[&application_none(), &part(&server, &format!("format = \"{format}\""), &server.programs(&[]))]);
        let checked = bk.run(&["check"]).ok();
        assert!(checked.stdout.contains(&format!("server: PostgreSQL {major}.")), "{checked}");
        let id = there_and_back(&bk, &server);
        let manifest = bk.run(&["show", &id, "--json"]).ok();
        assert!(
            manifest.stdout.contains(&format!("\"pg_dump\":\"{major}."))
                || manifest.stdout.contains(&format!("{major}."))
        );
        bk.no_child_left();
    }
}

/// Row 4 of what went wrong at GitLab: pg_dump 9.2 against server 9.6, and nobody was told.
#[test]
fn an_older_pg_dump_than_the_server_is_a_failure_before_the_lock() {
    let server = Postgres::start(Some(16), &[]);
    let bk = Bkhost::new();
    server.create("app", 10);
    // Debian's programs, which are of 15, are found by themselves.
    bk.config(&[&application_none(), &part(&server, "", "")]);
    let says = ["pg_dump", "version 15.", "is older than the server, which is 16"];
    let checked = bk.run(&["check"]).fails(6, &says);
    assert!(checked.stdout.contains("install the client programs of PostgreSQL 16"), "{checked}");
    bk.run(&["run"]).fails(6, &says);
    assert_eq!(bk.stored(), [""; 0]);
    // One of them is enough.
    for old in ["pg_dump", "pg_restore", "pg_dumpall"] {
        bk.config(&[&application_none(), &part(&server, "", &server.programs(&[old]))]);
        let checked = bk.run(&["check"]).fails(6, &[&format!("{old}: version 15")]);
        assert!(checked.stdout.contains(&format!("{old}: version 15.")), "{checked}");
        assert!(checked.stdout.contains("older than the server"), "{checked}");
    }
    // But psql talks to newer servers.
    bk.config(&[
        &application_none(),
        &part(&server, "", &server.programs(&["psql", "createdb", "dropdb", "vacuumdb"])),
    ]);
    there_and_back(&bk, &server);
}

#[test]
fn a_newer_pg_dump_works_and_an_older_pg_restore_is_refused() {
    let (server, newer) = (postgres(), Postgres::start(Some(16), &[]));
    let bk = Bkhost::new();
    let name = bk.instance().to_owned();
    server.create(&name, 1000);
    let with = |programs: &str| bk.config(&[&application_none(), &(server.part("database", &name, "") + programs)]);
    with(&newer.programs(&[]));
    let checked = bk.run(&["check"]).ok();
    assert!(checked.stdout.contains("newer than the server, which is 15: pg_restore 16 or newer"), "{checked}");
    let before = server.sql(&name, SUMS);
    let id = bk.backup_id();
    server.drop(&name);
    // With the tools of the server itself the dump is not readable, and that is said before anything is made.
    with("");
    let restore = ["restore", &id, "--confirm", &name];
    bk.run(&restore).fails(6, &["pg_restore 15 cannot read a dump that pg_dump 16", "PostgreSQL 16"]);
    assert_eq!(server.databases(&name), [""; 0]);
    // Such a mixture is refused when a backup is made, too: pg_dump 16 with pg_restore 15.
    server.create(&name, 10);
    with(&newer.programs(&["pg_restore"]));
    bk.run(&["run"]).fails(6, &["pg_restore", "cannot read what pg_dump 16 writes"]);
    server.drop(&name);
    with(&newer.programs(&[]));
    bk.run(&restore).ok();
    assert_eq!(server.sql(&name, SUMS), before);
    server.drop(&name);
}

#[test]
fn a_pg_restore_that_no_longer_restores_into_such_a_server() {
    let (server, newer) = (postgres(), Postgres::start(Some(18), &[]));
    let bk = Bkhost::new();
    let name = bk.instance().to_owned();
    server.create(&name, 1000);
    let programs = newer.programs(&[]);
    bk.config(&[&application_none(), &(server.part("database", &name, "") + &programs)]);
    let checked = bk.run(&["check"]).ok();
    assert!(checked.stdout.contains("cannot be restored into this server"), "{checked}");
    let id = bk.backup_id();
    server.drop(&name);
    let restore = ["restore", &id, "--confirm", &name];
    bk.run(&restore).fails(6, &["pg_restore 18 cannot restore into PostgreSQL 15"]);
    assert_eq!(server.databases(&name), [""; 0]);
}

/// A certificate authority, with a certificate of 127.0.0.1 and one of the role postgres.
struct Authority(PathBuf);

impl Authority {
    fn new(place: &Path, name: &str) -> Self {
        let this = Self(place.join(name));
        std::fs::create_dir(&this.0).unwrap();
        std::fs::set_permissions(&this.0, PermissionsExt::from_mode(0o755)).unwrap();
        this.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "9",
            "-subj",
            "/CN=ca",
            "-keyout",
            "ca.key",
            "-out",
            "ca.crt",
        ]);
        for (name, subject, alternative) in
            [("server", "/CN=server", "IP:127.0.0.1"), ("client", "/CN=postgres", "DNS:client")]
        {
            std::fs::write(this.0.join("extensions"), format!("subjectAltName={alternative}\n")).unwrap();
            let (key, request, certificate) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.crt"));
            this.openssl(&[
                "req",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-subj",
                subject,
                "-keyout",
                &key,
                "-out",
                &request,
            ]);
            this.openssl(&[
                "x509",
                "-req",
                "-in",
                &request,
                "-CA",
                "ca.crt",
                "-CAkey",
                "ca.key",
                "-CAcreateserial",
                "-days",
                "9",
                "-extfile",
                "extensions",
                "-out",
                &certificate,
            ]);
        }
        // The server's key has to be the server's own; root may own it if its group reads it.
        let mut chown = Command::new("chown");
        chown.arg("root:postgres").arg(this.0.join("server.key"));
        tool(chown);
        std::fs::set_permissions(this.0.join("server.key"), PermissionsExt::from_mode(0o640)).unwrap();
        this
    }

    fn openssl(&self, args: &[&str]) {
        let mut openssl = Command::new("openssl");
        openssl.args(args).current_dir(&self.0);
        tool(openssl);
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

#[test]
fn tls_with_a_server_that_is_who_it_says() {
    let bk = Bkhost::new();
    std::fs::set_permissions(bk.path(""), PermissionsExt::from_mode(0o755)).unwrap();
    let (ours, other) = (Authority::new(&bk.path(""), "ours"), Authority::new(&bk.path(""), "other"));
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Postgres::start(
        None,
        &[
            "--tcp",
            &port.to_string(),
            "--set",
            "ssl = on",
            "--set",
            &format!("ssl_cert_file = '{}'", ours.file("server.crt")),
            "--set",
            &format!("ssl_key_file = '{}'", ours.file("server.key")),
            "--set",
            &format!("ssl_ca_file = '{}'", ours.file("ca.crt")),
            "--hba",
            "hostssl all all 127.0.0.1/32 cert",
            "--hba",
            "hostnossl all all 127.0.0.1/32 reject",
        ],
    );
    server.create("app", 1000);
    let config = |host: &str, ca: &str, client: &str, more: &str| {
        let keys = format!(
            "host = \"{host}\"\nport = {port}\ndatabase = \"app\"\nsslmode = \"verify-full\"\nsslrootcert = \"{ca}\"\n{client}{more}"
        );
        bk.config(&[
            &application_none(),
            &format!("[[part]]\nname = \"database\"\nplugin = \"postgresql.wasm\"\n[part.config]\n{keys}\n"),
        ]);
    };
    let client = format!("sslcert = \"{}\"\nsslkey = \"{}\"\n", ours.file("client.crt"), ours.file("client.key"));
    let (ca, wrong) = (ours.file("ca.crt"), other.file("ca.crt"));
    config("127.0.0.1", &ca, &client, "");
    there_and_back(&bk, &server);
    server.drop("new");
    // Somebody else's authority; a name that the certificate does not have; no certificate, or another's, of our own.
    config("127.0.0.1", &wrong, &client, "");
    let checked = bk.run(&["check"]).fails(6, &["certificate verify failed"]);
    assert!(checked.stdout.contains("[part.config] sslrootcert"), "{checked}");
    bk.run(&["run"]).fails(6, &["certificate verify failed"]);
    config("localhost", &ca, &client, "");
    bk.run(&["check"]).fails(6, &["server certificate for", "does not match host name"]);
    config("127.0.0.1", &ca, "", "");
    bk.run(&["check"]).fails(6, &["certificate"]);
    let foreign = format!("sslcert = \"{}\"\nsslkey = \"{}\"\n", other.file("client.crt"), other.file("client.key"));
    config("127.0.0.1", &ca, &foreign, "");
    bk.run(&["check"]).fails(6, &["unknown ca"]);
    // A file that is not there, and a relative one before anything is asked.
    config("127.0.0.1", &ours.file("no.crt"), &client, "");
    bk.run(&["check"]).fails(6, &["provide the file"]);
    config("127.0.0.1", "ca.crt", &client, "");
    bk.run(&["check"]).fails(3, &["sslrootcert"]);
    assert_eq!(bk.list().len(), 1);
}

#[test]
fn a_standby_is_backed_up() {
    let primary = Postgres::start(None, &[]);
    let place = primary.place();
    let standby = Postgres::start(
        None,
        &["--standby-of", &place.display().to_string(), "--set", "max_standby_streaming_delay = 100ms"],
    );
    primary.create("app", 20_000);
    primary.sql("app", "CREATE UNLOGGED TABLE u AS SELECT 1 AS id");
    let caught_up = || {
        standby.sql("postgres", "SELECT count(*) FROM pg_database WHERE datname = 'app'") == "1"
            && standby.sql("app", "SELECT count(*) FROM pg_class WHERE relname = 'u'") == "1"
    };
    until("the standby has it all", Duration::from_secs(20), caught_up);
    let bk = Bkhost::new();
    bk.config(&[&application_none(), &part(&standby, "", "")]);
    let checked = bk.run(&["check"]).ok();
    for says in ["a standby that cancels queries after 100ms", "hot_standby_feedback", "unlogged tables are empty"] {
        assert!(format!("{checked}").contains(says), "{says}: {checked}");
    }
    let before = primary.sql("app", SUMS);
    let id = bk.backup_id();
    // Restored into the primary: nothing can be created on a standby.
    bk.run(&["restore", &id, "--to", "database=new", "--confirm", bk.instance()]).fails(6, &["read-only"]);
    bk.config(&[&application_none(), &part(&primary, "", "")]);
    bk.run(&["restore", &id, "--to", "database=new", "--confirm", bk.instance()]).ok();
    assert_eq!(primary.sql("new", SUMS), before);
    primary.drop("new");

    // A conflict with what is replayed ends the transaction: that is no backup.
    let script = format!(
        r#"case "$*" in *--format*)
            psql -X -q -h {host} -U postgres -d app -c "DELETE FROM t" -c "VACUUM t" >&2
            for i in $(seq 300); do
              [ "$(psql -X -At -d postgres -c "SELECT confl_snapshot > 0 FROM pg_stat_database_conflicts WHERE datname = 'app'")" != t ] || break
              sleep 0.1
            done ;;
        esac; exec /usr/bin/pg_dump "$@""#,
        host = place.join("sock").display()
    );
    let pg_dump = bk.program("pg_dump", &script);
    bk.config(&[
        &application_none(),
        &part(&standby, "", &format!("[part.programs]\npg_dump = \"{}\"\n", pg_dump.display())),
    ]);
    bk.run(&["run"]).fails(6, &["part `database`"]);
    assert_eq!(bk.list().len(), 1);
    bk.no_child_left();
}
