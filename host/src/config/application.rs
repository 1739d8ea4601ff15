//! `[application]` for what is brought to rest by programs of this machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Span;

/// `[application] type = "command"`: the operator's own programs bring it to rest and back. A command is a program (an
/// absolute path) and its arguments; there is no shell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CommandApplication {
    /// What it is called in messages. Default: the file name of the program in `quiesce`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Brings the application to rest. Its success says that nothing is written any more.
    pub quiesce: Vec<String>,
    /// Gives the application back. It is run until it succeeds, also after a `quiesce` that failed or was killed, so it
    /// has to be harmless for an application that is not at rest.
    pub resume: Vec<String>,
    /// Succeeds while the application is at rest. Asked once a second while the consistency points are fixed, and once after
    /// that: a failure fails the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_rest: Option<Vec<String>>,
    /// Succeeds if the application runs at all, fails if it is stopped. Without it nothing can be restored to its original
    /// place, because nobody can tell whether the application is using it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<Vec<String>>,
    /// How long each of these programs may take.
    #[serde(default = "command_timeout")]
    pub timeout: Span,
    /// How long the application may be at rest, all in all: then it is given back, whatever happens to the backup.
    #[serde(default = "super::model::max_lock_time")]
    pub max_lock_time: Span,
}

impl CommandApplication {
    /// What it is called in messages.
    #[must_use]
    pub fn name(&self) -> String {
        let program = || self.quiesce.first().map(Path::new).and_then(Path::file_name);
        self.name.clone().unwrap_or_else(|| program().unwrap_or_default().to_string_lossy().into_owned())
    }
}

/// `[application] type = "service"`: services that are stopped while the consistency points are fixed, and started again.
/// Only those that ran are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ServiceApplication {
    /// The services in the order in which they are stopped; they are started in the reverse order. Names of units, or of
    /// scripts in /etc/init.d, or absolute paths to such scripts.
    pub services: Vec<String>,
    /// Who stops and starts them. Default: systemd where it runs, else init.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manager: Option<Manager>,
    /// The program that asks systemd: an absolute path.
    #[serde(default = "systemctl")]
    pub systemctl: PathBuf,
    /// How long each service may take to stop, and to start.
    #[serde(default = "service_timeout")]
    pub timeout: Span,
    /// How long they may be stopped, all in all: then they are started, whatever happens to the backup.
    #[serde(default = "super::model::max_lock_time")]
    pub max_lock_time: Span,
}

/// Who stops and starts services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Manager {
    /// systemd, asked by systemctl.
    Systemd,
    /// Scripts with the actions start, stop and status, whose exit codes are those of the Linux Standard Base.
    Init,
}

fn systemctl() -> PathBuf {
    PathBuf::from("/usr/bin/systemctl")
}

fn command_timeout() -> Span {
    Span(Duration::from_secs(5 * 60))
}

fn service_timeout() -> Span {
    Span(Duration::from_secs(2 * 60))
}
