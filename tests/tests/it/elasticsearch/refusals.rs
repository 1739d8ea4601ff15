//! What is found before anything is locked.

use bkhost_tests::elasticsearch::{Fault, Rule};

use super::*;

fn check(world: &World, says: &[&str]) {
    let outcome = world.bk.run(&["check"]);
    assert_ne!(outcome.code, 0, "{says:?}: {outcome}");
    let all = format!("{}{}", outcome.stdout, outcome.stderr);
    for says in says {
        assert!(all.contains(says), "`{says}`: {outcome}");
    }
}

#[test]
fn check_finds_what_would_fail_later() {
    let world = World::new(Flavor::Elastic7);
    let (search, bk) = (&world.search, &world.bk);
    let changes =
        || search.calls().into_iter().filter(|call| !call.starts_with("GET") && !call.contains("_verify")).count();
    let told = bk.run(&["check"]).ok().stdout;
    assert!(
        told.contains("elasticsearch 7.17.9")
            && told.contains("2 of 4 are captured")
            && told.contains("will be registered"),
        "{told}"
    );

    search.set_version("7.9.3");
    check(&world, &["too old", "7.10"]);
    search.set_version("7.17.9");
    search.set_path_repo(None);
    check(&world, &["not below path.repo, which is not set", "elasticsearch.yml", "node-1"]);
    search.set_path_repo(Some("/elsewhere".as_ref()));
    check(&world, &["which is /elsewhere"]);
    search.set_path_repo(Some(&search.path_repo()));
    world.configure("indices = [\"bitbucket-*\", \"nothing-*\"]");
    check(&world, &["nothing-*", "correct `indices`"]);
    world.configure("indices = [\"bitbucket-*\"]");
    search.deny("cluster:admin/repository/get");
    check(&world, &["403", "cluster:admin/repository/get", "privilege"]);
    search.heal();
    search.create(".ds-logs-2026.11.21-000001", 1);
    world.configure("indices = [\"logs\"]");
    check(&world, &["data stream logs", "cannot restore data streams"]);
    world.configure("indices = [\"bitbucket-*\"]");
    search.break_index("bitbucket-project");
    check(&world, &["index bitbucket-project", "it is red"]);
    search.delete("bitbucket-project");
    search.fault(Rule::on("GET", "/", Fault::Html(200)));
    check(&world, &["the answer is HTML", "login page"]);
    search.heal();
    search.auth(Auth::Basic("a".to_owned(), "b".to_owned()));
    check(&world, &["401", "missing authentication credentials", "[part.secrets]"]);
    search.auth(Auth::Anybody);
    assert_eq!(changes(), 0, "check changes nothing: {:?}", search.calls());

    bk.config(&[&application_none(), &world.part("search", "").replace(search.url(), "http://127.0.0.1:1")]);
    check(&world, &["127.0.0.1:1"]);
}

#[test]
fn privileges_are_named_before_they_are_missed() {
    let world = World::new(Flavor::Elastic8);
    let password = format!("[part.secrets]\npassword = {{ file = {:?} }}\n", world.bk.path("password"));
    world.search.auth(Auth::Basic("backup".to_owned(), "admin".to_owned()));
    world.bk.config(&[&application_none(), &world.part("search", "username = \"backup\""), &password]);
    world.bk.run(&["check"]).ok();
    world.search.deny("cluster:admin/snapshot/create");
    check(&world, &["backup lacks the cluster privilege create_snapshot"]);
    world.search.heal();
    world.search.deny("cluster:admin/snapshot/delete");
    check(&world, &["backup lacks the cluster privilege manage"]);
}

