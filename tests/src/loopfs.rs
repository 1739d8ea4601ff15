//! File systems of one's own, in files behind loop devices, that are written to all the time.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::{Running, tool};

/// Between two writes.
const BEAT: Duration = Duration::from_millis(2);
/// A file system on which nothing was written for so long is frozen.
const STILL: Duration = Duration::from_millis(300);

/// A mounted file system, on which a byte is written every few milliseconds. Thawed and unmounted when this is dropped.
pub struct LoopFs {
    point: PathBuf,
    stop: Arc<AtomicBool>,
    /// When the last write came back.
    beat: Arc<Mutex<Instant>>,
    writer: Option<JoinHandle<()>>,
}

impl LoopFs {
    /// Make a file system of this kind (`ext4`, `xfs`) in `dir`, and mount it there under this name.
    #[must_use]
    #[track_caller]
    pub fn new(dir: &Path, name: &str, kind: &str) -> Self {
        // XFS is not made any smaller.
        Self::sized(dir, name, kind, if kind == "xfs" { 320 << 20 } else { 24 << 20 })
    }

    /// One of this kind (`ext4`, `xfs`, `btrfs`) that has so many bytes.
    #[must_use]
    #[track_caller]
    pub fn sized(dir: &Path, name: &str, kind: &str, size: u64) -> Self {
        assert!(rustix::process::geteuid().is_root(), "the tests of file systems need root: sudo make test");
        let (point, image) = (dir.join(name), dir.join(format!("{name}.img")));
        std::fs::create_dir(&point).unwrap();
        // The file is sparse.
        File::create(&image).unwrap().set_len(size).unwrap();
        let mut mkfs = Command::new(format!("mkfs.{kind}"));
        tool({
            mkfs.arg("-q").arg(&image);
            mkfs
        });
        let mut mount = Command::new("mount");
        mount.args(["-o", "loop"]).arg(&image).arg(&point);
        tool(mount);
        let (stop, beat) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Instant::now())));
        let file = OpenOptions::new().create(true).truncate(true).write(true).open(point.join("beat")).unwrap();
        let writer = std::thread::spawn({
            let (stop, beat) = (Arc::clone(&stop), Arc::clone(&beat));
            move || {
                while !stop.load(Ordering::Relaxed) {
                    file.write_at(b"x", 0).unwrap();
                    *beat.lock().unwrap() = Instant::now();
                    std::thread::sleep(BEAT);
                }
            }
        });
        Self { point, stop, beat, writer: Some(writer) }
    }

    /// Where it is mounted.
    #[must_use]
    pub fn point(&self) -> &Path {
        &self.point
    }

    /// Whether it is frozen: whether nothing is written for a while.
    #[must_use]
    pub fn frozen(&self) -> bool {
        let asked = Instant::now();
        while asked.elapsed() < STILL {
            if *self.beat.lock().unwrap() > asked {
                return false;
            }
            std::thread::sleep(BEAT);
        }
        true
    }

    /// Whether something was written to it since then.
    #[must_use]
    pub fn written_since(&self, since: Instant) -> bool {
        *self.beat.lock().unwrap() > since
    }

    /// Freeze it, as somebody else would.
    #[track_caller]
    pub fn freeze(&self) {
        tool(self.command("--freeze"));
    }

    /// Thaw it, as somebody else would.
    #[track_caller]
    pub fn thaw(&self) {
        tool(self.command("--unfreeze"));
    }

    fn command(&self, option: &str) -> Command {
        let mut command = Command::new("fsfreeze");
        command.arg(option).arg(&self.point);
        command
    }
}

impl Drop for LoopFs {
    fn drop(&mut self) {
        // Whatever the test did: the machine must not keep it.
        let _ = Running::start(self.command("--unfreeze"), false).end();
        self.stop.store(true, Ordering::Relaxed);
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
        for lazy in [false, false, true] {
            let mut umount = Command::new("umount");
            umount.args(lazy.then_some("-l")).arg(&self.point);
            if Running::start(umount, false).end().code == 0 {
                return;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}
