//! The applications that bkhost knows, each by its example in `host/examples`, as it stands but for names and places; restored
//! from nothing, and compared by other tools.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bkhost_tests::{Bkhost, Outcome, Simulator, Sshd, listing, mariadb, postgres, until, zfs};
use serde_json::Value;

use crate::excluded;
use crate::services::SCRIPT;

/// How the examples reach a node.
fn ssh(node: &str) -> String {
    format!(
        "\"/usr/bin/ssh\", \"-i\", \"/etc/bkhost/nodes.key\", \"-oUserKnownHostsFile=/etc/bkhost/nodes.known\", \"root@{node}\""
    )
}

/// What the examples say of PostgreSQL, for the server of the tests.
fn database(name: &str) -> String {
    let part = postgres().part("database", name, "");
    part.split_once("[part.config]\n").unwrap().1.trim_end().to_owned()
}

/// Files of several owners and modes.
fn owned(root: &Path) {
    std::fs::create_dir_all(root.join("a dir/deep")).unwrap();
    for (n, name) in ["plain", "a dir/secret", "a dir/deep/ünï", "-rf"].into_iter().enumerate() {
        let path = root.join(name);
        std::fs::write(&path, format!("content of {name}\n").repeat(n + 1)).unwrap();
        chown(&path, Some(2001 + u32::try_from(n).unwrap()), Some(3001)).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode([0o640, 0o600, 0o4755, 0o444][n])).unwrap();
    }
    chown(root.join("a dir"), Some(2009), Some(3009)).unwrap();
    std::fs::set_permissions(root.join("a dir"), PermissionsExt::from_mode(0o2750)).unwrap();
    chown(root, Some(2010), Some(3010)).unwrap();
    std::fs::set_permissions(root, PermissionsExt::from_mode(0o750)).unwrap();
}

fn top(root: &Path) -> (u32, u32, u32) {
    let stat = std::fs::metadata(root).unwrap();
    (stat.uid(), stat.gid(), stat.mode() & 0o7777)
}

/// Change the configuration that was written.
fn edit(bk: &Bkhost, from: &str, to: &str) {
    let text = std::fs::read_to_string(bk.path("bkhost.toml")).unwrap();
    assert!(text.contains(from), "{from}: {text}");
    std::fs::write(bk.path("bkhost.toml"), text.replacen(from, to, 1)).unwrap();
}

fn at(event: &Value) -> jiff::Timestamp {
    event["at"].as_str().unwrap().parse().unwrap()
}

