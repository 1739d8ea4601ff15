//! Round trips, damage, hostility, mirrors. Trees are compared by tools that are not ours.

mod comparing;
mod damage;
mod encodings;
mod fixture;
mod hostile;
mod lines;
mod mirror;
mod moving;
mod paths;
mod random;
mod round_trip;
mod streams;

use std::path::Path;

pub(super) fn open(path: &Path) -> std::os::fd::OwnedFd {
    std::fs::File::open(path).unwrap().into()
}
