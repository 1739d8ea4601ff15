//! Which file systems this process has frozen, so that two parts do not freeze, and thaw, the same one.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

static CLAIMED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// A file system that nobody else in this process may freeze.
#[derive(Debug)]
pub(super) struct Claim(String);

impl Claim {
    /// None: another part has it.
    pub(super) fn take(device: &str) -> Option<Self> {
        let mut claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
        claimed.insert(device.to_owned()).then(|| Self(device.to_owned()))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        CLAIMED.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}