/// Every part was captured while the application was held, once, for all of them. The set's id.
fn under_one_lock(simulator: &Simulator, outcome: &Outcome, parts: usize) -> String {
    assert_eq!((simulator.count("lock"), simulator.count("unlock")), (1, 1));
    simulator.is_free();
    let events = outcome.events();
    let first = |event: &str, phase: &str| {
        let wanted = |e: &&Value| e["event"] == event && (phase.is_empty() || e["phase"] == phase);
        at(events.iter().find(wanted).unwrap_or_else(|| panic!("no {event} {phase}: {outcome}")))
    };
    let (locked, unlocked) = (first("phase-ended", "drain"), first("unlocked", ""));
    let manifest = outcome.json();
    let made: Vec<jiff::Timestamp> = manifest["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| part["snapshot"]["created"].as_str().unwrap().parse().unwrap())
        .collect();
    assert_eq!(made.len(), parts, "{manifest}");
    // To the millisecond, which is how the parts tell it.
    let early = locked.checked_sub(jiff::SignedDuration::from_millis(2)).unwrap();
    assert!(made.iter().all(|at| (early..=unlocked).contains(at)), "{locked} {made:?} {unlocked}");
    let skew = made.iter().max().unwrap().duration_since(*made.iter().min().unwrap()).as_millis();
    let told = manifest["skew-ms"].as_u64().unwrap();
    assert!((i128::from(told) - skew).abs() <= 2, "{skew}: {manifest}");
    assert!(told <= manifest["application"]["locked-ms"].as_u64().unwrap(), "{manifest}");
    manifest["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_bitbucket_server_from_nothing() {
    let bk = Bkhost::new();
    let (home, name) = (bk.path("home"), bk.instance().to_owned());
    excluded::home(&home);
    owned(&home.join("shared/config"));
    for file in ["shared/data/repositories/77/HEAD", "shared/data/attachments/tmp/x"] {
        std::fs::create_dir_all(home.join(file).parent().unwrap()).unwrap();
        std::fs::write(home.join(file), "gone").unwrap();
    }
    postgres().create(&name, 500);
    let simulator = Simulator::start(&[]);
    let note = bk.program("systemctl", r#"echo "$*" >>"$(dirname "$0")/noted""#);
    bk.example(
        "bitbucket-server.toml",
        Some(&simulator),
        &[
            ("\"/var/atlassian/application-data/bitbucket\"", &format!("{home:?}")),
            ("database = \"bitbucket\"", &database(&name)),
            ("run-as = \"postgres\"\n", ""),
            ("\"/usr/bin/systemctl\"", &format!("{note:?}")),
        ],
    );
    let outcome = bk.run(&["run", "--json"]).ok();
    let id = under_one_lock(&simulator, &outcome, 2);
    assert_eq!(outcome.json()["parts"][0]["left-out"]["options"]["exclude-repositories"], serde_json::json!([77]));
    let expected = excluded::without(
        &bk,
        &home,
        &[
            "caches",
            "export",
            "tmp",
            ".lock",
            "shared/.lock",
            "log",
            "shared/log",
            "plugins/.osgi-cache",
            "shared/plugins/.bundled",
            "data/db.mv.db",
            "shared/data/db.mv.db",
            "shared/search/data",
            "shared/data/repositories/77",
            "shared/data/attachments/tmp",
        ],
    );
    simulator.stop();
    std::fs::remove_dir_all(&home).unwrap();
    postgres().drop(&name);
    let restored = bk.run(&["restore", &id, "--json", "--confirm", &name]).ok().json();
    assert_eq!(listing(&home), expected);
    assert_eq!(
        postgres().sql(&name, "SELECT count(*), md5(string_agg(m, '' ORDER BY id)) FROM t").split('|').next(),
        Some("500")
    );
    assert_eq!(std::fs::read_to_string(bk.path("noted")).unwrap(), "stop bitbucket\nstart bitbucket\n");
    assert!(restored["aftercare"].to_string().contains("disaster.recovery=true"), "{restored}");
}

#[test]
fn a_data_center_with_its_nodes() {
    let (zfs, postgres) = (zfs(), postgres());
    let bk = Bkhost::inside(zfs);
    let name = bk.instance().to_owned();
    let [shared, one, two] = ["shared", "node-1", "node 2"].map(|node| zfs.create(&format!("{name}-{node}")));
    for dataset in [&shared, &one, &two] {
        owned(&zfs.files(dataset).join("config"));
    }
    std::fs::create_dir_all(zfs.files(&one).join("caches")).unwrap();
    std::fs::write(zfs.files(&one).join("caches/x"), "x").unwrap();
    postgres.create(&name, 100);
    let sshd = Sshd::start(zfs, &bk.path("node-2"));
    let simulator = Simulator::start(&[]);
    bk.example(
        "bitbucket-data-center.toml",
        Some(&simulator),
        &[
            ("tank/bitbucket-shared", &shared),
            ("tank/node-1", &one),
            ("tank/node-2", &two),
            (&ssh("node-2"), &sshd.via()),
            ("database = \"bitbucket\"", &database(&name)),
            ("run-as = \"postgres\"\n", ""),
        ],
    );
    let outcome = bk.run(&["run", "--json"]).ok();
    let id = under_one_lock(&simulator, &outcome, 4);
    let [to_shared, to_one, to_two] = [&shared, &one, &two].map(|dataset| format!("{dataset} restored"));
    let targets = [
        format!("shared-home={to_shared}"),
        format!("node-1={to_one}"),
        format!("node-2={to_two}"),
        format!("database={name}-restored"),
    ];
    let mut args = vec!["restore", &id, "--confirm", &name];
    args.extend(targets.iter().flat_map(|target| ["--to", target.as_str()]));
    bk.run(&args).ok();
    for (dataset, to) in [(&shared, &to_shared), (&two, &to_two)] {
        assert_eq!(listing(&zfs.files(to)), listing(&zfs.files(dataset)), "{to}");
    }
    assert_eq!(listing(&zfs.files(&to_one)), excluded::without(&bk, &zfs.files(&one), &["caches"]));
    assert_eq!(postgres.sql(&format!("{name}-restored"), "SELECT count(*) FROM t"), "100");
    // What could mean something to a shell there means itself.
    let pwned = bk.path("pwned");
    let evil = format!("node-2={two}$(touch {p})';touch {p};`touch {p}`", p = pwned.display());
    assert_ne!(bk.run(&["restore", &id, "--part", "node-2", "--to", &evil, "--confirm", &name]).code, 0);
    assert!(!pwned.exists());
    // Files of another machine are out of reach: that is said, and nothing of this machine is taken for them.
    edit(&bk, "archive = \"stream\"\n", "");
    bk.run(&["run"]).fails(3, &["another machine", "archive = \"stream\""]);
    simulator.is_free();
    assert_eq!(zfs.snapshots(&one).len(), 1);
    until("no snapshot of the failed run is left", Duration::from_secs(20), || zfs.snapshots(&two).len() == 1);
}

/// Appends one number after the other to a file of each node, as long as the data centre is not locked.
struct Pushes(Arc<AtomicBool>, Option<JoinHandle<()>>);

impl Pushes {
    fn start(simulator: Arc<Simulator>, files: Vec<std::path::PathBuf>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            for n in 0.. {
                while simulator.locked() && !stopped.load(Ordering::Acquire) {
                    std::thread::sleep(Duration::from_millis(5));
                }
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                for file in &files {
                    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
                    writeln!(file, "{n}").unwrap();
                }
            }
        });
        Self(stop, Some(thread))
    }
}

impl Drop for Pushes {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
        let _ = self.1.take().map(JoinHandle::join);
    }
}

