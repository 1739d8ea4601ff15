//! Locks that git left in repositories which were captured while it worked.

use std::path::{Path, PathBuf};
use std::process::Command;

use bkhost_tests::{Bkhost, Outcome, Running, Zfs, application_none, directory_part, listing, tool, zfs};
use serde_json::Value;

const SETTINGS: &str = "profile = \"bitbucket-home\"\n";
/// Below a repository, what a git that was interrupted leaves.
const LOCKS: [&str; 5] =
    ["refs/heads/main.lock", "packed-refs.lock", "HEAD.lock", "objects/info/commit-graph.lock", "gc.pid"];
/// What looks alike and is somebody's.
const OTHERS: [&str; 4] = ["hooks/main.lock", "custom/index.lock", "notes.lock", "app-info/HEAD.lock"];

fn git(dir: &Path, args: &[&str]) -> Outcome {
    started(Command::new("git"), dir, args)
}

fn started(mut command: Command, dir: &Path, args: &[&str]) -> Outcome {
    command.arg("-C").arg(dir).args(["-c", "user.name=t", "-c", "user.email=t@example.org"]).args(args);
    // Repositories belong to whoever the restore says.
    command.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", "safe.directory").env("GIT_CONFIG_VALUE_0", "*");
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("HOME", "/nonexistent");
    Running::start(command, false).end()
}

/// A home with a real repository `1`, and somebody's clone of it that has a commit more.
struct Home {
    clone: PathBuf,
}

impl Home {
    fn make(bk: &Bkhost, root: &Path) -> Self {
        let repository = root.join("shared/data/repositories/1");
        std::fs::create_dir_all(&repository).unwrap();
        git(&repository, &["init", "-q", "--bare", "-b", "main", "."]).ok();
        let clone = bk.path("clone");
        std::fs::create_dir(&clone).unwrap();
        git(&clone, &["init", "-q", "-b", "main", "."]).ok();
        git(&clone, &["commit", "-q", "--allow-empty", "-m", "one"]).ok();
        git(&clone, &["push", "-q", repository.to_str().unwrap(), "main"]).ok();
        git(&clone, &["commit", "-q", "--allow-empty", "-m", "two"]).ok();
        std::fs::write(root.join("shared/bitbucket.properties"), "setup.displayName=x\n").unwrap();
        write(&repository, &LOCKS);
        write(&repository, &OTHERS);
        Self { clone }
    }

    fn push(&self, root: &Path) -> Outcome {
        git(&self.clone, &["push", "-q", root.join("shared/data/repositories/1").to_str().unwrap(), "main"])
    }

    /// The same where the pool is mounted.
    fn push_to(&self, zfs: &Zfs, dataset: &str) -> Outcome {
        let root = zfs.zfs(&["get", "-H", "-o", "value", "mountpoint", dataset]);
        let repository = format!("{root}/shared/data/repositories/1");
        started(zfs.command("git", &[]), &self.clone, &["push", "-q", &repository, "main"])
    }
}

fn write(dir: &Path, names: &[&str]) {
    for name in names {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "left\n").unwrap();
    }
}

fn with(part: &str, settings: &str) -> String {
    part.replacen("[part.config]\n", &format!("{settings}[part.config]\n"), 1)
}

fn restore(bk: &Bkhost, id: &str, to: Option<&str>) -> Value {
    let to = to.map(|to| ["--to", to]);
    let mut args = vec!["restore", id, "--json", "--confirm", bk.instance()];
    args.extend(to.iter().flatten());
    bk.run(&args).ok().json()
}

fn is(root: &Path, names: &[&str]) -> usize {
    names.iter().filter(|name| root.join("shared/data/repositories/1").join(name).exists()).count()
}

/// So many repositories, named from 2 on: every tenth has locks, two of them.
fn many(repositories: &Path, many: usize) {
    for n in 0..many {
        let repository = repositories.join((n + 2).to_string());
        std::fs::create_dir_all(repository.join("refs/heads")).unwrap();
        std::fs::create_dir(repository.join("objects")).unwrap();
        std::fs::write(repository.join("HEAD"), "ref: refs/heads/main\n").unwrap();
        if n % 10 == 0 {
            write(&repository, &["refs/heads/deep/er.lock", "index.lock"]);
        }
    }
}

