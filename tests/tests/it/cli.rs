//! The command line: what each command says, and with which exit code it ends.

use std::path::Path;

use bkhost_tests::{Bkhost, Simulator, application_none, directory_part, listing, postgres, zfs};

#[test]
fn every_command_speaks_json() {
    let bk = Bkhost::new();
    std::fs::create_dir(bk.path("home")).unwrap();
    std::fs::write(bk.path("home/f"), "1").unwrap();
    let simulator = Simulator::start(&[]);
    bk.config(&[&bk.application(&simulator, ""), &directory_part("home", &bk.path("home"))]);
    let json = |args: &[&str]| {
        let outcome = bk.run(&[args, &["--json"]].concat()).ok();
        assert!(!outcome.events().is_empty(), "{args:?}: {outcome}");
        outcome.json()
    };
    assert!(json(&["check"])["findings"].is_array());
    assert!(json(&["plan"])["findings"].is_array());
    let run = json(&["run"]);
    let id = run["id"].as_str().unwrap();
    assert_eq!(json(&["list"])["sets"][0]["id"], id);
    assert_eq!(json(&["show", id])["id"], id);
    assert_eq!(json(&["show", "latest"])["parts"][0]["name"], "home");
    assert_eq!(json(&["verify", id])["id"], id);
    assert_eq!(json(&["verify", "--all"])["verified"][0]["id"], id);
    let to = bk.path("restored").display().to_string();
    assert_eq!(json(&["restore", id, "--to", &to, "--confirm", bk.instance()])["id"], id);
    assert!(json(&["prune", "--confirm", bk.instance(), "--keep-last", "1"])["decisions"].is_array());
    assert_eq!(json(&["recover"])["recovered"].as_array().unwrap().len(), 0);
    assert_eq!(json(&["plugin", "inspect", "directory"])["shipped"], true);
    let schema = bk.run(&["config", "schema"]).ok();
    assert!(
        serde_json::from_str::<serde_json::Value>(&schema.stdout).unwrap()["properties"]["application"].is_object()
    );

    // A failure too, with its exit code.
    let failed = bk.run(&["show", "20200101-000000-abcdef", "--json"]).fails(13, &["has no set"]);
    let error = &failed.json()["error"];
    assert_eq!((&error["exit-code"], &error["kind"]), (&13.into(), &"not-found".into()));
    assert!(error["message"].as_str().unwrap().contains("has no set") && error["hint"].is_string(), "{error}");
}

/// `code -> meaning`, from text of which each item begins with the code.
fn codes<'a>(items: impl Iterator<Item = &'a str>) -> Vec<u8> {
    items.filter_map(|item| item.trim().split([' ', '|']).next()?.parse().ok()).collect()
}

#[test]
fn the_exit_codes_are_those_of_the_readme() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let from = readme.find("### Exit codes").unwrap();
    let table = readme[from..].lines().skip(1).take_while(|line| !line.starts_with("##"));
    let documented = codes(table.filter_map(|line| line.strip_prefix("| ")));
    let help = Bkhost::new().run(&["--help"]).ok();
    let from = help.stdout.find("Exit codes: ").unwrap() + "Exit codes: ".len();
    let text = help.stdout[from..].replace('\n', " ");
    assert_eq!(documented, codes(text.split("; ")));
    assert_eq!(documented, (0..=14).collect::<Vec<u8>>());
}

