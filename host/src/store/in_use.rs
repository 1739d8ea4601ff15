//! Marks of those who read a set, or are about to delete it: `<root>/<instance>/in-use/<set id>.<token>.<time>.json`.
//!
//! They are small objects like all others. A mark is renewed by making one of a later time and removing the earlier: what
//! lies there may be forgotten by its maker, and its name tells since when.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::error::failed_io;
use super::open::Store;
use crate::archive::{SetId, check_name};
use crate::error::{Error, ErrorKind, Result, ResultExt};

/// The directory in an instance's, which no set can be called.
const IN_USE: &str = "in-use";
/// Larger is no mark.
const MAX: u64 = 64 << 10;
/// How the time stands in a name.
const TIME: &str = "%Y%m%dT%H%M%S";

/// A mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UseMark {
    /// The set.
    pub set: SetId,
    /// When it was made or last renewed, by its maker's clock, to the second.
    pub renewed: Timestamp,
    /// What its maker says of itself. Nothing if it cannot be read.
    pub content: Vec<u8>,
    /// Unlike that of all other marks; stays when it is renewed.
    pub token: String,
}

impl UseMark {
    /// A new one.
    ///
    /// # Errors
    /// If the operating system has no random numbers.
    pub fn new(set: &SetId, content: Vec<u8>) -> Result<Self> {
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random)
            .or_error(ErrorKind::Io, || "cannot get random numbers from the operating system")?;
        let token = format!("{:016x}", u64::from_ne_bytes(random));
        Ok(Self { set: set.clone(), renewed: Timestamp::now(), content, token })
    }

    fn file(&self) -> String {
        format!("{}.{}.{}Z.json", self.set, self.token, self.renewed.to_zoned(TimeZone::UTC).strftime(TIME))
    }

    /// A mark of this name, yet without its content.
    fn named(name: &str) -> Option<Self> {
        let mut fields = name.split('.');
        let (set, token, time) = (fields.next()?, fields.next()?, fields.next()?.strip_suffix('Z')?);
        let hex = token.len() == 16 && token.bytes().all(|b| b.is_ascii_hexdigit());
        let ours = hex && time.len() == 15 && fields.next() == Some("json") && fields.next().is_none();
        let time = DateTime::strptime(TIME, time).ok().filter(|_| ours)?;
        Some(Self {
            set: set.parse().ok()?,
            renewed: time.to_zoned(TimeZone::UTC).ok()?.timestamp(),
            content: Vec::new(),
            token: token.to_owned(),
        })
    }
}

impl Store {
    /// Makes a mark.
    ///
    /// # Errors
    /// `Store` if it cannot be written.
    pub fn mark_use(&self, instance: &str, mark: &UseMark) -> Result<()> {
        let dir = marks_dir(instance)?;
        let path = format!("{dir}/{}", mark.file());
        // One of this very second is as good.
        let made = self.backend.make_dir(&dir).and_then(|_| self.backend.put(&path, &mark.content));
        made.map(|_| ()).map_err(|e| failed_io(e, format!("cannot write {path} in the store {}", self.location())))
    }

    /// Says that a mark is still meant. Gives the mark that takes its place.
    ///
    /// # Errors
    /// `Store` if it cannot be written: then it stays as it was.
    pub fn renew_use(&self, instance: &str, mark: &UseMark) -> Result<UseMark> {
        let renewed = UseMark { renewed: Timestamp::now(), ..mark.clone() };
        self.mark_use(instance, &renewed)?;
        if renewed.file() != mark.file() {
            self.end_use(instance, mark)?;
        }
        Ok(renewed)
    }

    /// Removes a mark. One that is gone is no error.
    ///
    /// # Errors
    /// `Store` if it cannot be removed.
    pub fn end_use(&self, instance: &str, mark: &UseMark) -> Result<()> {
        let path = format!("{}/{}", marks_dir(instance)?, mark.file());
        self.backend
            .remove(&path)
            .map_err(|e| failed_io(e, format!("cannot delete {path} from the store {}", self.location())))
    }

    /// All marks of an instance. What has another name is none.
    ///
    /// # Errors
    /// `Store` if they cannot be read.
    pub fn uses(&self, instance: &str) -> Result<Vec<UseMark>> {
        let dir = marks_dir(instance)?;
        let marks: Vec<UseMark> = self.names(&dir)?.iter().filter_map(|(name, _)| UseMark::named(name)).collect();
        let paths: Vec<String> = marks.iter().map(|mark| format!("{dir}/{}", mark.file())).collect();
        let found = marks.into_iter().zip(self.get_all(&paths, MAX)).filter_map(|(mark, content)| match content {
            Ok(Some(content)) => Some(UseMark { content, ..mark }),
            // Removed meanwhile.
            Ok(None) => None,
            // Somebody meant something by it.
            Err(_) => Some(mark),
        });
        Ok(found.collect())
    }

    /// Whether there is something of this set that is published.
    ///
    /// # Errors
    /// `NotFound` if not; `Store` if it cannot be read.
    pub fn check_published(&self, instance: &str, id: &SetId) -> Result<()> {
        match self.open_set(instance, id) {
            Err(e) if e.kind() == ErrorKind::Damaged => Ok(()),
            other => other.map(|_| ()),
        }
        .map_err(|e| match e.kind() {
            ErrorKind::NotFound => Error::new(ErrorKind::NotFound, format!("the set {id} is gone: it was deleted"))
                .hint("`bkhost list` shows those that are there"),
            _ => e,
        })
    }
}

fn marks_dir(instance: &str) -> Result<String> {
    check_name("an instance", instance)?;
    Ok(format!("{instance}/{IN_USE}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn marks() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path().to_str().unwrap()).unwrap();
        let set: SetId = "20261121-014200-4f2a9c".parse().unwrap();
        assert_eq!(store.uses("wiki").unwrap(), []);
        let mark = UseMark::new(&set, b"me".to_vec()).unwrap();
        store.mark_use("wiki", &mark).unwrap();
        store.mark_use("wiki", &mark).unwrap();
        let found = store.uses("wiki").unwrap();
        assert_eq!((found.len(), &found[0].set, &found[0].token), (1, &mark.set, &mark.token));
        assert_eq!(found[0].content, b"me");
        assert_eq!(found[0].renewed.as_second(), mark.renewed.as_second());
        // An old one is renewed: there is one still, of now.
        let old = UseMark { renewed: "2020-01-01T00:00:00Z".parse().unwrap(), ..mark.clone() };
        store.end_use("wiki", &mark).unwrap();
        store.mark_use("wiki", &old).unwrap();
        let new = store.renew_use("wiki", &old).unwrap();
        assert!(new.renewed > old.renewed);
        assert_eq!(store.uses("wiki").unwrap().len(), 1);
        assert_eq!(store.list("wiki").unwrap(), []);
        std::fs::write(root.path().join("wiki/in-use/note.txt"), "").unwrap();
        std::fs::write(root.path().join("wiki/in-use/20261121-014200-4f2a9c.0.20200101T000000Z.json"), "").unwrap();
        assert_eq!(store.uses("wiki").unwrap().len(), 1);
        store.end_use("wiki", &new).unwrap();
        store.end_use("wiki", &new).unwrap();
        assert_eq!(store.uses("wiki").unwrap(), []);
    }
}
