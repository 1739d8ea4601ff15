//! The part's staging area: `/staging`, kept between runs.
//!
//! What a run stages is called as its label, or as its label with an ending (`<label>.partial`, `<label>.sql`): by that
//! one run finds what it made, and the next one what an earlier one has left.

use std::io::ErrorKind;

use crate::{Error, Result, exec, info, path};

/// What the names of all labels begin with.
const LABELS: &str = "bkhost-";

/// The guest path of something in the staging area.
#[must_use]
pub fn at(name: &str) -> String {
    format!("{}/{name}", path::STAGING)
}

/// Remove a file, or a directory and all in it, by its guest path. What is gone is no error.
///
/// # Errors
/// It is still there.
pub fn remove(guest: &str) -> Result<()> {
    let local = path::local(guest);
    let removed = match std::fs::symlink_metadata(&local) {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(&local),
        Ok(_) => std::fs::remove_file(&local),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(format!("removing {guest}"), &error)),
        _ => Ok(()),
    }
}

/// Remove all that the run with this label has staged. Idempotent.
///
/// # Errors
/// Something of it is left.
pub fn discard(label: &str) -> Result<()> {
    remove_all(|name| name.strip_prefix(label).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))).map(drop)
}

/// Remove what runs that died have left. For `prepare`: the instance's lock is held, so no other run is at work here.
///
/// # Errors
/// Something of it is left.
pub fn remove_leftovers() -> Result<()> {
    for name in remove_all(|name| name.starts_with(LABELS))? {
        info!("{name}, which an earlier run had left in the staging area, was removed");
    }
    Ok(())
}

/// Remove all with such a name. Returns the names.
fn remove_all(ours: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let reading = |error: &std::io::Error| Error::io(format!("reading {}", path::STAGING), error);
    let listing = match std::fs::read_dir(path::local(path::STAGING)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(reading(&error)),
        Ok(listing) => listing,
    };
    let mut removed = Vec::new();
    for entry in listing {
        let entry = entry.map_err(|error| reading(&error))?;
        // A label has no other characters; what cannot be read as text is none.
        if let Ok(name) = entry.file_name().into_string()
            && ours(&name)
        {
            remove(&at(&name))?;
            removed.push(name);
        }
    }
    Ok(removed)
}

/// The bytes that are free in a directory: `command` is a command of the manifest that runs `df -P -k {directory}`. None
/// if it does not tell.
///
/// # Errors
/// The host's: not allowed, not startable, past its deadline, cancelled.
pub fn free(command: &str, directory: &str) -> Result<Option<u64>> {
    let output = exec::run(command, &[("directory", directory)])?;
    Ok(available(&output.stdout).filter(|_| output.status == 0))
}

/// The bytes that are available, in what `df -P -k` prints.
fn available(output: &str) -> Option<u64> {
    // The device and the mount point may have spaces; the number is the one in front of the percentage.
    let words: Vec<_> = output.lines().nth(1)?.split_whitespace().collect();
    let percent = words.iter().position(|word| {
        word.strip_suffix('%').is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    })?;
    words.get(percent.checked_sub(1)?)?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use crate::testing::{self, Part};

    use super::*;

    struct Nobody;
    impl testing::Host for Nobody {}

    #[test]
    fn what_df_says() {
        let of =
            |line: &str| available(&format!("Filesystem 1024-blocks Used Available Capacity Mounted on\n{line}\n"));
        assert_eq!(of("/dev/vda 100 60 40 60% /"), Some(40 * 1024));
        assert_eq!(of("/dev/my disk 100 40 60 40% /mnt/a 5% b"), Some(60 * 1024));
        assert_eq!(of("100%/disk 100 40 60 40% /mnt"), Some(60 * 1024));
        assert_eq!((of("overlay 100 60"), available("df: /x: No such file or directory")), (None, None));
    }

    #[test]
    fn only_what_a_run_staged_is_removed() {
        let root = std::env::temp_dir().join(format!("bkhost-sdk-staging-{}", std::process::id()));
        let staging = root.join("staging");
        std::fs::create_dir_all(staging.join("bkhost-a-1/deep")).unwrap();
        std::fs::create_dir_all(staging.join("mine")).unwrap();
        for name in ["bkhost-a-1.sql", "bkhost-a-1.partial", "bkhost-a-12", "other.sql"] {
            std::fs::write(staging.join(name), "x").unwrap();
        }
        let names = || {
            let mut names: Vec<_> = std::fs::read_dir(&staging)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        let part = Part { root: root.clone(), ..Part::default() };
        testing::host(part, Nobody, || {
            discard("bkhost-a-1").unwrap();
            assert_eq!(names(), ["bkhost-a-12", "mine", "other.sql"]);
            discard("bkhost-a-1").unwrap();
            remove_leftovers().unwrap();
            assert_eq!(names(), ["mine", "other.sql"]);
            std::fs::remove_dir_all(&root).unwrap();
            remove_leftovers().unwrap();
            discard("bkhost-a-1").unwrap();
        });
    }
}
