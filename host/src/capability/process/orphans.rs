//! Killing what a run that died has left.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::group::MARK;
use super::table::{self, Entry};

/// How long what was killed may take to go.
const PATIENCE: Duration = Duration::from_secs(2);

/// The leader of a process group, named so that no other process is taken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leader {
    /// Its number, and its group's.
    pub pgid: u32,
    /// When it was started, in clock ticks since the boot.
    pub start: u64,
}

/// Kill all processes of the run `owner`: those that carry its mark, what those started, and the groups of these
/// leaders. To be called once the run's own process is gone. Gives the number of processes that were killed, and those
/// that did not go: they are stuck in the kernel.
#[must_use]
pub fn kill_orphans(owner: &str, leaders: &[Leader]) -> (usize, Vec<i32>) {
    let prefix = format!("{MARK}={owner}:").into_bytes();
    let end = Instant::now() + PATIENCE;
    let mut killed = BTreeSet::new();
    let mut quiet = 0;
    loop {
        let ours = ours(&table::all(), &prefix, leaders);
        for process in &ours {
            if process.kill() {
                killed.insert((process.pid, process.start));
            }
        }
        // A process that was just starting its program has no environment for an instant: one look is not enough.
        quiet = if ours.is_empty() { quiet + 1 } else { 0 };
        if quiet == 2 || Instant::now() >= end {
            return (killed.len(), ours.into_iter().map(|process| process.pid).collect());
        }
        sleep(Duration::from_millis(5));
    }
}

fn ours(all: &[Entry], prefix: &[u8], leaders: &[Leader]) -> Vec<Entry> {
    let led: BTreeSet<i32> = all
        .iter()
        .filter(|process| leaders.iter().any(|l| i32::try_from(l.pgid) == Ok(process.pid) && l.start == process.start))
        .map(|process| process.pid)
        .collect();
    let mut ours: Vec<Entry> = all
        .iter()
        .filter(|process| {
            led.contains(&process.group) || process.environment_has(|variable| variable.starts_with(prefix))
        })
        .copied()
        .collect();
    let mut known: BTreeSet<i32> = ours.iter().map(|process| process.pid).collect();
    loop {
        let more: Vec<Entry> = all
            .iter()
            .filter(|process| known.contains(&process.parent) && !known.contains(&process.pid))
            .copied()
            .collect();
        if more.is_empty() {
            return ours;
        }
        known.extend(more.iter().map(|process| process.pid));
        ours.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command};

    use super::*;

    fn sleeper(owner: &str, script: &str) -> Child {
        let child =
            Command::new("sh").args(["-c", script]).env(MARK, format!("{owner}:1")).process_group(0).spawn().unwrap();
        sleep(Duration::from_millis(150));
        child
    }

    #[test]
    fn the_marked_their_children_and_nobody_else() {
        let owner = format!("test-a-{}", std::process::id());
        let mut ours = sleeper(&owner, "setsid sleep 77 & setsid env -i sleep 78 & wait");
        let mut others = sleeper("test-other", "exec sleep 79");
        let (killed, left) = kill_orphans(&owner, &[]);
        assert_eq!((killed, left), (3, vec![]));
        assert!(!ours.wait().unwrap().success());
        assert!(others.try_wait().unwrap().is_none(), "a stranger was killed");
        others.kill().unwrap();
        others.wait().unwrap();
    }

    #[test]
    fn a_group_is_killed_only_if_its_leader_is_the_one_that_was_started() {
        let mut child = Command::new("sleep").arg("77").process_group(0).spawn().unwrap();
        let pgid = child.id();
        let start = table::start_time(pgid).unwrap();
        assert_eq!(kill_orphans("test-b", &[Leader { pgid, start: start + 1 }]).0, 0);
        assert!(child.try_wait().unwrap().is_none());
        assert_eq!(kill_orphans("test-b", &[Leader { pgid, start }]).0, 1);
        child.wait().unwrap();
    }
}
