//! Names of files as text for people, and capped lists of them.

use std::fmt::Write as _;

/// So many names are kept of a list; of the rest only the number.
pub const MAX_NAMES: usize = 1000;

/// Files that something is to be said about: how many, and the first [`MAX_NAMES`] of them in the order they were met.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    /// How many.
    pub total: u64,
    /// The first of them, escaped as by [`show`].
    pub names: Vec<String>,
}

impl Named {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Adds what another list names.
    pub fn extend(&mut self, other: &Self) {
        self.total = self.total.saturating_add(other.total);
        let room = MAX_NAMES.saturating_sub(self.names.len());
        self.names.extend(other.names.iter().take(room).cloned());
    }

    pub(super) fn push(&mut self, path: &[u8]) {
        self.total = self.total.saturating_add(1);
        if self.names.len() < MAX_NAMES {
            self.names.push(show(path));
        }
    }
}

/// A path as text for people: what is not UTF-8 becomes `\xNN`, control characters are escaped, the empty path is `.`.
#[must_use]
pub fn show(path: &[u8]) -> String {
    if path.is_empty() {
        return ".".to_owned();
    }
    let mut text = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() {
                text.extend(c.escape_default());
            } else {
                text.push(c);
            }
        }
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// A path as text that [`unescape`] reads back: a backslash is doubled, control characters and what is not UTF-8 become
/// `\xNN`.
#[must_use]
pub fn escape(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    let hex = |text: &mut String, bytes: &[u8]| {
        for byte in bytes {
            // Writing to a String cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    };
    for chunk in path.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                c if c.is_control() => hex(&mut text, c.encode_utf8(&mut [0; 4]).as_bytes()),
                c => text.push(c),
            }
        }
        hex(&mut text, chunk.invalid());
    }
    text
}

/// The path that [`escape`] wrote; `None` if a backslash begins something else.
#[must_use]
pub fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut path = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
    loop {
        match rest {
            [] => return Some(path),
            [b'\\', b'\\', more @ ..] => {
                path.push(b'\\');
                rest = more;
            }
            [b'\\', b'x', high, low, more @ ..] => {
                path.push(digit(*high)? << 4 | digit(*low)?);
                rest = more;
            }
            [b'\\', ..] => return None,
            [byte, more @ ..] => {
                path.push(*byte);
                rest = more;
            }
        }
    }
}