#[test]
fn a_repository_is_registered_if_it_is_missing_and_never_changed() {
    let world = World::new(Flavor::Elastic7);
    let (search, bk) = (&world.search, &world.bk);
    // A dry run registers nothing.
    bk.run(&["plan"]).ok();
    assert!(search.repositories().is_empty());
    let _ = bk.backup();
    let registered = search.repositories();
    assert_eq!(registered["bkhost"].0, "fs");
    let _ = bk.backup();
    let puts = || search.calls().iter().filter(|call| *call == "PUT /_snapshot/bkhost").count();
    assert_eq!(puts(), 1);

    let location = search.path_repo().join("bkhost").display().to_string();
    let part = world.part("search", "");
    for (other, says) in [
        (part.replace(&location, &format!("{location}2")), "location is"),
        (
            part.replace("type = \"fs\"", "type = \"s3\"")
                .replace(&format!("location = {location:?}"), "bucket = \"backups\""),
            "its type is fs and not s3",
        ),
        (format!("{part}settings = {{ compress = false }}\n"), "compress is not set and not \"false\""),
    ] {
        bk.config(&[&application_none(), &other]);
        for command in ["check", "run"] {
            let outcome = bk.run(&[command]);
            let all = format!("{outcome}");
            assert_eq!(outcome.code, 6, "{outcome}");
            for says in ["the repository bkhost is registered with other settings", says, "hint: "] {
                assert!(all.contains(says), "`{says}`: {outcome}");
            }
        }
    }
    // Others' settings beyond ours do not matter; one that is readonly does.
    search.register("bkhost", "bkhost", &[("max_snapshot_bytes_per_sec", "40mb"), ("compress", "true")]);
    bk.config(&[&application_none(), &part]);
    let _ = bk.backup();
    search.register("bkhost", "bkhost", &[("readonly", "true")]);
    for command in ["check", "run"] {
        let outcome = bk.run(&[command]);
        assert!(outcome.code != 0 && outcome.stderr.contains("readonly"), "{outcome}");
    }
    assert_eq!(puts(), 1);
    // It is good enough to restore from.
    let id = bk.list()[0].0.clone();
    world.restore(&id, &["--to", "read"]).ok();

    // Where it cannot be, the cluster says so, and the run ends before the lock.
    let elsewhere = part.replace(&location, "/elsewhere").replace("name = \"bkhost\"", "name = \"third\"");
    bk.config(&[&application_none(), &elsewhere]);
    bk.run(&["check"]).fails(6, &["path.repo"]);
    let s3 = part
        .replace("type = \"fs\"", "type = \"s3\"")
        .replace(&format!("location = {location:?}"), "bucket = \"backups\"")
        .replace("name = \"bkhost\"", "name = \"third\"");
    bk.config(&[&application_none(), &s3]);
    check(&world, &["plugin repository-s3", "install", "hint: "]);
    bk.run(&["run"]).fails(6, &["repository-s3"]);
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let world = World::new(Flavor::Elastic8);
    let part = world.part("search", "");
    let location = format!("location = {:?}", world.search.path_repo().join("bkhost"));
    for (text, says) in [
        (part.replace(&location, ""), "type fs needs a location"),
        (part.replace(&location, "location = \"/x\"\nbucket = \"backups\""), "bucket is for type s3"),
        (
            part.replace("type = \"fs\"", "type = \"s3\"").replace(&location, "base-path = \"x\""),
            "type s3 needs a bucket",
        ),
        (format!("{part}settings = {{ readonly = true }}\n"), "settings.readonly has no place there"),
        (format!("{part}settings = {{ secret_key = \"x\" }}\n"), "settings.secret_key"),
        (
            part.replace("indices", "# indices").replace("[part.config.repository]", "[part.config.elsewhere]"),
            "elsewhere",
        ),
        (world.part("search", "indices = [\"a,b\"]"), "part.config.indices"),
        (world.part("search", "indices = [\"_all\"]"), "part.config.indices"),
        (world.part("search", "indices = [\"UPPER\"]"), "part.config.indices"),
        (world.part("search", "url2 = \"x\""), "url2"),
        (part.replace("http://127", "ftp://127"), "part.config.url"),
        (part.replace("http://127", "http://user:pass@127"), "part.config.url"),
    ] {
        world.bk.config(&[&application_none(), &text]);
        let outcome = world.bk.run(&["check"]);
        assert_eq!(outcome.code, 3, "{text}: {outcome}");
        assert!(outcome.stderr.contains(says), "`{says}`: {outcome}");
    }
}