#[test]
fn two_thousand_repositories() {
    let bk = Bkhost::new();
    let home = bk.path("mesh");
    many(&home.join("repositories/0a/f3"), 2000);
    let args = ["git-locks", home.to_str().unwrap(), "--profile", "bitbucket-mesh", "--remove", "--json"];
    let removed = bk.run(&args).ok().json();
    assert_eq!((&removed["repositories"], &removed["removed"]), (&2000.into(), &400.into()), "{removed}");
    assert_eq!(bk.run(&args).ok().json()["found"], 0);
}

#[test]
fn lock_file_clean_up_that_removes_nothing() {
    const MANY: usize = 20;
    let bk = Bkhost::new();
    let root = bk.path("home");
    let home = Home::make(&bk, &root);
    // A linked worktree has locks of its own.
    let repositories = root.join("shared/data/repositories");
    let worktree = ["worktree", "add", "-q", "--orphan", "-b", "side", "../../../../tree"];
    if git(&repositories.join("1"), &worktree).code != 0 {
        write(&repositories.join("1"), &["worktrees/tree/HEAD"]);
    }
    write(&repositories.join("1"), &["worktrees/tree/index.lock"]);
    many(&repositories, MANY);
    // No repository, and none of ours.
    write(&repositories, &["no repository/HEAD", "no repository/HEAD.lock"]);
    let outside = bk.path("outside");
    std::fs::create_dir(&outside).unwrap();
    git(&outside, &["init", "-q", "--bare", "."]).ok();
    write(&outside, &LOCKS);
    std::os::unix::fs::symlink(&outside, repositories.join("linked")).unwrap();
    // To git the locks are real.
    let refused = home.push(&root);
    assert!(refused.code != 0 && refused.stderr.contains(".lock"), "{refused}");

    bk.config(&[&application_none(), &with(&directory_part("home", &root), SETTINGS)]);
    let id = bk.backup_id();
    let to = bk.path("restored");
    let restored = restore(&bk, &id, Some(to.to_str().unwrap()));
    let care = &restored["aftercare"][0];
    let locks = u64::try_from(LOCKS.len() + 1 + MANY / 10 * 2).unwrap();
    assert_eq!(care["git-locks"]["repositories"], MANY + 1, "{restored}");
    assert_eq!((&care["git-locks"]["found"], &care["git-locks"]["removed"]), (&locks.into(), &locks.into()));
    let paths = care["git-locks"]["paths"].as_array().unwrap();
    for path in ["1/refs/heads/main.lock", "1/worktrees/tree/index.lock", "2/refs/heads/deep/er.lock"] {
        assert!(paths.contains(&format!("shared/data/repositories/{path}").into()), "{path}: {paths:?}");
    }
    assert!(care["notes"].to_string().contains("disaster.recovery=true"), "{restored}");
    assert_eq!((is(&to, &LOCKS), is(&to, &OTHERS)), (0, OTHERS.len()));
    assert!(to.join("shared/data/repositories/no repository/HEAD.lock").exists());
    assert_eq!(LOCKS.iter().filter(|name| outside.join(name).exists()).count(), LOCKS.len(), "what is only linked to");
    home.push(&to).ok();
    git(&to.join("shared/data/repositories/1"), &["fsck", "--strict"]).ok();

    // All but the locks is as it was: owners, modes, times, contents.
    let expected = bk.path("expected");
    let mut cp = Command::new("cp");
    cp.arg("-a").arg(&root).arg(&expected);
    tool(cp);
    let told = paths.iter().filter_map(Value::as_str);
    for path in told {
        let (file, dir) = (expected.join(path), expected.join(path).parent().unwrap().to_owned());
        let times = std::fs::metadata(&dir).unwrap();
        std::fs::remove_file(file).unwrap();
        let times = std::fs::FileTimes::new().set_modified(times.modified().unwrap());
        std::fs::File::open(dir).unwrap().set_times(times).unwrap();
    }
    let again = bk.path("again");
    let _ = restore(&bk, &id, Some(again.to_str().unwrap()));
    assert_eq!(listing(&again), listing(&expected));

    // A set keeps what was captured: a drill finds no difference.
    bk.run(&["drill"]).ok();
}

