//! A file system on a device-mapper device that is suspended cannot be thawed: most write to it for that, and wait.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::capability::program::{self, Program};

/// How long letting a device go on may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Let a device (`major:minor`) go on, if it is one that is suspended: whoever had suspended it for a snapshot was killed, or
/// has had all the time there was. If that does not work, the thaw says so.
pub(super) async fn resume(device: &str) {
    let suspended = std::fs::read_to_string(format!("/sys/dev/block/{device}/dm/suspended"));
    if !suspended.is_ok_and(|text| text.trim() == "1") {
        return;
    }
    let Some((major, minor)) = device.split_once(':') else { return };
    let Some(Ok(program)) = program::find("dmsetup", &[]).map(|path| Program::check(&path)) else { return };
    let mut command = Command::new(&program.path);
    // Without waiting for udev, for which nothing changes.
    command.args(["resume", "--noudevsync", "--major", major, "--minor", minor]);
    command.env_clear().env("LC_ALL", "C").current_dir("/").process_group(0).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Ok(mut child) = command.spawn() {
        let _ = timeout(PATIENCE, child.wait()).await;
    }
}
