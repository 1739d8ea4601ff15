//! The strategy `rsync`, by the real rsync on real file systems.

mod check;
mod consistency;
mod copies;
mod excludes;
mod failures;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bkhost_tests::{Bkhost, application_none, listing, tool, until};
use serde_json::Value;

/// A part of the strategy, staged in the instance's directory `stage` (or the one that is given), with these keys.
pub(crate) fn part(name: &str, home: &Path, stage: &Path, config: &str) -> String {
    let (home, stage) = (home.to_str().unwrap(), stage.to_str().unwrap());
    format!(
        "[[part]]\nname = \"{name}\"\nplugin = \"rsync.wasm\"\nstaging = {stage:?}\n[part.config]\npath = {home:?}\n{config}\n"
    )
}

/// An instance with a home, staged beside it.
struct World {
    bk: Bkhost,
    home: PathBuf,
    stage: PathBuf,
}

impl World {
    fn new() -> Self {
        let bk = Bkhost::new();
        let dir = bk.path("fs");
        std::fs::create_dir(&dir).unwrap();
        Self::on(bk, &dir)
    }

    /// In this directory.
    fn on(bk: Bkhost, dir: &Path) -> Self {
        let (home, stage) = (dir.join("home"), dir.join("stage"));
        std::fs::create_dir(&home).unwrap();
        std::fs::create_dir(&stage).unwrap();
        Self { bk, home, stage }
    }

    /// Nothing to lock, and these keys of `[part.config]`.
    fn config(&self, keys: &str) {
        self.bk.config(&[&application_none(), &part("home", &self.home, &self.stage, keys)]);
    }

    /// The same with a command that is run when the application is to be brought to rest: between the two passes.
    fn config_with_quiesce(&self, script: &str, keys: &str) {
        let program = self.bk.program("quiesce", &format!("set -e\ncd {:?}\n{script}", self.home));
        let application =
            format!("[application]\ntype = \"command\"\nquiesce = [{program:?}]\nresume = [\"/bin/true\"]\n");
        self.bk.config(&[&application, &part("home", &self.home, &self.stage, keys)]);
    }

    /// The part's own staging area.
    fn area(&self) -> PathBuf {
        self.stage.join(self.bk.instance()).join("home")
    }

    /// The good copy of a set.
    fn copy(&self, set: &str) -> PathBuf {
        self.area().join(format!("rsync-bkhost-{}-{set}", self.bk.instance()))
    }

    /// The listing of the good copy of a set, without what it shares with other copies.
    #[track_caller]
    fn listing(&self, set: &str) -> String {
        let to = self.bk.path(&format!("copy-{set}"));
        let mut copy = Command::new("cp");
        copy.arg("-a").arg(self.copy(set)).arg(&to);
        tool(copy);
        let listing = listing(&to);
        std::fs::remove_dir_all(&to).unwrap();
        listing
    }

    /// What is in the staging area, but for rsync's filter.
    fn staged(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.area()) else { return Vec::new() };
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != "rsync-filter");
        names.sort();
        names
    }

    /// The listing of what a set restores to.
    #[track_caller]
    fn restored(&self, set: &str) -> String {
        let to = self.bk.path(&format!("restored-{set}"));
        let arguments = ["restore", set, "--to", to.to_str().unwrap(), "--confirm", self.bk.instance()];
        self.bk.run(&arguments).ok();
        listing(&to)
    }
}

/// Without what XFS shows of ACLs besides these: other file systems do not have it.
fn portable(listing: &str) -> String {
    let own = |line: &&str| !line.starts_with("trusted.SGI_ACL") && !line.starts_with("# file: ") && !line.is_empty();
    listing.lines().filter(own).map(|line| format!("{line}\n")).collect()
}

fn state(manifest: &Value) -> &Value {
    &manifest["parts"][0]["snapshot"]["state"]
}

fn sh(dir: &Path, script: &str) -> String {
    let mut command = Command::new("bash");
    command.args(["-euc", script]).current_dir(dir);
    tool(command)
}

/// Writes to a home all the time, but while there is a file `rest` beside it; then it says so by the file `resting`.
struct Busy {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Busy {
    /// What brings it to rest.
    const REST: &'static str = "touch ../rest; until [ -e ../resting ]; do sleep 0.005; done";

    fn start(home: &Path) -> Self {
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (home, beside) = (home.to_owned(), home.parent().unwrap().to_owned());
        std::fs::create_dir(home.join("busy")).unwrap();
        let thread = std::thread::spawn({
            let (stop, count) = (Arc::clone(&stop), Arc::clone(&count));
            move || {
                while !stop.load(Ordering::Acquire) {
                    if beside.join("rest").exists() {
                        std::fs::write(beside.join("resting"), "").unwrap();
                        std::thread::sleep(Duration::from_millis(2));
                        continue;
                    }
                    let n = count.fetch_add(1, Ordering::AcqRel);
                    let at = |n: u64| home.join(format!("busy/{n}"));
                    // Files of one size, rewritten in place; some come, some go, and one is cut off now and then.
                    std::fs::write(at(n % 7), format!("{n:09}").repeat(100)).unwrap();
                    std::fs::write(at(1000 + n), "new").unwrap();
                    let _ = std::fs::remove_file(at(1000 + n.saturating_sub(20)));
                    std::fs::write(home.join("busy/log"), "x".repeat(usize::try_from(n % 5).unwrap() * 100_000))
                        .unwrap();
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        });
        let busy = Self { stop, count, thread: Some(thread) };
        busy.goes_on();
        busy
    }

    #[track_caller]
    fn goes_on(&self) {
        let before = self.count.load(Ordering::Acquire);
        until("the application writes", Duration::from_secs(20), || self.count.load(Ordering::Acquire) > before + 10);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
