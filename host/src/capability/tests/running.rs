use std::time::{Duration, Instant};

use serde_json::json;

use super::super::{Code, Process};
use super::*;

/// Waits for something that another process does.
async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..500 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}: not within 5 s");
}

fn alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    // Somebody else's zombie is dead.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// Whether this process has the child, be it as a zombie.
fn ours(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1).map(str::to_owned));
    parent == Some(std::process::id().to_string())
}

#[tokio::test]
async fn output_and_status() {
    let fixture = Fixture::new(&one(r#"["{a...}"]"#, "[exec.slots.a]\npattern = \".*\""))
        .script("printf '%s|' \"$@\"; echo problem >&2; exit 3");
    let done = fixture.gate().run("go", &given(&[("a", &["x y", "$(id)", "*", "'\""])])).await.unwrap();
    assert_eq!((done.status, done.stdout.as_str()), (3, "x y|$(id)|*|'\"|"));
    assert_eq!(done.stderr, "problem\n");
    assert!(!done.truncated && !done.planned);
    let signalled = Fixture::new(&one("[]", "")).script("kill -9 $$");
    assert_eq!(signalled.gate().run("go", &[]).await.unwrap().status, 137);
    let bytes = Fixture::new(&one("[]", "")).script("printf 'a\\377b'");
    assert_eq!(bytes.gate().run("go", &[]).await.unwrap().stdout, "a\u{fffd}b");
}

#[tokio::test]
async fn a_slot_can_go_into_the_environment() {
    let fixture = Fixture::new(&one(
        "[\"{b}\"]",
        "[exec.env]\nPGDATABASE = { slot = \"a\" }\n[exec.slots.a]\none-of = \"config.names\"\n[exec.slots.b]\npath = \"staging\"",
    ))
    .config(json!({"names": ["dbname=x host=/tmp", "two"]}))
    .script("printf '%s|%s' \"$PGDATABASE\" \"$*\"");
    let gate = fixture.gate();
    let run = async |name: &str| gate.run("go", &given(&[("a", &[name]), ("b", &["/staging"])])).await;
    let staging = fixture.path("staging").display().to_string();
    assert_eq!(run("dbname=x host=/tmp").await.unwrap().stdout, format!("dbname=x host=/tmp|{staging}"));
    for (slots, says) in [
        (&[("a", &["three"][..]), ("b", &["/staging"])][..], "is not of config.names"),
        (&[("b", &["/staging"])], "slot a is missing"),
        (&[("a", &["two", "two"]), ("b", &["/staging"])], "takes one value"),
        (&[("a", &["-two"]), ("b", &["/staging"])], "starts with `-`"),
    ] {
        let error = gate.run("go", &given(slots)).await.unwrap_err();
        assert_eq!(error.code, Code::Denied);
        assert!(error.message.contains(says), "{error:?}");
    }
    assert_eq!(fixture.commands().len(), 1);
}

#[tokio::test]
async fn commands_that_run_elsewhere() {
    let manifest = one(
        "[\"--file={b}\", \"{a...}\"]",
        "[exec.env]\nPGPASSWORD = { secret = \"password\" }\nPGUSER = { value = \"me\" }\nGONE = { config = \"config.gone\" }\n\
         [exec.slots.a]\npattern = \".+\"\n[exec.slots.b]\npath = \"staging\"\n[[secret]]\nname = \"password\"\nreason = \"x\"",
    );
    let elsewhere = |words: &[&str]| {
        let mut fixture = Fixture::new(&manifest).secret("password", "hunter2");
        let wrapper = script(&fixture.path("wrapper"), "printf '%s|' \"$@\"; [ -z \"$PGPASSWORD\" ] || printf set");
        fixture.via =
            std::iter::once(wrapper.display().to_string()).chain(words.iter().map(|w| (*w).to_owned())).collect();
        fixture
    };
    let slots = given(&[("a", &["x y", "$(id)"]), ("b", &["/staging"])]);
    let fixture = elsewhere(&["exec", "--env={env}", "the box"]);
    let staging = fixture.path("staging").display().to_string();
    let done = fixture.gate().run("go", &slots).await.unwrap();
    let expected =
        format!("exec|--env=LC_ALL|--env=TZ|--env=PGPASSWORD|--env=PGUSER|the box|acme|--file={staging}|x y|$(id)|set");
    assert_eq!(done.stdout, expected);
    assert!(!format!("{:?}", fixture.commands()).contains("hunter2"));
    // A path of the operator's is one there, whatever is here.
    let mut fixture = elsewhere(&[]);
    fixture.programs.insert("acme".into(), "/opt/there/acme".into());
    assert!(fixture.gate().run("go", &slots).await.unwrap().stdout.starts_with("/opt/there/acme|--file="));
    // A third party's plugin needs its grant there as here, and the program that takes it elsewhere is one that nobody can change.
    let fixture = elsewhere(&[]).granted("");
    assert_eq!(fixture.gate().run("go", &slots).await.unwrap_err().code, Code::Denied);
    let fixture = elsewhere(&[]).granted("exec = { go = \"/there/acme\" }");
    assert!(fixture.gate().run("go", &slots).await.unwrap().stdout.starts_with("/there/acme|"));
    let open = elsewhere(&[]);
    std::fs::set_permissions(open.path("wrapper"), std::fs::Permissions::from_mode(0o777)).unwrap();
    let error = open.gate().run("go", &slots).await.unwrap_err();
    assert!(error.code == Code::Denied && error.message.contains("via"), "{error:?}");
    assert_eq!(open.commands(), []);
}

#[tokio::test]
async fn a_command_that_must_not_run_as_root() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let fixture = Fixture::new(&one("[]", "never-root = \"nobody\"")).script("id -un");
    // Others have to get to the script, and to where it starts.
    for path in [fixture.dir.path().to_owned(), fixture.path("staging")] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    assert_eq!(fixture.gate().run("go", &[]).await.unwrap().stdout, "nobody\n");
    let fixture = Fixture::new(&one("[]", "never-root = \"nobody-of-that-name\"")).script("id -un");
    let error = fixture.gate().run("go", &[]).await.unwrap_err();
    assert!(error.message.contains("nobody-of-that-name") && hint(&error).contains("run-as"), "{error:?}");
}

#[tokio::test]
async fn nothing_is_inherited() {
    let fixture = Fixture::new(&one(
        "[]",
        "[exec.env]\nPGPASSWORD = { secret = \"password\" }\nABSENT = { secret = \"other\" }\nMODE = { config = \"config.mode\" }\n\
         GONE = { config = \"config.gone\" }\nFOO = { value = \"bar\" }\n[[secret]]\nname = \"password\"\nreason = \"x\"\n\
         [[secret]]\nname = \"other\"\nreason = \"x\"",
    ))
    .config(json!({"mode": 7}))
    .secret("password", "hunter2")
    .script("exec /usr/bin/env");
    let done = fixture.gate().run("go", &[]).await.unwrap();
    let mut lines: Vec<_> =
        done.stdout.lines().filter(|l| !["PWD=", "OLDPWD=", "SHLVL=", "_="].iter().any(|p| l.starts_with(p))).collect();
    lines.sort_unstable();
    assert!(lines.iter().any(|line| line.starts_with("BKHOST_COMMAND=")));
    lines.retain(|line| !line.starts_with("BKHOST_COMMAND="));
    assert_eq!(
        lines,
        [
            "FOO=bar",
            "HOME=/nonexistent",
            "LC_ALL=C",
            "MODE=7",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PGPASSWORD=***",
            "TZ=UTC",
        ]
    );
    let fixture = Fixture::new(&one("[]", "")).script("pwd; readlink /proc/self/fd/0");
    let done = fixture.gate().run("go", &[]).await.unwrap();
    let staging = fixture.path("staging").display().to_string();
    assert_eq!(done.stdout, format!("{staging}\n/dev/null\n"));
}

#[tokio::test]
async fn secrets_do_not_come_out() {
    let fixture = Fixture::new(
        &one("[]", "max-output = \"64KiB\"\n[[secret]]\nname = \"password\"\nreason = \"x\"")
            .replace("[[secret]]", "[exec.env]\nPW = { secret = \"password\" }\n[[secret]]"),
    )
    .secret("password", "hunter2-hunter2")
    .script("echo out $PW; echo err $PW >&2; sleep 60");
    let mut manifest = fixture.manifest.clone();
    manifest.exec[0].timeout = "500ms".parse().unwrap();
    let fixture = Fixture { manifest, ..fixture };
    let gate = fixture.gate();
    let error = gate.run("go", &[]).await.unwrap_err();
    assert_eq!(error.code, Code::TimedOut);
    assert!(error.details.contains(&("stderr".into(), "err ***\n".into())), "{error:?}");
    let mut process = gate.spawn("go", &[]).await.unwrap();
    assert_eq!(process.read_line(Duration::from_secs(10)).await.unwrap().unwrap(), "out ***");
    let shown = format!("{error:?} {process:?} {:?} {:?}", fixture.events.lock().unwrap(), gate.rights());
    assert!(!shown.contains("hunter2"));
}

#[tokio::test]
async fn floods_are_bounded() {
    let fixture = Fixture::new(&one("[]", "max-output = \"64KiB\""))
        .script("head -c 100000000 /dev/zero | tr '\\0' 'o' & head -c 100000000 /dev/zero | tr '\\0' 'e' >&2; wait; echo last >&2");
    let done = fixture.gate().run("go", &[]).await.unwrap();
    assert_eq!((done.status, done.stdout.len(), done.truncated), (0, 65_536, true));
    assert_eq!(done.stderr.len(), 65_536);
    assert!(done.stderr.ends_with("elast\n"));
}

#[tokio::test]
async fn a_deadline_ends_the_whole_group() {
    // It ignores SIGTERM, and so do its children; one has left for a session of its own.
    let fixture = Fixture::new(&one("[]", "timeout = \"300ms\"")).script(
        "trap '' TERM; (trap '' TERM; sleep 300) & echo $! > child; setsid sleep 300 & echo $! > escaped; echo $$ > leader; sleep 300",
    );
    let started = Instant::now();
    let error = fixture.gate().run("go", &[]).await.unwrap_err();
    assert_eq!(error.code, Code::TimedOut);
    assert!(error.message.contains("300ms"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    for name in ["leader", "child", "escaped"] {
        let pid = std::fs::read_to_string(fixture.path("staging").join(name)).unwrap();
        eventually(name, || !alive(&pid)).await;
        assert!(!ours(&pid), "{name} is a zombie");
    }
}

#[tokio::test]
async fn grandchildren_that_hold_the_pipes() {
    let started = Instant::now();
    let fixture =
        Fixture::new(&one("[]", "")).script("echo done; sleep 300 & setsid sleep 300 & echo $! > escaped; exit 0");
    let done = fixture.gate().run("go", &[]).await.unwrap();
    assert_eq!((done.status, done.stdout.as_str()), (0, "done\n"));
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    let pid = std::fs::read_to_string(fixture.path("staging/escaped")).unwrap();
    eventually("escaped", || !alive(&pid)).await;
    // Even one that hides: its environment is cleared, so it is not found, but it does not hold us.
    let started = Instant::now();
    let hidden = Fixture::new(&one("[]", "")).script("echo done; setsid env -i sleep 20 & exit 0");
    assert_eq!(hidden.gate().run("go", &[]).await.unwrap().stdout, "done\n");
    assert!(started.elapsed() < Duration::from_secs(12), "{:?}", started.elapsed());
}

#[tokio::test]
async fn cancelling() {
    let fixture = Fixture::new(&one("[]", "")).script("echo $$ > leader; sleep 300");
    let gate = fixture.gate();
    let started = Instant::now();
    let (result, ()) = tokio::join!(gate.run("go", &[]), async {
        eventually("start", || fixture.path("staging/leader").exists()).await;
        fixture.cancel.cancel();
    });
    assert_eq!(result.unwrap_err().code, Code::Interrupted);
    assert!(started.elapsed() < Duration::from_secs(4));
    let pid = std::fs::read_to_string(fixture.path("staging/leader")).unwrap();
    assert!(!alive(&pid) && !ours(&pid), "reaped before the call returned");
    assert_eq!(gate.run("go", &[]).await.unwrap_err().code, Code::Interrupted);
}

#[derive(Default)]
struct Journal(Mutex<Vec<(bool, u32)>>);

impl Witness for Journal {
    fn child_started(&self, pgid: u32, argv: &[String]) {
        assert!(argv[0].ends_with("/acme"));
        self.0.lock().unwrap().push((true, pgid));
    }
    fn child_ended(&self, pgid: u32) {
        self.0.lock().unwrap().push((false, pgid));
    }
}

#[tokio::test]
async fn dropped_calls_and_shutdown() {
    let journal = Arc::new(Journal::default());
    let mut fixture = Fixture::new(&one("[]", "")).script("echo $$ >> pids; echo ready; exec sleep 300");
    fixture.witness = Arc::clone(&journal) as _;
    let gate = fixture.gate();
    let process = gate.spawn("go", &[]).await.unwrap();
    let dropped = tokio::time::timeout(Duration::from_millis(300), gate.run("go", &[])).await;
    dropped.unwrap_err();
    let mut held = gate.spawn("go", &[]).await.unwrap();
    held.read_line(Duration::from_secs(10)).await.unwrap();
    drop(process);
    gate.shutdown().await;
    let pids = std::fs::read_to_string(fixture.path("staging/pids")).unwrap();
    for pid in pids.lines() {
        assert!(!alive(pid) && !ours(pid), "{pid}");
    }
    assert_eq!(gate.spawn("go", &[]).await.unwrap_err().code, Code::Interrupted);
    let journal = journal.0.lock().unwrap();
    assert_eq!(journal.iter().filter(|(start, _)| *start).count(), 3);
    assert_eq!(journal.len(), 6);
}

const SESSION: &str = "[exec.stdin]\nhello = \"hello {name}\"\nbye = \"bye\"\n[exec.slots.name]\npattern = \"[a-z]+\"";

async fn next(process: &mut Process) -> Option<String> {
    process.read_line(Duration::from_secs(10)).await.unwrap()
}

#[tokio::test]
async fn sessions() {
    let fixture =
        Fixture::new(&one("[]", SESSION)).script("while read l; do echo \"got $l\"; done; printf end; exit 4");
    let gate = fixture.gate();
    let mut process = gate.spawn("go", &[]).await.unwrap();
    process.send("hello", &given(&[("name", &["world"])])).await.unwrap();
    assert_eq!(next(&mut process).await.unwrap(), "got hello world");
    assert_eq!(process.read_line(Duration::from_millis(50)).await.unwrap_err().code, Code::TimedOut);
    assert_eq!(process.wait(Duration::from_millis(50)).await.unwrap_err().code, Code::TimedOut);
    for (line, arguments) in
        [("nothing", &[][..]), ("hello", &[]), ("bye", &[("name", &["x"][..])]), ("hello", &[("name", &["x\ny"])])]
    {
        assert_eq!(process.send(line, &given(arguments)).await.unwrap_err().code, Code::Denied, "{line}");
    }
    process.send("bye", &[]).await.unwrap();
    process.close_input().await.unwrap();
    process.close_input().await.unwrap();
    assert_eq!(process.send("bye", &[]).await.unwrap_err().code, Code::Unavailable);
    assert_eq!(next(&mut process).await.unwrap(), "got bye");
    assert_eq!(next(&mut process).await.unwrap(), "end");
    assert_eq!(next(&mut process).await, None);
    let done = process.wait(Duration::from_secs(10)).await.unwrap();
    assert_eq!((done.status, done.stdout.as_str()), (4, ""));
}

#[tokio::test]
async fn looking_takes_nothing() {
    let fixture = Fixture::new(&one("[]", SESSION)).script("echo out; echo stands >&2; read l; echo more >&2; exit 3");
    let gate = fixture.gate();
    let mut process = gate.spawn("go", &[]).await.unwrap();
    let said = async |process: &Process, what: &str| {
        for _ in 0..1000 {
            let (stderr, status) = process.look().unwrap();
            if stderr.contains(what) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("it does not say {what}");
    };
    assert_eq!(said(&process, "stands").await, None);
    process.send("bye", &[]).await.unwrap();
    said(&process, "more").await;
    assert_eq!(next(&mut process).await.unwrap(), "out");
    process.wait(Duration::from_secs(10)).await.unwrap();
    assert_eq!(process.look().unwrap(), ("stands\nmore\n".to_owned(), Some(3)));
}

#[tokio::test]
async fn sessions_that_end_early() {
    let fixture = Fixture::new(&one("[]", SESSION)).script("exec <&-; echo closed; sleep 300");
    let gate = fixture.gate();
    let mut process = gate.spawn("go", &[]).await.unwrap();
    assert_eq!(next(&mut process).await.unwrap(), "closed");
    let error = process.send("bye", &[]).await.unwrap_err();
    assert_eq!(error.code, Code::Unavailable, "{error:?}");
    process.kill().await.unwrap();
    assert_eq!(process.wait(Duration::from_secs(5)).await.unwrap().status, 143);
    assert_eq!(next(&mut process).await, None);
    // `run` closes a stdin that nobody can write to.
    let fixture = Fixture::new(&one("[]", SESSION)).script("cat; echo over");
    assert_eq!(fixture.gate().run("go", &[]).await.unwrap().stdout, "over\n");
}

#[tokio::test]
async fn feeding() {
    let fixture = Fixture::new(&one("[]", "")).script("wc -c; cat");
    let gate = fixture.gate();
    let input = Box::new(std::io::Read::take(std::io::repeat(b'x'), 5_000_000));
    assert_eq!(gate.feed("go", &[], input).await.unwrap().stdout.trim(), "5000000");
    let early = Fixture::new(&one("[]", "")).script("head -c 3; exit 5");
    let done = early.gate().feed("go", &[], Box::new(std::io::repeat(b'x'))).await.unwrap();
    assert_eq!((done.status, done.stdout.as_str()), (5, "xxx"));

    struct Broken(bool);
    impl std::io::Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if std::mem::replace(&mut self.0, true) {
                return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "checksum"));
            }
            buffer[0] = b'x';
            Ok(1)
        }
    }
    let fixture = Fixture::new(&one("[]", "")).script("cat > all && touch complete");
    let error = fixture.gate().feed("go", &[], Box::new(Broken(false))).await.unwrap_err();
    assert!(error.code == Code::Corrupt && error.message.contains("checksum"), "{error:?}");
    assert!(!fixture.path("staging/complete").exists(), "it took a part of the stream for all of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn draining() {
    let fixture = Fixture::new(&one("[]", "")).script("head -c 30000000 /dev/zero");
    let gate = fixture.gate();
    let mut process = gate.spawn("go", &[]).await.unwrap();
    let mut output = process.take_output().unwrap();
    assert_eq!(process.take_output().unwrap_err().code, Code::Conflict);
    let drained = tokio::task::spawn_blocking(move || {
        // Slower than the process by far, and longer than others may hold its pipes.
        let mut first = [0; 1000];
        std::io::Read::read_exact(&mut output, &mut first).unwrap();
        std::thread::sleep(Duration::from_millis(2500));
        1000 + std::io::copy(&mut output, &mut std::io::sink()).unwrap()
    });
    assert_eq!(drained.await.unwrap(), 30_000_000);
    assert_eq!(process.wait(Duration::from_secs(10)).await.unwrap().status, 0);

    // A killed process' stream does not look complete.
    let fixture = Fixture::new(&one("[]", "timeout = \"300ms\"")).script("echo part; exec sleep 300");
    let gate = fixture.gate();
    let mut process = gate.spawn("go", &[]).await.unwrap();
    let mut output = process.take_output().unwrap();
    let drained = tokio::task::spawn_blocking(move || std::io::copy(&mut output, &mut std::io::sink()));
    let error = process.wait(Duration::from_secs(10)).await.unwrap_err();
    assert_eq!(error.code, Code::TimedOut, "{error:?}");
    drained.await.unwrap().unwrap_err();
    // A gate that is dropped takes its processes along.
    let fixture = Fixture::new(&one("[]", "")).script("exec sleep 300");
    let mut process = fixture.gate().spawn("go", &[]).await.unwrap();
    assert_eq!(process.wait(Duration::from_secs(10)).await.unwrap_err().code, Code::Interrupted);
}

#[tokio::test]
async fn dry_runs() {
    let text = one("[]", "").replace("effect = \"read\"\n", "");
    let mut fixture = Fixture::new(&text).script("touch ran");
    fixture.mode = Mode::DryRun;
    let gate = fixture.gate();
    assert!(gate.run("go", &[]).await.unwrap().planned);
    let mut process = gate.spawn("go", &[]).await.unwrap();
    assert!(process.planned());
    assert_eq!(next(&mut process).await, None);
    assert!(process.wait(Duration::ZERO).await.unwrap().planned);
    assert!(gate.feed("go", &[], Box::new(std::io::empty())).await.unwrap().planned);
    assert!(!fixture.path("staging/ran").exists());
    let argv = vec![fixture.path("acme").display().to_string()];
    assert_eq!(fixture.commands(), vec![(argv, true); 3]);
    // What only looks, looks; what is denied, is denied.
    let mut looking = Fixture::new(&one("[]", "")).script("echo looked");
    looking.mode = Mode::DryRun;
    assert_eq!(looking.gate().run("go", &[]).await.unwrap().stdout, "looked\n");
    assert_eq!(looking.gate().run("other", &[]).await.unwrap_err().code, Code::Denied);
}

#[tokio::test]
async fn a_command_that_is_not_in_the_manifest() {
    let fixture = Fixture::new(&one("[]", "")).script("touch ran");
    let gate = fixture.gate();
    for id in ["rm", "", "GO", "go ", "../acme"] {
        let error = gate.run(id, &[]).await.unwrap_err();
        assert!(error.code == Code::Denied && error.hint.is_some(), "{id}");
        assert_eq!(gate.spawn(id, &[]).await.unwrap_err().code, Code::Denied);
        assert_eq!(gate.feed(id, &[], Box::new(std::io::empty())).await.unwrap_err().code, Code::Denied);
    }
    assert!(fixture.commands().is_empty());
    let denials = fixture.events.lock().unwrap().iter().filter(|e| matches!(e, Event::Message { .. })).count();
    assert_eq!(denials, 15, "each denial is in the report");
}

#[tokio::test]
async fn as_another_user() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let fixture = Fixture::new(&one("[]", "")).script("id -u; id -G; echo $HOME");
    std::fs::set_permissions(fixture.dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let rights = Rights::resolve(RightsRequest {
        manifest: &fixture.manifest,
        digest: DIGEST,
        origin: Origin::Shipped,
        plugin: "acme.wasm",
        grant: None,
        part: "home",
        config: &fixture.config,
        secrets: BTreeMap::new(),
        programs: fixture.programs.clone(),
        via: Vec::new(),
        run_as: Some("nobody".into()),
        staging: fixture.path("staging"),
        state: fixture.path("state"),
        target: None,
        restore_to: None,
    });
    let gate =
        Gate::new(rights.unwrap(), Reporter::silent(), Mode::Live, CancellationToken::new(), Arc::new(NoWitness));
    let done = gate.run("go", &[]).await.unwrap();
    let lines: Vec<_> = done.stdout.lines().collect();
    assert_ne!(lines[0], "0");
    assert_eq!(lines[1].split(' ').count(), 1, "no supplementary groups: {done:?}");
    assert_ne!(lines[2], "/root");
}
