//! The one error type of the library: what happened, to what, and what to do about it.
//!
//! Rules: `message` is one sentence without a full stop that names the thing it happened to; `hint` says what the
//! operator can do; the cause is attached, not pasted into the message; secrets and tokens never enter any of them.

use std::error::Error as StdError;
use std::fmt;

/// The result of almost every function here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of failure it is. Decides the exit code, and what a caller may try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The configuration, a manifest or a flag is wrong.
    Config,
    /// The gate, the operator's grant or the operating system refused.
    Denied,
    /// The application could not be locked, drained, or given back.
    Application,
    /// A strategy, or the vendor's tool behind it, failed.
    Plugin,
    /// A store could not be read or written.
    Store,
    /// What was read back is not what was written.
    Damaged,
    /// Something is in the way, and going on would destroy or mix up data.
    Conflict,
    /// Another run of this instance is under way.
    Busy,
    /// The operator, a signal or the application cancelled the run.
    Cancelled,
    /// A deadline passed.
    TimedOut,
    /// Something that was asked for does not exist.
    NotFound,
    /// The operating system failed to read or write something on this machine.
    Io,
    /// Ours: a bug in bkhost.
    Internal,
}

impl ErrorKind {
    /// The process' exit code. 0 is success, 1 an unspecified failure, and 2 belongs to the command line's parser.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Internal | Self::Io => 1,
            Self::Config => 3,
            Self::Denied => 4,
            Self::Application => 5,
            Self::Plugin => 6,
            Self::Store => 7,
            Self::Damaged => 8,
            Self::Conflict => 9,
            Self::Busy => 10,
            Self::Cancelled => 11,
            Self::TimedOut => 12,
            Self::NotFound => 13,
        }
    }
}

/// A failure, written for the operator.
#[derive(Debug)]
pub struct Error {
    // Boxed: a `Result` is returned from almost everything, and should not carry this much on its good path.
    inner: Box<Inner>,
}

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    details: Vec<(String, String)>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// A failure of this kind; `message` says what happened, to what.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { inner: Box::new(Inner { kind, message: message.into(), hint: None, details: Vec::new(), source: None }) }
    }

    /// What the operator can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.inner.hint = Some(hint.into());
        self
    }

    /// A fact for the report, such as a command's last lines of stderr.
    #[must_use]
    pub fn detail(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.inner.details.push((name.into(), value.into()));
        self
    }

    /// The cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.inner.source = Some(source.into());
        self
    }

    /// The same failure, told from one level higher: `prefix` is put before the message.
    #[must_use]
    pub fn within(mut self, prefix: impl fmt::Display) -> Self {
        self.inner.message = format!("{prefix}: {}", self.inner.message);
        self
    }

    /// What sort of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// What happened, to what.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// What to do about it.
    #[must_use]
    pub fn hint_text(&self) -> Option<&str> {
        self.inner.hint.as_deref().or_else(|| self.inner.source.as_deref().and_then(|source| hint_of(source)))
    }

    /// Facts for the report.
    #[must_use]
    pub fn details(&self) -> &[(String, String)] {
        &self.inner.details
    }

    /// The first fact of this name.
    #[must_use]
    pub fn detail_of(&self, name: &str) -> Option<&str> {
        self.details().iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The messages of the causes, outermost first.
    #[must_use]
    pub fn causes(&self) -> Vec<String> {
        let mut causes = Vec::new();
        let mut next: Option<&(dyn StdError + 'static)> = self.inner.source.as_deref().map(|e| e as _);
        while let Some(cause) = next {
            let text = cause.to_string();
            // Many libraries repeat their cause in their own message: say it once.
            if causes.last().is_none_or(|last: &String| !last.contains(&text)) {
                causes.push(text);
            }
            next = cause.source();
        }
        causes
    }

    /// The failure in one line, with what is right behind it.
    #[must_use]
    pub fn with_cause(&self) -> String {
        self.causes().first().map_or_else(|| self.to_string(), |cause| format!("{self}: {cause}"))
    }

    /// The failure in one line, with all that is behind it.
    #[must_use]
    pub fn in_full(&self) -> String {
        self.causes().into_iter().fold(self.to_string(), |text, cause| format!("{text}: {cause}"))
    }

    /// The facts by their names: where several have the same one, the later ones get a number.
    fn details_by_name(&self) -> std::collections::BTreeMap<String, &str> {
        let mut named = std::collections::BTreeMap::new();
        for (name, value) in self.details() {
            let mut key = name.clone();
            let mut n = 1;
            while named.contains_key(&key) {
                n += 1;
                key = format!("{name}-{n}");
            }
            named.insert(key, value.as_str());
        }
        named
    }

    /// The failure as it is printed with `--json`.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "kind": self.kind(),
            "message": self.message(),
            "causes": self.causes(),
            "hint": self.hint_text(),
            "details": self.details_by_name(),
            "exit-code": self.kind().exit_code(),
        })
    }
}

/// The hint of one of our own errors among the causes: whoever wrapped it knew no better one.
fn hint_of<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a str> {
    if let Some(error) = error.downcast_ref::<Error>() {
        return error.hint_text();
    }
    // An error within an I/O error is none of its sources.
    match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        Some(inner) => hint_of(inner),
        None => error.source().and_then(hint_of),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_deref().map(|e| e as _)
    }
}

/// Turns any error into ours, with the sentence that says what was being done.
pub trait ResultExt<T> {
    /// `message` says what happened, to what; the original error becomes the cause.
    ///
    /// # Errors
    /// The original error, wrapped.
    fn or_error<M: Into<String>>(self, kind: ErrorKind, message: impl FnOnce() -> M) -> Result<T>;
}

impl<T, E: Into<Box<dyn StdError + Send + Sync>>> ResultExt<T> for std::result::Result<T, E> {
    fn or_error<M: Into<String>>(self, kind: ErrorKind, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|e| Error::new(kind, message()).because(e))
    }
}