#[test]
fn mesh_nodes_of_one_moment() {
    let (zfs, postgres) = (zfs(), postgres());
    let bk = Bkhost::inside(zfs);
    let name = bk.instance().to_owned();
    let [shared, one, two, three] =
        ["shared", "mesh-1", "mesh-2", "mesh-3"].map(|n| zfs.create(&format!("{name}-{n}")));
    let nodes = [&one, &two, &three];
    for dataset in nodes {
        owned(&zfs.files(dataset).join("config"));
    }
    std::fs::write(zfs.files(&shared).join("bitbucket.properties"), "x=y\n").unwrap();
    postgres.create(&name, 100);
    let (mut sshd, mut last) = (Sshd::start(zfs, &bk.path("nodes")), Sshd::start(zfs, &bk.path("last")));
    // It drains for longer than a push takes.
    let simulator = Arc::new(Simulator::start(&["--drain", "1s"]));
    bk.example(
        "bitbucket-mesh.toml",
        Some(&simulator),
        &[
            ("tank/bitbucket-shared", &shared),
            ("tank/mesh-1", &one),
            ("tank/mesh-2", &two),
            ("tank/mesh-3", &three),
            (&ssh("mesh-1"), &sshd.via_shared()),
            (&ssh("mesh-2"), &sshd.via_shared()),
            (&ssh("mesh-3"), &last.via_shared()),
            ("database = \"bitbucket\"", &database(&name)),
            ("run-as = \"postgres\"\n", ""),
        ],
    );
    let sequences: Vec<_> = nodes.iter().map(|dataset| zfs.files(dataset).join("sequence")).collect();
    let pushes = Pushes::start(Arc::clone(&simulator), sequences.clone());
    until("pushes", Duration::from_secs(20), || std::fs::read(&sequences[2]).is_ok_and(|text| text.len() > 20));
    let outcome = bk.run(&["run", "--json"]).ok();
    drop(pushes);
    let id = under_one_lock(&simulator, &outcome, 5);
    let parts = ["mesh-1", "mesh-2", "mesh-3"];
    let targets = parts.iter().zip(nodes).map(|(part, dataset)| format!("{part}={dataset}-restored"));
    let targets: Vec<String> = targets.collect();
    let mut args = vec!["restore", &id, "--json", "--confirm", &name];
    args.extend(parts.iter().flat_map(|part| ["--part", part]));
    args.extend(targets.iter().flat_map(|target| ["--to", target.as_str()]));
    let restored = bk.run(&args).ok();
    assert_eq!(restored.json()["aftercare"].to_string().matches("same set").count(), 3, "{restored}");
    let mut found = Vec::new();
    for dataset in nodes {
        let place = zfs.files(&format!("{dataset}-restored"));
        assert_eq!(listing(&place.join("config")), listing(&zfs.files(dataset).join("config")));
        found.push(std::fs::read_to_string(place.join("sequence")).unwrap());
    }
    assert!(found.iter().all(|sequence| *sequence == found[0] && !sequence.is_empty()), "{found:?}");

    // One node fails under the lock: no set, the data centre is back, and no snapshot of it is left on the others.
    let fails = bk.program(
        "failing-zfs",
        "[ \"$1\" != snapshot ] || { echo 'out of space' >&2; exit 1; }; exec /usr/sbin/zfs \"$@\"",
    );
    let good = std::fs::read_to_string(bk.path("bkhost.toml")).unwrap();
    edit(&bk, "zfs = \"/usr/sbin/zfs\"", &format!("zfs = {fails:?}"));
    bk.run(&["run"]).fails(6, &["mesh-1", "out of space"]);
    simulator.is_free();
    until("nothing is left", Duration::from_secs(20), || nodes.iter().all(|node| zfs.snapshots(node).len() == 1));
    // One node is gone: that is found before anything is locked.
    std::fs::write(bk.path("bkhost.toml"), good).unwrap();
    let locks = simulator.count("lock");
    last.stop();
    let gone = bk.run(&["run"]);
    assert!(gone.code != 0 && gone.stderr.contains("mesh-3"), "{gone}");
    assert_eq!(simulator.count("lock"), locks);
    assert_eq!(bk.list().len(), 1);
    assert!(nodes.iter().all(|node| zfs.snapshots(node).len() == 1));
}