#[test]
fn wrong_command_lines_and_configurations() {
    let bk = Bkhost::new();
    bk.run(&["--no-such"]).fails(2, &["--no-such"]);
    bk.run(&["rum"]).fails(2, &["rum"]);
    bk.run(&["restore"]).fails(2, &["<ID>"]);
    bk.run(&["run"]).fails(3, &["bkhost.toml"]);
    bk.config(&[
        "[application]\ntype = \"none\"\n[[part]]\nname = \"home\"\nplugin = \"directory.wasm\"\n[part.confg]\n",
    ]);
    bk.run(&["run"]).fails(3, &["bkhost.toml:", "confg", "config"]);
    bk.config(&[&application_none(), &directory_part("home", Path::new("/tmp")).replace("path", "pth")]);
    bk.run(&["run"]).fails(3, &["pth", "path"]);
    bk.config(&[
        &application_none(),
        &directory_part("home", Path::new("/tmp")).replace("directory.wasm", "dirctory.wasm"),
    ]);
    bk.run(&["run"]).fails(13, &["dirctory.wasm", "directory.wasm"]);
    bk.run(&["simulate", "bitbucket", "--fault", "lok=503"]).fails(3, &["lok=503", "CALL=FAILURE"]);
}

#[test]
fn plan_tells_all_and_changes_nothing() {
    let (zfs, postgres) = (zfs(), postgres());
    let bk = Bkhost::inside(zfs);
    let dataset = zfs.create(bk.instance());
    std::fs::write(zfs.files(&dataset).join("f"), "1").unwrap();
    postgres.create(bk.instance(), 10);
    let simulator = Simulator::start(&[]);
    // Whatever is run tells so.
    let log = bk.path("log");
    let logged = |program: &str| {
        let script = format!("echo {program} \"$@\" >>\"{}\"; exec {program} \"$@\"", log.display());
        format!("{program} = \"{}\"\n", bk.program(program, &script).display())
    };
    bk.config(&[
        &bk.application(&simulator, ""),
        &(zfs.part("home", &[&dataset]) + "[part.programs]\n" + &logged("zfs")),
        &(postgres.part("database", bk.instance(), "") + "[part.programs]\n" + &logged("pg_dump")),
    ]);
    let before = listing(&zfs.files(&dataset));
    for args in [&["plan"][..], &["run", "--dry-run"]] {
        let planned = bk.run(args).ok();
        let told = format!("{}{}", planned.stdout, planned.stderr);
        for text in [
            &format!("POST {}/mvc/maintenance/lock", simulator.url())[..],
            &format!("POST {}/mvc/admin/backups?external=true", simulator.url()),
            &format!("DELETE {}/mvc/maintenance/lock", simulator.url()),
            "zfs snapshot -o",
            &format!("{dataset}@bkhost-{}-", bk.instance()),
            "pg_dump --format=directory",
            "home.tar.zst",
            "database.tar.zst",
            "manifest.json",
            "Nothing of this was done",
        ] {
            assert!(told.contains(text), "it does not say `{text}`: {planned}");
        }
        let run = std::fs::read_to_string(&log).unwrap();
        for line in run.lines() {
            let reads = ["zfs version", "zfs get", "zfs list", "zfs allow", "pg_dump --version"];
            assert!(reads.iter().any(|read| line.starts_with(read)), "a dry run has run `{line}`");
        }
    }
    let json = bk.run(&["plan", "--json"]).ok();
    let planned = |event: &&serde_json::Value| event["planned"] == true;
    let events = json.events();
    let argv: Vec<_> = events.iter().filter(planned).filter_map(|event| event["argv"].as_array()).collect();
    assert!(argv.iter().any(|argv| argv.iter().any(|word| word == "snapshot")), "{argv:?}");
    for call in ["lock", "begin", "progress", "unlock", "cancel"] {
        assert_eq!(simulator.count(call), 0, "{call}");
    }
    assert_eq!((zfs.snapshots(&dataset).len(), bk.stored().len()), (0, 0));
    assert_eq!(listing(&zfs.files(&dataset)), before);
    bk.no_child_left();
}