#[test]
fn locks_are_only_told_when_that_was_asked_for() {
    let bk = Bkhost::new();
    let root = bk.path("home");
    let home = Home::make(&bk, &root);
    let settings = format!("{SETTINGS}[part.options]\ngit-locks = \"report\"\n");
    bk.config(&[&application_none(), &with(&directory_part("home", &root), &settings)]);
    let id = bk.backup_id();
    let to = bk.path("restored");
    let args = ["restore", &id, "--to", to.to_str().unwrap(), "--confirm", bk.instance()];
    let restored = bk.run(&args).ok();
    for text in ["5 lock files", "were not removed", "refs/heads/main.lock", "disaster.recovery"] {
        assert!(restored.stderr.contains(text), "{text}: {restored}");
    }
    assert_eq!((is(&to, &LOCKS), is(&to, &OTHERS)), (LOCKS.len(), OTHERS.len()));
    assert_ne!(home.push(&to).code, 0);
    // The command does it where a restore cannot.
    let dir = to.to_str().unwrap();
    bk.run(&["git-locks", dir, "--profile", "smf-hb"]).fails(3, &["bitbucket-mesh"]);
    bk.run(&["git-locks", dir, "--profile", "bitbucket-mesh"]).fails(13, &["no git repository"]);
    bk.run(&["git-locks", "/no/such", "--profile", "bitbucket-home"]).fails(13, &["/no/such"]);
    let listed = bk.run(&["git-locks", dir, "--profile", "bitbucket-home"]).ok();
    assert!(listed.stdout.contains("HEAD.lock") && listed.stdout.contains("were not removed"), "{listed}");
    assert_eq!(is(&to, &LOCKS), LOCKS.len());
    let removed = bk.run(&["git-locks", dir, "--profile", "bitbucket-home", "--remove", "--json"]).ok().json();
    assert_eq!((&removed["found"], &removed["removed"]), (&5.into(), &5.into()), "{removed}");
    assert_eq!((is(&to, &LOCKS), is(&to, &OTHERS)), (0, OTHERS.len()));
    home.push(&to).ok();
    // Without a profile nothing is touched, and nobody is reminded.
    bk.config(&[&application_none(), &directory_part("home", &root)]);
    let id = bk.backup_id();
    let to = bk.path("plain");
    let restored = restore(&bk, &id, Some(to.to_str().unwrap()));
    assert!(restored.get("aftercare").is_none(), "{restored}");
    assert_eq!(is(&to, &LOCKS), LOCKS.len());
    // Single files that are asked for are wanted.
    bk.config(&[&application_none(), &with(&directory_part("home", &root), SETTINGS)]);
    let id = bk.backup_id();
    let (to, lock) = (bk.path("one"), "shared/data/repositories/1/HEAD.lock");
    let to = to.to_str().unwrap();
    bk.run(&["restore", &id, "--part", "home", "--path", lock, "--to", to, "--confirm", bk.instance()]).ok();
    assert!(Path::new(to).join(lock).exists());
}

#[test]
fn repositories_on_zfs_in_place_and_elsewhere() {
    let zfs = zfs();
    let bk = Bkhost::inside(zfs);
    let dataset = zfs.create(bk.instance());
    let files = zfs.files(&dataset);
    // Made elsewhere: git finds no way to a place that is mounted for others.
    let made = bk.path("made");
    let home = Home::make(&bk, &made);
    let mut cp = Command::new("cp");
    cp.arg("-aT").arg(&made).arg(&files);
    tool(cp);
    assert_ne!(home.push_to(zfs, &dataset).code, 0);
    let part = with(&zfs.part("home", &[&dataset]), SETTINGS);
    bk.config(&[&application_none(), &part]);
    let id = bk.backup_id();
    let to = format!("{dataset}-restored");
    let restored = restore(&bk, &id, Some(&to));
    assert_eq!(restored["aftercare"][0]["git-locks"]["removed"], LOCKS.len(), "{restored}");
    let place = zfs.files(&to);
    assert_eq!((is(&place, &LOCKS), is(&place, &OTHERS)), (0, OTHERS.len()));
    home.push_to(zfs, &to).ok();
    // A rollback brings the locks back, and the host removes them where the strategy says that it is.
    let restored = restore(&bk, &id, None);
    assert_eq!(restored["aftercare"][0]["git-locks"]["removed"], LOCKS.len(), "{restored}");
    zfs.zfs(&["unmount", &dataset]);
    zfs.zfs(&["mount", &dataset]);
    assert_eq!((is(&files, &LOCKS), is(&files, &OTHERS)), (0, OTHERS.len()));
    home.push_to(zfs, &dataset).ok();
    // Where nobody can tell, the operator is told what to do.
    bk.config(&[&application_none(), &(part + "archive = \"stream\"\n")]);
    let id = bk.backup_id();
    let restored = restore(&bk, &id, Some(&format!("{dataset}-received")));
    let notes = restored["aftercare"][0]["notes"].to_string();
    assert!(notes.contains("git-locks --profile bitbucket-home"), "{restored}");
}