#[test]
fn smf_from_nothing() {
    const SERVICES: [&str; 2] = ["arms-proxy", "hbserver"];
    let bk = Bkhost::new();
    let name = bk.instance().to_owned();
    let script = SCRIPT.replace("$here/home/$name.log", "$here/smf/var/$name/log");
    let [proxy, hb, etc] = ["var/arms-proxy", "var/hbserver", "etc"].map(|dir| bk.path("smf").join(dir));
    for dir in [&proxy, &hb, &etc] {
        std::fs::create_dir_all(dir).unwrap();
        owned(dir);
    }
    let service = |name: &str, action: &str| {
        let mut command = std::process::Command::new(bk.path(name));
        command.arg(action);
        bkhost_tests::tool(command);
    };
    let runs = |name: &str| {
        let pid = std::fs::read_to_string(bk.path(&format!("{name}.pid"))).unwrap_or_default();
        !pid.trim().is_empty() && Path::new("/proc").join(pid.trim()).exists()
    };
    for name in SERVICES {
        let _ = bk.program(name, &script);
        service(name, "start");
    }
    mariadb().create(&name, 300);
    let [arms, hbserver] = SERVICES.map(|name| format!("{:?}", bk.path(name)));
    bk.example(
        "smf.toml",
        None,
        &[
            ("services = [\"arms-proxy\", \"hbserver\"]", &format!("services = [{arms}, {hbserver}]")),
            ("\"/etc/init.d/arms-proxy\"", &arms),
            ("\"/etc/init.d/hbserver\"", &hbserver),
            ("\"/var/service/smf/var/proxy\"", &format!("{proxy:?}")),
            ("\"/var/service/smf/var/hb\"", &format!("{hb:?}")),
            ("\"/var/service/smf/etc\"", &format!("{etc:?}")),
            ("\"/run/mysqld/mysqld.sock\"", &format!("{:?}", mariadb().socket())),
            ("databases = [\"smf\"]", &format!("databases = [{name:?}]")),
        ],
    );
    let dirs = [&proxy, &hb, &etc];
    // But for the log, which the services go on with.
    let still = |dir: &Path| {
        let listed = listing(dir);
        listed.lines().filter(|line| !line.contains("log")).map(str::to_owned).collect::<Vec<_>>()
    };
    until("both write", Duration::from_secs(20), || [&proxy, &hb].iter().all(|dir| dir.join("log").exists()));
    let before = dirs.map(|dir| (still(dir), top(dir)));
    let manifest = bk.backup();
    let id = manifest["id"].as_str().unwrap();
    assert_eq!(manifest["application"]["kind"], "service");
    assert!(SERVICES.iter().all(|name| runs(name)));

    // Everything is lost but the services' own scripts.
    for (n, dir) in dirs.into_iter().enumerate() {
        // The services still write into some of them.
        std::fs::rename(dir, bk.path(&format!("lost-{n}"))).unwrap();
    }
    mariadb().sql("", &format!("DROP DATABASE `{name}`"));
    let _ = std::fs::remove_file(bk.path("actions"));
    let restored = bk.run(&["restore", id, "--json", "--confirm", &name]).ok().json();
    let actions = std::fs::read_to_string(bk.path("actions")).unwrap();
    let actions: Vec<&str> = actions.lines().collect();
    assert_eq!(actions, ["stop arms-proxy", "stop hbserver", "start hbserver", "start arms-proxy"]);
    assert!(SERVICES.iter().all(|name| runs(name)));
    assert_eq!(dirs.map(|dir| (still(dir), top(dir))), before);
    assert_eq!(mariadb().sql(&name, "SELECT COUNT(*) FROM t"), "300");
    assert!(restored["aftercare"].to_string().contains("heartbeats may differ"), "{restored}");
    // They write on where they were captured: one after the other, nothing torn.
    let log = std::fs::read_to_string(proxy.join("log")).unwrap();
    assert!(log.lines().next() == Some("1"), "{log}");

    // Results in the database: of the proxy's data the directory alone is kept, because that was said.
    edit(&bk, "results-in-database = false", "results-in-database = true");
    let manifest = bk.run(&["run", "--json", "--accept-shrink", "proxy"]).ok().json();
    let part = &manifest["parts"][0];
    assert_eq!(
        (&part["left-out"]["globs"], &part["left-out"]["profile"]),
        (&serde_json::json!(["/*"]), &"smf-proxy".into())
    );
    assert_eq!(part["left-out"]["options"]["results-in-database"], true);
    let to = bk.path("kept");
    let target = format!("proxy={}", to.display());
    let id = manifest["id"].as_str().unwrap();
    bk.run(&["restore", id, "--part", "proxy", "--to", &target, "--confirm", &name]).ok();
    assert_eq!((listing(&to), top(&to)), (String::new(), top(&proxy)));
    for name in SERVICES {
        service(name, "stop");
    }
}

