//! Strategy postgresql-fslevel: a PostgreSQL server whose files a disk part captures.
//!
//! It holds nothing itself. It proves, in the check, right before the capture and after it, that all of the server's files are
//! captured at one instant, and makes a checkpoint before. A server that starts on what is restored finds what it would find
//! after a power cut at that instant.

mod proof;
mod server;

use bkhost_sdk::{Archived, Consistency, Error, Finding, Identity, Result, Snapshot, Source, Strategy, exec, info};
use serde::{Deserialize, Serialize};

use proof::{notes, prove, unchanged};
use server::Server;

bkhost_sdk::export!(Fslevel: Identity);

/// `[part.config]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Config {
    disk_part: String,
    data_directory: String,
    tablespaces: Vec<String>,
}

/// What a snapshot record keeps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct State {
    disk_part: String,
    volumes: Vec<String>,
    /// What the server said after the checkpoint, before the files were captured.
    server: Server,
}

/// The strategy.
#[derive(Debug)]
struct Fslevel {
    config: Config,
}

impl Identity for Fslevel {
    fn identity(&mut self) -> Result<Option<String>> {
        // Before a restore the server stands still: its files tell, if they are there.
        Ok(server::identifier_of_files().ok())
    }
}

impl Strategy for Fslevel {
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        let odd = config.tablespaces.iter().chain([&config.data_directory]).find(|path| path.ends_with('/'));
        match odd {
            Some(path) => Err(Error::invalid_config(format!("the path {path} ends with a slash"))
                .hint("write it as the server tells it")),
            None => Ok(Self { config }),
        }
    }

    fn check(&mut self) -> Result<Vec<Finding>> {
        let version = exec::run("version", &[]).and_then(exec::Output::ok);
        Ok(match version.and_then(|_| prove(&self.config, true)) {
            Ok(proof) => notes(&self.config, &proof),
            Err(error) => vec![Finding::from_error("files of the server", error)],
        })
    }

    /// What grows with the database comes before the lock: the look through its files, and most of what is dirty, so that the
    /// checkpoint under it is short.
    fn prepare(&mut self) -> Result<()> {
        prove(&self.config, true)?;
        server::checkpoint()
    }

    fn capture(&mut self, label: &str) -> Result<Snapshot> {
        server::checkpoint()?;
        let proof = prove(&self.config, false)?;
        let id = format!("{label} at {}", proof.server.lsn);
        let version = proof.server.version.clone();
        let state = State { disk_part: self.config.disk_part.clone(), volumes: proof.volumes, server: proof.server };
        Ok(Snapshot::new(id, Consistency::Atomic, &state)?.version("server", version))
    }

    /// What was true before the capture still is, with a look through all files again: so it was at the capture.
    fn finish(&mut self, snapshot: Snapshot) -> Result<Snapshot> {
        let state: State = snapshot.state()?;
        let after = prove(&self.config, true)?;
        unchanged(&state.server, &after.server)?;
        info!(
            "recovery of what was captured begins at {} on timeline {}; the server was at {}",
            state.server.redo_lsn, state.server.timeline, state.server.lsn
        );
        Ok(snapshot)
    }

    fn open(&mut self, snapshot: &Snapshot) -> Result<Vec<Source>> {
        let state: State = snapshot.state()?;
        Ok(vec![Source::Held(format!("in part {}: {}", state.disk_part, state.volumes.join(", ")))])
    }

    /// The files are the disk part's to restore. This part sees that no server works on them.
    fn restore(&mut self, snapshot: &Snapshot, _: &[Archived], to: Option<&str>) -> Result<()> {
        let state: State = snapshot.state()?;
        let next = format!(
            "the server that starts on them recovers from {} on timeline {}, as after a power cut",
            state.server.redo_lsn, state.server.timeline
        );
        if let Some(to) = to {
            info!("nothing to do for {to}: the files are in part {}; {next}", state.disk_part);
            return Ok(());
        }
        if let Some(pid) = server::pid_file()? {
            let pid = pid.pid.to_string();
            let process = exec::run("process", &[("pid", &pid)])?;
            if process.status == 0 && is_server(process.first_line()) {
                return Err(Error::conflict(format!(
                    "a server (process {pid}) works on {}: its files cannot be restored under it",
                    self.config.data_directory
                ))
                .hint("stop it first: [restore] before and after in the configuration can stop and start it"));
            }
        }
        info!("no server works on {}; {next}", self.config.data_directory);
        Ok(())
    }

    fn delete(&mut self, _: &Snapshot) -> Result<()> {
        Ok(())
    }

    fn discard(&mut self, _: &str) -> Result<()> {
        Ok(())
    }
}

/// Whether a line of `ps` with state and name is of a server that lives. A number that is another program's by now is that of
/// a stale file, and what is dead and only waits for its parent works on nothing.
fn is_server(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let (state, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    !state.starts_with('Z') && (name.starts_with("postgres") || name.starts_with("postmaster"))
}

#[cfg(test)]
mod tests {
    use super::is_server;

    #[test]
    fn whose_process_it_is() {
        assert!(is_server("Ss   postgres") && is_server("S postmaster"));
        for line in ["Zs   postgres <defunct>", "S    bash", "", "postgres"] {
            assert!(!is_server(line), "{line}");
        }
    }
}
