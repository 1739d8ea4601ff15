//! What nobody looks at tells by itself that it is not well.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bkhost_tests::{Bkhost, application_none, directory_part};

fn configured(instance: &str, tables: &str) -> Bkhost {
    let bk = Bkhost::new();
    std::fs::create_dir(bk.path("home")).unwrap();
    std::fs::write(bk.path("home/f"), "1").unwrap();
    configure(&bk, instance, tables);
    bk
}

/// These keys of `[instance]`, and these tables.
fn configure(bk: &Bkhost, instance: &str, tables: &str) {
    bk.config(&[&application_none(), &directory_part("home", &bk.path("home")), tables]);
    let text = std::fs::read_to_string(bk.path("bkhost.toml")).unwrap();
    let text = text.replacen("[instance]\n", &format!("[instance]\n{instance}\n"), 1);
    std::fs::write(bk.path("bkhost.toml"), text).unwrap();
}

/// The value of a sample: of the metric whose labels hold this text.
fn sample(text: &str, name: &str, label: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with(&format!("bkhost_{name}{{")) && line.contains(label))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Row 1 of the table: how old the newest proved set may be is configured, and who asks is told when it is older.
#[test]
fn luck_gave_a_snapshot_of_six_hours() {
    let prom = "[metrics]\ntextfile = \"";
    let bk = configured("rpo = \"1h\"", "");
    let metrics = bk.path("bkhost.prom");
    let tables = format!("{prom}{}\"\n", metrics.display());
    let read = || std::fs::read_to_string(&metrics).unwrap();
    configure(&bk, "rpo = \"1h\"", &tables);
    // There is none.
    std::fs::create_dir(bk.path("backups")).unwrap();
    let status = bk.run(&["status"]);
    assert_eq!(status.code, 14, "{status}");
    assert!(status.stdout.contains("NO PROVED SET: OVERDUE"), "{status}");
    assert_eq!(sample(&read(), "overdue", ""), Some(1.0));
    assert_eq!(sample(&read(), "last_proved_timestamp_seconds", ""), Some(0.0));
    let id = bk.backup_id();
    let status = bk.run(&["status"]).ok();
    assert!(status.stdout.contains(&id) && status.stdout.contains("may be 1h 00m old"), "{status}");
    let text = read();
    assert_eq!(sample(&text, "overdue", ""), Some(0.0), "{text}");
    assert_eq!(sample(&text, "rpo_seconds", ""), Some(3600.0));
    assert_eq!(sample(&text, "last_run_ok", ""), Some(1.0));
    assert!(sample(&text, "last_proved_timestamp_seconds", "").unwrap() > 1.7e9, "{text}");
    assert!(sample(&text, "last_proved_bytes", "").unwrap() > 0.0, "{text}");
    assert_eq!(metrics.metadata().unwrap().permissions().mode() & 0o777, 0o644);
    // A run that fails is told, and its set is none.
    std::fs::remove_file(bk.path("home/f")).unwrap();
    bk.run(&["run"]).fails(8, &["empty"]);
    assert_eq!(sample(&read(), "last_run_ok", ""), Some(0.0));
    std::fs::write(bk.path("home/f"), "1").unwrap();
    // It is older than it may be.
    std::thread::sleep(std::time::Duration::from_millis(20));
    configure(&bk, "rpo = \"10ms\"", &tables);
    let status = bk.run(&["status", "--json"]);
    assert_eq!((status.code, status.json()["overdue"].as_bool()), (14, Some(true)), "{status}");
    assert_eq!(status.json()["stores"][0]["newest"]["id"], id.as_str());
    assert_eq!(sample(&read(), "overdue", ""), Some(1.0));
    let printed = bk.run(&["metrics"]).ok();
    assert_eq!(sample(&printed.stdout, "overdue", ""), Some(1.0), "{printed}");
    // A damaged set is none, and a store that is gone proves nothing.
    configure(&bk, "rpo = \"1h\"", &tables);
    bk.run(&["status"]).ok();
    let object = bk.set(&id).join("home.tar.zst");
    let good = std::fs::read(&object).unwrap();
    std::fs::write(&object, "").unwrap();
    let status = bk.run(&["status"]);
    assert_eq!(status.code, 14, "{status}");
    assert!(status.stdout.contains("1 DAMAGED"), "{status}");
    assert_eq!(sample(&read(), "sets", "state=\"damaged\""), Some(1.0));
    std::fs::write(&object, good).unwrap();
    std::fs::rename(bk.path("backups"), bk.path("away")).unwrap();
    let status = bk.run(&["status"]);
    assert_eq!(status.code, 14, "{status}");
    assert!(status.stdout.contains("CANNOT BE LOOKED INTO"), "{status}");
    assert_eq!((sample(&read(), "overdue", ""), sample(&read(), "store_readable", "")), (Some(1.0), Some(0.0)));
    std::fs::rename(bk.path("away"), bk.path("backups")).unwrap();
    // Where nothing is asked for, nothing is overdue; where the file cannot be written, that is a warning.
    configure(&bk, "", &format!("{prom}/nowhere/at/all.prom\"\n"));
    let run = bk.run(&["run"]).ok();
    assert!(run.stderr.contains("cannot write the metrics to /nowhere/at/all.prom"), "{run}");
    bk.run(&["status"]).ok();
}

