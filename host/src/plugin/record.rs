//! What a guest returns, checked before anything believes it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use super::bindings::bkhost::snapshot::types;
use super::text;
use crate::archive::SetId;
use crate::archive::set::{Consistency, SnapshotRecord};
use crate::capability;
use crate::error::{Error, ErrorKind, Result};
pub use crate::report::{Finding, Severity};

/// The longest name of a snapshot, in bytes.
const MAX_ID: usize = 1024;
/// The largest state, in bytes.
const MAX_STATE: usize = 256 << 10;
const MAX_VERSIONS: usize = 64;
const MAX_VERSION: usize = 256;
/// The most that `check` and `list` may return.
pub(super) const MAX_ITEMS: usize = 10_000;

pub(super) fn finding(f: types::Finding) -> Finding {
    let severity = match f.severity {
        types::Severity::Info => Severity::Info,
        types::Severity::Warning => Severity::Warning,
        types::Severity::Failure => Severity::Failure,
    };
    Finding {
        severity,
        kind: ErrorKind::Plugin,
        subject: text::line(&f.subject, 200),
        message: text::line(&f.message, 2000),
        hint: f.hint.map(|hint| text::block(&hint, 4000)),
    }
}

/// A breach of the contract: `what` was returned.
pub(super) fn breach(what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Plugin, format!("the plugin returned {what}"))
        .hint("this breaks the contract: report it to the plugin's author")
}

/// A snapshot as the set's manifest keeps it. `offered` is the set that the plugin was told it can build on.
pub(super) fn snapshot(
    s: types::Snapshot,
    claimed: capability::Consistency,
    offered: Option<&SetId>,
) -> Result<SnapshotRecord> {
    check_id("a snapshot's id", &s.id)?;
    let created = i64::try_from(s.created)
        .ok()
        .and_then(|millis| Timestamp::from_millisecond(millis).ok())
        .ok_or_else(|| breach(format!("a snapshot created at {}, which is no time", s.created)))?;
    let consistency = match s.consistency {
        types::Consistency::Atomic => Consistency::Atomic,
        types::Consistency::Exported => Consistency::Exported,
        types::Consistency::Copied => Consistency::Copied,
    };
    if weakness(consistency) > weakness_claimed(claimed) {
        return Err(breach(format!("a snapshot that is {consistency:?} where its manifest claims {claimed:?}")));
    }
    check_versions(&s.versions)?;
    let base = s.base.map(|base| offered_base(&base, offered)).transpose()?;
    Ok(SnapshotRecord {
        created,
        consistency,
        state: state(&s.state)?,
        id: s.id,
        bytes: s.bytes,
        versions: s.versions,
        base,
    })
}

/// Only what was proved to be there can be built on.
fn offered_base(base: &str, offered: Option<&SetId>) -> Result<SetId> {
    match offered {
        Some(offered) if offered.as_str() == base => Ok(offered.clone()),
        _ => Err(breach(format!("a snapshot that builds on `{}`, which was not offered", text::line(base, 100)))),
    }
}

/// A snapshot as the contract carries it.
pub(super) fn contract(s: &SnapshotRecord) -> types::Snapshot {
    types::Snapshot {
        id: s.id.clone(),
        created: u64::try_from(s.created.as_millisecond()).unwrap_or_default(),
        consistency: match s.consistency {
            Consistency::Atomic => types::Consistency::Atomic,
            Consistency::Exported => types::Consistency::Exported,
            Consistency::Copied => types::Consistency::Copied,
        },
        bytes: s.bytes,
        versions: s.versions.clone(),
        state: s.state.to_string(),
        base: s.base.as_ref().map(ToString::to_string),
    }
}

/// A name that the vendor understands, fit to be shown and stored.
pub(super) fn check_id(what: &str, id: &str) -> Result<()> {
    if id.is_empty() {
        return Err(breach(format!("{what} that is empty")));
    }
    if id.len() > MAX_ID {
        return Err(breach(format!("{what} of {} bytes; {MAX_ID} are allowed", id.len())));
    }
    if id.chars().any(char::is_control) {
        return Err(breach(format!("{what} with control characters: {}", text::line(id, 200))));
    }
    Ok(())
}

/// Fit to be shown and stored: not empty, of at most so many bytes, without control characters.
pub(super) fn is_text(text: &str, most: usize) -> bool {
    !text.is_empty() && text.len() <= most && !text.contains(char::is_control)
}

