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
