//! What restores to a name have left at their vendors: only the strategy can remove it.

use std::sync::Arc;

use super::past::Begun;
use crate::archive::SetId;
use crate::error::Result;
use crate::report::Level;
use crate::run::journal::{Journal, Record};
use crate::run::keeper::JournalKeeper;
use crate::run::part::Part;
use crate::run::session::Session;
use crate::run::undo::in_fresh_instance;

/// Have what the restore `id` has made for this part removed by its strategy, unless all of it is there.
///
/// # Errors
/// Something of it is left.
pub(super) async fn abandon(session: &Session, id: &SetId, journal: &Arc<Journal>, begun: &Begun) -> Result<()> {
    let say = |level, text: String| session.reporter.message(level, Some(&begun.part), text);
    let cleared = Record::Cleared { part: begun.part.clone() };
    let interrupted = format!("the restore to {} did not come to its end", begun.to);
    let settings = session.config.parts.iter().find(|part| part.name == begun.part);
    let Some(settings) = settings else {
        // Waiting for a part that was removed from the configuration would never end.
        say(Level::Error, format!("{interrupted}, and its part is no longer configured: what it has made there stays"));
        return journal.write(cleared);
    };
    let part = Part::load(session, settings).await?;
    if part.plugin.abandons() {
        let label = id.label(session.instance());
        let keeper = Arc::new(JournalKeeper::new(Arc::clone(journal), id, session.reporter.clone()));
        let what = format!("part `{}`: abandon {label}", begun.part);
        let to = begun.name.clone();
        let done = in_fresh_instance(session, (&part, to.clone()), &keeper, &what, async |live| {
            live.instance.abandon(&label, to.as_deref()).await
        })
        .await
        .map_err(|error| error.within(interrupted.clone()))?;
        if done {
            say(Level::Info, format!("the restore to {} had come to its end", begun.to));
            return journal.write(Record::Restored { part: begun.part.clone() });
        }
        say(Level::Info, format!("{interrupted}: nothing is left of it"));
    } else {
        say(Level::Warning, format!("{interrupted}: what it has made there, and its strategy has not removed, stays"));
    }
    journal.write(cleared)
}
