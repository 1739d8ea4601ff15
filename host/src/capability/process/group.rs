//! Signals for a command and everything it started.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use super::table;

/// The variable that marks all that a command starts. Its value is the command's owner (a run's id, or nothing), a
/// colon, and the command's own mark.
pub(in crate::capability) const MARK: &str = "BKHOST_COMMAND";

/// A process group. As long as its leader is not reaped, its number cannot belong to anyone else.
#[derive(Debug)]
pub(super) struct Group {
    leader: Pid,
    mark: String,
    /// The leader was reaped: from now on the number may be anyone's.
    reaped: bool,
}

impl Group {
    pub(super) fn new(leader: Pid, mark: String) -> Self {
        Self { leader, mark, reaped: false }
    }

    /// Send a signal to the group. A group that is gone is no error.
    pub(super) fn signal(&self, signal: Signal) {
        if !self.reaped {
            let _gone = kill_process_group(self.leader, signal);
        }
    }

    /// Kill what left the group but carries our mark.
    pub(super) async fn kill_marked(&self) {
        let wanted = format!("{MARK}={}", self.mark).into_bytes();
        // A process may fork while we look: again, until nothing new is found.
        let scan = tokio::task::spawn_blocking(move || {
            let mut killed = BTreeSet::new();
            for _ in 0..5 {
                if !kill_all_marked(&wanted, &mut killed) {
                    return;
                }
            }
        });
        let _scanned = scan.await;
    }

    /// To be called once the leader is reaped: waits until what was killed of its group has gone.
    pub(super) async fn gone(&mut self) {
        self.reaped = true;
        for wait in [1, 2, 4, 8, 16, 32, 64, 128, 256] {
            if test_kill_process_group(self.leader).is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
    }
}

impl Drop for Group {
    /// The runtime is being shut down in the middle of it.
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Kills every process with this mark; whether there was a new one.
fn kill_all_marked(wanted: &[u8], killed: &mut BTreeSet<i32>) -> bool {
    let mut found = false;
    for process in table::all() {
        let marked = !killed.contains(&process.pid) && process.environment_has(|variable| variable == wanted);
        if marked && process.kill() {
            killed.insert(process.pid);
            found = true;
        }
    }
    found
}
