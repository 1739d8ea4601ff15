//! `[restore]`

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Span;

/// `[restore]`: what has to happen around a restore to the original place. A restore to another place does none of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RestoreConfig {
    /// Commands that are run one after the other before anything is restored, such as those that stop services; each the
    /// absolute path of a program and its arguments. One that fails stops the restore before it has touched anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Vec<String>>,
    /// Commands that are run one after the other when everything is restored, such as those that start services.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<Vec<String>>,
    /// Run the commands of `after` also when the restore failed or was cancelled. By default services are not started on
    /// what is only half there.
    #[serde(default)]
    pub always: bool,
    /// How long each command may take.
    #[serde(default = "timeout")]
    pub timeout: Span,
}

impl Default for RestoreConfig {
    fn default() -> Self {
        Self { before: Vec::new(), after: Vec::new(), always: false, timeout: timeout() }
    }
}

impl RestoreConfig {
    /// Whether nothing is configured.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

fn timeout() -> Span {
    Span::from_secs(5 * 60)
}
