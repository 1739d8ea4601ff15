//! Streams.

use std::io::{self, Read};

use tokio_util::sync::CancellationToken;

use super::fixture::record;
use crate::error::{Error, ErrorKind};
use crate::{Control, Format, Keys, StreamReader, verify_stream, write_stream};

fn sample() -> Vec<u8> {
    (0..400_000u32).flat_map(|n| blake3::hash(&n.to_le_bytes()).as_bytes()[..4].to_vec()).collect()
}

#[test]
fn a_stream_survives_and_zstd_reads_it() {
    for content in [Vec::new(), b"x".to_vec(), sample()] {
        let mut object = Vec::new();
        let summary = write_stream(content.as_slice(), &mut object, &Format::default(), &Control::none()).unwrap();
        assert_eq!(summary.object.content_bytes, content.len() as u64);
        assert_eq!(summary.object.bytes, object.len() as u64);
        assert_eq!(summary.content_blake3, blake3::hash(&content).to_hex().to_string());
        let expected = record("dump.zst", &summary.object);
        assert_eq!(
            verify_stream(object.as_slice(), &expected, &Keys::default(), &Control::none()).unwrap(),
            content.len() as u64
        );
        let mut read = Vec::new();
        StreamReader::new(object.as_slice(), &expected, &Keys::default(), &Control::none())
            .unwrap()
            .read_to_end(&mut read)
            .unwrap();
        assert_eq!(read, content);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &object).unwrap();
        let output = std::process::Command::new("zstd").arg("-dc").arg(file.path()).output().unwrap();
        assert!(output.status.success() && output.stdout == content);
    }
}

#[test]
fn damage_to_a_stream_is_found() {
    let mut object = Vec::new();
    let summary = write_stream(sample().as_slice(), &mut object, &Format::default(), &Control::none()).unwrap();
    let expected = record("dump.zst", &summary.object);
    let check = |object: &[u8], what: &str| {
        let error = verify_stream(object, &expected, &Keys::default(), &Control::none()).expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Damaged, "{what}: {error}");
        assert!(error.message().contains("dump.zst"));
    };
    for at in (0..32).chain((32..object.len()).step_by(9973)) {
        object[at] ^= 2;
        check(&object, &format!("byte {at}"));
        object[at] ^= 2;
    }
    check(&object[..object.len() - 1], "cut");
    check(&[], "empty");
    check(&[object.clone(), b"x".to_vec()].concat(), "longer");
    // A reader that restores from it fails too, instead of coming to an end.
    let cut = &object[..object.len() - 10];
    let mut reader = StreamReader::new(cut, &expected, &Keys::default(), &Control::none()).unwrap();
    let error = io::copy(&mut reader, &mut io::sink()).unwrap_err();
    assert_eq!(error.downcast::<Error>().unwrap().kind(), ErrorKind::Damaged);
}

#[test]
fn a_stream_that_ends_because_it_was_stopped_is_no_stream() {
    struct Killed(CancellationToken);
    impl Read for Killed {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            self.0.cancel();
            Ok(0)
        }
    }
    let token = CancellationToken::new();
    let control = Control::new(token.clone(), |_| {});
    let error = write_stream(Killed(token), Vec::new(), &Format::default(), &control).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
}

#[test]
fn a_stream_that_fails_is_told() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }
    let error = write_stream(Broken, Vec::new(), &Format::default(), &Control::none()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
}
