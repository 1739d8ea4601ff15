//! Where a setting was written, and errors that show it.
//!
//! The file and the flags are one text as far as spans go: a span inside the file means what it says, one behind its end
//! means the flag of that number.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind};

/// A place in the file or among the flags.
pub(super) type Place = Range<usize>;

/// All that a configuration is made of.
#[derive(Debug, Default)]
pub(super) struct Sources {
    path: Option<PathBuf>,
    text: String,
    flags: Vec<Flag>,
}

/// A flag as it was typed, and the path of what it sets once that is known.
#[derive(Debug)]
struct Flag {
    typed: String,
    path: String,
}

impl Sources {
    /// A file and its text.
    pub(super) fn file(path: &Path, text: String) -> Self {
        Self { path: Some(path.to_path_buf()), text, flags: Vec::new() }
    }

    /// The file's text; empty without a file.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Adds a flag as it was typed; where its value stands.
    pub(super) fn add_flag(&mut self, typed: String) -> Place {
        self.flags.push(Flag { typed, path: String::new() });
        let at = self.text.len().saturating_add(self.flags.len());
        at..at
    }

    /// Says what a flag sets.
    pub(super) fn set_path(&mut self, place: &Place, path: &[String]) {
        let index = self.index(place);
        if let Some(flag) = index.and_then(|index| self.flags.get_mut(index)) {
            flag.path = match path {
                [table, name, rest @ ..] if matches!(table.as_str(), "part" | "grant") => {
                    format!("{table}[{name}].{}", rest.join("."))
                }
                _ => path.join("."),
            };
        }
    }

    /// What the flag at this place sets, such as `part[home].config.datasets`; none for a place in the file.
    pub(super) fn flag_path(&self, place: &Place) -> Option<&str> {
        self.flag(place).map(|flag| flag.path.as_str())
    }

    fn flag(&self, place: &Place) -> Option<&Flag> {
        self.flags.get(self.index(place)?)
    }

    fn index(&self, place: &Place) -> Option<usize> {
        place.start.checked_sub(self.text.len())?.checked_sub(1)
    }

    /// An error about what stands at a place. `secret`: the line holds something that must not be shown.
    pub(super) fn error(&self, place: Option<&Place>, secret: bool, message: &str) -> Error {
        let file = self.path.as_deref().map_or_else(|| "the flags".to_owned(), |p| p.display().to_string());
        let Some(place) = place else {
            return Error::new(ErrorKind::Config, format!("{file}: {message}"));
        };
        if let Some(Flag { typed: flag, .. }) = self.flag(place) {
            let flag = if secret || looks_secret(flag) { masked(flag) } else { flag.to_owned() };
            return Error::new(ErrorKind::Config, format!("{flag}: {message}"));
        }
        let (line, column, content) = position(&self.text, place.start);
        let error = Error::new(ErrorKind::Config, format!("{file}:{line}:{column}: {message}"));
        let content = content.trim();
        match content {
            "" => error,
            _ if secret || looks_secret(content) => error.detail(format!("line {line}"), masked(content)),
            _ => error.detail(format!("line {line}"), content),
        }
    }
}

/// Line and column of an offset, counted from 1, and the line.
fn position(text: &str, offset: usize) -> (usize, usize, &str) {
    let (before, _) = text.split_at_checked(offset).unwrap_or((text, ""));
    let line = before.matches('\n').count();
    let start = before.rfind('\n').map_or(0, |at| at.saturating_add(1));
    let column = before.get(start..).map_or(0, |part| part.chars().count());
    (line.saturating_add(1), column.saturating_add(1), text.split('\n').nth(line).unwrap_or(""))
}

/// Whether a line sets something whose value nobody should read over a shoulder or in a log.
fn looks_secret(line: &str) -> bool {
    let key = line.split('=').next().unwrap_or("").to_ascii_lowercase();
    ["password", "passphrase", "secret", "token"].iter().any(|word| key.contains(word))
}

/// A line without what follows its first `=`.
fn masked(line: &str) -> String {
    match line.split_once('=') {
        Some((key, _)) => format!("{}= …", if key.ends_with(' ') { key.to_owned() } else { format!("{key} ") }),
        None => "…".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_from_one_and_in_characters() {
        let text = "a\nüb = 1\n";
        assert_eq!(position(text, 0), (1, 1, "a"));
        assert_eq!(position(text, 4), (2, 2, "üb = 1"));
        assert_eq!(position(text, text.len()), (3, 1, ""));
        // Not on a character's border, or behind the end: no panic.
        position(text, 3);
        position(text, 999);
    }

    #[test]
    fn flags_are_told_apart_from_the_file() {
        let mut sources = Sources::file(Path::new("b.toml"), "x = 1\n".to_owned());
        let first = sources.add_flag("--set a=1".to_owned());
        let second = sources.add_flag("--set db.password=hunter2".to_owned());
        assert_eq!(sources.error(Some(&(0..1)), false, "no").message(), "b.toml:1:1: no");
        assert_eq!(sources.error(Some(&(6..6)), false, "no").message(), "b.toml:2:1: no");
        assert_eq!(sources.error(Some(&first), false, "no").message(), "--set a=1: no");
        assert_eq!(sources.error(Some(&second), false, "no").message(), "--set db.password = …: no");
        assert_eq!(sources.error(None, false, "no").message(), "b.toml: no");
    }
}
