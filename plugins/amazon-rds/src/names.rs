//! Identifiers of RDS: letters, digits and hyphens; a letter first; no two hyphens in a row and none at the end.

use bkhost_sdk::{Error, Result};

/// The longest identifier of an instance or a cluster.
const LONGEST: usize = 63;

/// The identifier of a part's snapshot. The label alone would be the same for two parts of a run, and instances and parts may
/// have names that are no part of an identifier.
pub(crate) fn snapshot(label: &str, part: &str) -> String {
    let whole = format!("{label}-{part}");
    let squeezed = squeeze(&whole);
    if squeezed == whole { squeezed } else { format!("{squeezed}-{:08x}", checksum(&whole)) }
}

/// The identifier of what a drill of a part restores into; room is left for the numbers of a cluster's instances.
pub(crate) fn drill(instance: &str, part: &str) -> String {
    let name = squeeze(&format!("bkhost-drill-{instance}-{part}"));
    let short: String = name.chars().take(LONGEST - 13).collect();
    format!("{}-{:08x}", short.trim_end_matches('-'), checksum(&format!("{instance}/{part}")))
}

fn squeeze(text: &str) -> String {
    let words: Vec<_> = text.split('-').filter(|word| !word.is_empty()).collect();
    words.join("-")
}

/// FNV-1a: tells apart what squeezing has made the same.
fn checksum(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The identifier to restore into, in the form in which RDS keeps it.
pub(crate) fn target(name: &str) -> Result<String> {
    let fits = name.len() <= LONGEST
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        && !name.contains("--")
        && !name.ends_with('-');
    if fits {
        return Ok(name.to_ascii_lowercase());
    }
    let shown: String = name.chars().take(80).collect();
    Err(Error::invalid_config(format!("{shown:?} cannot be the identifier of an RDS database")).hint(format!(
        "1 to {LONGEST} letters, digits and hyphens; a letter first, no two hyphens in a row, none at the end"
    )))
}

/// The identifier of the nth instance of a cluster that is restored under another name.
pub(crate) fn member(cluster: &str, n: usize) -> Result<String> {
    target(&format!("{cluster}-{n}")).map_err(|error| error.hint("choose a shorter name for the cluster"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_snapshots_are_identifiers_and_differ() {
        let label = "bkhost-prod-20261121t054432z-ab12";
        assert_eq!(snapshot(label, "database"), "bkhost-prod-20261121t054432z-ab12-database");
        let odd = ["a--b", "a-b", "a-b-", "a---b", "a-b--"].map(|part| snapshot(label, part));
        for (n, one) in odd.iter().enumerate() {
            assert!(!one.contains("--") && !one.ends_with('-') && one.len() <= 255, "{one}");
            assert!(odd.iter().skip(n + 1).all(|other| other != one), "{odd:?}");
        }
        let long = snapshot(&format!("bkhost-{}", "x".repeat(57)), &"y".repeat(32));
        assert!(long.len() <= 255);
    }

    #[test]
    fn names_of_drills_are_identifiers_and_differ() {
        let long = "x".repeat(57);
        let all = [
            drill("prod", "db"),
            drill("prod-db", "db"),
            drill("prod", "db-db"),
            drill(&long, "a"),
            drill(&long, "b"),
            drill("a--b", "c-"),
        ];
        for (n, one) in all.iter().enumerate() {
            assert_eq!(target(one).unwrap(), *one);
            assert!(member(one, 999).is_ok());
            assert!(all.iter().skip(n + 1).all(|other| other != one), "{all:?}");
        }
    }

    #[test]
    fn names_that_attack_are_refused() {
        assert_eq!(target("New-Db1").unwrap(), "new-db1");
        let long = "a".repeat(64);
        for name in [
            "",
            "-db",
            "db-",
            "d--b",
            "1db",
            "db 1",
            "db'1",
            "db\"",
            "dü",
            "db&DBInstanceIdentifier=live",
            "db%20",
            "../db",
            "db\n",
            "arn:aws:rds:us-east-1:1:db:live",
            &long,
        ] {
            assert!(target(name).is_err(), "{name:?}");
        }
        assert!(target(&"a".repeat(63)).is_ok());
        assert!(member(&"a".repeat(62), 1).is_err());
    }
}
