//! `[drill]`

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Span;

/// `[drill]`: how restores are rehearsed by `bkhost drill`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Drill {
    /// Where: an absolute path of a directory that exists, with room for all that a set holds. What a drill makes in it is
    /// removed when it ends. Default: `drill` in the instance's directory of the state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scratch: Option<PathBuf>,
    /// Parts that are not rehearsed. A part that cannot be rehearsed, and is not among these, fails the drill.
    #[serde(default)]
    pub skip: Vec<String>,
    /// Your own checks of what was restored: each a program (an absolute path) and its arguments, run when all parts are
    /// there. Its environment has BKHOST_DRILL_SET, BKHOST_DRILL_SCRATCH and, for each part that was restored into a
    /// directory, BKHOST_DRILL_<PART>; a status other than 0 fails the drill.
    #[serde(default)]
    pub check: Vec<Vec<String>>,
    /// How long each of these checks may take.
    #[serde(default = "check_timeout")]
    pub check_timeout: Span,
}

impl Default for Drill {
    fn default() -> Self {
        Self { scratch: None, skip: Vec::new(), check: Vec::new(), check_timeout: check_timeout() }
    }
}

impl Drill {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

fn check_timeout() -> Span {
    Span::from_secs(60 * 60)
}
