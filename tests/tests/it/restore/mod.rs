//! Restoring: what it says before it begins, single paths, what an interruption leaves, and that everything comes back.

mod around;
mod interrupted;
mod paths;
mod plan;
mod round_trip;

use std::path::Path;

use bkhost_tests::{Bkhost, application_none, directory_part};

/// An instance with these directories, each a part of its own with a few files, and one set of it.
fn backed_up(parts: &[&str]) -> (Bkhost, String) {
    let bk = Bkhost::new();
    let mut tables = vec![application_none()];
    for part in parts {
        let home = bk.path(part);
        std::fs::create_dir_all(home.join("shared/config")).unwrap();
        std::fs::write(home.join("shared/config/bitbucket.properties"), format!("{part} = 1\n")).unwrap();
        std::fs::write(home.join("shared/data"), "data").unwrap();
        std::fs::write(home.join("file"), "content").unwrap();
        tables.push(directory_part(part, &home));
    }
    bk.config(&tables.iter().map(String::as_str).collect::<Vec<_>>());
    let id = bk.backup_id();
    (bk, id)
}

/// All names below a directory, sorted.
fn names(at: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![at.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            found.push(path.strip_prefix(at).unwrap().display().to_string());
            if path.symlink_metadata().unwrap().is_dir() {
                left.push(path);
            }
        }
    }
    found.sort();
    found
}
