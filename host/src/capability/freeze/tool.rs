//! `fsfreeze` of util-linux.

use std::fmt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::capability::process::MARK;
use crate::capability::program::{self, Program, SYSTEM_DIRS};

/// How long a child that was killed may take to go: longer only if the kernel holds it.
const REAP: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::capability) enum Way {
    Freeze,
    Thaw,
}

impl Way {
    fn option(self) -> &'static str {
        match self {
            Self::Freeze => "--freeze",
            Self::Thaw => "--unfreeze",
        }
    }
}

/// The command, for reports.
pub(in crate::capability) fn argv(freeze: bool, mount: &Path) -> Vec<String> {
    let way = if freeze { Way::Freeze } else { Way::Thaw };
    ["fsfreeze", way.option(), &mount.to_string_lossy()].map(str::to_owned).to_vec()
}

/// Why it did not do it.
#[derive(Debug)]
pub(super) enum Failure {
    /// Freezing: it is frozen already.
    Busy,
    /// Thawing: it is not frozen.
    NotFrozen,
    /// The file system cannot be frozen.
    Unsupported,
    /// The system refused.
    Refused,
    /// It took too long. The child that is still there is stuck in the kernel, and may yet do it.
    TimedOut(Option<Child>),
    /// The run was cancelled. As above.
    Stopped(Option<Child>),
    /// Anything else, such as a program that is missing.
    Other(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("it is frozen already"),
            Self::NotFrozen => f.write_str("it is not frozen"),
            Self::Unsupported => f.write_str("this sort of file system cannot be frozen"),
            Self::Refused => f.write_str("the system refused it"),
            Self::TimedOut(_) => f.write_str("fsfreeze does not end"),
            Self::Stopped(_) => f.write_str("the run was cancelled"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// The program, if it can be run.
pub(super) fn program() -> Result<Program, String> {
    let path = program::find("fsfreeze", &[])
        .ok_or_else(|| format!("fsfreeze (of util-linux) is in none of {}", SYSTEM_DIRS.join(", ")))?;
    Program::check(&path)
}

/// Run it, for so long, and until `stop` fires. A child that freezes carries a mark, by which a guard finds and kills it; one
/// that thaws is never in the way.
pub(super) async fn fsfreeze(
    way: Way,
    path: &Path,
    mark: Option<&str>,
    limit: Duration,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let program = program().map_err(Failure::Other)?;
    let mut command = Command::new(&program.path);
    // The long options are those that busybox has too.
    command.arg(way.option()).arg(path);
    command.env_clear().env("LC_ALL", "C").current_dir("/").process_group(0);
    if let Some(mark) = mark {
        command.env(MARK, mark);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| Failure::Other(format!("fsfreeze cannot be started: {e}")))?;
    let said = child.stderr.take();
    let ended = tokio::select! {
        biased;
        ended = timeout(limit, child.wait()) => Some(ended),
        () = stop.cancelled() => None,
    };
    let Some(Ok(ended)) = ended else {
        // A child that has ended meanwhile is what is wanted.
        let _ = child.start_kill();
        let left = timeout(REAP, child.wait()).await.is_err().then_some(child);
        return Err(if ended.is_none() { Failure::Stopped(left) } else { Failure::TimedOut(left) });
    };
    if ended.map_err(|e| Failure::Other(e.to_string()))?.success() {
        return Ok(());
    }
    let said = match said {
        Some(mut pipe) => text(&mut pipe).await,
        None => String::new(),
    };
    Err(failure(way, &said))
}

/// What it said: one line. Bounded, should anybody else hold the pipe.
async fn text(pipe: &mut tokio::process::ChildStderr) -> String {
    use tokio::io::AsyncReadExt;
    let mut bytes = vec![0; 4096];
    let read = timeout(REAP, pipe.read(&mut bytes)).await.ok().and_then(Result::ok).unwrap_or_default();
    String::from_utf8_lossy(bytes.get(..read).unwrap_or_default()).trim().to_owned()
}

/// The kernel's error is in what is said: the exit status is 1 for all of them. By glibc or by musl.
fn failure(way: Way, said: &str) -> Failure {
    let ends = |texts: &[&str]| texts.iter().any(|text| said.ends_with(text));
    match way {
        Way::Freeze if ends(&["resource busy", "Resource busy"]) => Failure::Busy,
        Way::Thaw if ends(&["Invalid argument"]) => Failure::NotFrozen,
        _ if ends(&["not supported", "Not supported", "Inappropriate ioctl for device", "Not a tty"]) => {
            Failure::Unsupported
        }
        _ if ends(&["Operation not permitted", "Permission denied"]) => Failure::Refused,
        _ if said.is_empty() => Failure::Other("fsfreeze failed and said nothing".to_owned()),
        _ => Failure::Other(said.lines().last().unwrap_or_default().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_says() {
        let freeze = |said: &str| failure(Way::Freeze, said);
        assert!(matches!(freeze("fsfreeze: /m: freeze failed: Device or resource busy"), Failure::Busy));
        assert!(matches!(freeze("fsfreeze: ioctl 0xc0045877 failed: Resource busy"), Failure::Busy));
        assert!(matches!(freeze("fsfreeze: /: freeze failed: Operation not supported"), Failure::Unsupported));
        assert!(matches!(freeze("fsfreeze: /: freeze failed: Operation not permitted"), Failure::Refused));
        assert!(matches!(freeze(""), Failure::Other(_)));
        let thaw = "fsfreeze: /m: unfreeze failed: Invalid argument";
        assert!(matches!(failure(Way::Thaw, thaw), Failure::NotFrozen));
        assert!(matches!(freeze("fsfreeze: /m: freeze failed: Invalid argument"), Failure::Other(_)));
    }
}
