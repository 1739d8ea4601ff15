//! Random trees.

use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::fixture::{Archive, assert_same, scratch};

#[derive(Debug, Clone)]
enum Node {
    File(Vec<u8>, u32, i64, u32),
    /// Stretches of data in a file of this size.
    Sparse(Vec<(u32, u8)>, u32),
    Symlink(Vec<u8>),
    Hardlink(prop::sample::Index),
    Directory(Vec<(Vec<u8>, Node)>, u32),
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let usual = "[a-zA-Z0-9 ._-]{1,12}".prop_map(String::into_bytes);
    let bytes = prop::collection::vec(1u8..=255, 1..120);
    let long = prop::collection::vec(prop::sample::select(b"abc\xff".to_vec()), 200..=255);
    prop_oneof![4 => usual, 2 => bytes, 1 => long]
        .prop_map(|name| name.into_iter().map(|b| if b == b'/' { b'_' } else { b }).collect::<Vec<u8>>())
        .prop_filter("names of directories", |name| name != b"." && name != b"..")
}

fn node() -> impl Strategy<Value = Node> {
    let file = (
        prop::collection::vec(any::<u8>(), 0..3000),
        0u32..0o10000,
        -5_000_000_000i64..10_000_000_000,
        0u32..1_000_000_000,
    )
        .prop_map(|(content, mode, seconds, nanos)| Node::File(content, mode, seconds, nanos));
    let sparse = (prop::collection::vec((0u32..2_000_000, any::<u8>()), 0..6), 0u32..3_000_000)
        .prop_map(|(data, size)| Node::Sparse(data, size));
    let symlink = prop::collection::vec(1u8..=255, 1..200).prop_map(Node::Symlink);
    let leaf =
        prop_oneof![4 => file, 1 => sparse, 1 => symlink, 1 => any::<prop::sample::Index>().prop_map(Node::Hardlink)];
    leaf.prop_recursive(5, 60, 8, |inner| {
        (prop::collection::vec((name(), inner), 0..8), 0u32..0o10000)
            .prop_map(|(nodes, mode)| Node::Directory(nodes, mode | 0o700))
    })
}

fn make(at: &Path, nodes: &[(Vec<u8>, Node)], files: &mut Vec<PathBuf>) {
    use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
    for (name, node) in nodes {
        let path = at.join(std::ffi::OsString::from_vec(name.clone()));
        if path.symlink_metadata().is_ok() {
            continue;
        }
        match node {
            Node::File(content, mode, seconds, nanos) => {
                fs::write(&path, content).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(*mode | 0o400)).unwrap();
                let time = rustix::fs::Timespec { tv_sec: *seconds, tv_nsec: i64::from(*nanos) };
                let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
                rustix::fs::utimensat(rustix::fs::CWD, &path, &times, rustix::fs::AtFlags::empty()).unwrap();
                files.push(path);
            }
            Node::Sparse(data, size) => {
                let file = fs::File::create(&path).unwrap();
                file.set_len(u64::from(*size)).unwrap();
                data.iter().for_each(|(at, byte)| file.write_all_at(&[*byte; 100], u64::from(*at)).unwrap());
                files.push(path);
            }
            Node::Symlink(target) => {
                std::os::unix::fs::symlink(std::ffi::OsString::from_vec(target.clone()), &path).unwrap()
            }
            Node::Hardlink(which) if !files.is_empty() => fs::hard_link(which.get(files), &path).unwrap(),
            Node::Hardlink(_) => {}
            Node::Directory(nodes, mode) => {
                fs::create_dir(&path).unwrap();
                make(&path, nodes, files);
                fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn random_trees_survive(nodes in prop::collection::vec((name(), node()), 0..10)) {
        let (from, to) = (scratch(), scratch());
        make(from.path(), &nodes, &mut Vec::new());
        let archive = Archive::of_tree(from.path(), "", &[]);
        prop_assert_eq!(archive.verify().unwrap(), archive.summary.entries);
        archive.extract("", to.path()).unwrap();
        assert_same(from.path(), to.path());
    }
}
