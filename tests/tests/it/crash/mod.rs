//! Whatever dies, and whenever: the application comes back, and nothing of an unpublished run is left.
//!
//! `BKHOST_CRASH=all` strikes at each child's records too, instead of at a sample of them; `BKHOST_KILLS=200` kills as
//! often at random; `BKHOST_SEED` repeats what was random.

mod freeze;
mod matrix;
mod random;
mod recovery;
mod world;

pub(crate) use world::{guard_of, kill};
