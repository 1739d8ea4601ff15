//! Every way of encoding, read back by us and by the stock tools.

use std::fs;

use age::secrecy::ExposeSecret;

use super::fixture::{Archive, Scratch, assert_same, record, scratch, script, tree, tree_of_everything};
use crate::error::ErrorKind;
use crate::{
    Compression, Control, Format, Keys, Layers, PartObjects, Recipients, StreamReader, verify_part, verify_stored,
    verify_stream, write_stream,
};

const ZSTD: Compression = Compression::Zstd { level: 1, threads: 2 };
const GZIP: Compression = Compression::Gzip { level: 1, threads: 2 };

/// An identity as `age-keygen` writes it, and its recipient.
fn key() -> (String, String) {
    let key = age::x25519::Identity::generate();
    (format!("# a comment\n{}\n", key.to_string().expose_secret()), key.to_public().to_string())
}

fn keys(file: &str) -> Keys {
    Keys::identity_file(file.as_bytes(), "key.txt", || unreachable!()).unwrap()
}

fn unpacked(archive: &Archive, name: &str, command: &str) -> Scratch {
    let to = scratch();
    fs::write(to.path().join(name), &archive.object).unwrap();
    script(to.path(), &format!("mkdir out; {command} -C out"));
    to
}

#[test]
fn every_kind_of_file_survives_every_encoding_and_the_stock_tools_read_it() {
    let from = scratch();
    tree_of_everything(from.path());
    let (one, two, other) = (key(), key(), key());
    let x25519 = Some(Recipients::keys([&one.1, &two.1]).unwrap());
    let tar = "tar --xattrs --xattrs-include='*' --acls --numeric-owner -xpf";
    for (compression, recipients, reader) in [
        (GZIP, None, format!("{tar} part.tar.gz -z")),
        (ZSTD, x25519.clone(), format!("age -d -i key.txt part.tar.zst.age | zstd -dc | {tar} -")),
        (GZIP, x25519, format!("age -d -i key.txt part.tar.gz.age | {tar} - -z")),
        (Compression::None, None, format!("{tar} part.tar")),
    ] {
        let format = Format { compression, recipients };
        let name = format!("part.tar{}", format.suffix());
        let mut archive = Archive::in_format(&[tree(from.path(), "", &[])], format);
        if archive.suffix.ends_with(".age") {
            // Nobody, somebody else, and then each of the two.
            assert_eq!(archive.verify().unwrap_err().kind(), ErrorKind::Denied);
            archive.keys = keys(&other.0);
            let error = archive.verify().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Denied);
            assert!(error.message().contains(&archive.suffix), "{error}");
            archive.keys = keys(&two.0);
            assert_eq!(archive.verify().unwrap(), archive.summary.entries);
            archive.keys = keys(&other.0).and(&keys(&one.0));
        }
        assert_eq!(archive.verify().unwrap(), archive.summary.entries);
        let to = scratch();
        archive.extract("", to.path()).unwrap();
        assert_same(from.path(), to.path());
        let keyed = format!("printf '%s' '{}' > key.txt; {reader}", one.0);
        let to = unpacked(&archive, &name, &keyed);
        assert_same(from.path(), &to.path().join("out"));
    }
}

#[test]
fn a_passphrase_opens_what_it_closed() {
    let format = Format { compression: ZSTD, recipients: Some(Recipients::passphrase("correct horse").unwrap()) };
    let mut object = Vec::new();
    let summary = write_stream(&b"content"[..], &mut object, &format, &Control::none()).unwrap();
    let expected = record("dump.zst.age", &summary.object);
    let verify = |keys: &Keys| verify_stream(object.as_slice(), &expected, keys, &Control::none());
    assert_eq!(verify(&Keys::passphrase("correct horse")).unwrap(), 7);
    // Whatever else was given, and in whichever order.
    let (identity, wrong) = (keys(&key().0), Keys::passphrase("wrong horse"));
    assert_eq!(verify(&wrong.and(&identity).and(&Keys::passphrase("correct horse"))).unwrap(), 7);
    for keys in [wrong, identity, Keys::default()] {
        assert_eq!(verify(&keys).unwrap_err().kind(), ErrorKind::Denied);
    }
    verify_stored(object.as_slice(), &expected, &Control::none()).unwrap();
}

