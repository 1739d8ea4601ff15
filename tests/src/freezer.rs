//! The tests' guest that freezes, in an instance.

use std::path::Path;
use std::process::Command;

use crate::{Bkhost, guests, tool};

/// The directory of an instance in which a file `go` lets its freezer go on. Made if it is missing.
#[must_use]
pub fn signal(bk: &Bkhost) -> std::path::PathBuf {
    let dir = bk.path("signal");
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// A `[[part]]` of the freezer for these directories, with a `[[grant]]` for the file systems of these.
#[must_use]
pub fn freezer(bk: &Bkhost, behaviour: &str, directories: &[&Path], granted: &[&Path], limits: &str) -> String {
    let plugin = guests().join("freezer.wasm");
    let mut sha256 = Command::new("sha256sum");
    sha256.arg(&plugin);
    let digest = tool(sha256).split(' ').next().unwrap().to_owned();
    let signal = signal(bk);
    let freeze = if granted.is_empty() { String::new() } else { format!("freeze = {granted:?}\n") };
    format!(
        "[[part]]\nname = \"volumes\"\nplugin = \"{plugin}\"\n[part.config]\nbehaviour = \"{behaviour}\"\n\
         directories = {directories:?}\nsignal = {signal:?}\n[part.limits]\n{limits}\n[[grant]]\nplugin = \"{plugin}\"\n\
         sha256 = \"{digest}\"\nexec = {{}}\nread = {directories:?}\nwrite = [{signal:?}]\n{freeze}",
        plugin = plugin.display(),
    )
}
