//! Services, by their manager.

use std::path::{Path, PathBuf};

use super::{Argv, Commanded, Piece, Probe};
use crate::capability::{Leaves, LifecycleCommand};
use crate::config::{Manager, ServiceApplication};
use crate::report::{Finding, Severity};

/// Where systemd says that it runs this machine.
const SYSTEMD: &str = "/run/systemd/system";
const SCRIPTS: &str = "/etc/init.d";

/// Who stops and starts services, and how it is asked.
pub(super) struct Services {
    manager: Manager,
    systemctl: PathBuf,
}

impl Services {
    pub(super) fn of(settings: &ServiceApplication) -> Self {
        let found = || if Path::new(SYSTEMD).is_dir() { Manager::Systemd } else { Manager::Init };
        Self { manager: settings.manager.unwrap_or_else(found), systemctl: settings.systemctl.clone() }
    }

    pub(super) fn pieces(&self, names: &[String]) -> Vec<Piece> {
        names.iter().map(|name| self.piece(name)).collect()
    }

    fn piece(&self, name: &str) -> Piece {
        // systemctl: 3 is inactive or failed, 4 no such unit. Init scripts: 1 to 3 are ways of not running, 4 is unknown.
        let (stop, start, status, no) = match self.of_name(name) {
            Manager::Systemd => (
                self.systemctl(&["stop", name]),
                self.systemctl(&["start", name]),
                self.systemctl(&["is-active", name]),
                vec![3],
            ),
            Manager::Init => (script(name, "stop"), script(name, "start"), script(name, "status"), vec![1, 2, 3]),
        };
        let runs = Probe { argv: status.clone(), yes: vec![0], no: no.clone() };
        let rest = Probe { argv: status, yes: no, no: vec![0] };
        Piece { name: name.to_owned(), stop, start, rest: Some(rest), runs: Some(runs) }
    }

    /// An absolute path is that of a script, also where systemd runs.
    fn of_name(&self, name: &str) -> Manager {
        if name.starts_with('/') { Manager::Init } else { self.manager }
    }

    fn systemctl(&self, words: &[&str]) -> Argv {
        let program = self.systemctl.to_string_lossy().into_owned();
        std::iter::once(program).chain(words.iter().map(|word| (*word).to_owned())).collect()
    }

    /// What would fail later: a service that nobody knows, a script that cannot tell its status.
    pub(super) async fn check(&self, application: &Commanded, piece: &Piece) -> Vec<Finding> {
        let failure = |message: String, hint: &str| {
            vec![application.finding(Severity::Failure, &piece.name, message, Some(hint))]
        };
        if self.of_name(&piece.name) == Manager::Systemd {
            let argv = self.systemctl(&["show", "--property=LoadState", "--value", &piece.name]);
            let command = LifecycleCommand { argv: &argv, timeout: application.timeout, leaves: Leaves::Daemons };
            match command.run().await {
                Ok(ended) if ended.status == 0 && ended.output == "loaded" => {}
                Ok(ended) => {
                    let text = format!("systemd has no such unit that can be started: {}", ended.output);
                    return failure(text, "`systemctl list-units --all` lists them");
                }
                Err(why) => return failure(why, "is systemd running here? Else set [application] manager = \"init\""),
            }
        }
        match application.runs(piece).await {
            Ok(true) => Vec::new(),
            Ok(false) => {
                let text = "it does not run: it is neither stopped nor started".to_owned();
                vec![application.finding(Severity::Warning, &piece.name, text, None)]
            }
            Err(error) => {
                let why = error.causes().first().cloned().unwrap_or_else(|| error.message().to_owned());
                failure(
                    why,
                    "its script has to know the action `status`, with the exit codes of the Linux Standard Base",
                )
            }
        }
    }
}

fn script(name: &str, action: &str) -> Argv {
    let path = if name.starts_with('/') { PathBuf::from(name) } else { Path::new(SCRIPTS).join(name) };
    vec![path.to_string_lossy().into_owned(), action.to_owned()]
}
