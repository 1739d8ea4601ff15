//! The operator's own checks of what was restored.

use super::part::DrilledPart;
use crate::capability::OperatorCheck;
use crate::error::Result;
use crate::report::{Event, Level, waiting};
use crate::run::scratch::Scratch;
use crate::run::session::Session;
use crate::store::StoredSet;

/// Run all of them, one after the other. Gives their command lines.
///
/// # Errors
/// The first that fails, with what it wrote.
pub(super) async fn run(
    session: &Session,
    set: &StoredSet,
    parts: &[DrilledPart],
    scratch: &Scratch,
) -> Result<Vec<String>> {
    let mut env = vec![
        ("BKHOST_DRILL_SET".to_owned(), set.manifest.id.to_string()),
        ("BKHOST_DRILL_SCRATCH".to_owned(), scratch.dir().display().to_string()),
    ];
    for part in parts {
        if let Some(directory) = &part.directory {
            let name = part.part.to_ascii_uppercase().replace('-', "_");
            env.push((format!("BKHOST_DRILL_{name}"), directory.display().to_string()));
        }
    }
    let mut passed = Vec::new();
    for argv in &session.config.drill.check {
        let shown = argv.join(" ");
        session.reporter.event(&Event::Call { what: format!("check `{shown}`"), planned: false });
        let check = OperatorCheck {
            argv,
            env: &env,
            dir: scratch.dir(),
            timeout: session.config.drill.check_timeout.0,
            cancel: session.cancel.child_token(),
            witness: scratch.witness(),
        };
        let said = waiting(&session.reporter, &format!("the check `{shown}`"), check.run()).await?;
        for line in said.lines() {
            session.reporter.message(Level::Debug, None, format!("{shown}: {line}"));
        }
        passed.push(shown);
    }
    Ok(passed)
}
