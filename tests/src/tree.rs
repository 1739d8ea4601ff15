//! A tree as other tools see it.

use std::path::Path;
use std::process::Command;

use crate::{script, tool};

/// Everything about a tree that a backup has to keep, as `find`, `sha256sum`, `getfattr` and `getfacl` tell it.
#[must_use]
#[track_caller]
pub fn listing(root: &Path) -> String {
    let mut command = Command::new(script("listing.sh"));
    command.arg(root);
    tool(command)
}

/// Bytes that do not compress, the same for the same seed.
#[must_use]
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(len).collect()
}
