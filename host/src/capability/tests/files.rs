use std::os::unix::fs::symlink;

use serde_json::json;

use super::super::{Access, Code};
use super::*;

const TREE: &str = "[[directory]]\nname = \"tree\"\npath = \"config.path\"\nreason = \"x\"";

fn tree(fixture: Fixture) -> Fixture {
    let path = fixture.path("data/tree");
    std::fs::create_dir_all(path.join("sub")).unwrap();
    std::fs::write(fixture.path("data/outside"), "secret").unwrap();
    symlink("../outside", path.join("link")).unwrap();
    symlink("..", path.join("up")).unwrap();
    fixture.config(json!({"path": path}))
}

#[tokio::test]
async fn preopens() {
    let mut fixture = tree(Fixture::new(&manifest(TREE)));
    fixture.target = Some(fixture.path("data"));
    let gate = fixture.gate();
    let shown: Vec<_> = gate.preopens().await.unwrap().into_iter().map(|p| (p.guest, p.host, p.access)).collect();
    assert_eq!(
        shown,
        [
            ("/staging".to_owned(), fixture.path("staging"), Access::Write),
            ("/state".to_owned(), fixture.path("state"), Access::Write),
            ("/target".to_owned(), fixture.path("data"), Access::Write),
            ("/source/tree".to_owned(), fixture.path("data/tree"), Access::Read),
        ]
    );
    assert_eq!(gate.host_path("/source/tree/sub", Access::Read).await.unwrap().path(), fixture.path("data/tree/sub"));
    assert_eq!(gate.host_path("/source/tree", Access::Write).await.unwrap_err().code, Code::Denied);
    gate.host_path("/staging", Access::Write).await.unwrap().dir().unwrap();
    for path in
        ["/source/tree/link", "/source/tree/up/outside", "/source/tree/../outside", "/source", "/source/other", "/etc"]
    {
        assert_eq!(gate.host_path(path, Access::Read).await.unwrap_err().code, Code::Denied, "{path}");
    }
}

#[tokio::test]
async fn sources_that_are_not_there() {
    let fixture = Fixture::new(&manifest(TREE)).config(json!({"path": "/no/such/directory"}));
    let gate = fixture.gate();
    assert_eq!(gate.preopens().await.unwrap().len(), 2);
    let missing = gate.missing().await.unwrap();
    assert_eq!(missing.len(), 1);
    assert_eq!((missing[0].0.as_str(), missing[0].1.code), ("/source/tree", Code::NotFound));
    let error = gate.host_path("/source/tree/x", Access::Read).await.unwrap_err();
    assert!(error.code == Code::NotFound && error.message.contains("/no/such/directory"), "{error:?}");
    let list = Fixture::new(&manifest(TREE)).config(json!({"path": ["/tmp", "relative"]}));
    let gate = list.gate();
    assert_eq!(gate.preopens().await.unwrap()[2].guest, "/source/tree/0");
    assert_eq!(gate.missing().await.unwrap()[0].1.code, Code::InvalidConfig);
}

#[tokio::test]
async fn a_grant_for_directories() {
    let fixture = tree(Fixture::new(&manifest(TREE)));
    let path = fixture.path("data/tree");
    let (data, tre) = (fixture.path("data"), fixture.path("data/tre"));
    std::fs::create_dir(&tre).unwrap();
    symlink(&data, fixture.path("alias")).unwrap();
    let with = |fixture: Fixture, dirs: &[&Path]| fixture.granted(&format!("read = {dirs:?}"));
    let fixture = with(fixture, &[&tre]);
    let error = fixture.gate().host_path("/source/tree", Access::Read).await.unwrap_err();
    assert_eq!(error.code, Code::Denied);
    assert_eq!(hint(&error), format!("in the [[grant]] for acme.wasm: read = [{tre:?}, {path:?}]"));
    assert_eq!(fixture.gate().preopens().await.unwrap().len(), 2);
    for dir in [data.clone(), path, fixture.path("alias")] {
        let fixture = tree(Fixture::new(&manifest(TREE)));
        let config = json!({"path": dir.join("tree")});
        let granted =
            with(fixture, &[&data]).config(if dir == data { config } else { json!({"path": data.join("tree")}) });
        granted.gate().host_path("/source/tree", Access::Read).await.unwrap();
    }
    // A configured path may be a link of the operator's, but what counts is where it leads.
    let fixture = with(tree(Fixture::new(&manifest(TREE))), &[&tre]);
    let link = tre.join("link");
    symlink(&data, &link).unwrap();
    let fixture = fixture.config(json!({"path": link}));
    assert_eq!(fixture.gate().host_path("/source/tree", Access::Read).await.unwrap_err().code, Code::Denied);
}

