//! What is kept, and what has to be in it: `[retention]`, `[coverage]` and `[metrics]`.

use std::path::PathBuf;

use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::store::retention::Policy;
use crate::units::{Percent, Span};

/// `[retention]`: which sets are kept. Only proved sets count, and the last proved one is never deleted. A set stays if any
/// rule keeps it; without a rule all stay. Sets are counted from the newest; of those of one hour, day, week, month or year
/// the newest stays. Pinned sets (`bkhost keep`) stay, and so does what a set that stays builds on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Retention {
    /// So many of the newest proved sets; 0 is no rule.
    pub keep_last: u32,
    /// The last set of each of so many hours that have one; 0 is no rule.
    #[serde(skip_serializing_if = "is_zero")]
    pub keep_hourly: u32,
    /// The last set of each of so many days that have one; 0 is no rule.
    #[serde(skip_serializing_if = "is_zero")]
    pub keep_daily: u32,
    /// The last set of each of so many weeks (from Monday) that have one; 0 is no rule.
    #[serde(skip_serializing_if = "is_zero")]
    pub keep_weekly: u32,
    /// The last set of each of so many months that have one; 0 is no rule.
    #[serde(skip_serializing_if = "is_zero")]
    pub keep_monthly: u32,
    /// The last set of each of so many years that have one; 0 is no rule.
    #[serde(skip_serializing_if = "is_zero")]
    pub keep_yearly: u32,
    /// All sets that are not older. While fewer than two are, it is counted from the newest set but one: neither a long pause
    /// nor a clock that leaped makes the others old.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_within: Option<Span>,
    /// So many of the newest proved sets stay whatever the rules say: at least 1.
    #[serde(skip_serializing_if = "is_one")]
    #[schemars(range(min = 1))]
    pub keep_proved_min: u32,
    /// Where the hours and days are counted, such as `Europe/Berlin`. Default: the system's time zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            keep_last: 0,
            keep_hourly: 0,
            keep_daily: 0,
            keep_weekly: 0,
            keep_monthly: 0,
            keep_yearly: 0,
            keep_within: None,
            keep_proved_min: 1,
            time_zone: None,
        }
    }
}

impl Retention {
    /// The rules, as of now.
    #[must_use]
    pub fn policy(&self) -> Policy {
        // A zone that is not known was refused when the configuration was read.
        let named = self.time_zone.as_deref().and_then(|name| TimeZone::get(name).ok());
        Policy {
            last: self.keep_last,
            hourly: self.keep_hourly,
            daily: self.keep_daily,
            weekly: self.keep_weekly,
            monthly: self.keep_monthly,
            yearly: self.keep_yearly,
            within: self.keep_within,
            proved_min: self.keep_proved_min.max(1),
            time_zone: named.unwrap_or_else(TimeZone::system),
            ..Policy::default()
        }
    }
}

/// `[coverage]`: what has to be in every set. What is missing ends a run before it does anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Coverage {
    /// Parts that there have to be, by their names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
    /// Kinds of which there has to be a part: `disk`, `database`, `search`, `other`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<String>,
    /// Directories or files that have to be inside a path that some part backs up: absolute paths.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathBuf>,
    /// A part whose content is under this share of that of the last proved set fails the run: `50%`; `0%` switches it off. A
    /// `[[part]]` may have one of its own.
    pub min_share: Percent,
}

impl Default for Coverage {
    fn default() -> Self {
        Self { parts: Vec::new(), kinds: Vec::new(), paths: Vec::new(), min_share: Percent(50) }
    }
}

impl Coverage {
    /// Whether all is as it is without the table.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// `[metrics]`: figures for a monitoring system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Metrics {
    /// A file that is written anew, in Prometheus' text format, after every run, verification, drill and restore, and by
    /// `bkhost status` and `bkhost metrics`: an absolute path below the directory of node_exporter's textfile collector,
    /// ending in `.prom`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub textfile: Option<PathBuf>,
}

impl Metrics {
    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_one(count: &u32) -> bool {
    *count == 1
}
