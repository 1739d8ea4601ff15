//! The lines of the index, of random entries.

use proptest::prelude::*;

use crate::fs::owners::Owners;
use crate::index::{IndexEntry, IndexReader, write_line};
use crate::{Acl, Attributes, Entry, Kind, Time, Who};

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof!["\\PC{0,40}".prop_map(String::into_bytes), prop::collection::vec(any::<u8>(), 0..200)]
}

fn kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![
        Kind::File,
        Kind::Directory,
        Kind::Symlink,
        Kind::Hardlink,
        Kind::Fifo,
        Kind::CharDevice,
        Kind::BlockDevice,
    ])
}

prop_compose! {
    fn time()(seconds in any::<i64>(), nanos in prop_oneof![Just(0), 0u32..1_000_000_000]) -> Time {
        Time { seconds, nanos }
    }
}

fn acl() -> impl Strategy<Value = Option<Acl>> {
    let who = prop_oneof![
        Just(Who::Owner),
        any::<u32>().prop_map(Who::User),
        any::<u32>().prop_map(Who::Group),
        Just(Who::Other)
    ];
    prop::option::of(prop::collection::vec((who, 0u8..8), 1..6).prop_map(Acl))
}

prop_compose! {
    fn entry()(
        (path, kind, mode, uid, gid) in (bytes(), kind(), 0u32..0o10000, any::<u32>(), any::<u32>()),
        (user, group) in (prop::option::of("\\PC{1,12}"), prop::option::of("\\PC{1,12}")),
        (size, mtime) in (any::<u64>(), time()),
        (link, device) in (prop::option::of(bytes()), prop::option::of(any::<(u32, u32)>())),
        xattrs in prop::collection::vec((bytes(), bytes()), 0..4),
        (access, default) in (acl(), acl()),
    ) -> Entry {
        let attributes = Attributes { xattrs, access, default };
        Entry { path, kind, mode, uid, gid, user, group, size, mtime, link, device, attributes }
    }
}

/// The same entry with one thing changed.
fn changed(entry: &Entry, what: usize) -> Entry {
    let mut other = entry.clone();
    match what {
        0 => other.mode ^= 1,
        1 => other.uid ^= 1,
        2 => other.gid ^= 1,
        3 => other.user = Some(format!("{}x", other.user.unwrap_or_default())),
        4 => other.group = Some(format!("{}x", other.group.unwrap_or_default())),
        5 => other.size ^= 1,
        6 => other.mtime.nanos ^= 1,
        7 => other.link.get_or_insert_default().push(b'x'),
        8 => other.device = Some(other.device.map_or((0, 0), |(major, minor)| (major, minor ^ 1))),
        9 => other.attributes.xattrs.push((b"user.x".to_vec(), Vec::new())),
        10 => other.attributes.access.get_or_insert(Acl(Vec::new())).0.push((Who::Mask, 4)),
        _ => other.kind = if other.kind == Kind::File { Kind::Fifo } else { Kind::File },
    }
    other
}

proptest! {
    #[test]
    fn lines_say_what_the_entries_are(entries in prop::collection::vec(entry(), 0..12)) {
        let owners = Owners::load().unwrap();
        let mut text = Vec::new();
        for entry in &entries {
            write_line(&mut text, &IndexEntry::new(entry, Some(blake3::hash(&entry.path)), &owners)).unwrap();
        }
        let mut reader = IndexReader::new(text.as_slice());
        for entry in &entries {
            let line = reader.next_entry().unwrap().unwrap();
            prop_assert_eq!(line.path(), Some(entry.path.clone()));
            prop_assert_eq!(line.link(), entry.link.clone());
            let hash = blake3::hash(&entry.path).to_hex();
            prop_assert_eq!(line.blake3.as_deref(), Some(hash.as_str()));
            prop_assert_eq!(line.difference(entry), None);
            for what in 0..12 {
                prop_assert!(line.difference(&changed(entry, what)).is_some(), "change {} is not seen", what);
            }
        }
        prop_assert!(reader.next_entry().unwrap().is_none());
    }

    /// Whatever is read as an index, it is read to its end or refused.
    #[test]
    fn anything_may_be_there(text in prop_oneof![bytes(), "(\\{\"path[-hex\":, a-z0-9{}]{0,40}\n){0,4}".prop_map(String::into_bytes)]) {
        let mut reader = IndexReader::new(text.as_slice());
        for _ in 0..=text.len() {
            let Ok(Some(line)) = reader.next_entry() else { break };
            let _ = (line.path(), line.link());
        }
    }
}
