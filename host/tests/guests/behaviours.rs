//! One test for each behaviour of the hostile guest.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bkhost::ErrorKind;
use bkhost::archive::SetId;
use bkhost::archive::set::{SourceForm, SourceRecord};
use bkhost::capability::HttpGrant;
use bkhost::capability::units::{Size, Span};
use bkhost::plugin::{Archived, Earlier, History, Item, Source};
use bkhost::report::{Event, Level};
use tokio_util::sync::CancellationToken;

use super::fixture::{HOST, LABEL, PASSWORD, Part, SLACK, failures, guest, snapshot};

const CPU: Duration = Duration::from_millis(300);
const WALL: Duration = Duration::from_millis(500);
const SOON: Duration = Duration::from_secs(5);

macro_rules! behaviours {
    ($($name:ident),+ $(,)?) => {
        const TESTED: &[&str] = &[$(stringify!($name)),+];
        mod each {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::Part::new(&stringify!($name).replace('_', "-"))).await;
            })+
        }
    };
}

behaviours!(
    abort,
    bad_source_name,
    bad_state,
    digest,
    digest_gunzip,
    echo_config,
    endless_host_calls,
    endless_loop,
    environment,
    escape_codes,
    exec_dash,
    exec_newline,
    exec_not_configured,
    exec_secret,
    exec_undeclared,
    exit,
    extract,
    feed,
    giant_state,
    http,
    huge_state,
    log_flood,
    memory_bomb,
    mirror_outside,
    none,
    open_files,
    open_outside,
    panic,
    progress_flood,
    read_granted,
    report_error,
    report_failure,
    sleep,
    source_output,
    source_outside,
    source_tree,
    spawn_and_hang,
    spawn_and_leave,
    stack_overflow,
    stderr_flood,
    symlink_escape,
    unoffered_base,
    weaker_consistency,
    write_read_only,
);

#[test]
fn no_behaviour_is_forgotten() {
    let plugin = HOST.load(&guest("hostile")).unwrap();
    let names = plugin.schema().json()["properties"]["behaviour"]["enum"].as_array().unwrap();
    let offered: BTreeSet<String> = names.iter().map(|name| name.as_str().unwrap().replace('-', "_")).collect();
    let tested: BTreeSet<String> = TESTED.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(offered, tested);
}

async fn none(part: Part) {
    let mut instance = part.start().await.unwrap();
    let findings = instance.check().await.unwrap();
    assert_eq!(findings[0].message, "\\u{1b}[31mready");
    instance.prepare().await.unwrap();
    let captured = snapshot(&mut instance).await;
    assert_eq!(captured.id, LABEL);
    let finished = instance.finish(&captured).await.unwrap();
    assert_eq!(finished, captured);
    assert!(instance.open(&finished).await.unwrap().is_empty());
    instance.close(&finished).await.unwrap();
    assert!(instance.list().await.unwrap().is_empty());
    instance.delete(&finished).await.unwrap();
    instance.discard(LABEL).await.unwrap();
    instance.end().await;
}

async fn echo_config(part: Part) {
    let observed = part.set("words", vec!["ä"]).observed().await;
    assert!(observed.starts_with("test home {"), "{observed}");
    assert!(
        observed.contains(r#""words":["ä"]"#) && observed.contains(r#""url":"https://granted.example""#),
        "{observed}"
    );
    assert!(!observed.contains(PASSWORD));
}

// --- limits -----------------------------------------------------------------------------------------------------------

async fn endless_loop(mut part: Part) {
    part.limits.cpu = Span(CPU);
    let error = part.ends_within(CPU).await;
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    assert!(error.message().contains("CPU time") && error.hint_text().unwrap().contains("`cpu`"), "{error:?}");
    for phase in ["new", "check", "prepare", "finish", "open", "close", "restore", "list", "delete", "discard"] {
        endless_loop_in(phase).await;
    }
    cancelled(Part::new("endless-loop")).await;
}

async fn endless_loop_in(phase: &str) {
    let limit = Duration::from_millis(50);
    let mut part = Part::new("endless-loop").at(phase);
    part.limits.cpu = Span(limit);
    let mut instance = part.start().await.unwrap();
    let good = Part::new("none").capture().await.unwrap();
    let begin = Instant::now();
    let error = match phase {
        "new" | "check" => instance.check().await.err(),
        "prepare" => instance.prepare().await.err(),
        "finish" => instance.finish(&good).await.err(),
        "open" => instance.open(&good).await.err(),
        "close" => instance.close(&good).await.err(),
        "restore" => instance.restore(&good, None).await.err(),
        "list" => instance.list().await.err(),
        "delete" => instance.delete(&good).await.err(),
        "discard" => instance.discard(LABEL).await.err(),
        _ => None,
    };
    let error = error.unwrap_or_else(|| panic!("{phase} must fail"));
    assert!(begin.elapsed() < limit + SLACK, "{phase}: {:?}", begin.elapsed());
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{phase}: {error}");
}

/// Cancels the part's capture while it is under way; it must end as cancelled within a second, and its processes with it.
async fn cancelled(part: Part) {
    let mut instance = part.start().await.unwrap();
    let cancel = part.cancel.clone();
    let stopper = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        cancel.cancel();
        Instant::now()
    });
    let error = instance.capture(LABEL).await.expect_err("it is cancelled");
    let since = stopper.await.unwrap().elapsed();
    assert!(since < SLACK, "{since:?}");
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
    assert_eq!(part.groups.alive(), Vec::<u32>::new());
    assert_eq!(instance.discard(LABEL).await.unwrap_err().kind(), ErrorKind::Cancelled);
}