/// Small members, large members, none, and threads more than there are blocks.
#[test]
fn gzip_is_read_by_gzip_whatever_its_size() {
    let noise: Vec<u8> =
        (0..900_000u32).flat_map(|n| blake3::hash(&n.to_le_bytes()).as_bytes()[..4].to_vec()).collect();
    let exact = vec![7; 2 << 20];
    for (content, threads) in [(&b""[..], 1), (&b"x"[..], 7), (noise.as_slice(), 2), (exact.as_slice(), 3)] {
        let format = Format { compression: Compression::Gzip { level: 6, threads }, recipients: None };
        let mut object = Vec::new();
        let summary = write_stream(content, &mut object, &format, &Control::none()).unwrap();
        let expected = record("dump.gz", &summary.object);
        let length = content.len() as u64;
        assert_eq!(verify_stream(object.as_slice(), &expected, &Keys::default(), &Control::none()).unwrap(), length);
        let to = scratch();
        fs::write(to.path().join("a.gz"), &object).unwrap();
        script(to.path(), "gzip -t a.gz; gzip -dc a.gz > a; pigz -t a.gz 2>/dev/null || gzip -t a.gz");
        assert_eq!(fs::read(to.path().join("a")).unwrap(), content);
    }
}

#[test]
fn damage_and_a_wrong_key_are_told_apart() {
    let (mine, theirs) = (key(), key());
    let format = Format { compression: GZIP, recipients: Some(Recipients::keys([&mine.1]).unwrap()) };
    let noise: Vec<u8> =
        (0..100_000u32).flat_map(|n| blake3::hash(&n.to_le_bytes()).as_bytes()[..4].to_vec()).collect();
    let mut object = Vec::new();
    let summary = write_stream(noise.as_slice(), &mut object, &format, &Control::none()).unwrap();
    let expected = record("dump.gz.age", &summary.object);
    let (mine, theirs) = (keys(&mine.0), keys(&theirs.0));
    for at in (0..250).chain((250..object.len()).step_by(9973)) {
        object[at] ^= 2;
        for keys in [&mine, &theirs, &Keys::default()] {
            let error = verify_stream(object.as_slice(), &expected, keys, &Control::none()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damaged, "byte {at}: {error}");
        }
        assert_eq!(
            verify_stored(object.as_slice(), &expected, &Control::none()).unwrap_err().kind(),
            ErrorKind::Damaged
        );
        object[at] ^= 2;
    }
    let cut = &object[..object.len() - 1];
    assert_eq!(verify_stream(cut, &expected, &mine, &Control::none()).unwrap_err().kind(), ErrorKind::Damaged);
    assert_eq!(verify_stored(cut, &expected, &Control::none()).unwrap_err().kind(), ErrorKind::Damaged);
}

/// Somebody who can write to the store can also encrypt to our key. What comes out is still bounded by the record.
#[test]
fn a_bomb_is_stopped_at_the_size_it_was_said_to_have() {
    struct Zeros(u64);
    impl std::io::Read for Zeros {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let most = buffer.len().min(usize::try_from(self.0).unwrap());
            buffer[..most].fill(0);
            self.0 -= most as u64;
            Ok(most)
        }
    }
    for compression in [ZSTD, GZIP] {
        let format = Format { compression, recipients: None };
        let mut object = Vec::new();
        let summary = write_stream(Zeros(64 << 20), &mut object, &format, &Control::none()).unwrap();
        let mut expected = record(&format!("dump{}", format.suffix()), &summary.object);
        expected.content_bytes = 1000;
        let mut reader = StreamReader::new(object.as_slice(), &expected, &Keys::default(), &Control::none()).unwrap();
        let mut read = Vec::new();
        let error = std::io::Read::read_to_end(&mut reader, &mut read).unwrap_err();
        assert!(error.to_string().contains("more than 1000 bytes"), "{error}");
        assert!(read.len() <= 1 << 20);
    }
}

