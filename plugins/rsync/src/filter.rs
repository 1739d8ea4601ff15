//! What is left out, in rsync's words.
//!
//! rsync reads its filter from a file, rules ended by NUL: names may hold newlines. Every rule is an exclude, and says what
//! a glob of bkhost says:
//!
//! * A rule that begins with a slash is about the whole path below the tree, one without any slash about the name.
//! * `\` takes a character as it is only in a rule that has one of `*?[` somewhere; else it is itself a character.
//! * `**` in rsync matches within a component too, and at least one character where slashes are around it. So a `**` that
//!   may stand for no component at all takes two rules.

use bkhost_sdk::{Error, Result, config, path, staging};

use crate::glob::{self, Component, Glob, Piece};
use crate::{Config, copies};

/// More would take rsync too long for each file.
const MOST: usize = 20_000;

/// What is left out: the part's own, and what the operator and the part's profile leave out of any strategy.
pub(crate) fn excludes(own: &Config) -> Vec<String> {
    own.exclude.iter().cloned().chain(config::excludes()).collect()
}

/// The rules for these globs, without what ends each.
///
/// # Errors
/// `invalid-config`: a glob is wrong, or there are too many.
pub(crate) fn rules(globs: &[String]) -> Result<Vec<String>> {
    let mut rules = Vec::new();
    for text in globs {
        for glob in glob::parse(text)? {
            rules.extend(of_glob(&glob));
        }
        if rules.len() > MOST {
            return Err(Error::invalid_config("the exclude patterns stand for too many rules of rsync")
                .hint("use less braces and less `**` in them"));
        }
    }
    Ok(rules)
}

/// Where rsync finds them.
pub(crate) fn write(rules: &[String]) -> Result<()> {
    let text: String = rules.iter().flat_map(|rule| ["- ", rule, "\0"]).collect();
    let file = staging::at(copies::FILTER);
    std::fs::write(path::local(&file), text).map_err(|error| Error::io(format!("writing {file}"), &error))
}

fn of_glob(glob: &Glob) -> Vec<String> {
    let end = if glob.directory { "/" } else { "" };
    // `**` and nothing but: everything.
    if glob.components == [Component::Recursive] {
        return vec![format!("*{end}")];
    }
    if !glob.anchored {
        return vec![format!("{}{end}", joined(&glob.components))];
    }
    let mut ways: Vec<Vec<Component>> = vec![Vec::new()];
    let last = glob.components.len().saturating_sub(1);
    for (at, component) in glob.components.iter().enumerate() {
        // `a/**` is what is below `a`, and not `a` itself; anywhere else it may stand for nothing.
        let without = if *component == Component::Recursive && at < last { ways.clone() } else { Vec::new() };
        ways.iter_mut().for_each(|way| way.push(component.clone()));
        ways.extend(without);
    }
    ways.iter().map(|way| format!("/{}{end}", joined(way))).collect()
}

fn joined(components: &[Component]) -> String {
    let special = |piece: &Piece| !matches!(piece, Piece::Plain(c) if !matches!(c, '*' | '?' | '['));
    let wild = components.iter().any(|component| match component {
        Component::Name(pieces) => pieces.iter().any(special),
        Component::Recursive => true,
    });
    let mut text = String::new();
    for (at, component) in components.iter().enumerate() {
        if at > 0 {
            text.push('/');
        }
        match component {
            Component::Recursive => text.push_str("**"),
            Component::Name(pieces) => pieces.iter().for_each(|piece| piece_into(&mut text, piece, wild)),
        }
    }
    text
}

fn piece_into(text: &mut String, piece: &Piece, wild: bool) {
    match piece {
        Piece::Plain(c) => {
            if wild && matches!(c, '*' | '?' | '[' | '\\') {
                text.push('\\');
            }
            text.push(*c);
        }
        Piece::Any => text.push('?'),
        Piece::Many => text.push('*'),
        Piece::Class { negated, ranges } => {
            text.push_str(if *negated { "[^" } else { "[" });
            for (from, to) in ranges {
                in_class(text, *from);
                if from != to {
                    text.push('-');
                    in_class(text, *to);
                }
            }
            text.push(']');
        }
    }
}

fn in_class(text: &mut String, c: char) {
    if c.is_ascii_punctuation() {
        text.push('\\');
    }
    text.push(c);
}