async fn endless_host_calls(mut part: Part) {
    part.limits.cpu = Span(CPU);
    let error = part.ends_within(CPU).await;
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    assert!(error.message().contains("CPU time"), "{error}");
}

async fn sleep(mut part: Part) {
    part.limits.call = Span(WALL);
    let error = part.ends_within(WALL).await;
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    assert!(
        error.message().contains("did not end within") && error.hint_text().unwrap().contains("`call`"),
        "{error:?}"
    );
    cancelled(Part::new("sleep")).await;
}

async fn memory_bomb(mut part: Part) {
    part.limits.memory = Size(256 << 20);
    let error = part.ends_within(Duration::from_secs(1)).await;
    assert_eq!(error.kind(), ErrorKind::Plugin, "{error}");
    assert!(
        error.message().contains("256 MiB of memory") || error.message().contains("256.0 MiB of memory"),
        "{error}"
    );
    assert!(error.hint_text().unwrap().contains("`memory`"), "{error:?}");
}

async fn stack_overflow(part: Part) {
    let error = part.ends_within(Duration::from_secs(1)).await;
    assert_eq!(error.kind(), ErrorKind::Plugin, "{error}");
    assert!(error.message().contains("stack") || error.message().contains("out of bounds memory"), "{error}");
}

async fn log_flood(mut part: Part) {
    part.limits.log = Size(64 << 10);
    part.observed().await;
    let messages = part.ears.messages();
    let written: usize = messages.iter().map(|(_, text)| text.len()).sum();
    assert!(written < 65 << 10, "{written} bytes");
    assert!(messages.len() < 1100, "{} messages", messages.len());
    let dropped: Vec<_> = messages.iter().filter(|(_, text)| text.contains("were dropped")).collect();
    assert_eq!(dropped.len(), 1, "{dropped:?}");
    assert!(dropped[0].0 == Level::Warning && dropped[0].1.contains("`log`"), "{dropped:?}");
    let count = 200_000 - (messages.len() - 1);
    assert!(dropped[0].1.contains(&count.to_string()), "{dropped:?}, {count} are missing");
}

async fn progress_flood(part: Part) {
    let begin = Instant::now();
    part.observed().await;
    let told = part.ears.count(|event| matches!(event, Event::Progress { .. }));
    let bearable = 10 * (1 + usize::try_from(begin.elapsed().as_millis()).unwrap() / 100);
    assert!((1..bearable).contains(&told), "{told}");
}

async fn stderr_flood(part: Part) {
    assert_eq!(part.observed().await, "done");
    assert!(part.ears.messages().is_empty());
}

async fn open_files(part: Part) {
    let observed = part.observed().await;
    let open: usize = observed.split(' ').next().unwrap().parse().unwrap_or_else(|_| panic!("{observed}"));
    assert!((10..10_000).contains(&open), "{observed}");
}

// --- ends -------------------------------------------------------------------------------------------------------------

async fn panic(part: Part) {
    let error = part.ends_within(SLACK).await;
    assert_eq!(error.kind(), ErrorKind::Plugin, "{error}");
    assert!(error.message().contains("panicked: the sky is falling (at "), "{error}");
    assert!(error.details().iter().any(|(name, text)| name == "output" && text.contains("the sky")), "{error:?}");
}

