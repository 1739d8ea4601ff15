//! Databases are rehearsed in throw-away servers of their own, and checked by the vendor's own tools.

use bkhost_tests::{Bkhost, application_none, mariadb, postgres};

/// A drill and a deep verification of the only set: both have to end well, and both ask the plugin.
fn rehearse(bk: &Bkhost, plugin: &str) -> String {
    let id = bk.backup_id();
    let verified = bk.run(&["verify", &id, "--depth", "full", "--json"]).ok().json();
    assert_eq!(verified["plugins"][0]["plugin"], plugin, "{verified}");
    let drilled = bk.run(&["drill", "--json"]).ok().json();
    assert_eq!((&drilled["ok"], &drilled["parts"][0]["how"]), (&true.into(), &"plugin".into()), "{drilled}");
    assert!(drilled["parts"][0]["findings"].to_string().contains("rows"), "{drilled}");
    bk.no_child_left();
    id
}

#[test]
fn postgresql() {
    let (server, bk) = (postgres(), Bkhost::new());
    server.create(bk.instance(), 1000);
    bk.config(&[&application_none(), &server.part("database", bk.instance(), "")]);
    // The other tests have theirs there.
    let ours = || server.databases("").into_iter().filter(|name| name.contains(bk.instance())).collect::<Vec<_>>();
    let before = ours();
    rehearse(&bk, "postgresql");
    assert_eq!(ours(), before, "the server that is in use was not touched");
    // A restore that says that all is well, and brings back no rows.
    let script = "real=/usr/lib/postgresql/15/bin/pg_restore
        case \" $* \" in *' --version '*|*' --list '*) exec $real \"$@\";; esac; exec $real --schema-only \"$@\"";
    let programs = format!("[part.programs]\npg_restore = \"{}\"\n", bk.program("pg_restore", script).display());
    bk.config(&[&application_none(), &server.part("database", bk.instance(), ""), &programs]);
    bk.run(&["drill"]).fails(6, &["tables differ from what was recorded", "t has 0 rows, and had 1000"]);
    assert!(bk.run(&["list"]).ok().stdout.contains("FAILED"), "it is told");
    assert_eq!(ours(), before);
}

#[test]
fn mysql() {
    let (server, bk) = (mariadb(), Bkhost::new());
    server.create(bk.instance(), 1000);
    bk.config(&[&application_none(), &server.part("database", &[bk.instance()], "")]);
    rehearse(&bk, "mysql");
}
