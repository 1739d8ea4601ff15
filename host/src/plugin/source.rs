//! What a strategy offers to archive, opened.

use std::fs::File;
use std::path::PathBuf;

use cap_std::fs::Dir;

use super::bindings::exports::bkhost::snapshot::strategy as contract;
use super::record::{breach, check_id};
use super::state::State;
use super::text;
use crate::capability::{Access, Mode, Process};
use crate::error::{Error, Result};

const MAX_SOURCES: usize = 1000;
const MAX_NAME: usize = 255;
const MAX_EXCLUDES: usize = 1000;
const MAX_EXCLUDE: usize = 4096;
/// The longest name of a stream: it becomes part of a file name in the store.
const MAX_STREAM: usize = 100;

/// One source of a part, for the host to read.
#[derive(Debug)]
pub enum Source {
    /// A directory tree.
    Tree {
        /// The directory that holds it in the archive; empty: the top.
        name: String,
        /// The directory.
        dir: Dir,
        /// Where it is on the host, for messages.
        path: PathBuf,
        /// Globs relative to it.
        exclude: Vec<String>,
    },
    /// A regular file.
    File {
        /// Its name in the archive.
        name: String,
        /// The file, open for reading.
        file: File,
        /// Where it is on the host, for messages.
        path: PathBuf,
    },
    /// The output of a process.
    Output {
        /// The stream's name.
        name: String,
        /// The process.
        process: Box<Process>,
    },
    /// In a dry run: a tree or a file that a run would archive. What a run makes before is not there to be opened.
    Planned {
        /// Its name in the archive.
        name: String,
        /// The guest path that the plugin offers.
        path: String,
    },
    /// Stays with the vendor.
    Held {
        /// The vendor's name for it.
        id: String,
    },
}

impl Source {
    /// The name that the plugin gave it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Tree { name, .. }
            | Self::File { name, .. }
            | Self::Output { name, .. }
            | Self::Planned { name, .. } => name,
            Self::Held { id } => id,
        }
    }
}

/// Checks and opens what `open` returned.
pub(super) async fn open(state: &mut State, sources: Vec<contract::Source>) -> Result<Vec<Source>> {
    check(&sources)?;
    let mut opened = Vec::with_capacity(sources.len());
    for source in sources {
        let planned = state.gate.mode() == Mode::DryRun;
        opened.push(match source {
            contract::Source::Tree(tree) if planned => Source::Planned { name: tree.name, path: tree.root },
            contract::Source::File(file) if planned => Source::Planned { name: file.name, path: file.path },
            contract::Source::Tree(tree) => {
                let path =
                    state.gate.host_path(&tree.root, Access::Read).await.map_err(|e| unreadable(&tree.root, e))?;
                let dir = path.dir().map_err(|e| unreadable(&tree.root, e))?;
                Source::Tree { name: tree.name, dir, path: path.path().to_owned(), exclude: tree.exclude }
            }
            contract::Source::File(f) => {
                let path = state.gate.host_path(&f.path, Access::Read).await.map_err(|e| unreadable(&f.path, e))?;
                let file = path.file().map_err(|e| unreadable(&f.path, e))?;
                Source::File { name: f.name, file, path: path.path().to_owned() }
            }
            contract::Source::Output(output) => {
                let process = state.table.delete(output.process).map_err(|e| breach("no process").because(e))?;
                Source::Output { name: output.name, process: Box::new(process) }
            }
            contract::Source::Held(id) => Source::Held { id },
        });
    }
    Ok(opened)
}

fn unreadable(path: &str, e: impl Into<Error>) -> Error {
    let e: Error = e.into();
    e.within(format!("the plugin offers {} to archive", text::line(path, 500)))
}

fn check(sources: &[contract::Source]) -> Result<()> {
    if sources.len() > MAX_SOURCES {
        return Err(breach(format!("{} sources; {MAX_SOURCES} are allowed", sources.len())));
    }
    let mut archived: Vec<&str> = Vec::new();
    let mut streams: Vec<&str> = Vec::new();
    for source in sources {
        match source {
            contract::Source::Tree(tree) => {
                if !tree.name.is_empty() {
                    check_member(&tree.name)?;
                }
                check_excludes(&tree.exclude)?;
                archived.push(&tree.name);
            }
            contract::Source::File(file) => {
                check_member(&file.name)?;
                archived.push(&file.name);
            }
            contract::Source::Output(output) => {
                check_stream(&output.name)?;
                streams.push(&output.name);
            }
            contract::Source::Held(id) => check_id("a source's id", id)?,
        }
    }
    disjoint(archived)?;
    streams.sort_unstable();
    match streams.windows(2).find_map(|pair| matches!(pair, [a, b] if a == b).then(|| pair.first())).flatten() {
        Some(name) => Err(breach(format!("two streams called `{name}`"))),
        None => Ok(()),
    }
}

