//! `restore --plan`: undocumented scripts are what nobody dares to run.

use super::{backed_up, names};

#[test]
fn the_steps_are_printed_and_none_is_taken() {
    let (bk, id) = backed_up(&["one", "two"]);
    let (one, two) = (bk.path("r1").display().to_string(), bk.path("r2").display().to_string());
    let to = [format!("one={one}"), format!("two={two}")];
    let before = names(&bk.path(""));
    let journals = std::fs::read_dir(bk.state().join("runs")).unwrap().count();
    // Even if somebody has confirmed it.
    let args = ["restore", &id, "--to", &to[0], "--to", &to[1], "--plan", "--confirm", bk.instance()];
    let planned = bk.run(&args).ok();
    // What was captured last comes back first, or the two were captured at once.
    for says in [
        format!("restore of set {id}:"),
        format!("part one to {one}, by directory: 6 entries"),
        format!("part two to {two}, by directory: 6 entries"),
        "reads one.tar.zst (".to_owned(),
        "reads two.index.jsonl.zst (".to_owned(),
    ] {
        assert!(planned.stdout.contains(&says), "{says}: {planned}");
    }
    assert_eq!(before, names(&bk.path("")), "a plan changes nothing");
    assert_eq!(journals, std::fs::read_dir(bk.state().join("runs")).unwrap().count());
    let plan = bk.run(&[&args[..], &["--json"]].concat()).ok().json();
    assert_eq!((plan["event"].as_str(), plan["steps"].as_array().unwrap().len()), (Some("plan"), 2));
    // An ordinary restore prints the same before it begins.
    let restored = bk.run(&[&args[..6], &["--confirm", bk.instance()]].concat()).ok();
    let lines = planned.stdout.lines().count();
    assert!(planned.stdout.contains("how long it takes was not measured yet"), "{planned}");
    assert_eq!(restored.stdout.lines().take(lines).collect::<Vec<_>>(), planned.stdout.lines().collect::<Vec<_>>());
    // The next plan tells how long this one took.
    std::fs::remove_dir_all(&one).unwrap();
    std::fs::remove_dir_all(&two).unwrap();
    let planned = bk.run(&args).ok();
    assert!(planned.stdout.contains("the last whole restore took"), "{planned}");
    assert!(bk.run(&[&args[..], &["--json"]].concat()).ok().json()["last-measured"]["duration-ms"].is_u64());
}

#[test]
fn what_would_refuse_it_is_told() {
    let (bk, id) = backed_up(&["home"]);
    let planned = bk.run(&["restore", &id, "--plan"]);
    assert_eq!(planned.code, 9, "{planned}");
    assert!(planned.stdout.contains("part home to"), "{planned}");
    assert!(planned.stdout.contains(", its original place, by directory"), "{planned}");
    assert!(planned.stdout.contains("REFUSED as things stand: the target"), "{planned}");
    let plan = bk.run(&["restore", &id, "--plan", "--json"]);
    assert_eq!((plan.code, plan.json()["refusals"][0]["kind"].as_str()), (9, Some("conflict")));
    std::os::unix::fs::symlink("nowhere", bk.path("link")).unwrap();
    let link = bk.path("link").display().to_string();
    bk.run(&["restore", &id, "--to", &link, "--confirm", bk.instance()]).fails(9, &["a symbolic link to nothing"]);
    // Not known before it is tried; nothing is left of it to be cleaned up.
    let long = bk.path(&"x".repeat(240)).display().to_string();
    bk.run(&["restore", &id, "--to", &long, "--confirm", bk.instance()]).fails(1, &["File name too long"]);
    assert!(bk.run(&["recover"]).ok().stdout.contains("nothing"));
    // The top of a new file system is as good as empty.
    std::fs::create_dir_all(bk.path("new/lost+found")).unwrap();
    let new = bk.path("new").display().to_string();
    bk.run(&["restore", &id, "--to", &new, "--confirm", bk.instance()]).ok();
    assert!(bk.path("new/file").exists() && bk.path("new/lost+found").exists());
    // Two parts in one place would be mixed, by whatever names.
    let (both, both_id) = backed_up(&["one", "two"]);
    std::os::unix::fs::symlink(both.path("r"), both.path("link")).unwrap();
    let to = ["r", "link/../r"].map(|to| both.path(to).display().to_string());
    std::fs::create_dir(both.path("r")).unwrap();
    let args = ["restore", &both_id, "--to", &format!("one={}", to[0]), "--to", &format!("two={}", to[1])];
    both.run(&[&args[..], &["--plan"]].concat()).fails(9, &[]);
    both.run(&[&args[..], &["--confirm", both.instance()]].concat()).fails(9, &["would both go to"]);
    assert_eq!(names(&both.path("r")), [""; 0]);
    bk.run(&["restore", &id, "--plan", "--part", "nonsense"]).fails(13, &["no part `nonsense`"]);
}
