//! `[[part.offsite]]`

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::keep::Retention;
use crate::capability::SecretSource;
use crate::units::Span;

/// `[[part.offsite]]`: another place at the vendor (a region, an account) to which what a run captured of the part is copied
/// after the set was published. For plugins that can.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Offsite {
    /// Names the place in messages, in the copies' tags and for `--from-offsite`: 1 to 32 characters of `a-z`, `0-9` and `-`,
    /// unlike those of the part's other places.
    pub name: String,
    /// Whether a run whose copy fails is a failed run. The set is published in any case, and the copy is tried again by later
    /// runs and by `bkhost offsite`.
    #[serde(default)]
    pub required: bool,
    /// How long a copy may take until it is complete.
    #[serde(default = "timeout")]
    pub timeout: Span,
    /// Which copies stay there, by the rules of `[retention]`: also when the sets here are long gone. The last good copy always
    /// stays. Without a rule all stay.
    #[serde(default)]
    pub retention: Retention,
    /// The plugin's own keys for the place, checked against its schema: the region, the account's role, a key.
    #[serde(default, deserialize_with = "super::json::plugin_config")]
    pub config: serde_json::Map<String, Value>,
    /// Secrets for the place, by name, besides those of the part: where each is, never itself.
    #[serde(default)]
    pub secrets: BTreeMap<String, SecretSource>,
}

fn timeout() -> Span {
    Span::from_secs(24 * 60 * 60)
}
