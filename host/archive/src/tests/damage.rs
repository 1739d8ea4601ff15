//! Whatever happens to a stored byte is found, and told of the right object.

use std::fs;

use super::fixture::{Archive, scratch, script, tree_of_everything};
use crate::error::{Error, ErrorKind};

fn small() -> Archive {
    let from = scratch();
    script(
        from.path(),
        "mkdir d; for i in $(seq 20); do head -c $((i * 3000)) /dev/urandom > d/file$i; done; seq 20000 > d/text; ln -s x d/link; truncate -s 1M d/hole",
    );
    Archive::of_tree(from.path(), "", &[])
}

fn assert_names(error: &Error, object: &str, what: &str) {
    assert_eq!(error.kind(), ErrorKind::Damaged, "{what}: {error}");
    let named = error.details().iter().any(|(name, value)| name == "object" && value == object);
    assert!(named && error.message().contains(object), "{what}: {error}");
}

#[test]
fn every_flipped_bit_of_the_archive_is_found() {
    let mut archive = small();
    let mut files = 0;
    let places: Vec<usize> = (0..64).chain((64..archive.object.len()).step_by(1511)).collect();
    for at in places.into_iter().chain(archive.object.len() - 12..archive.object.len()) {
        archive.object[at] ^= 1 << (at % 8);
        let error = archive.verify().expect_err(&format!("byte {at}"));
        assert_names(&error, "part.tar.zst", &format!("byte {at}"));
        files += usize::from(error.details().iter().any(|(name, value)| name == "file" && value.starts_with("d/")));
        archive.object[at] ^= 1 << (at % 8);
    }
    assert!(files > 100, "only {files} of the errors name a file");
    archive.verify().unwrap();
}

#[test]
fn a_flipped_bit_names_the_file_that_it_is_in() {
    let from = scratch();
    let contents: Vec<Vec<u8>> = (0..8u8)
        .map(|i| (0..50_000u32).map(|n| blake3::hash(&[&n.to_le_bytes()[..], &[i]].concat()).as_bytes()[0]).collect())
        .collect();
    for (i, content) in contents.iter().enumerate() {
        fs::write(from.path().join(format!("file{i}")), content).unwrap();
    }
    let mut archive = Archive::of_tree(from.path(), "tree", &[]);
    // What cannot be compressed is stored as it is.
    for (i, content) in contents.iter().enumerate() {
        let needle = &content[20_000..20_016];
        let at = archive.object.windows(16).position(|window| window == needle).unwrap();
        archive.object[at] ^= 0x10;
        let error = archive.verify().unwrap_err();
        assert_names(&error, "part.tar.zst", "");
        assert!(error.message().contains(&format!("`tree/file{i}`")), "{error}");
        archive.object[at] ^= 0x10;
    }
}

#[test]
fn every_flipped_bit_of_the_index_is_found() {
    let mut archive = small();
    for at in 0..archive.index.len() {
        archive.index[at] ^= 0x40;
        let error = archive.verify().expect_err(&format!("byte {at}"));
        assert_names(&error, "part.index.jsonl.zst", &format!("byte {at}"));
        archive.index[at] ^= 0x40;
    }
}

#[test]
fn what_is_cut_or_appended_is_found() {
    let archive = small();
    let (object, index) = (archive.object.clone(), archive.index.clone());
    let length = object.len();
    for cut in [0, 1, 100, length / 2, length - 5, length - 4, length - 1] {
        let cut_archive = Archive::zst(object[..cut].to_vec(), index.clone(), archive.summary.clone());
        assert_names(&cut_archive.verify().expect_err("cut"), "part.tar.zst", &format!("cut at {cut}"));
    }
    for cut in [0, 10, index.len() / 2, index.len() - 1] {
        let cut_archive = Archive::zst(object.clone(), index[..cut].to_vec(), archive.summary.clone());
        assert_names(&cut_archive.verify().expect_err("cut"), "part.index.jsonl.zst", &format!("cut at {cut}"));
    }
    let empty_frame = zstd::encode_all(&b""[..], 1).unwrap();
    for tail in [b"\0".to_vec(), b"garbage".to_vec(), empty_frame, object.clone()] {
        let longer = Archive::zst([object.clone(), tail].concat(), index.clone(), archive.summary.clone());
        assert_names(&longer.verify().expect_err("appended"), "part.tar.zst", "appended");
    }
}

#[test]
fn swapped_objects_are_found() {
    let (a, b) = (small(), small());
    let swapped = Archive::zst(a.object.clone(), b.index.clone(), a.summary.clone());
    assert_names(&swapped.verify().unwrap_err(), "part.index.jsonl.zst", "index of another set");
    let swapped = Archive::zst(b.object, a.index.clone(), a.summary.clone());
    assert_names(&swapped.verify().unwrap_err(), "part.tar.zst", "archive of another set");
    let swapped = Archive::zst(a.index.clone(), a.object, a.summary);
    assert_names(&swapped.verify().unwrap_err(), "part.tar.zst", "each other");
}

#[test]
fn extraction_finds_damage_too() {
    let from = scratch();
    tree_of_everything(from.path());
    let mut archive = Archive::of_tree(from.path(), "", &[]);
    for at in (0..archive.object.len()).step_by(archive.object.len() / 15) {
        let to = scratch();
        archive.object[at] ^= 1;
        assert_names(&archive.extract("", to.path()).expect_err("damaged"), "part.tar.zst", &format!("byte {at}"));
        archive.object[at] ^= 1;
    }
}

#[test]
fn a_store_that_fails_is_not_damage() {
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::ConnectionReset.into())
        }
    }
    let archive = small();
    let [data, index] = archive.records();
    let objects = crate::PartObjects { data: &data, index: &index, keys: &crate::Keys::default() };
    let control = crate::Control::none();
    let half = std::io::Read::chain(&archive.object[..archive.object.len() / 2], Broken);
    let error = crate::verify_part(half, archive.index.as_slice(), &objects, &control).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store, "{error}");
    let error = crate::verify_part(archive.object.as_slice(), Broken, &objects, &control).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store, "{error}");
}
