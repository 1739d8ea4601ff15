//! Restores: beside what is there, in place, refused, and failed.

use bkhost_tests::elasticsearch::{Fault, Rule};

use super::*;

#[test]
fn nothing_is_overwritten_that_was_not_told_to() {
    let world = World::new(Flavor::Elastic8);
    let (search, bk) = (&world.search, &world.bk);
    search.alias("bitbucket-search", "search");
    let id = bk.backup_id();
    let truth = world.both("");
    search.put("bitbucket-search", "file-1", json!({ "content": "changed" }));
    let changed = world.both("");

    world
        .restore(&id, &[])
        .fails(9, &["indices exist that the restore would make", "bitbucket-search", "existing = \"replace\""]);
    assert_eq!(world.both(""), changed);
    // Beside it, without its aliases: a search must not find both.
    world.restore(&id, &["--to", "old"]).ok();
    assert_eq!((world.both("old-"), world.both("")), (truth.clone(), changed.clone()));
    assert_eq!(
        (search.aliases("old-bitbucket-search"), search.aliases("bitbucket-search")),
        (vec![], vec!["search".to_owned()])
    );
    world.restore(&id, &["--to", "old"]).fails(9, &["old-bitbucket-search", "another text for --to"]);
    world.restore(&id, &["--to", "pre-*-post"]).ok();
    assert_eq!(search.documents("pre-bitbucket-search-post"), truth[0]);
    let before = search.indices();
    for to in [
        "UPPER",
        "a b",
        "-x",
        "_all",
        "a,b",
        "*",
        "a*b*c",
        "x/../y",
        "$1",
        "a\"b",
        "ü",
        "..",
        "#x",
        "a:b",
        &"x".repeat(250),
    ] {
        let outcome = world.restore(&id, &[&format!("--to={to}")]);
        assert_eq!(outcome.code, 3, "{to}: {outcome}");
        assert!(outcome.stderr.contains("hint: "), "{to}: {outcome}");
    }
    assert_eq!(search.indices(), before);

    // Told to: closed, replaced, open again, with its alias.
    world.configure("indices = [\"bitbucket-*\"]\nrestore = { existing = \"replace\" }");
    world.restore(&id, &["--to", "old"]).fails(9, &["old-bitbucket-search"]);
    world.restore(&id, &[]).ok();
    assert_eq!(world.both(""), truth);
    assert_eq!(search.aliases("bitbucket-search"), ["search"]);
    assert!(search.is_open("other") && search.is_open("bitbucket-search"));
}

/// The cluster refuses it: what was closed for it is open again.
#[test]
fn a_refused_restore_leaves_what_was_there() {
    let world = World::new(Flavor::Elastic7);
    let (search, bk) = (&world.search, &world.bk);
    let id = bk.backup_id();
    let truth = world.both("");
    world.configure("indices = [\"bitbucket-*\"]\nrestore = { existing = \"replace\" }");
    search.fault(Rule::on(
        "POST",
        "_restore",
        Fault::status(500, "snapshot_restore_exception", "different number of shards"),
    ));
    world.restore(&id, &[]).fails(6, &["different number of shards"]);
    assert_eq!(world.both(""), truth);
    assert!(search.is_open("bitbucket-search") && search.is_open("bitbucket-project"));
    search.heal();
    search.fault(Rule::on("POST", "bitbucket-search/_close", Fault::status(400, "illegal_argument_exception", "no")));
    world.restore(&id, &[]).fails(6, &["cannot be closed"]);
    assert!(search.is_open("bitbucket-search") && search.is_open("bitbucket-project"));
}

/// Files of the repository that are missing or damaged: the cluster cannot restore, and nothing of it stays.
#[test]
fn a_failed_restore_removes_what_it_made_and_nothing_else() {
    let world = World::new(Flavor::OpenSearch2);
    let (search, bk) = (&world.search, &world.bk);
    let id = bk.backup_id();
    let before = search.indices();
    let directory = search.directory("bkhost").join("indices/bitbucket-search/1");
    let file = std::fs::read_dir(&directory).unwrap().next().unwrap().unwrap().path();
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    world
        .restore(&id, &["--to", "old"])
        .fails(8, &["cannot be restored", "old-bitbucket-search[1]", "checksum failed", "take another set"]);
    assert_eq!(search.indices(), before);
    std::fs::remove_file(&file).unwrap();
    world.restore(&id, &["--to", "old"]).fails(8, &["no_such_file_exception"]);
    assert_eq!(search.indices(), before);
    std::fs::write(&file, &whole).unwrap();
    // Not in time, and cancelled.
    world.configure("indices = [\"bitbucket-*\"]\ntimeout = 1");
    search.timing(Duration::ZERO, 10);
    world.restore(&id, &["--to", "old"]).fails(12, &["not usable after 1 s", "raise timeout"]);
    assert_eq!(search.indices(), before);
    world.configure("indices = [\"bitbucket-*\"]");
    search.timing(Duration::ZERO, u64::MAX);
    world.restore(&id, &["--to", "old"]).ok();
    // The snapshot itself is gone.
    let name = world.snapshots()[0].split(' ').next().unwrap().to_owned();
    search.delete_snapshot("bkhost", &name);
    world.restore(&id, &["--to", "new"]).fails(13, &["is not in the repository bkhost", "take another set"]);
}

