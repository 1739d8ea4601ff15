//! Damage that somebody came upon, noted beside the set: `list` shows it, and nothing counts the set until it was verified.

use serde_json::{Value, json};

use super::prune::blocking;
use super::sealed::{self, is_encrypted};
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Level, Reporter};
use crate::store::{Record, RecordKind, StoredSet};

/// Note what this failure, of something that read the set, says of it. Most say nothing: what was found has to be an object.
/// A store that does not take the note does not make the set worse: that is told.
pub(super) async fn note(reporter: &Reporter, set: &StoredSet, error: &Error) {
    if error.detail_of("object").is_none() {
        return;
    }
    let Some(record) = record(set, error) else { return };
    let (store, instance) = (set.store().clone(), set.manifest.instance.clone());
    if let Err(error) = blocking(move || store.record(&instance, &record)).await {
        let text = format!("that set {} is damaged could not be recorded in the store: {error}", set.manifest.id);
        reporter.message(Level::Warning, None, text);
    }
}

/// What came of something that read the set, whose failure is noted.
///
/// # Errors
/// That failure.
pub(crate) async fn noted<T>(reporter: &Reporter, set: &StoredSet, result: Result<T>) -> Result<T> {
    if let Err(error) = &result {
        note(reporter, set, error).await;
    }
    result
}

/// What is recorded of the set; none: the failure says nothing of it.
pub(super) fn record(set: &StoredSet, error: &Error) -> Option<Record> {
    if error.kind() != ErrorKind::Damaged && !is_lost(error) {
        return None;
    }
    // It may be another set's object, on which this one builds: then that one is damaged, and this one with it.
    let whose = error.detail_of("set").and_then(|set| set.parse().ok()).unwrap_or_else(|| set.manifest.id.clone());
    Some(Record::new(RecordKind::Damaged, &whose).failed(sealed::told(set, error)).detail(facts(set, error)))
}

/// What and where.
pub(super) fn facts(set: &StoredSet, error: &Error) -> Value {
    let file = error.detail_of("file").filter(|_| !is_encrypted(set));
    json!({ "object": error.detail_of("object"), "file": file, "set": error.detail_of("set") })
}

/// Whether the operating system has the object and does not give it: a bad sector, or somebody took the right to read it. Who
/// needs it now has not got it, and nobody knows whether it will ever be there again. The store as a whole is another matter:
/// it takes no record then.
fn is_lost(error: &Error) -> bool {
    use rustix::io::Errno;
    const LOST: [Errno; 5] = [Errno::IO, Errno::ACCESS, Errno::PERM, Errno::BADMSG, Errno::UCLEAN];
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = next {
        let code = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
        if code.is_some_and(|code| LOST.contains(&Errno::from_raw_os_error(code))) {
            return error.kind() == ErrorKind::Store && error.detail_of("object").is_some();
        }
        next = cause.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::set::ObjectRole;
    use crate::archive::{Control, set::ObjectRecord, verify_stored};

    /// Reads some bytes, and then fails like this.
    struct Failing(usize, i32);

    impl std::io::Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            match std::mem::take(&mut self.0).min(buffer.len()) {
                0 => Err(std::io::Error::from_raw_os_error(self.1)),
                read => Ok(read),
            }
        }
    }

    /// A bad sector is damage; a store that is gone for a while is none.
    #[test]
    fn what_the_disk_does_not_give() {
        let object = ObjectRecord {
            file: "home.tar.zst".into(),
            role: ObjectRole::Data,
            source: None,
            bytes: 9,
            content_bytes: 9,
            blake3: "0".repeat(64),
        };
        let failed = |code| verify_stored(Failing(5, code), &object, &Control::none()).unwrap_err();
        for (code, lost) in [(libc(rustix::io::Errno::IO), true), (libc(rustix::io::Errno::TIMEDOUT), false)] {
            let error = failed(code);
            assert_eq!((error.kind(), error.detail_of("object")), (ErrorKind::Store, Some("home.tar.zst")));
            assert_eq!(is_lost(&error), lost, "{error:?}");
            assert!(error.causes()[0].contains("os error"), "{:?}", error.causes());
        }
        let store = Error::new(ErrorKind::Store, "cannot list").because(std::io::Error::from_raw_os_error(5));
        assert!(!is_lost(&store), "it is not one object");
    }

    fn libc(code: rustix::io::Errno) -> i32 {
        code.raw_os_error()
    }
}
