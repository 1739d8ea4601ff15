//! The JSON Schema of `bkhost.toml`, for editors and for the curious.

use super::model::Config;

/// The schema of `bkhost.toml`.
#[must_use]
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Config).to_value()
}