async fn abort(part: Part) {
    let error = part.ends_within(SLACK).await;
    assert_eq!(error.kind(), ErrorKind::Plugin, "{error}");
    assert!(error.message().contains("aborted"), "{error}");
}

async fn exit(part: Part) {
    let error = part.ends_within(SLACK).await;
    assert_eq!(error.kind(), ErrorKind::Plugin, "{error}");
    assert!(error.message().contains("ended itself"), "{error}");
}

async fn report_error(part: Part) {
    let error = part.fails_within(SLACK).await;
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().ends_with("newer snapshots are in the way"), "{error}");
    assert_eq!(error.hint_text(), Some("roll back further"));
    assert_eq!(error.details(), [("command".to_owned(), "acme rollback".to_owned())]);
    // A reported failure is no end: the same instance goes on.
    let mut instance = part.start().await.unwrap();
    instance.capture(LABEL).await.unwrap_err();
    instance.discard(LABEL).await.unwrap();
}

async fn report_failure(part: Part) {
    let good = Part::new("none").capture().await.unwrap();
    let findings = part.start().await.unwrap().verify(&good).await.unwrap().unwrap();
    assert_eq!(failures(&findings), ["observed  of []"]);
    let findings = part.start().await.unwrap().rehearse(&good).await.unwrap().unwrap();
    assert_eq!(failures(&findings), ["observed  of []"]);
}

async fn escape_codes(part: Part) {
    let error = part.fails_within(SLACK).await;
    assert!(error.message().ends_with("red \\u{1b}[31m\\nalarm"), "{error}");
    let messages = part.ears.messages();
    assert_eq!(messages, [(Level::Info, "first\\nsecond \\u{1b}[2J\\u{7}".to_owned())]);
}

// --- what it returns --------------------------------------------------------------------------------------------------

async fn bad_state(part: Part) {
    let error = part.fails_within(SLACK).await;
    assert!(error.message().contains("no JSON object"), "{error}");
}

async fn huge_state(part: Part) {
    let error = part.fails_within(SLACK).await;
    assert!(error.message().contains("262144 are allowed"), "{error}");
}

async fn giant_state(part: Part) {
    let error = part.ends_within(SLACK).await;
    assert_eq!(error.kind(), ErrorKind::Plugin, "{error}");
    assert!(error.message().contains("8 MiB") || error.message().contains("8.0 MiB"), "{error}");
}

async fn weaker_consistency(part: Part) {
    let error = part.fails_within(SLACK).await;
    assert!(error.message().contains("Copied where its manifest claims Exported"), "{error}");
}

async fn open_fails(part: Part) -> bkhost::Error {
    let mut instance = part.start().await.unwrap();
    let snapshot = snapshot(&mut instance).await;
    instance.open(&snapshot).await.expect_err("the sources must be refused")
}

async fn bad_source_name(part: Part) {
    let error = open_fails(part).await;
    assert!(error.message().contains("`../../etc`, which is no safe name"), "{error}");
}

async fn source_outside(part: Part) {
    for target in
        ["/etc", "/", "/source/tree/..", "/source/tree/../outside", "/source/other", "tree", "/source/tree/link"]
    {
        let part = Part::new("source-outside").set("target", target);
        std::os::unix::fs::symlink(part.path("outside"), part.path("tree/link")).unwrap();
        let error = open_fails(part).await;
        assert!(matches!(error.kind(), ErrorKind::Denied | ErrorKind::NotFound), "{target}: {error:?}");
    }
    let error = open_fails(part.set("target", "/source/tree/file")).await;
    assert!(error.message().contains("no directory"), "{error}");
}

async fn source_tree(part: Part) {
    let mut instance = part.start().await.unwrap();
    let snapshot = snapshot(&mut instance).await;
    let sources = instance.open(&snapshot).await.unwrap();
    let [Source::Tree { name, dir, path, .. }, Source::File { name: one, file, .. }, Source::Held { id }] =
        &sources[..]
    else {
        panic!("{sources:?}")
    };
    assert_eq!((name.as_str(), one.as_str(), id.as_str()), ("tree", "one", "v-1"));
    assert_eq!(dir.read_to_string("file").unwrap(), "granted");
    assert_eq!(*path, part.path("tree").canonicalize().unwrap());
    let mut text = String::new();
    file.try_clone().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "granted");
}

