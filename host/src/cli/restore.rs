//! `bkhost restore`

use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;

use super::args::Place;
use super::context::Context;
use super::output;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::run::{self, RestoreRequest};
use crate::units;

pub(super) async fn restore(
    context: &Context,
    id: &str,
    parts: Vec<String>,
    to: Vec<String>,
    confirm: Option<String>,
    place: &Place,
) -> Result<ExitCode> {
    let opened = context.place(place)?;
    let set = opened.set(id).await?;
    confirmed(&opened.instance, &set.manifest.id.to_string(), confirm)?;
    let session = context.session(opened.config_for(&set.manifest)?)?;
    let restored = run::restore(&session, &set, &RestoreRequest { parts, to }).await?;
    if context.global.json {
        output::json(&restored)?;
    } else {
        for (part, to) in &restored.parts {
            output::line(format!("part {part}: restored to {}", to.as_deref().unwrap_or("its original place")));
        }
        output::line(format!("set {} restored in {}", restored.id, units::human_millis(restored.duration_ms)));
    }
    Ok(ExitCode::SUCCESS)
}

/// The name of the instance is typed, so that the wrong window is noticed.
fn confirmed(instance: &str, id: &str, confirm: Option<String>) -> Result<()> {
    let refused = |text: String| {
        Err(Error::new(ErrorKind::Conflict, text)
            .hint(format!("confirm with the instance's name: --confirm {instance}")))
    };
    let typed = match confirm {
        Some(name) => name,
        None if std::io::stdin().is_terminal() => {
            let _ = write!(std::io::stderr(), "Restore set {id}? Type the instance's name ({instance}): ");
            let mut line = String::new();
            std::io::stdin().lock().read_line(&mut line).or_error(ErrorKind::Io, || "cannot read from the terminal")?;
            line.trim().to_owned()
        }
        None => return refused("a restore has to be confirmed, and there is no terminal to ask on".to_owned()),
    };
    if typed == instance {
        Ok(())
    } else {
        refused(format!("`{}` is not the instance's name: nothing was restored", typed.escape_debug()))
    }
}