/// No source may lie in another's place in the archive.
fn disjoint(mut names: Vec<&str>) -> Result<()> {
    // With a slash at the end of each, what lies below a name follows it directly.
    names.sort_unstable_by_key(|name| format!("{name}/"));
    for pair in names.windows(2) {
        if let [a, b] = pair
            && (a.is_empty() || a == b || b.strip_prefix(a).is_some_and(|rest| rest.starts_with('/')))
        {
            return Err(breach(format!("the sources `{a}` and `{b}`, which lie in each other's place in the archive")));
        }
    }
    Ok(())
}

fn check_member(name: &str) -> Result<()> {
    let safe = name.len() <= MAX_NAME
        && !name.chars().any(char::is_control)
        && name.split('/').all(|component| !matches!(component, "" | "." | ".."));
    if safe {
        return Ok(());
    }
    Err(breach(format!(
        "the source name `{}`, which is no safe name in an archive: relative, without `..`, at most {MAX_NAME} bytes",
        text::line(name, 200)
    )))
}

fn check_stream(name: &str) -> Result<()> {
    let safe = name.len() <= MAX_STREAM
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if safe {
        return Ok(());
    }
    Err(breach(format!(
        "the stream name `{}`; allowed are letters, digits, `.`, `_` and `-`, at most {MAX_STREAM}",
        text::line(name, 200)
    )))
}

fn check_excludes(patterns: &[String]) -> Result<()> {
    if patterns.len() > MAX_EXCLUDES {
        return Err(breach(format!("{} exclude patterns; {MAX_EXCLUDES} are allowed", patterns.len())));
    }
    if let Some(pattern) = patterns.iter().find(|p| p.len() > MAX_EXCLUDE) {
        return Err(breach(format!("an exclude pattern of {} bytes; {MAX_EXCLUDE} are allowed", pattern.len())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(name: &str) -> contract::Source {
        contract::Source::Tree(contract::TreeSource { name: name.into(), root: "/source/a".into(), exclude: vec![] })
    }

    fn file(name: &str) -> contract::Source {
        contract::Source::File(contract::FileSource { name: name.into(), path: "/staging/a".into() })
    }

    #[test]
    fn names_that_could_leave_the_archive_are_refused() {
        for name in ["..", "../etc", "a/../b", "/etc", "a//b", "a/", ".", "a\nb", &"x".repeat(256)] {
            assert!(check(&[tree(name)]).is_err(), "{name}");
            assert!(check(&[file(name)]).is_err(), "{name}");
        }
        assert!(check(&[file("")]).is_err());
        check(&[tree("")]).unwrap();
        check(&[tree("a/b"), tree("a/c"), file("a.txt"), file("a-b")]).unwrap();
    }

    #[test]
    fn sources_in_each_others_place_are_refused() {
        for names in [["a", "a"], ["a", "a/b"], ["", "a"], ["a/b/c", "a/b"]] {
            assert!(check(&[tree(names[0]), file(names[1]), tree("a.b"), tree("a!")]).is_err(), "{names:?}");
        }
        check(&[tree("a"), tree("a.b"), tree("ab")]).unwrap();
    }

    #[test]
    fn a_stream_becomes_part_of_a_file_name() {
        for name in ["dump", "a.b_c-9"] {
            check_stream(name).unwrap();
        }
        for name in ["", "..", ".x", "-x", "a/b", "a b", "é", &"x".repeat(101)] {
            assert!(check_stream(name).is_err(), "{name}");
        }
    }

    #[test]
    fn there_is_an_end_to_the_number_of_sources() {
        let many: Vec<_> = (0..=MAX_SOURCES).map(|n| tree(&n.to_string())).collect();
        assert!(check(&many).is_err());
        check(&many[1..]).unwrap();
    }
}