async fn source_output(part: Part) {
    let mut instance = part.start().await.unwrap();
    let snapshot = snapshot(&mut instance).await;
    let mut sources = instance.open(&snapshot).await.unwrap();
    let Some(Source::Output { name, mut process }) = sources.pop() else { panic!("{sources:?}") };
    assert_eq!(name, "stream");
    let mut output = process.take_output().unwrap();
    let text = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        output.read_to_string(&mut text).map(|_| text)
    });
    assert_eq!(text.await.unwrap().unwrap(), "hello\n");
    assert_eq!(process.wait(SOON).await.unwrap().status, 0);
}

// --- files ------------------------------------------------------------------------------------------------------------

async fn read_granted(part: Part) {
    assert_eq!(part.observed().await, "granted");
}

async fn open_outside(part: Part) {
    let target = part.path("outside/secret");
    assert_eq!(part.set("target", target.to_str().unwrap()).observed().await, "[]");
}

async fn symlink_escape(part: Part) {
    use std::os::unix::fs::symlink;
    symlink(part.path("outside/secret"), part.path("tree/link")).unwrap();
    symlink(part.path("outside"), part.path("tree/directory-link")).unwrap();
    symlink("../outside/secret", part.path("tree/relative-link")).unwrap();
    assert_eq!(part.observed().await, "[]");
}

async fn write_read_only(part: Part) {
    assert_eq!(part.observed().await, format!("{:?}", [false; 7]));
    assert_eq!(std::fs::read_to_string(part.path("tree/file")).unwrap(), "granted");
    assert_eq!(std::fs::read_dir(part.path("tree")).unwrap().count(), 1);
    assert!(part.path("staging/mine").exists(), "its own directory it may write");
}

async fn environment(part: Part) {
    let observed = part.observed().await;
    assert_eq!(observed, r#"[] [] """#);
}

async fn mirror_outside(part: Part) {
    for target in ["/etc", "/source/tree/../outside", "/source/other", "/staging"] {
        let part = Part::new("mirror-outside").set("target", target);
        let error = part.fails_within(SLACK).await;
        assert!(matches!(error.kind(), ErrorKind::Denied | ErrorKind::NotFound), "{target}: {error:?}");
        assert!(!part.path("staging/copy").exists(), "{target}");
    }
    assert_eq!(part.set("target", "/source/tree").observed().await, "copied");
}

async fn digest(part: Part) {
    std::fs::write(part.path("tree/file"), "abc").unwrap();
    std::os::unix::fs::symlink("../outside/secret", part.path("tree/link")).unwrap();
    std::os::unix::fs::symlink("../outside", part.path("tree/way")).unwrap();
    std::fs::write(part.path("state/own"), "abc").unwrap();
    let part = part.set("target", "/source/tree/file");
    assert_eq!(part.observed().await, "900150983cd24fb0d6963f7d28e17f72");
    let mut part = part;
    for target in [
        "/etc/passwd",
        "/source/tree/link",
        "/source/tree/way/secret",
        "/source/tree/../outside/secret",
        "/source/other/file",
        "/source/tree",
        "/source/tree/missing",
        "/state/own",
        "/target",
        "/stagingx/file",
        "source/tree/file",
        "",
    ] {
        part = part.set("target", target);
        let error = part.fails_within(SLACK).await;
        let right = matches!(error.kind(), ErrorKind::Denied | ErrorKind::NotFound | ErrorKind::Config);
        assert!(right, "{target}: {error:?}");
    }
    // What never ends is ended with its call: nothing reads on after it.
    std::fs::File::create(part.path("tree/file")).unwrap().set_len(1 << 42).unwrap();
    let mut part = part.set("target", "/source/tree/file");
    part.limits.call = Span(Duration::from_millis(700));
    let error = part.fails_within(part.limits.call.0 + SLACK).await;
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error:?}");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let told = part.ears.count(|event| matches!(event, Event::Progress { .. }));
    assert!(told > 0);
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(part.ears.count(|event| matches!(event, Event::Progress { .. })), told, "it reads on");
}

async fn digest_gunzip(part: Part) {
    let zip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, bytes).unwrap();
        encoder.finish().unwrap()
    };
    let whole = [zip(b"a"), zip(b"bc")].concat();
    let part = part.set("target", "/source/tree/file");
    std::fs::write(part.path("tree/file"), &whole).unwrap();
    assert_eq!(part.observed().await, "900150983cd24fb0d6963f7d28e17f72", "both members");
    for bad in [b"abc".to_vec(), whole[..whole.len() - 3].to_vec(), [&whole[..], b"tail"].concat()] {
        std::fs::write(part.path("tree/file"), &bad).unwrap();
        let error = part.fails_within(SLACK).await;
        assert!(error.message().contains("no complete gzip file"), "{error:?}");
    }
}

