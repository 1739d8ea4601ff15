//! `mode = "rebuild"`: the indices are not captured, because the application builds them anew. That is declared in the set,
//! and a restore says what to do.

use bkhost_sdk::{Consistency, Result, Snapshot, info, warn};

use crate::config::Config;
use crate::state::State;

/// What to do with Bitbucket, which fills its indices by itself when it does not find them.
const BITBUCKET: [&str; 4] = [
    "stop Bitbucket (all nodes)",
    "delete its indices in the search server, if there are any: DELETE /bitbucket-project, /bitbucket-repository, /bitbucket-search and /bitbucket-index-version",
    "start Bitbucket: it makes the indices anew from the repositories, while it is in use",
    "follow it in the administration under Search, or in atlassian-bitbucket.log, until no repository is waiting",
];

/// The steps for this part.
pub(crate) fn steps(config: &Config) -> Vec<String> {
    if config.rebuild.steps.is_empty() { BITBUCKET.map(str::to_owned).to_vec() } else { config.rebuild.steps.clone() }
}

/// The record that nothing was captured.
pub(crate) fn declare(config: &Config, label: &str) -> Result<Snapshot> {
    let state = State { label: label.to_owned(), rebuild: steps(config), ..State::default() };
    Snapshot::new("rebuild", Consistency::Exported, &state)
}

/// What a restore says.
pub(crate) fn tell(state: &State) {
    warn!("the search indices are not in this set: they are to be built anew");
    for (n, step) in state.rebuild.iter().enumerate() {
        info!("step {} of {}: {step}", n + 1, state.rebuild.len());
    }
}
