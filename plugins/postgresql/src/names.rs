//! Names: of a database's dump in the archive, and of what a run starts at the server.

/// What the archive calls the dump of the n-th database (from 0): `1-app`. The number makes it unlike all others, whatever
/// the database's name holds.
pub(crate) fn archived(n: usize, database: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' };
    format!("{}-{}", n + 1, database.chars().take(63).map(plain).collect::<String>())
}

/// What the server calls the connections of this run (`application_name`): by that they are found and ended.
pub(crate) fn application(label: &str) -> String {
    let at = label.len().saturating_sub(40);
    format!("bkhost {}", label.get(at..).unwrap_or(label))
}

/// What the names of all databases begin with that the restore of this label fills: of our own, and as unique as the restore.
pub(crate) fn temporaries(label: &str) -> String {
    let unique: String = label.chars().rev().filter(char::is_ascii_alphanumeric).take(20).collect();
    let unique: String = unique.chars().rev().collect::<String>().to_ascii_lowercase();
    format!("bkhost-restore-{unique}-")
}

/// The name of the n-th database (from 0) while a restore fills it.
pub(crate) fn temporary(label: &str, n: usize) -> String {
    format!("{}{}", temporaries(label), n + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_database_has_a_place_of_its_own() {
        assert_eq!(archived(0, "app"), "1-app");
        assert_eq!(archived(11, "a b/../c"), "12-a_b____c");
        assert_ne!(archived(0, "ü"), archived(1, "ö"));
        assert!(archived(99, &"x".repeat(63)).len() < 100);
    }

    #[test]
    fn names_fit_their_slots() {
        let label = "bkhost-bitbucket-20261121-014200-4f2a9c";
        let name = temporary(label, 99);
        let rest = name.strip_prefix("bkhost-restore-").unwrap();
        assert!(rest.contains("0142004f2a9c"), "{name}");
        assert!((1..=40).contains(&rest.len()) && name.len() <= 63);
        assert!(rest.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'));
        assert!(temporary("x", 0).len() > "bkhost-restore-".len());
        assert_eq!(application(label), format!("bkhost {label}"));
        assert_eq!(application(&"a".repeat(64)).len(), 47);
    }
}
