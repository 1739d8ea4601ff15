//! The guard: a small process of this same program that gives the application back when the run cannot.
//!
//! It is started before the application is locked, has a session of its own (no terminal's hangup reaches it), and pays no
//! attention to SIGINT, SIGTERM and SIGHUP. A pipe ties it to its run: when that is closed and the run has not said that
//! all is done, the run is dead, whatever killed it. The guard then kills the run's children, cancels the backup and
//! unlocks, for as long as that takes. A run that hangs is killed by it once the maximum lock time is over.
//!
//! It is also the guard that asks the application for the lock. The reply holds the only copy of the token, and must not
//! die with the run. The token is in the guard's memory first, then in the journal.
//!
//! It stays until the run ends, because of the children. What else a dead run leaves, its snapshots and its unpublished
//! set, is undone by the next `bkhost run` or by `bkhost recover`. A guard that dies before the unlock has the run
//! cancelled; after it, its death is only told.
//!
//! While the run lives its journal is its own, and the guard only reads. Afterwards the guard writes it, holding the
//! instance's lock; between two tries to unlock it gives that lock away, so that a `bkhost recover` (with a corrected
//! password, say) can take over.

mod act;
mod host;
mod keepers;
mod message;
mod overdue;
mod report;
mod stand;

pub(in crate::run) use host::{Guard, GuardLine};
pub use stand::stand;
