use std::fs;
use std::path::{Path, PathBuf};

use super::*;

fn repository(dir: &Path) {
    for name in
        ["objects/info", "objects/pack", "refs/heads/feature", "hooks", "info", "worktrees/w", "logs/refs/heads"]
    {
        fs::create_dir_all(dir.join(name)).unwrap();
    }
    fs::write(dir.join("HEAD"), "ref: refs/heads/main\n").unwrap();
    fs::write(dir.join("worktrees/w/HEAD"), "ref: refs/heads/main\n").unwrap();
}

const LOCKS: &[&str] = &[
    "HEAD.lock",
    "index.lock",
    "config.lock",
    "packed-refs.lock",
    "packed-refs.new",
    "shallow.lock",
    "gc.pid",
    "refs/heads/main.lock",
    "refs/heads/feature/x y.lock",
    "logs/refs/heads/main.lock",
    "objects/info/commit-graph.lock",
    "objects/info/commit-graphs/commit-graph-chain.lock",
    "objects/pack/multi-pack-index.lock",
    "objects/maintenance.lock",
    "worktrees/w/index.lock",
    "worktrees/w/HEAD.lock",
];
const OTHERS: &[&str] = &[
    "hooks/foo.lock",
    "hooks/HEAD.lock",
    "custom/index.lock",
    "foo.lock",
    "refs/heads/main",
    "refs/heads/locked",
    "objects/pack/pack-1.lock.keep",
    "objects/pack/index.lock",
    "worktrees/w/other.lock",
    "app-info/gc.pid",
];

fn write(dir: &Path, names: &[&str]) {
    for name in names {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
}

fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("bkhost-git-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    dir
}

fn open(dir: &Path) -> OwnedFd {
    fs::File::open(dir).unwrap().into()
}

#[test]
fn locks_go_and_what_looks_alike_stays() {
    let dir = scratch("locks");
    let one = dir.join("repositories/1");
    let deep = dir.join("repositories/a/b/2.git");
    for repository in [&one, &deep] {
        self::repository(repository);
        write(repository, LOCKS);
        write(repository, OTHERS);
    }
    // No repositories: a HEAD alone, and one that only a link leads to.
    write(&dir, &["repositories/half/HEAD", "repositories/half/HEAD.lock", "repositories/half/refs/heads/x.lock"]);
    let outside = scratch("outside");
    self::repository(&outside);
    write(&outside, LOCKS);
    std::os::unix::fs::symlink(&outside, dir.join("repositories/linked")).unwrap();
    std::os::unix::fs::symlink(outside.join("refs"), one.join("refs/elsewhere")).unwrap();
    std::os::unix::fs::symlink(outside.join("HEAD"), one.join("FETCH_HEAD.lock")).unwrap();
    // Elsewhere than repositories are looked for.
    self::repository(&dir.join("other/3"));
    write(&dir.join("other/3"), LOCKS);

    let never = CancellationToken::new();
    let only = clean(&open(&dir), &["repositories", "no/such"], false, &never).unwrap();
    let count = u64::try_from(LOCKS.len() * 2).unwrap();
    assert_eq!((only.repositories, only.found, only.removed), (2, count, 0), "{only:?}");
    assert!(one.join("HEAD.lock").exists());
    let age = fs::metadata(one.join("refs/heads")).unwrap().modified().unwrap();
    let done = clean(&open(&dir), &["repositories"], true, &never).unwrap();
    assert_eq!((done.repositories, done.found, done.removed), (2, count, count), "{done:?}");
    assert!(done.paths.contains(&"repositories/a/b/2.git/refs/heads/feature/x y.lock".to_owned()), "{done:?}");
    assert_eq!(fs::metadata(one.join("refs/heads")).unwrap().modified().unwrap(), age);
    for repository in [&one, &deep] {
        assert!(LOCKS.iter().all(|name| !repository.join(name).exists()));
        assert!(OTHERS.iter().all(|name| repository.join(name).exists()));
    }
    for (root, names) in [(&outside, LOCKS), (&dir.join("other/3"), LOCKS)] {
        assert!(names.iter().all(|name| root.join(name).exists()), "{}", root.display());
    }
    assert!(one.join("FETCH_HEAD.lock").is_symlink());
    assert!(
        dir.join("repositories/half/HEAD.lock").exists() && dir.join("repositories/half/refs/heads/x.lock").exists()
    );
    assert_eq!(clean(&open(&dir), &["repositories"], true, &never).unwrap().found, 0);
    fs::remove_dir_all(dir).unwrap();
    fs::remove_dir_all(outside).unwrap();
}

#[test]
fn a_link_in_the_place_of_the_repositories_is_told() {
    let (dir, outside) = (scratch("root"), scratch("root-outside"));
    self::repository(&outside.join("1"));
    write(&outside.join("1"), LOCKS);
    std::os::unix::fs::symlink(&outside, dir.join("repositories")).unwrap();
    let found = clean(&open(&dir), &["repositories"], true, &CancellationToken::new()).unwrap();
    assert_eq!(found.repositories, 0);
    assert!(found.problems[0].contains("symbolic link"), "{found:?}");
    assert!(outside.join("1/HEAD.lock").exists());
    fs::remove_dir_all(dir).unwrap();
    fs::remove_dir_all(outside).unwrap();
}

#[test]
fn it_can_be_cancelled() {
    let dir = scratch("cancel");
    self::repository(&dir.join("repositories/1"));
    let cancel = CancellationToken::new();
    cancel.cancel();
    let error = clean(&open(&dir), &["repositories"], true, &cancel).unwrap_err();
    assert_eq!(error.kind(), crate::error::ErrorKind::Cancelled);
    fs::remove_dir_all(dir).unwrap();
}