fn check_versions(versions: &[(String, String)]) -> Result<()> {
    if versions.len() > MAX_VERSIONS {
        return Err(breach(format!("{} versions; {MAX_VERSIONS} are allowed", versions.len())));
    }
    let mut names = BTreeSet::new();
    for (name, version) in versions {
        if [name, version].iter().any(|text| !is_text(text, MAX_VERSION)) {
            return Err(breach(format!(
                "a version that is empty, too long or no text: {} {}",
                text::line(name, 100),
                text::line(version, 100)
            )));
        }
        if !names.insert(name) {
            return Err(breach(format!("two versions of {}", text::line(name, 100))));
        }
    }
    Ok(())
}

fn state(json: &str) -> Result<Value> {
    if json.len() > MAX_STATE {
        return Err(breach(format!("a snapshot whose state has {} bytes; {MAX_STATE} are allowed", json.len())));
    }
    match serde_json::from_str(json) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(breach("a snapshot whose state is no JSON object")),
        Err(e) => Err(breach(format!("a snapshot whose state is not JSON: {e}"))),
    }
}

fn weakness(consistency: Consistency) -> u8 {
    match consistency {
        Consistency::Atomic => 0,
        Consistency::Exported => 1,
        Consistency::Copied => 2,
    }
}

fn weakness_claimed(consistency: capability::Consistency) -> u8 {
    match consistency {
        capability::Consistency::Atomic => 0,
        capability::Consistency::Exported => 1,
        capability::Consistency::Copied => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> types::Snapshot {
        types::Snapshot {
            id: "tank/home@bkhost-a-1".into(),
            created: 1_763_689_320_123,
            consistency: types::Consistency::Exported,
            bytes: Some(7),
            versions: vec![("server".into(), "15.8".into())],
            state: r#"{"b":1,"a":[2]}"#.into(),
            base: None,
        }
    }

    #[test]
    fn a_record_makes_the_round_trip() {
        let record = snapshot(good(), capability::Consistency::Exported, None).unwrap();
        let back = contract(&record);
        assert_eq!(back.state, good().state, "the order of keys stays");
        assert_eq!((back.id, back.created, back.bytes, back.versions), {
            let g = good();
            (g.id, g.created, g.bytes, g.versions)
        });
        let json = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<SnapshotRecord>(&json).unwrap(), record);
    }

    #[test]
    fn what_breaks_the_contract_is_refused() {
        type Change = fn(&mut types::Snapshot);
        let changes: [(&str, Change); 12] = [
            ("empty", |s| s.id.clear()),
            ("control", |s| s.id.push('\n')),
            ("1024", |s| s.id = "x".repeat(1025)),
            ("no time", |s| s.created = u64::MAX),
            ("no JSON object", |s| s.state = "[]".into()),
            ("not JSON", |s| s.state = "{".into()),
            ("262144", |s| s.state = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_STATE))),
            ("Copied", |s| s.consistency = types::Consistency::Copied),
            ("two versions", |s| s.versions.push(("server".into(), "16".into()))),
            ("not offered", |s| s.base = Some("20261121-014200-4f2a9d".into())),
            ("not offered", |s| s.base = Some("../x".into())),
            ("65 versions", |s| s.versions = (0..65).map(|n| (n.to_string(), "1".into())).collect()),
        ];
        for (expected, change) in changes {
            let mut s = good();
            change(&mut s);
            let offered: SetId = "20261121-014200-4f2a9c".parse().unwrap();
            let error = snapshot(s, capability::Consistency::Exported, Some(&offered)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Plugin);
            assert!(error.message().contains(expected), "{expected}: {error}");
        }
    }

    #[test]
    fn a_stronger_point_than_claimed_is_welcome() {
        snapshot(good(), capability::Consistency::Copied, None).unwrap();
        assert!(snapshot(good(), capability::Consistency::Atomic, None).is_err());
    }

    #[test]
    fn the_set_that_was_offered_can_be_built_on() {
        let offered: SetId = "20261121-014200-4f2a9c".parse().unwrap();
        let built = types::Snapshot { base: Some(offered.to_string()), ..good() };
        let record = snapshot(built.clone(), capability::Consistency::Exported, Some(&offered)).unwrap();
        assert_eq!((contract(&record).base, record.base), (built.base.clone(), Some(offered)));
        assert!(snapshot(built, capability::Consistency::Exported, None).is_err());
    }
}
