//! PostgreSQL: several databases, both formats, roles, tablespaces, counted rows; and restores that leave nothing behind.

use std::process::Command;
use std::time::Duration;

use bkhost_tests::{Bkhost, Postgres, application_none, postgres, tool, until};
use rustix::process::Signal;
use serde_json::Value;

/// Names that attack: all are databases.
fn names(bk: &Bkhost) -> Vec<String> {
    ["plain", "with space", "quote'\"x", "dbname=postgres host=nowhere", "ünï/..", "$(id);\\!"]
        .iter()
        .map(|name| format!("{}{name}", bk.instance()))
        .collect()
}

fn list(names: &[String]) -> String {
    format!("database = {}", serde_json::to_string(names).unwrap())
}

/// A part for several databases.
fn part(postgres: &Postgres, names: &[String], keys: &str) -> String {
    let one = postgres.part("database", "x", keys);
    one.replace("database = \"x\"", &list(names))
}

/// Make a database with these tables, with names that attack, and a view of all that is in it.
fn fill(postgres: &Postgres, name: &str, rows: usize) {
    let quoted = name.replace('"', "\"\"");
    postgres.sql("postgres", &format!("CREATE DATABASE \"{quoted}\""));
    postgres.sql(
        name,
        &format!(
            "CREATE TABLE t AS SELECT g AS id, md5(g::text) AS m FROM generate_series(1, {rows}) g;
             CREATE SCHEMA \"s \"\"'x\";
             CREATE TABLE \"s \"\"'x\".\"t;'\"\"\\ü\" AS SELECT 1 AS id, 'x' AS m;
             CREATE TABLE parent (id int) PARTITION BY RANGE (id);
             CREATE TABLE child PARTITION OF parent FOR VALUES FROM (0) TO (100);
             INSERT INTO parent VALUES (1), (2), (3);
             CREATE TABLE base (id int); CREATE TABLE derived () INHERITS (base);
             INSERT INTO base VALUES (1); INSERT INTO derived VALUES (2), (3);
             CREATE UNLOGGED TABLE unlogged AS SELECT 1 AS id;
             CREATE MATERIALIZED VIEW summary AS SELECT count(*) FROM t;
             CREATE MATERIALIZED VIEW later AS SELECT 1 WITH NO DATA"
        ),
    );
}

fn sums(postgres: &Postgres, name: &str) -> String {
    postgres.sql(
        name,
        "SELECT (SELECT md5(string_agg(id || m, ',' ORDER BY id)) FROM t), (SELECT count(*) FROM ONLY base),
                (SELECT sum(id) FROM base), (SELECT sum(id) FROM parent), (SELECT count FROM summary)",
    )
}

/// What a set keeps of the rows, from outside: `rows.json` in the archive.
fn counted(bk: &Bkhost, id: &str) -> Value {
    serde_json::from_str(&member(bk, id, "rows.json")).unwrap()
}

fn member(bk: &Bkhost, id: &str, name: &str) -> String {
    let mut tar = Command::new("tar");
    tar.args(["--zstd", "-xOf"]).arg(bk.set(id).join("database.tar.zst")).arg(name);
    tool(tar)
}