#[test]
fn any_service() {
    let bk = Bkhost::new();
    let data = bk.path("home");
    std::fs::create_dir_all(data.join("cache")).unwrap();
    owned(&data.join("pages"));
    for name in ["cache/x", "pages/a.tmp"] {
        std::fs::write(data.join(name), "x").unwrap();
    }
    let script = bk.program("wiki", SCRIPT);
    let act = |action: &str| {
        let mut command = std::process::Command::new(&script);
        command.arg(action);
        bkhost_tests::tool(command);
    };
    act("start");
    bk.example(
        "service.toml",
        None,
        &[("services = [\"wiki\"]", &format!("services = [{script:?}]")), ("\"/var/lib/wiki\"", &format!("{data:?}"))],
    );
    let id = bk.backup_id();
    let actions = std::fs::read_to_string(bk.path("actions")).unwrap();
    assert!(actions.ends_with("stop wiki\nstart wiki\n"), "{actions}");
    act("stop");
    let to = bk.path("restored");
    bk.run(&["restore", &id, "--to", to.to_str().unwrap(), "--confirm", bk.instance()]).ok();
    assert!(!to.join("cache").exists() && !to.join("pages/a.tmp").exists());
    assert_eq!(listing(&to.join("pages")), excluded::without(&bk, &data.join("pages"), &["a.tmp"]));
}

#[test]
fn a_directory_and_nothing_to_lock() {
    let bk = Bkhost::new();
    let srv = bk.path("srv");
    owned(&srv);
    for name in ["cache", "x.tmp"] {
        std::fs::write(srv.join(name), "x").unwrap();
    }
    bk.example("directory.toml", None, &[("\"/srv\"", &format!("{srv:?}"))]);
    let id = bk.backup_id();
    let expected = excluded::without(&bk, &srv, &["cache", "x.tmp"]);
    let before = top(&srv);
    std::fs::remove_dir_all(&srv).unwrap();
    bk.run(&["restore", &id, "--confirm", bk.instance()]).ok();
    assert_eq!((listing(&srv), top(&srv)), (expected, before));
}

