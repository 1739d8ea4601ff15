//! Manifests of random content.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::seal::{self, tests::manifest};
use super::{ChangedFiles, LeftOut, SetManifest};
use crate::archive::SetId;
use crate::error::ErrorKind;

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        prop::num::f64::NORMAL.prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..6).prop_map(|map| json!(map)),
        ]
    })
}

fn time() -> impl Strategy<Value = jiff::Timestamp> {
    (0i64..4_000_000_000, 0i32..1_000_000_000).prop_map(|(s, ns)| jiff::Timestamp::new(s, ns).unwrap())
}

prop_compose! {
    fn set()(
        (created, duration_ms, skew_ms) in (time(), any::<u64>(), any::<u64>()),
        (host, version, warnings) in (any::<String>(), any::<Option<String>>(), any::<Vec<String>>()),
        (state, config) in (value(), value()),
        names in prop::collection::btree_set("[a-z0-9][a-z0-9-]{0,31}", 1..4),
        (bytes, identity, versions) in (any::<Option<u64>>(), any::<Option<String>>(), any::<Vec<(String, String)>>()),
        (globs, changed) in (any::<Option<Vec<String>>>(), any::<Vec<String>>()),
    ) -> SetManifest {
        let mut set = manifest("20261121-014200-4f2a9c");
        set.created = created;
        set.proved.at = created;
        (set.duration_ms, set.skew_ms, set.warnings) = (duration_ms, skew_ms, warnings);
        (set.made_by.host, set.application.version) = (host, version);
        let part = set.parts.remove(0);
        for name in names {
            let mut part = part.clone();
            part.objects[0].file = super::data_file(&name, ".zst");
            part.name = name;
            part.snapshot.state = json!({ "own": state });
            part.snapshot.bytes = bytes;
            part.snapshot.versions = versions.clone();
            part.config = config.clone();
            part.identity = identity.clone();
            part.left_out = globs.clone().map(|globs| LeftOut { globs, ..LeftOut::default() });
            part.changed = ChangedFiles { total: changed.len() as u64, files: changed.clone() };
            set.parts.push(part);
        }
        set
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn it_survives(set in set()) {
        let bytes = seal::seal(&set).unwrap();
        prop_assert_eq!(&seal::open(&bytes).unwrap(), &set);
        // And what was read is what is written again.
        prop_assert_eq!(seal::seal(&seal::open(&bytes).unwrap()).unwrap(), bytes);
    }

    #[test]
    fn no_damage_is_read(set in set(), at in any::<prop::sample::Index>(), with in any::<Vec<u8>>(), cut in 0usize..40) {
        let good = seal::seal(&set).unwrap();
        let at = at.index(good.len());
        let bad = [&good[..at], &with, good.get(at + cut..).unwrap_or_default()].concat();
        prop_assume!(bad != good);
        prop_assert_eq!(seal::open(&bad).unwrap_err().kind(), ErrorKind::Damaged);
    }

    #[test]
    fn anything_may_be_there(bytes in any::<Vec<u8>>(), json in value()) {
        prop_assert!(seal::open(&bytes).is_err());
        prop_assert!(seal::open(json.to_string().as_bytes()).is_err());
    }

    /// Ids are in the order in which they were made, whatever the clock did.
    #[test]
    fn ids_are_in_order(dates in prop::collection::vec((0u32..2_000_000_000, 0u32..0x100_0000), 1..8)) {
        let mut newest: Option<SetId> = None;
        for (seconds, tail) in dates {
            let time = jiff::Timestamp::from_second(i64::from(seconds)).unwrap().strftime("%Y%m%d-%H%M%S");
            let id: SetId = format!("{time}-{tail:06x}").parse().unwrap();
            let id = newest.as_ref().map_or(id.clone(), |newest| id.after(newest));
            prop_assert!(newest.as_ref().is_none_or(|newest| id > *newest), "{} after {:?}", id, newest);
            newest = Some(id);
        }
    }
}