#[test]
fn identity_files_are_read_or_refused_without_showing_them() {
    let (file, _) = key();
    let refused = |bytes: &[u8]| {
        let error = Keys::identity_file(bytes, "key.txt", || Ok("pass".to_owned())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.message().contains("key.txt"), "{error}");
        let shown = format!("{error} {:?} {error:?}", error.hint_text());
        assert!(!shown.contains("SECRET-KEY-1Q") && !shown.contains("hunter2"), "{shown}");
        shown
    };
    refused(b"");
    refused(b"# nothing\n\n");
    refused(b"hunter2\n");
    assert!(refused(key().1.as_bytes()).contains("the public half"));
    refused(b"AGE-SECRET-KEY-1QQQQQQQQQ\n");
    refused(b"\xff\xfe");
    refused(b"age-encryption.org/v1\n-> scrypt x\n");
    refused(&vec![b'\n'; 2 << 20]);
    // One that has a passphrase, as `age -p` makes it.
    for armor in [false, true] {
        let recipient = {
            let mut recipient = age::scrypt::Recipient::new("pass".to_owned().into());
            recipient.set_work_factor(10);
            recipient
        };
        let encrypted = if armor {
            age::encrypt_and_armor(&recipient, file.as_bytes()).unwrap().into_bytes()
        } else {
            age::encrypt(&recipient, file.as_bytes()).unwrap()
        };
        assert!(!Keys::identity_file(&encrypted[..], "k", || Ok("pass".to_owned())).unwrap().is_empty());
        let wrong = Keys::identity_file(&encrypted[..], "k", || Ok("word".to_owned())).unwrap_err();
        assert!(wrong.message().contains("passphrase"), "{wrong}");
    }
}

#[test]
fn recipients_are_read_or_refused() {
    let (identity, recipient) = key();
    Recipients::keys([&recipient]).unwrap();
    let secret = identity.lines().last().unwrap();
    for wrong in ["", "age1", "x", "ssh-ed25519 AAAA", recipient.get(..40).unwrap(), &format!("{recipient}q"), secret] {
        let error = Recipients::keys([wrong]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{wrong}");
        assert!(!error.to_string().contains("SECRET-KEY-1"), "{error}");
    }
    assert!(Recipients::keys([] as [&str; 0]).is_err());
    assert!(Recipients::passphrase("").is_err());
}

#[test]
fn names_tell_layers() {
    for (name, suffix, encrypted, plain) in [
        ("home.tar.zst", ".zst", false, "home.tar"),
        ("home.tar.gz.age", ".gz", true, "home.tar"),
        ("home.tar", "", false, "home.tar"),
        ("home.tar.age", "", true, "home.tar"),
    ] {
        let layers = Layers::of(name);
        assert_eq!((layers.compression.suffix(), layers.encrypted), (suffix, encrypted));
        assert_eq!(Layers::strip(name), plain);
    }
}

#[test]
fn an_archive_without_its_key_is_no_archive() {
    let from = scratch();
    script(from.path(), "echo x > a");
    let format = Format { compression: ZSTD, recipients: Some(Recipients::keys([key().1]).unwrap()) };
    let archive = Archive::in_format(&[tree(from.path(), "", &[])], format);
    let [data, index] = archive.records();
    let objects = PartObjects { data: &data, index: &index, keys: &Keys::default() };
    let swapped = verify_part(archive.index.as_slice(), archive.object.as_slice(), &objects, &Control::none());
    assert_eq!(swapped.unwrap_err().kind(), ErrorKind::Damaged);
}