#[test]
fn a_home_on_zfs_and_a_database() {
    let (zfs, postgres) = (zfs(), postgres());
    let bk = Bkhost::inside(zfs);
    let name = bk.instance().to_owned();
    let dataset = zfs.create(&name);
    owned(&zfs.files(&dataset).join("shared"));
    std::fs::create_dir(zfs.files(&dataset).join("caches")).unwrap();
    postgres.create(&name, 100);
    let simulator = Simulator::start(&[]);
    bk.example(
        "bitbucket-zfs-postgresql.toml",
        Some(&simulator),
        &[
            ("tank/bitbucket-home", &dataset),
            ("database = \"bitbucket\"", &database(&name)),
            ("run-as = \"postgres\" ", ""),
        ],
    );
    let outcome = bk.run(&["run", "--json"]).ok();
    let id = under_one_lock(&simulator, &outcome, 2);
    let (to, target) = (format!("{dataset}-new"), format!("home={dataset}-new"));
    bk.run(&["restore", &id, "--part", "home", "--to", &target, "--confirm", &name]).ok();
    assert_eq!(listing(&zfs.files(&to)), excluded::without(&bk, &zfs.files(&dataset), &["caches"]));
}

#[test]
fn several_disks_and_a_database_without_a_lock() {
    let (zfs, postgres) = (zfs(), postgres());
    let bk = Bkhost::inside(zfs);
    let name = bk.instance().to_owned();
    let [home, store] = ["home", "store"].map(|part| zfs.create(&format!("{name}-{part}")));
    for dataset in [&home, &store] {
        owned(&zfs.files(dataset).join("config"));
    }
    postgres.create(&name, 100);
    let simulator = Simulator::start(&[]);
    bk.example(
        "zero-downtime.toml",
        Some(&simulator),
        &[
            ("tank/bitbucket-home", &home),
            ("tank/bitbucket-data-store", &store),
            ("database = \"bitbucket\"", &database(&name)),
            ("run-as = \"postgres\"\n", ""),
        ],
    );
    let manifest = bk.backup();
    assert_eq!((&manifest["application"]["mode"], simulator.count("lock")), (&"zero-downtime".into(), 0));
    let made: Vec<jiff::Timestamp> = manifest["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| part["snapshot"]["created"].as_str().unwrap().parse().unwrap())
        .collect();
    let skew = made.iter().max().unwrap().duration_since(*made.iter().min().unwrap()).as_millis();
    assert!((i128::from(manifest["skew-ms"].as_u64().unwrap()) - skew).abs() <= 2, "{skew}: {manifest}");
    assert!(skew < 10_000);
    let id = manifest["id"].as_str().unwrap();
    let targets = [format!("home={home}-new"), format!("data-store={store}-new"), format!("database={name}-new")];
    let mut args = vec!["restore", id, "--confirm", &name];
    args.extend(targets.iter().flat_map(|target| ["--to", target.as_str()]));
    bk.run(&args).ok();
    for dataset in [&home, &store] {
        assert_eq!(listing(&zfs.files(&format!("{dataset}-new"))), listing(&zfs.files(dataset)));
    }
    assert_eq!(postgres.sql(&format!("{name}-new"), "SELECT count(*) FROM t"), "100");
}

/// An example that no test runs may not work.
#[test]
fn every_example_is_run() {
    fn sources(dir: &Path, text: &mut String) {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                sources(&entry.path(), text);
            } else {
                text.push_str(&std::fs::read_to_string(entry.path()).unwrap());
            }
        }
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    sources(&here.join("tests/it"), &mut text);
    let mut missing = Vec::new();
    for entry in std::fs::read_dir(here.join("../host/examples")).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let run = [format!("host/examples/{name}\""), format!("\"{name}\"")].iter().any(|used| text.contains(used));
        if name.ends_with(".toml") && !run {
            missing.push(name);
        }
    }
    assert_eq!(missing, [""; 0], "examples that no test runs");
}
