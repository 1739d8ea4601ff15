//! A dry run: every command and call that a run would make, told instead of made.
//!
//! The strategies run for real, behind a gate that executes what only reads and records what changes something. So the
//! plan cannot say anything other than what a run does.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::archiving;
use super::check::{self, Found};
use super::history::EarlierSets;
use super::others;
use super::part::Purpose;
use super::plan::{self, Plan};
use super::session::Session;
use super::stores::Target;
use super::together::levels;
use crate::archive::id::SetId;
use crate::archive::set;
use crate::capability::Mode;
use crate::error::Result;
use crate::plugin::Source;
use crate::report::{Event, Phase};

/// What a dry run found out, besides the events it reported.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Planned {
    /// The instance.
    pub instance: String,
    /// Preflight findings; a run stops on a failure among them.
    pub findings: Vec<Found>,
}

/// Tell what a backup would do.
///
/// # Errors
/// If the run could not even be planned.
pub async fn dry_run(session: &Session) -> Result<Planned> {
    let call = |what: String| session.reporter.event(&Event::Call { what, planned: true });
    let Plan { application, parts, stores, .. } = session.phase(Phase::Plan, plan::make(session)).await?;
    let id = SetId::generate()?;
    let label = id.label(session.instance());
    let root = |target: &Arc<Target>| format!("{}/{}/{id}", target.store.location(), session.instance());
    let roots: Vec<String> = stores.live().map(root).collect();
    let cancel: CancellationToken = session.cancel.child_token();
    let (mut live, others) = (Vec::new(), others::Parts::new(session, &parts, &cancel));
    for part in &parts {
        let history = EarlierSets::new(session, &stores, part, &id, false, cancel.clone());
        let purpose = Purpose {
            mode: Mode::DryRun,
            history: Some(Arc::new(history)),
            others: others.seen_by(part),
            ..Purpose::plain(cancel.clone())
        };
        live.push(part.start(session, purpose).await?);
    }
    let findings = session.phase(Phase::Check, check::findings(&application, &mut live, None, &cancel)).await?;
    session
        .phase(Phase::Prepare, async {
            for part in &mut live {
                part.instance.prepare().await?;
            }
            Ok(())
        })
        .await?;
    let calls = application.planned_calls();
    if application.locks() {
        session
            .phase(Phase::Lock, async {
                calls.lock.into_iter().for_each(call);
                Ok(())
            })
            .await?;
    }
    session
        .phase(Phase::Capture, async {
            for level in levels(&live) {
                for part in level.into_iter().collect::<Vec<_>>() {
                    if let Some(part) = live.get_mut(part) {
                        part.snapshot = Some(part.instance.capture(&label).await?);
                    }
                }
            }
            Ok(())
        })
        .await?;
    if application.locks() {
        session
            .phase(Phase::Unlock, async {
                calls.unlock.into_iter().for_each(call);
                Ok(())
            })
            .await?;
    }
    session
        .phase(Phase::Archive, async {
            for part in &mut live {
                let Some(snapshot) = part.snapshot.take() else { continue };
                let snapshot = part.instance.finish(&snapshot).await?;
                let sources = part.instance.open(&snapshot).await?;
                for source in archiving::without(part.part, sources).await? {
                    let name = part.name().to_owned();
                    let suffix = session.format().await?.suffix();
                    let root = roots.join(" and ");
                    call(match source {
                        Source::Tree { path, .. } | Source::File { path, .. } => {
                            format!("archive {} to {root}/{}", path.display(), set::data_file(&name, &suffix))
                        }
                        Source::Planned { path, .. } => {
                            format!("archive {path} to {root}/{}", set::data_file(&name, &suffix))
                        }
                        Source::Output { name: stream, .. } => {
                            format!(
                                "archive the output `{stream}` to {root}/{}",
                                set::stream_file(&name, &stream, &suffix)
                            )
                        }
                        Source::Held { id } => format!("leave `{id}` with its vendor"),
                    });
                }
                if let Some(left_out) = part.part.settings.left_out().filter(|left_out| !left_out.globs.is_empty()) {
                    call(format!("leave out of `{}`: {}", part.name(), left_out.globs.join(", ")));
                }
                part.instance.close(&snapshot).await?;
            }
            Ok(())
        })
        .await?;
    session
        .phase(Phase::Publish, async {
            roots.iter().for_each(|root| call(format!("write {root}/{}", set::MANIFEST)));
            Ok(())
        })
        .await?;
    for part in &parts {
        for place in part.places() {
            call(format!("copy what was captured of part `{}` to `{}`", part.name(), place.settings.name));
        }
    }
    for part in live {
        part.stop().await;
    }
    Ok(Planned { instance: session.instance().to_owned(), findings })
}