#[tokio::test]
async fn paths_for_commands() {
    let text = |root: &str| one(r#"["--out={p}"]"#, &format!("[exec.slots.p]\npath = \"{root}\"\n{TREE}"));
    let fixture = tree(Fixture::new(&text("staging"))).script("echo \"$@\"");
    let gate = fixture.gate();
    symlink("/etc", fixture.path("staging/etc")).unwrap();
    symlink("/nowhere", fixture.path("staging/dangling")).unwrap();
    let run = async |path: &str| gate.run("go", &given(&[("p", &[path])])).await;
    let staging = fixture.path("staging").display().to_string();
    assert_eq!(run("/staging/dump").await.unwrap().stdout, format!("--out={staging}/dump\n"));
    assert_eq!(run("/staging").await.unwrap().stdout, format!("--out={staging}\n"));
    let before = fixture.commands().len();
    for path in [
        "/staging/../state",
        "/staging/etc",
        "/staging/etc/passwd",
        "/staging/dangling",
        "/staging/./x",
        "/staging//x",
        "/state/x",
        "/source/tree",
        "/etc/passwd",
        "staging/x",
        &format!("{staging}/x"),
        "/stagingx",
    ] {
        assert_eq!(run(path).await.unwrap_err().code, Code::Denied, "{path}");
    }
    assert_eq!(fixture.commands().len(), before);
    let fixture = tree(Fixture::new(&text("source"))).script("echo \"$@\"");
    let gate = fixture.gate();
    let done = gate.run("go", &given(&[("p", &["/source/tree/sub"])])).await.unwrap();
    assert_eq!(done.stdout, format!("--out={}\n", fixture.path("data/tree/sub").display()));
    for path in ["/source/tree/link", "/source/tree/up/outside", "/source/tree/up/new"] {
        assert_eq!(gate.run("go", &given(&[("p", &[path])])).await.unwrap_err().code, Code::Denied, "{path}");
    }
}

const DISCOVER: &str = "[exec.slots.d]\none-of = \"config.datasets\"\n[[directory]]\nname = \"mounts\"\n\
    discover = { exec = \"go\", slot = \"d\", each = \"config.datasets\" }\nreason = \"x\"";

#[tokio::test]
async fn discovered() {
    let mut fixture = tree(Fixture::new(&one(r#"["{d}"]"#, DISCOVER)))
        .script(
            "case $1 in a) echo \"$(dirname $0)/data\";; b) echo none;; c) echo gone >&2; exit 1;; e) exit 0;; esac",
        )
        .config(json!({"datasets": ["b", "a", "c", "-x", "e"]}));
    fixture.mode = Mode::DryRun;
    let gate = fixture.gate();
    let preopens = gate.preopens().await.unwrap();
    assert_eq!(preopens.len(), 3);
    assert_eq!((preopens[2].guest.as_str(), &preopens[2].host), ("/source/mounts/1", &fixture.path("data")));
    let missing: Vec<_> = gate.missing().await.unwrap().into_iter().map(|(guest, e)| (guest, e.code)).collect();
    assert_eq!(
        missing,
        [
            ("/source/mounts/0".to_owned(), Code::NotFound),
            ("/source/mounts/2".to_owned(), Code::NotFound),
            ("/source/mounts/3".to_owned(), Code::Denied),
            ("/source/mounts/4".to_owned(), Code::NotFound),
        ]
    );
    assert_eq!(fixture.commands().len(), 4, "once for each good value, in a dry run, too");
    gate.host_path("/source/mounts/1/tree", Access::Read).await.unwrap();
    assert_eq!(gate.host_path("/source/mounts/0", Access::Read).await.unwrap_err().code, Code::NotFound);
    // What is discovered is a right only below a granted directory.
    let program = fixture.path("acme");
    let granted = fixture.granted(&format!("exec = {{ go = {program:?} }}\nread = [\"/srv\"]"));
    let error = granted.gate().host_path("/source/mounts/1", Access::Read).await.unwrap_err();
    assert_eq!(error.code, Code::Denied, "{error:?}");
}
