//! Which sinks the operator's terms ask for.

use super::Reporter;

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
    /// A reporter as the operator wants it.
    #[must_use]
    pub fn for_terms(_terms: Terms) -> Self {
        Self::silent()
    }
}