// --- commands ---------------------------------------------------------------------------------------------------------

async fn denied(part: Part) -> bkhost::Error {
    let error = part.fails_within(SLACK).await;
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
    assert_eq!(part.groups.started(), 0, "nothing may run");
    error
}

async fn exec_undeclared(part: Part) {
    let error = denied(part).await;
    assert!(error.message().contains("shell"), "{error}");
}

async fn exec_dash(part: Part) {
    let error = denied(part.set("words", vec!["-n"])).await;
    assert!(error.message().contains("-n"), "{error}");
}

async fn exec_newline(part: Part) {
    denied(part).await;
}

async fn exec_not_configured(part: Part) {
    denied(part.set("target", "other")).await;
    let part = Part::new("exec-not-configured").set("target", "hello");
    assert_eq!(part.observed().await, "0 hello\n");
    let mut part = Part::new("exec-not-configured").set("target", "hello");
    part.grant.exec.remove("echo");
    let error = denied(part).await;
    assert!(error.hint_text().unwrap().contains("echo = "), "{error:?}");
}

async fn exec_secret(part: Part) {
    let observed = part.observed().await;
    assert!(observed.contains("ACME_PASSWORD="), "the child has it: {observed}");
    assert!(!observed.contains(PASSWORD), "the guest has not: {observed}");
    assert!(!observed.contains("CARGO"), "and the child has nothing of our environment: {observed}");
}

async fn spawn_and_hang(mut part: Part) {
    part = part.set("target", "3600");
    part.limits.cpu = Span(CPU);
    let error = part.ends_within(CPU + Duration::from_secs(2)).await;
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    assert_eq!(part.groups.started(), 1);
    assert_eq!(part.groups.alive(), Vec::<u32>::new(), "its process is gone when the call returns");
    cancelled(Part::new("spawn-and-hang").set("target", "3600")).await;
}

async fn spawn_and_leave(part: Part) {
    let part = part.set("target", "3600");
    let mut instance = part.start().await.unwrap();
    let snapshot = snapshot(&mut instance).await;
    assert_eq!(part.groups.alive().len(), 1, "it lives from one call to the next");
    instance.close(&snapshot).await.unwrap();
    assert_eq!(part.groups.alive(), Vec::<u32>::new(), "dropping it kills and reaps it");

    let mut instance = part.start().await.unwrap();
    instance.capture(LABEL).await.unwrap();
    assert_eq!(part.groups.alive().len(), 1);
    instance.end().await;
    assert_eq!(part.groups.alive(), Vec::<u32>::new(), "and so does the end of the instance");
}

// --- requests ---------------------------------------------------------------------------------------------------------

/// Answers each request with `response`, and counts them.
fn server(response: &'static str) -> (String, Arc<std::sync::atomic::AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = count.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(response.as_bytes());
        }
    });
    (url, count)
}

async fn http(part: Part) {
    // Granted: it is sent, and a redirect is handed over, not followed.
    let (secret, visits) = server("HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nsecret");
    let redirect: &'static str =
        format!("HTTP/1.1 302 Found\r\nlocation: {secret}/\r\ncontent-length: 4\r\nconnection: close\r\n\r\nmove")
            .leak();
    let (url, _) = server(redirect);
    let mut part = part.set("url", url.as_str()).set("target", format!("{url}/x"));
    part.grant.http = vec![HttpGrant::Origin(url.clone())];
    let observed = part.observed().await;
    assert_eq!(observed, format!("302 [\"{secret}/\"] \"move\""));

    // Not granted, whatever the manifest says: nothing is sent, and the operator learns the line.
    for target in
        [format!("{secret}/"), "http://169.254.169.254/latest/".to_owned(), "https://other.example/".to_owned()]
    {
        let mut part = Part::new("http").set("url", url.as_str()).set("target", target.as_str());
        part.grant.http = vec![HttpGrant::Origin(url.clone())];
        let error = part.fails_within(SLACK).await;
        assert!(error.message().contains("HttpRequestDenied"), "{target}: {error}");
        assert!(error.details().iter().any(|(name, _)| name == "denied"), "{target}: {error:?}");
    }
    let part = Part::new("http").set("url", secret.as_str()).set("target", format!("{secret}/"));
    let error = part.fails_within(SLACK).await;
    assert!(error.hint_text().unwrap().contains(&secret), "{error:?}");
    assert_eq!(visits.load(std::sync::atomic::Ordering::SeqCst), 0);
}

