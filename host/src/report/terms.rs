//! Which sinks the operator's terms ask for.

use super::{Bars, JsonLines, Lines, Reporter, Sink, Verbosity};

/// How the operator wants to be told.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// As JSON lines.
    pub json: bool,
    /// Only warnings and errors.
    pub quiet: bool,
    /// Debug messages too.
    pub verbose: bool,
    /// There is a terminal to draw on.
    pub terminal: bool,
}

impl Reporter {
    /// A reporter as the operator wants it: with `json` events on stdout, before the result; else on stderr, as bars on a
    /// terminal and as plain lines elsewhere. `quiet` and `json` together leave the result alone on stdout, and warnings
    /// and errors as plain lines on stderr.
    #[must_use]
    pub fn for_terms(terms: Terms) -> Self {
        let verbosity = match terms {
            Terms { quiet: true, .. } => Verbosity::Quiet,
            Terms { verbose: true, .. } => Verbosity::Verbose,
            _ => Verbosity::Normal,
        };
        let sink: Box<dyn Sink> = match terms {
            Terms { json: true, quiet: false, .. } => Box::new(JsonLines::new(std::io::stdout())),
            Terms { json: false, terminal: true, .. }
                if std::env::var_os("TERM").is_some_and(|term| term != "dumb") =>
            {
                Box::new(Bars::stderr(verbosity))
            }
            _ => Box::new(Lines::new(std::io::stderr(), verbosity)),
        };
        Self::new(vec![sink])
    }
}
