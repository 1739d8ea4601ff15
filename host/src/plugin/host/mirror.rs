//! `mirror`: copies, made by the host's data plane.

use std::path::{Component, Path, PathBuf};

use cap_std::fs::Dir;

use super::archive::{below, blocking};
use crate::archive::{self, Control, Exclude, MirrorOptions, Named};
use crate::capability::{Access, CallError, Code, Mode};
use crate::plugin::bindings::bkhost::snapshot::mirror::{Copied, Host, Pass};
use crate::plugin::bindings::bkhost::snapshot::types;
use crate::plugin::state::State;
use crate::plugin::text;
use crate::report::{Event, Level};

const STAGING: &str = "/staging";

impl State {
    async fn mirror(
        &mut self,
        source: &str,
        destination: &str,
        exclude: &[String],
        pass: Pass,
    ) -> Result<Copied, CallError> {
        if !below(source, "/source") {
            return Err(CallError::denied(format!("copies are made of /source, not of {}", text::line(source, 200))));
        }
        let below_staging = staging_path(destination)?;
        let from = self.gate.host_path(source, Access::Read).await?.dir()?;
        let name = match pass {
            Pass::Live => "live",
            Pass::Final => "final",
        };
        let planned = self.gate.mode() == Mode::DryRun;
        let what = format!("mirror {source} to {destination} ({name} pass)");
        self.reporter.event(&Event::Call { what, planned });
        if planned {
            return Ok(Copied { entries: 0, bytes: 0, updated: 0, written: 0, removed: 0, changed: Vec::new() });
        }
        let to = self.destination(destination, below_staging).await?;
        let pass = match pass {
            Pass::Live => archive::Pass::Live,
            Pass::Final => archive::Pass::Final,
        };
        let options = MirrorOptions::new(pass, self.record(destination)).exclude(Exclude::new(exclude)?);
        let (reporter, part) = (self.reporter.clone(), self.part.clone());
        let control =
            Control::new(self.work.token().clone(), move |done| reporter.progress(&part, "mirror", done, None));
        let copied = blocking(move || archive::mirror(&from, &to, &options, &control).map_err(Into::into)).await?;
        for (incomplete, what) in [
            (&copied.owners_not_set, "could not be given their owner"),
            (&copied.attributes_not_set, "could not be given all of their attributes"),
            (&copied.not_made, "are device nodes that only root can make"),
        ] {
            self.warn(incomplete, what);
        }
        if pass == archive::Pass::Final {
            self.torn.extend(&copied.changed);
        }
        Ok(Copied {
            entries: copied.entries,
            bytes: copied.bytes,
            updated: copied.updated,
            written: copied.written,
            removed: copied.removed,
            changed: copied.changed.names,
        })
    }

    /// The destination, made if it is not there yet.
    async fn destination(&mut self, destination: &str, below_staging: PathBuf) -> Result<Dir, CallError> {
        let staging = self.gate.host_path(STAGING, Access::Write).await?.dir()?;
        let made = destination.to_owned();
        blocking(move || {
            staging.create_dir_all(&below_staging).map_err(|e| CallError::new(Code::Other, format!("{made}: {e}")))
        })
        .await?;
        self.gate.host_path(destination, Access::Write).await?.dir()
    }

    /// Where the host remembers what it copied there: out of the guest's reach.
    fn record(&self, destination: &str) -> PathBuf {
        let name: String = blake3::hash(destination.as_bytes()).to_hex().chars().take(32).collect();
        self.mirrors.join(name)
    }

    fn warn(&self, entries: &Named, what: &str) {
        if let Some(first) = entries.names.first() {
            let text = format!("mirror: {} entries {what}, for example {first}", entries.total);
            self.reporter.message(Level::Warning, Some(&self.part), text);
        }
    }
}

/// The path of a destination from `/staging`.
fn staging_path(destination: &str) -> Result<PathBuf, CallError> {
    let path = destination.strip_prefix(STAGING).and_then(|rest| rest.strip_prefix('/')).map(Path::new);
    match path {
        Some(path) if !path.as_os_str().is_empty() && path.components().all(|c| matches!(c, Component::Normal(_))) => {
            Ok(path.to_owned())
        }
        _ => Err(CallError::denied(format!(
            "copies are made into a directory below {STAGING}, not into {}",
            text::line(destination, 200)
        ))),
    }
}

impl Host for State {
    async fn copy(
        &mut self,
        source: String,
        destination: String,
        exclude: Vec<String>,
        pass: Pass,
    ) -> wasmtime::Result<Result<Copied, types::Error>> {
        Ok(self.mirror(&source, &destination, &exclude, pass).await.map_err(Into::into))
    }
}

impl types::Host for State {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_stay_below_staging() {
        assert_eq!(staging_path("/staging/a/b").unwrap(), Path::new("a/b"));
        for path in [
            "/staging",
            "/staging/",
            "/staging/../x",
            "/staging/a/../../x",
            "/stagingx/a",
            "/source/a",
            "a",
            "//staging/a",
            "/staging//a",
        ] {
            assert_eq!(staging_path(path).unwrap_err().code, Code::Denied, "{path}");
        }
    }
}
