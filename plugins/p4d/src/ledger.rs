//! What this part made, in `/state`: p4d's files carry no mark of ours, so it is written down.

use std::collections::BTreeMap;

use bkhost_sdk::{Error, Result, Snapshot, path, warn};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::Method;

const INTENT: &str = "/state/intent.json";
const MADE: &str = "/state/made.json";
/// So many are remembered: older ones are p4d's alone.
const LIMIT: usize = 1000;

/// Written before p4d is asked for anything: the name of what it will write was free then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Intent {
    pub(crate) label: String,
    /// The checkpoint's number.
    pub(crate) checkpoint: Option<u64>,
    pub(crate) method: Method,
}

/// A snapshot as it is remembered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Made {
    pub(crate) id: String,
    pub(crate) created: u64,
    pub(crate) bytes: Option<u64>,
    pub(crate) state: String,
}

pub(crate) fn intend(intent: &Intent) -> Result<()> {
    write(INTENT, intent)
}

/// The intent of the run with this label.
pub(crate) fn intent(label: &str) -> Result<Option<Intent>> {
    Ok(last()?.filter(|intent| intent.label == label))
}

/// The last run's intent.
pub(crate) fn last() -> Result<Option<Intent>> {
    read(INTENT)
}

pub(crate) fn all() -> Result<BTreeMap<String, Made>> {
    Ok(read(MADE)?.unwrap_or_default())
}

pub(crate) fn remember(label: &str, snapshot: &Snapshot) -> Result<()> {
    let mut made = all()?;
    let Snapshot { id, created, bytes, state, .. } = snapshot.clone();
    made.insert(label.to_owned(), Made { id, created, bytes, state });
    while made.len() > LIMIT {
        made.pop_first();
    }
    write(MADE, &made)
}

pub(crate) fn forget(label: &str) -> Result<()> {
    let mut made = all()?;
    match made.remove(label) {
        Some(_) => write(MADE, &made),
        None => Ok(()),
    }
}

fn read<T: DeserializeOwned>(guest: &str) -> Result<Option<T>> {
    match std::fs::read_to_string(path::local(guest)) {
        Ok(text) => match serde_json::from_str(&text) {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                // Nothing is deleted on the strength of what cannot be read.
                warn!("{guest} cannot be read, and what it says is forgotten: {error}");
                Ok(None)
            }
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(guest, &error)),
    }
}

/// In one step: what was there stays until what is new is whole.
fn write(guest: &str, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string(value).map_err(|error| Error::other(format!("{guest}: {error}")))?;
    let (new, place) = (path::local(&format!("{guest}.new")), path::local(guest));
    std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, &place)).map_err(|error| Error::io(guest, &error))
}