#[test]
fn several_databases_come_back_as_they_were() {
    for (format, half) in [("directory", 0..3), ("custom", 3..6)] {
        let postgres = postgres();
        let bk = Bkhost::new();
        let names = names(&bk)[half].to_vec();
        for (n, name) in names.iter().enumerate() {
            fill(postgres, name, 100 * (n + 1));
        }
        let keys = format!("format = \"{format}\"");
        bk.config(&[&application_none(), &part(postgres, &names, &keys)]);
        let before: Vec<_> = names.iter().map(|name| sums(postgres, name)).collect();
        let manifest = bk.backup();
        let id = manifest["id"].as_str().unwrap();
        let state = &manifest["parts"][0]["snapshot"]["state"];
        assert!(state["skew"].as_u64().unwrap() < 1000, "{state}");
        assert_eq!(state["databases"].as_array().unwrap().len(), names.len());

        // The rows of every table at that point, exactly; of a partitioned one in its partitions.
        let rows = counted(&bk, id);
        for (n, name) in names.iter().enumerate() {
            let database = &rows["databases"][n];
            assert_eq!(database["name"], **name);
            let mut tables: Vec<_> = database["tables"].as_array().unwrap().iter().map(ToString::to_string).collect();
            tables.sort();
            let mut expected = [
                r#"["public","base",1]"#.to_owned(),
                r#"["public","child",3]"#.into(),
                r#"["public","derived",2]"#.into(),
                r#"["public","summary",1]"#.into(),
                format!(r#"["public","t",{}]"#, 100 * (n + 1)),
                r#"["public","unlogged",1]"#.into(),
                r#"["s \"'x","t;'\"\\ü",1]"#.into(),
            ];
            expected.sort();
            assert_eq!(tables, expected);
        }

        // Everything changes; then all of it comes back, under other names and under its own.
        for name in &names {
            postgres.sql(name, "DELETE FROM t WHERE id > 7; DROP TABLE parent; INSERT INTO base VALUES (99)");
        }
        let restore = |to: &[&str]| {
            let mut args = vec!["restore", id, "--confirm", bk.instance()];
            args.extend(to);
            bk.run(&args)
        };
        restore(&["--to", "new "]).ok();
        for (name, before) in names.iter().zip(&before) {
            assert_eq!(sums(postgres, &format!("new {name}")), *before, "{name}");
            postgres.drop(&format!("new {name}"));
        }
        restore(&[]).fails(9, &["exist"]);
        // One that exists is enough for nothing to be made.
        for name in &names[1..] {
            postgres.drop(name);
        }
        restore(&[]).fails(9, &[&names[0], "exist"]);
        assert_eq!(postgres.databases(bk.instance()), [names[0].as_str()]);
        postgres.drop(&names[0]);
        restore(&[]).ok();
        for (name, before) in names.iter().zip(&before) {
            assert_eq!(sums(postgres, name), *before, "{name}");
        }
        // One of several.
        bk.config(&[&application_none(), &part(postgres, &names[1..2], &keys)]);
        restore(&["--to", &format!("{}alone", bk.instance())]).ok();
        assert_eq!(sums(postgres, &format!("{}alone", bk.instance())), before[1]);
        // Others restore at the same time.
        let ours = format!("bkhost-restore-{}", id.replace('-', ""));
        assert_eq!(postgres.databases(&ours), [""; 0], "of a restore that is not under way");
        for name in postgres.databases(bk.instance()) {
            postgres.drop(&name);
        }
        bk.no_child_left();
    }
}

#[test]
fn nothing_is_left_when_one_of_several_cannot_be_restored() {
    let postgres = postgres();
    let bk = Bkhost::new();
    let names = [format!("{}a", bk.instance()), format!("{}b", bk.instance())];
    fill(postgres, &names[0], 10);
    fill(postgres, &names[1], 10);
    let role = format!("{}role", bk.instance());
    postgres.sql("postgres", &format!("CREATE ROLE \"{role}\""));
    postgres.sql(&names[1], &format!("ALTER TABLE t OWNER TO \"{role}\""));
    bk.config(&[&application_none(), &part(postgres, &names, "")]);
    let id = bk.backup_id();
    names.iter().for_each(|name| postgres.drop(name));
    postgres.sql("postgres", &format!("DROP ROLE \"{role}\""));
    let restore = ["restore", &id, "--confirm", bk.instance()];
    bk.run(&restore).fails(6, &["role", "restore-globals = true", "owners = false"]);
    assert_eq!(postgres.databases(bk.instance()), [""; 0]);
    assert_eq!(temporary(postgres, &bk), [""; 0]);
    bk.config(&[&application_none(), &part(postgres, &names, "owners = false")]);
    bk.run(&restore).ok();
    assert_eq!(postgres.databases(bk.instance()), names);
    names.iter().for_each(|name| postgres.drop(name));
}

/// The databases that restores of this instance have made, and not given their names.
fn temporary(postgres: &Postgres, bk: &Bkhost) -> Vec<String> {
    let runs: Vec<_> = std::fs::read_dir(bk.state().join("runs")).unwrap().map(|run| run.unwrap().path()).collect();
    let ids: Vec<_> = runs.iter().map(|run| run.file_stem().unwrap().to_str().unwrap().replace('-', "")).collect();
    let mut all = postgres.databases("bkhost-restore-");
    all.retain(|name| ids.iter().any(|id| name.contains(id)));
    all
}

#[test]
fn roles_come_back_where_asked_and_those_that_exist_stay_as_they_are() {
    let postgres = postgres();
    let bk = Bkhost::new();
    let name = bk.instance().to_owned();
    fill(postgres, &name, 10);
    let (mine, group, kept) = (format!("{name} my'\"role"), format!("{name}group"), format!("{name}kept"));
    let quoted = mine.replace('"', "\"\"");
    postgres.sql(
        "postgres",
        &format!(
            "CREATE ROLE \"{group}\"; CREATE ROLE \"{kept}\" LOGIN;
             CREATE ROLE \"{quoted}\" LOGIN CREATEDB CONNECTION LIMIT 3 PASSWORD 'p''w' VALID UNTIL '2031-01-01 00:00:00+00';
             COMMENT ON ROLE \"{quoted}\" IS 'it''s mine';
             GRANT \"{group}\" TO \"{quoted}\" WITH ADMIN OPTION"
        ),
    );
    postgres.sql(&name, &format!("ALTER TABLE t OWNER TO \"{quoted}\""));
    let facts = format!(
        "SELECT rolname, rolcanlogin, rolcreatedb, rolsuper, rolconnlimit, rolpassword, rolvaliduntil,
                shobj_description(oid, 'pg_authid'), (SELECT string_agg(roleid::regrole || ' ' || admin_option, ',')
                FROM pg_auth_members WHERE member = a.oid)
         FROM pg_authid a WHERE rolname LIKE '{name}%' ORDER BY 1"
    );
    let before = postgres.sql("postgres", &facts);
    let config = |keys: &str| bk.config(&[&application_none(), &part(postgres, std::slice::from_ref(&name), keys)]);
    config("");
    let id = bk.backup_id();
    let sql = member(&bk, &id, "globals.sql");
    assert!(sql.contains(&format!("CREATE ROLE \"{quoted}\"")) && sql.contains("SCRAM-SHA-256"), "{sql}");
    config("globals = \"without-passwords\"");
    let without = bk.backup_id();
    let text = member(&bk, &without, "globals.sql") + &member(&bk, &without, "globals.json");
    assert!(text.contains(&group) && !text.contains("SCRAM-SHA-256"), "{text}");

    postgres.drop(&name);
    postgres.sql(
        "postgres",
        &format!("DROP ROLE \"{quoted}\"; DROP ROLE \"{group}\"; ALTER ROLE \"{kept}\" NOLOGIN CONNECTION LIMIT 7"),
    );
    // A restore that fails takes the roles it has made with it. Tools of the operator's own see the middle of it.
    let failing = bk.program(
        "pg_restore",
        r#"[ "$1" != --exit-on-error ] || { echo "out of luck" >&2; exit 1; }; exec /usr/bin/pg_restore "$@""#,
    );
    let programs = format!("restore-globals = true\n[part.programs]\npg_restore = \"{}\"", failing.display());
    let restore = ["restore", &id, "--confirm", &name];
    config(&programs);
    bk.run(&restore).fails(6, &["out of luck"]);
    let roles = || postgres.sql("postgres", &format!("SELECT rolname FROM pg_roles WHERE rolname LIKE '{name}%'"));
    assert_eq!(roles(), kept);
    assert_eq!(postgres.databases(&name), [""; 0]);

    // One that is killed in the middle, with its roles made.
    let mark = bk.path("filling");
    let slow = bk.program(
        "pg_restore-slow",
        &format!(
            r#"[ "$1" != --exit-on-error ] || {{ touch '{}'; sleep 60; }}; exec /usr/bin/pg_restore "$@""#,
            mark.display()
        ),
    );
    config(&format!("restore-globals = true\n[part.programs]\npg_restore = \"{}\"", slow.display()));
    let running = bk.spawn(&restore);
    until("it fills the database", Duration::from_secs(60), || mark.exists());
    running.signal(Signal::KILL);
    assert_eq!(running.end().code, -1);
    assert_ne!(roles(), kept);
    assert_eq!(temporary(postgres, &bk).len(), 1);
    config("restore-globals = true");
    bk.run(&["recover"]).ok();
    assert_eq!((roles(), temporary(postgres, &bk).len()), (kept.clone(), 0));
    bk.no_child_left();
    // And one that is killed when all is complete: it is not had again.
    assert_eq!(bk.doomed(&restore, "before:restored:1").end().code, -1);
    assert_eq!(postgres.databases(&name), std::slice::from_ref(&name));
    bk.run(&restore).ok();
    let after = postgres.sql("postgres", &facts);
    let changed =
        |text: &str| text.lines().filter(|line| !line.starts_with(&kept)).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(changed(&after), changed(&before));
    let kept_now =
        postgres.sql("postgres", &format!("SELECT rolcanlogin, rolconnlimit FROM pg_roles WHERE rolname = '{kept}'"));
    assert_eq!(kept_now, "f|7", "a role that existed was changed");
    assert_eq!(postgres.sql(&name, "SELECT tableowner FROM pg_tables WHERE tablename = 't'"), mine);
    postgres.drop(&name);
    postgres.sql("postgres", &format!("DROP ROLE \"{quoted}\"; DROP ROLE \"{group}\"; DROP ROLE \"{kept}\""));
}

#[test]
fn a_role_that_may_not_read_passwords_keeps_the_roles_without_them() {
    let postgres = postgres();
    let bk = Bkhost::new();
    let name = bk.instance().to_owned();
    postgres.create(&name, 10);
    let role = format!("{name}reader");
    postgres.sql("postgres", &format!("CREATE ROLE \"{role}\" LOGIN"));
    postgres.sql(&name, &format!("GRANT SELECT ON t TO \"{role}\""));
    bk.config(&[&application_none(), &part(postgres, std::slice::from_ref(&name), &format!("username = \"{role}\""))]);
    let checked = bk.run(&["check"]).ok();
    assert!(checked.stdout.contains("without their passwords"), "{checked}");
    let manifest = bk.backup();
    assert_eq!(manifest["parts"][0]["snapshot"]["state"]["role_passwords"], false);
    postgres.drop(&name);
    // It may not create anything either, which is told before anything is tried.
    bk.run(&["restore", manifest["id"].as_str().unwrap(), "--confirm", &name])
        .fails(4, &["may not create", "CREATEDB"]);
    postgres.sql("postgres", &format!("DROP ROLE \"{role}\""));
}

#[test]
fn a_tablespace_has_to_be_there() {
    let postgres = postgres();
    let bk = Bkhost::new();
    let name = bk.instance().to_owned();
    postgres.create(&name, 10);
    let space = format!("{name}space");
    let directory = postgres.directory(&space);
    postgres.sql("postgres", &format!("CREATE TABLESPACE \"{space}\" LOCATION '{}'", directory.display()));
    postgres.sql(&name, &format!("CREATE INDEX ON t (id) TABLESPACE \"{space}\""));
    let config = |keys: &str| bk.config(&[&application_none(), &part(postgres, std::slice::from_ref(&name), keys)]);
    config("");
    let id = bk.backup_id();
    assert!(member(&bk, &id, "globals.sql").contains(&format!("CREATE TABLESPACE \"{space}\"")));
    postgres.drop(&name);
    let restore = ["restore", &id, "--confirm", &name];
    bk.run(&restore).ok();
    assert_eq!(postgres.sql(&name, "SELECT tablespace FROM pg_indexes WHERE tablename = 't'"), space);
    postgres.drop(&name);
    postgres.sql("postgres", &format!("DROP TABLESPACE \"{space}\""));
    bk.run(&restore).fails(13, &[&space, "tablespaces = false"]);
    config("tablespaces = false");
    bk.run(&restore).ok();
    assert_eq!(postgres.sql(&name, "SELECT count(*) FROM t"), "10");
    postgres.drop(&name);
}

#[test]
fn many_tables_are_counted_and_counting_can_be_switched_off() {
    let postgres = postgres();
    let bk = Bkhost::new();
    let name = bk.instance().to_owned();
    postgres.create(&name, 1);
    postgres.sql(
        &name,
        "SELECT format('CREATE TABLE many_%s AS SELECT generate_series(1, %s) AS n', lpad(i::text, 50, 'x'), i % 7)
         FROM generate_series(1, 2000) i \\gexec",
    );
    bk.config(&[&application_none(), &part(postgres, std::slice::from_ref(&name), "compress = 1")]);
    let id = bk.backup_id();
    let rows = counted(&bk, &id);
    assert_eq!(rows["databases"][0]["tables"].as_array().unwrap().len(), 2001);
    bk.config(&[
        &application_none(),
        &part(postgres, std::slice::from_ref(&name), "count-rows = false\nglobals = \"off\""),
    ]);
    let manifest = bk.backup();
    let sources = manifest["parts"][0]["sources"].as_array().unwrap();
    assert_eq!(sources.len(), 1, "{manifest}");
    postgres.drop(&name);
}

#[test]
fn as_another_user_under_a_tight_umask() {
    let postgres = postgres();
    let mut bk = Bkhost::new();
    bk.wrap("umask 077; exec \"$@\"");
    let name = bk.instance().to_owned();
    postgres.create(&name, 100);
    let part = part(postgres, std::slice::from_ref(&name), "")
        .replace("[part.config]", "run-as = \"postgres\"\n[part.config]");
    bk.config(&[&application_none(), &part]);
    bk.run(&["check"]).ok();
    let id = bk.backup_id();
    postgres.drop(&name);
    bk.run(&["restore", &id, "--confirm", &name]).ok();
    assert_eq!(postgres.sql(&name, "SELECT count(*) FROM t"), "100");
    postgres.drop(&name);
}

#[test]
fn a_stream_that_breaks_is_no_backup() {
    let postgres = postgres();
    let bk = Bkhost::new();
    let name = bk.instance().to_owned();
    postgres.create(&name, 100_000);
    let broken = bk.program(
        "pg_dump",
        r#"case "$*" in *--format*) /usr/bin/pg_dump "$@" | head -c 20000; echo "out of luck" >&2; exit 1 ;; esac; exec /usr/bin/pg_dump "$@""#,
    );
    let keys = format!("format = \"custom\"\n[part.programs]\npg_dump = \"{}\"", broken.display());
    bk.config(&[&application_none(), &part(postgres, std::slice::from_ref(&name), &keys)]);
    bk.run(&["run"]).fails(6, &["out of luck"]);
    assert_eq!(bk.stored(), [""; 0]);
    until("no session is left", Duration::from_secs(5), || postgres.sessions(&name) == 0);
    // The transaction goes while the stream is read.
    let ended = bk.program(
        "pg_dump",
        &format!(
            r#"case "$*" in *--format*) /usr/bin/pg_dump "$@"; psql -X -q -h "$PGHOST" -p "$PGPORT" -d postgres -c "SELECT pg_terminate_backend(pid)
            FROM pg_stat_activity WHERE datname = '{name}' AND application_name LIKE 'bkhost%'" >&2; exit 0 ;; esac; exec /usr/bin/pg_dump "$@""#
        ),
    );
    assert!(ended.exists());
    bk.run(&["run"]).fails(6, &["part `database`"]);
    assert_eq!(bk.stored(), [""; 0]);
    postgres.drop(&name);
    bk.no_child_left();
}
