//! The state machine of a run, and what else works on an instance: restore, verify, prune, recover.
//!
//! A run goes plan → check → prepare → lock → drain → capture → unlock → finish → archive → verify → publish → close →
//! prune. Each side effect is in the [journal] before it happens; a run that fails, and a recovery after one that died, undo
//! what the journal shows, the application first.

mod access;
mod archived;
mod archiving;
mod backup;
mod cancel;
mod chain;
mod check;
mod contents;
mod copy;
mod coverage;
mod crypto;
mod damage;
mod drill;
mod dry;
mod export;
mod fault;
mod fingerprint;
mod frozen;
mod guard;
mod health;
mod history;
mod identity;
mod in_use;
pub mod journal;
mod keeper;
mod lease;
mod leftovers;
mod lock;
mod metrics;
mod offsite;
mod orphans;
mod others;
mod part;
mod patience;
mod plan;
mod proof;
mod prune;
mod recover;
mod restore;
mod scratch;
mod sealed;
mod session;
mod shrink;
mod snapshots;
mod state;
mod status;
mod stores;
mod tee;
mod together;
mod undo;
mod verify;

pub use backup::backup;
pub use cancel::{cancel_other, on_signals};
pub use chain::Known;
pub use check::{Found, preflight};
pub use contents::{Content, contents};
pub use copy::{Copied, ToldThere, copy};
pub use crypto::Crypto;
pub(crate) use damage::noted;
pub use drill::{Drilled, DrilledPart, How as DrilledHow, drill};
pub use dry::{Planned, dry_run};
pub use export::{Exported, export, import, read_back};
pub use fault::fault_points;
pub use guard::stand as guard;
pub use health::{Health, Newest, Told};
pub(crate) use in_use::{hold, read as in_use};
pub use metrics::{metrics, write_textfile};
pub use offsite::{
    Copy as OffsiteCopy, FromOffsite, Made, PrunedCopies, copies, copy_offsite, from_offsite, prune_copies,
};
pub use prune::{Pruned, Pruning, blocking, prune_instance as prune};
pub use recover::{Recovered, recover};
pub use restore::{
    Aftercare, Plan as RestorePlan, PlannedStep, Request as RestoreRequest, Restored, restore, typed_paths,
};
pub use scratch::clear_scratch;
pub use sealed::{is_encrypted, reveal};
pub use session::Session;
pub use snapshots::{Existing, snapshots};
pub use state::{StateDirs, default_state};
pub use status::{HeldStatus, RunStatus, Status, status};
pub use stores::{Stores, Target};
pub use verify::{CheckedByPlugin, Depth, Verification, Verified};
