//! What destroys is confirmed by typing the instance's name, so that the wrong window is noticed.

use std::io::{BufRead, IsTerminal, Write};

use crate::error::{Error, ErrorKind, Result, ResultExt};

/// Have the instance's name typed, unless it came with `--confirm`. `what` is to be done, `undone` is told if it is not:
/// `Restore set X`, `nothing was restored`.
///
/// # Errors
/// `Conflict` if it is another name, or there is nobody to ask.
pub(super) fn confirmed(instance: &str, what: &str, undone: &str, confirm: Option<&str>) -> Result<()> {
    let refused = |text: String| {
        Err(Error::new(ErrorKind::Conflict, text)
            .hint(format!("confirm with the instance's name: --confirm {instance}")))
    };
    let typed = match confirm {
        Some(name) => name.to_owned(),
        None if std::io::stdin().is_terminal() => {
            let _ = write!(std::io::stderr(), "{what}? Type the instance's name ({instance}): ");
            let mut line = String::new();
            std::io::stdin().lock().read_line(&mut line).or_error(ErrorKind::Io, || "cannot read from the terminal")?;
            line.trim().to_owned()
        }
        None => {
            return refused(format!("this has to be confirmed, and there is no terminal to ask on: {undone}"));
        }
    };
    if typed == instance {
        Ok(())
    } else {
        refused(format!("`{}` is not the instance's name: {undone}", typed.escape_debug()))
    }
}