/// Row 2 of the table: one command says where the backups are and what they are worth.
#[test]
fn nobody_knew_where_the_backups_were() {
    let bk = configured("", "");
    let id = bk.backup_id();
    let store = bk.path("backups").display().to_string();
    let listed = bk.run(&["list"]).ok().stdout;
    assert!(listed.contains(&store) && listed.contains(bk.instance()), "{listed}");
    let cell = |column: &str| bkhost_tests::cell(&listed, &id, column);
    assert_eq!((&*cell("STATE"), &*cell("PARTS"), &*cell("RESTORE")), ("proved", "home", "-"), "{listed}");
    assert!(
        cell("STORED").ends_with('B') && cell("AGE").ends_with('s') && cell("PROVED").ends_with(" ago"),
        "{listed}"
    );
    assert!(listed.contains("proved: every object was read back"), "how it was proved is told: {listed}");
    bk.run(&["keep", &id, "--note", "before the upgrade"]).ok();
    let to = bk.path("restored").display().to_string();
    bk.run(&["restore", &id, "--to", &to, "--confirm", bk.instance()]).ok();
    let listed = bk.run(&["list"]).ok().stdout;
    assert!(listed.contains("proved, pinned") && listed.contains(": before the upgrade"), "{listed}");
    let json = bk.run(&["list", "--json"]).ok().json();
    let set = &json["sets"][0];
    assert_eq!(set["pinned"]["note"], "before the upgrade");
    assert!(set["restore-ms"].is_u64(), "the last measured restore time is told: {json}");
    assert!(set["proved"]["how"].as_str().unwrap().contains("read back"), "{json}");
    assert_eq!(json["store"], store.as_str());
    std::fs::write(bk.set(&id).join("home.tar.zst"), "").unwrap();
    let listed = bk.run(&["list"]).ok().stdout;
    assert!(listed.contains("DAMAGED: home.tar.zst has 0 bytes instead of"), "{listed}");
}

/// A mail server that takes no mail.
fn rejecting() -> (String, Arc<Mutex<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("smtp://{}", listener.local_addr().unwrap());
    let rejected = Arc::new(Mutex::new(0));
    let count = Arc::clone(&rejected);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut write = stream.try_clone().unwrap();
            let _ = write.write_all(b"220 here\r\n");
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let reply = if line.starts_with("MAIL") {
                    *count.lock().unwrap() += 1;
                    "550 5.7.1 the sender is not signed\r\n"
                } else {
                    "250 ok\r\n"
                };
                if write.write_all(reply.as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    (address, rejected)
}

/// A service of dead men's switches: which of its addresses are called.
fn switches() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let called = Arc::new(Mutex::new(Vec::new()));
    let calls = Arc::clone(&called);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let request = lines.next().unwrap_or_default();
            let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
            lines.by_ref().take_while(|line| !line.is_empty()).for_each(drop);
            calls.lock().unwrap().push(path);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    (address, called)
}

/// Row 14 of the table: the mails that told of failures were refused by their server. The call after each success is what is
/// missed then, and who looks is told that nobody hears.
#[test]
fn failure_mails_were_rejected() {
    let (server, rejected) = rejecting();
    let bk = Bkhost::new();
    std::fs::create_dir(bk.path("home")).unwrap();
    std::fs::write(bk.path("home/f"), "1").unwrap();
    // A switch that is called after each success, and only then; and one that is told more.
    let (service, called) = switches();
    let prom = bk.path("x.prom");
    let tables = format!(
        "[[notify]]\ntype = \"mail\"\nserver = \"{server}\"\nfrom = \"bkhost@example.org\"\nto = [\"a@example.org\"]\n\
         [[notify]]\ntype = \"ping\"\nname = \"switch\"\nurl = \"{service}/switch\"\n\
         [[notify]]\ntype = \"ping\"\nname = \"more\"\non = [\"start\", \"success\", \"failure\"]\nurl = \"{service}/more\"\n\
         [metrics]\ntextfile = \"{}\"\n",
        prom.display()
    );
    configure(&bk, "", &tables);
    let calls = |of: &str| {
        let called = called.lock().unwrap();
        called.iter().filter(|path| path.starts_with(of)).cloned().collect::<Vec<_>>()
    };
    bk.run(&["run"]).ok();
    assert_eq!((calls("/switch"), *rejected.lock().unwrap()), (vec!["/switch".to_owned()], 0));
    assert_eq!(calls("/more"), ["/more/start", "/more"]);
    std::fs::remove_file(bk.path("home/f")).unwrap();
    let failed = bk.run(&["run"]);
    assert_eq!(calls("/switch"), ["/switch"], "the switch is not called: it raises the alarm: {failed}");
    assert_eq!(calls("/more"), ["/more/start", "/more", "/more/start", "/more/fail"], "{failed}");
    failed.fails(8, &["empty", "the notification on channel `mail` failed"]);
    assert_eq!(*rejected.lock().unwrap(), 1);
    let status = bk.run(&["status"]).ok();
    assert!(
        status.stdout.contains("notifications on `mail`: FAILED") && status.stdout.contains("not signed"),
        "{status}"
    );
    assert!(status.stdout.contains("none was ever taken"), "{status}");
    assert!(status.stdout.contains("notifications on `switch`: the last was taken"), "{status}");
    let text = std::fs::read_to_string(&prom).unwrap();
    assert_eq!(sample(&text, "notification_ok", "channel=\"mail\""), Some(0.0), "{text}");
    assert_eq!(sample(&text, "notification_ok", "channel=\"switch\""), Some(1.0), "{text}");
    assert!(Path::new(&prom).exists());
    let told = bk.run(&["status", "--json"]).ok().json();
    assert!(told["notifications"][0]["error"].as_str().unwrap().contains("not signed"), "{told}");
}
