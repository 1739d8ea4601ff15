//! What `zfs get -H -p -o name,property,value,source` says.

use bkhost_sdk::Error;
use bkhost_sdk::exec::Output;

/// The properties of one dataset or snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Properties {
    pub(crate) name: String,
    values: Vec<Property>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Property {
    name: String,
    value: String,
    source: String,
}

impl Properties {
    /// A value; none where ZFS says `-`.
    pub(crate) fn value(&self, property: &str) -> Option<&str> {
        let found = self.values.iter().find(|found| found.name == property)?;
        (found.value != "-").then_some(found.value.as_str())
    }

    /// Whether the value came with a stream.
    pub(crate) fn is_received(&self, property: &str) -> bool {
        self.values.iter().any(|found| found.name == property && found.source == "received")
    }

    pub(crate) fn number(&self, property: &str) -> Option<u64> {
        self.value(property)?.parse().ok()
    }

    /// Whether the property has this value, and has it here: not inherited, not received with a stream.
    pub(crate) fn is_local(&self, property: &str, value: &str) -> bool {
        self.values.iter().any(|found| found.name == property && found.value == value && found.source == "local")
    }

    /// Whether the property has another value here.
    pub(crate) fn has_other(&self, property: &str, value: &str) -> bool {
        self.values.iter().any(|found| found.name == property && found.value != value && found.source == "local")
    }

    /// The part of its name after `<dataset>@`.
    pub(crate) fn label(&self, dataset: &str) -> Option<&str> {
        self.name.strip_prefix(dataset)?.strip_prefix('@')
    }
}

/// Parse the output, which has the properties of one name after the other.
pub(crate) fn parse(output: &str) -> Vec<Properties> {
    let mut all: Vec<Properties> = Vec::new();
    for line in output.lines() {
        let mut fields = line.split('\t');
        let (Some(name), Some(property), Some(value)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let property =
            Property { name: property.into(), value: value.into(), source: fields.next().unwrap_or_default().into() };
        match all.last_mut() {
            Some(last) if last.name == name => last.values.push(property),
            _ => all.push(Properties { name: name.into(), values: vec![property] }),
        }
    }
    all
}

/// Whether the command failed because there is no such dataset, snapshot or pool.
pub(crate) fn absent(output: &Output) -> bool {
    output.status != 0
        && ["dataset does not exist", "no such pool", "could not find any snapshots to destroy"]
            .iter()
            .any(|text| output.stderr.contains(text))
}

/// Whether the command failed because what it names is not there: a bookmark, a snapshot, a hold's snapshot.
pub(crate) fn gone(output: &Output) -> bool {
    output.status != 0 && (output.stderr.contains("does not exist") || output.stderr.contains("not found"))
}

/// Whether the failure is of the sort that passes: something still holds the mount, or did a moment ago.
pub(crate) fn busy(error: &Error) -> bool {
    error.detail_of("stderr").is_some_and(|stderr| stderr.contains("busy") || stderr.contains("umount failed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FUSE: &str = "tank/home\ttype\tfilesystem\t-\n\
        tank/home\tbkhost:run\t-\t-\n\
        tank/home@a\ttype\tsnapshot\t-\n\
        tank/home@a\tuserrefs\t0\t-\n\
        tank/home@a\tbkhost:instance\tfoo\tinherited from tank/home\n\
        tank/home@a\tbkhost:run\tx\tlocal\n";

    #[test]
    fn one_name_after_the_other() {
        let all = parse(FUSE);
        let [dataset, snapshot] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!((dataset.value("type"), dataset.value("bkhost:run")), (Some("filesystem"), None));
        assert_eq!((snapshot.label("tank/home"), snapshot.number("userrefs")), (Some("a"), Some(0)));
        assert_eq!(snapshot.label("tank/hom"), None);
        assert_eq!(dataset.label("tank/home"), None);
    }

    #[test]
    fn an_inherited_or_received_property_proves_nothing() {
        let all = parse(&format!("{FUSE}tank/home@b\tbkhost:run\tx\treceived\n"));
        assert!(all[1].is_local("bkhost:run", "x"));
        assert!(!all[1].is_local("bkhost:run", "y"));
        assert!(!all[1].is_local("bkhost:instance", "foo"));
        assert!(!all[2].is_local("bkhost:run", "x"));
        assert!(all[1].has_other("bkhost:run", "y"));
        assert!(!all[1].has_other("bkhost:run", "x") && !all[1].has_other("bkhost:instance", "y"));
    }

    #[test]
    fn what_is_gone_and_what_is_busy() {
        let output = |status, stderr: &str| Output { status, stderr: stderr.into(), ..Output::default() };
        // zfs-fuse 0.7.0 and OpenZFS 2.x.
        assert!(absent(&output(1, "cannot open 'tank/home@nope': dataset does not exist\n")));
        assert!(absent(&output(1, "could not find any snapshots to destroy; check snapshot names.\n")));
        assert!(!absent(&output(1, "cannot open 'tank/home': permission denied\n")));
        assert!(!absent(&output(0, "dataset does not exist")));
        assert!(busy(&output(1, "cannot destroy 'tank/c': dataset is busy\n").failure()));
        assert!(busy(&output(1, "umount: /s: target is busy.\ncannot unmount '/s': umount failed").failure()));
        assert!(!busy(&output(1, "cannot destroy 'tank/c': filesystem has children\n").failure()));
    }
}