// --- history ----------------------------------------------------------------------------------------------------------

struct Past(&'static str);

#[async_trait::async_trait]
impl History for Past {
    async fn previous(&self) -> bkhost::Result<Option<Earlier>> {
        let snapshot = Part::new("none").capture().await?;
        Ok(Some(Earlier { set: self.0.parse().unwrap(), snapshot, depth: 2 }))
    }
}

/// The guest asks for the earlier set, and names as its base what its configuration says.
async fn unoffered_base(part: Part) {
    let (offered, other) = ("20261121-014200-4f2a9c", "20261121-014201-4f2a9c");
    // Without history there is nothing to build on.
    let error = part.set("target", offered).fails_within(SLACK).await;
    assert_eq!(error.kind(), ErrorKind::Plugin);
    assert!(error.message().contains(&format!("builds on `{offered}`, which was not offered")), "{error}");

    for target in [other, "", "../x", "bkhost-test-20261121-014200-4f2a9c"] {
        let mut part = Part::new("unoffered-base").set("target", target);
        part.history = Some(Arc::new(Past(offered)));
        let error = part.fails_within(SLACK).await;
        assert!(error.message().contains("which was not offered"), "{target}: {error}");
    }
    let mut part = Part::new("unoffered-base").set("target", offered);
    part.history = Some(Arc::new(Past(offered)));
    let snapshot = part.capture().await.unwrap();
    assert_eq!(snapshot.base.as_ref().map(SetId::as_str), Some(offered));
    let observed = snapshot.state["observed"].as_str().unwrap();
    assert_eq!(observed, format!("{offered} {LABEL} 2"));
}

// --- archives ---------------------------------------------------------------------------------------------------------

/// What was archived: one item of each form.
pub(crate) struct Stored;

impl Archived for Stored {
    fn items(&self) -> Vec<Item> {
        let set: SetId = "20261121-014200-4f2a9c".parse().unwrap();
        [("tree", SourceForm::Tree), ("stream", SourceForm::Stream), ("v-1", SourceForm::Held)]
            .map(|(name, form)| Item {
                set: set.clone(),
                source: SourceRecord { name: name.to_owned(), form, bytes: 7 },
            })
            .into()
    }

    fn extract(
        &self,
        set: Option<&str>,
        name: &str,
        into: cap_std::fs::Dir,
        _: &CancellationToken,
    ) -> bkhost::Result<u64> {
        assert_eq!((set, name), (None, "tree"));
        into.write("file", "restored").unwrap();
        Ok(1)
    }

    fn stream(&self, set: Option<&str>, name: &str) -> bkhost::Result<Box<dyn Read + Send>> {
        assert_eq!((set, name), (None, "stream"));
        Ok(Box::new(&b"streamed"[..]))
    }
}

async fn restore(part: &Part) -> bkhost::Error {
    let good = Part::new("none").capture().await.unwrap();
    let mut instance = part.start().await.unwrap();
    instance.restore(&good, Some("/target")).await.expect_err("the guest always reports")
}

async fn extract(part: Part) {
    let mut part = part.at("restore").set("target", "/target");
    let error = restore(&part).await;
    assert!(error.message().contains("nothing archived is offered in this call"), "{error}");

    part.archived = Some(Arc::new(Stored));
    let error = restore(&part).await;
    assert!(error.message().ends_with(r#"observed 1 of ["tree", "stream"] for Some("/target")"#), "{error}");
    assert_eq!(std::fs::read_to_string(part.path("target/file")).unwrap(), "restored");

    let error = restore(&part).await;
    assert_eq!(error.kind(), ErrorKind::Conflict, "it is not empty: {error}");
    for target in ["/source/tree", "/etc", "/state", "/target/../state", "/targets", "/target/missing"] {
        let mut part = Part::new("extract").at("restore").set("target", target);
        part.archived = Some(Arc::new(Stored));
        let error = restore(&part).await;
        assert!(matches!(error.kind(), ErrorKind::Denied | ErrorKind::NotFound), "{target}: {error}");
    }
}

async fn feed(part: Part) {
    let mut part = part.at("restore");
    part.archived = Some(Arc::new(Stored));
    let error = restore(&part).await;
    assert!(error.message().contains("observed streamed of"), "{error}");
}