/// Answers that were lost, and a cluster without a master for a moment.
#[test]
fn a_restore_is_not_given_up_for_what_passes() {
    let world = World::new(Flavor::Elastic8);
    let (search, bk) = (&world.search, &world.bk);
    let id = bk.backup_id();
    let truth = world.both("");
    for (n, (method, path, fault)) in [
        ("POST", "_restore", Fault::LoseReply),
        ("POST", "_restore", Fault::LoseRequest),
        ("POST", "_restore", Fault::status(503, "concurrent_snapshot_execution_exception", "a delete is running")),
        ("GET", "_cluster/health", Fault::status(503, "master_not_discovered_exception", "x")),
        ("GET", "_cat/recovery", Fault::CutReply),
    ]
    .into_iter()
    .enumerate()
    {
        search.fault(Rule::on(method, path, fault).first(2));
        let to = format!("again-{n}");
        world.restore(&id, &["--to", &to]).ok();
        assert_eq!(world.both(&format!("{to}-")), truth, "{n}");
        search.heal();
    }
}

/// A cluster that was lost: another one, empty, sees the same directory.
#[test]
fn a_cluster_made_anew_gets_its_repository_back() {
    let world = World::new(Flavor::Elastic7);
    let ids = [world.bk.backup_id(), world.bk.backup_id()];
    let truth = world.both("");
    let anew = world.search.anew(Flavor::Elastic8);
    let keys = "indices = [\"bitbucket-*\"]";
    world.bk.config(&[&application_none(), &part(&anew, "search", keys), "[retention]\nkeep-last = 1\n"]);
    assert!(world.bk.run(&["verify", &ids[1]]).stderr.contains("is not registered"));
    world.bk.run(&["restore", &ids[1], "--confirm", world.bk.instance()]).ok();
    assert_eq!(["bitbucket-search", "bitbucket-project"].map(|name| anew.documents(name)), truth);
    world.bk.run(&["prune", "--confirm", world.bk.instance()]).ok();
    assert_eq!(anew.snapshots("bkhost"), [format!("bkhost-{}-{}-search SUCCESS", world.bk.instance(), ids[1])]);
}

#[test]
fn verify_sees_what_became_of_a_snapshot() {
    let world = World::new(Flavor::Elastic8);
    let (search, bk) = (&world.search, &world.bk);
    let ids = [bk.backup_id(), bk.backup_id()];
    let _ = bk.run(&["verify", &ids[0]]).ok();
    let name = |id: &str| format!("bkhost-{}-{id}-search", bk.instance());
    // Another one in its place, with our own metadata.
    search.delete_snapshot("bkhost", &name(&ids[0]));
    let label = format!("bkhost-{}-{}", bk.instance(), ids[0]);
    let ours = json!({ "bkhost-instance": bk.instance(), "bkhost-part": "search", "bkhost-run": label });
    search.snapshot("bkhost", &name(&ids[0]), &ours);
    bk.run(&["verify", &ids[0]]).fails(8, &["is another one of the same name"]);
    world.restore(&ids[0], &["--to", "x"]).fails(8, &["is another one of the same name"]);
    search.delete_snapshot("bkhost", &name(&ids[1]));
    bk.run(&["verify", &ids[1]]).fails(8, &["is not in the repository"]);
    // What cannot be asked says nothing of the set.
    let third = bk.backup_id();
    search.auth(Auth::Basic("a".to_owned(), "b".to_owned()));
    let outcome = bk.run(&["verify", &third]);
    assert_ne!(outcome.code, 0, "{outcome}");
    search.auth(Auth::Anybody);
    bk.run(&["verify", &third]).ok();
    let listed = bk.list();
    assert!(listed.iter().any(|(id, state)| *id == third && state != "damaged"), "{listed:?}");
}

/// Names that mean something to a URL, a shell, or a regular expression.
#[test]
fn names_that_attack() {
    let world = World::new(Flavor::Elastic8);
    let (search, bk) = (&world.search, &world.bk);
    let names = [
        "größe ✓".replace(' ', "-"),
        "a%2fb".into(),
        "c&d=e".into(),
        "(x)+[y]$1".into(),
        "semi;colon'".into(),
        "{z}~!@^".into(),
    ];
    for name in &names {
        search.create(name, 2);
        search.put(name, "1", json!({ "name": name }));
    }
    let quoted: Vec<_> = names.iter().map(|name| format!("{name:?}")).collect();
    let keys = format!("indices = [{}]\nrestore = {{ existing = \"replace\" }}", quoted.join(", "));
    world.configure(&keys);
    bk.run(&["check"]).ok();
    let id = bk.backup_id();
    world.restore(&id, &["--to", "old-*"]).ok();
    for name in &names {
        assert_eq!(search.documents(&format!("old-{name}"))["1"], json!({ "name": name }));
        search.put(name, "1", json!("changed"));
    }
    world.restore(&id, &[]).ok();
    for name in &names {
        assert_eq!(search.documents(name)["1"], json!({ "name": name }));
    }
    // And deleted, when a restore fails.
    names.iter().for_each(|name| search.delete(name));
    let file = search.directory("bkhost").join("indices").join(&names[0]).join("0");
    std::fs::remove_dir_all(file).unwrap();
    world.restore(&id, &[]).fails(8, &["cannot be restored"]);
    assert!(names.iter().all(|name| !search.indices().contains(name)), "{:?}", search.indices());
}