#[test]
fn check_finds_an_old_client() {
    let postgres = postgres();
    let bk = Bkhost::new();
    postgres.create(bk.instance(), 10);
    let simulator = Simulator::start(&[]);
    let old = bk.program(
        "pg_dump",
        r#"[ "$*" != --version ] || { echo "pg_dump (PostgreSQL) 14.9"; exit; }; exec pg_dump "$@""#,
    );
    let part =
        postgres.part("database", bk.instance(), "") + &format!("[part.programs]\npg_dump = \"{}\"\n", old.display());
    bk.config(&[&bk.application(&simulator, ""), &part]);
    let says = ["pg_dump", "14", "older than the server", "15"];
    let checked = bk.run(&["check"]).fails(6, &says);
    assert!(checked.stdout.contains("FAILURE  database: pg_dump"), "{checked}");
    bk.run(&["run"]).fails(6, &says);
    assert_eq!(simulator.count("lock"), 0);
    // A program that anybody could replace is not run.
    let open = bk.program("pg_dump", "exec pg_dump \"$@\"");
    std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    bk.run(&["run"]).fails(4, &[&open.display().to_string(), "can be written by"]);
}

#[test]
fn without_a_configuration_file() {
    let zfs = zfs();
    let bk = Bkhost::inside(zfs);
    let dataset = zfs.create(bk.instance());
    std::fs::write(zfs.files(&dataset).join("f"), "1").unwrap();
    let store = bk.path("backups").display().to_string();
    let datasets = format!("datasets={dataset}");
    let adhoc = ["--plugin", "zfs.wasm", "--set", &datasets, "--to", &store, "--name", bk.instance()];
    bk.run(&[&["check"], &adhoc[..]].concat()).ok();
    bk.run(&[&["plan"], &adhoc[..]].concat()).ok();
    let first = bk.run(&[&["run", "--json"], &adhoc[..]].concat()).ok().json();
    bk.run(&[&["run", "--keep-last", "1"], &adhoc[..]].concat()).ok();
    assert_eq!((bk.stored().len(), zfs.snapshots(&dataset).len()), (1, 1));
    assert_ne!(bk.stored(), [first["id"].as_str().unwrap()]);
    // The store alone is enough to look, and to restore to another place.
    let place = ["--store", &store];
    let listed = bk.run(&[&["list"], &place[..]].concat()).ok();
    assert!(listed.stdout.contains(&bk.stored()[0]) && listed.stdout.contains("proved"), "{listed}");
    bk.run(&[&["verify", "latest"], &place[..]].concat()).ok();
    let to = format!("{dataset}-restored");
    bk.run(&[&["restore", "latest", "--to", &to, "--confirm", bk.instance()], &place[..]].concat()).ok();
    assert_eq!(listing(&zfs.files(&dataset)), listing(&zfs.files(&to)));
    bk.run(&["run", "--plugin", "zfs.wasm", "--to", &store, "--name", bk.instance()]).fails(3, &["datasets"]);
    bk.run(&["run", "--plugin", "zfs.wasm"]).fails(2, &["--to"]);
}

#[test]
fn quiet_is_quiet_and_pipes_may_close() {
    let bk = Bkhost::new();
    std::fs::create_dir(bk.path("home")).unwrap();
    std::fs::write(bk.path("home/f"), "1").unwrap();
    bk.config(&[&application_none(), &directory_part("home", &bk.path("home"))]);
    let quiet = bk.run(&["run", "--quiet"]).ok();
    assert_eq!(quiet.stderr, "", "{quiet}");
    let plain = bk.run(&["run"]).ok();
    assert!(plain.stderr.contains("archive") && !plain.stderr.contains('\u{1b}'), "{plain}");
    // A log that nobody reads any more must not fail a backup.
    let command = bk.command(&["run", "--json"]);
    let mut piped = std::process::Command::new("bash");
    piped.args(["-c", "\"$@\" 2>&1 | head -c 1 >/dev/null; exit ${PIPESTATUS[0]}", "pipe"]);
    piped.arg(command.get_program()).args(command.get_args()).current_dir(bk.path("")).env_clear();
    piped.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    bkhost_tests::Running::start(piped, false).end().ok();
    assert_eq!(bk.list().len(), 3);
}
