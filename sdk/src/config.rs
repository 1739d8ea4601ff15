//! Which part this instance works for, and how it is configured.

use serde::de::DeserializeOwned;

use crate::{Error, Result};

#[cfg(target_arch = "wasm32")]
use crate::bindings::bkhost::snapshot::config as host;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::config as host;

/// The part's `[part.config]`: complete, and valid against the plugin's `config.schema.json`. A strategy gets it in
/// [`Strategy::new`](crate::Strategy::new).
///
/// # Errors
/// `invalid-config`: the plugin's type and its schema differ.
pub fn load<T: DeserializeOwned>() -> Result<T> {
    serde_json::from_str(&host::get())
        .map_err(|error| Error::invalid_config(format!("part.config of part {} cannot be used: {error}", part())))
}

/// The instance's name: `[instance] name`.
#[must_use]
pub fn instance() -> String {
    host::instance()
}

/// What the operator leaves out of this part (`[[part]] profile` and `exclude`): globs relative to the root of each tree, as
/// in [`mirror::copy`](crate::mirror::copy). The host leaves them out of every [`Source::tree`](crate::Source::tree) by
/// itself; a strategy that copies leaves them out of its copy.
#[must_use]
pub fn excludes() -> Vec<String> {
    host::excludes()
}

/// The part's name: `[[part]] name`.
#[must_use]
pub fn part() -> String {
    host::part()
}
