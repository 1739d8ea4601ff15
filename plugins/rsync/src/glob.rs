//! The globs of bkhost's configuration, taken apart.
//!
//! `*`, `?` and `[…]` match no slash, `**` as a whole component matches any number of components; `\` takes a character as
//! it is; `{a,b}` is one of several.

use bkhost_sdk::{Error, Result};

/// The most that the braces of one pattern may stand for.
const MOST: usize = 1000;

/// A piece of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// This character.
    Plain(char),
    /// Any character.
    Any,
    /// Any number of any characters.
    Many,
    /// One of these ranges of characters, or none of them.
    Class { negated: bool, ranges: Vec<(char, char)> },
}

/// What is between two slashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Component {
    /// A name.
    Name(Vec<Piece>),
    /// `**`.
    Recursive,
}

/// One way to read a pattern: without braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Glob {
    /// It is about the whole path, and not about the name alone.
    pub(crate) anchored: bool,
    /// It is about directories.
    pub(crate) directory: bool,
    pub(crate) components: Vec<Component>,
}

fn wrong(pattern: &str, why: &str) -> Error {
    Error::invalid_config(format!("the exclude pattern {pattern:?} is wrong: {why}"))
        .hint("patterns are globs below the directory: * ? ** [abc] {a,b}, and \\ in front of a character that is meant as it is")
}

/// All ways to read a pattern.
///
/// # Errors
/// `invalid-config`: it is wrong.
pub(crate) fn parse(pattern: &str) -> Result<Vec<Glob>> {
    let text = pattern.strip_suffix('/').unwrap_or(pattern);
    let directory = text.len() < pattern.len();
    let anchored = text.contains('/');
    let text = text.strip_prefix('/').unwrap_or(text);
    if text.is_empty() {
        return Err(wrong(pattern, "it has no name"));
    }
    if text.starts_with('!') {
        return Err(wrong(pattern, "patterns cannot be negated; a name that starts so is written `\\!name`"));
    }
    let chars: Vec<char> = text.chars().collect();
    let mut globs = Vec::new();
    for plain in braces(&chars, pattern)? {
        let components = components(&plain, pattern)?;
        if components.is_empty() {
            continue;
        }
        globs.push(Glob { anchored, directory, components });
    }
    Ok(globs)
}

/// A character, or something that has a meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Piece(Piece),
    Slash,
}

/// The pattern without braces, once for each of what they stand for.
fn braces(chars: &[char], pattern: &str) -> Result<Vec<Vec<Token>>> {
    let mut reader = Reader { chars, at: 0, pattern };
    let all = reader.sequence(false)?;
    if reader.peek().is_some() {
        return Err(wrong(pattern, "a `}` closes nothing"));
    }
    Ok(all)
}

struct Reader<'a> {
    chars: &'a [char],
    at: usize,
    pattern: &'a str,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek();
        self.at = self.at.saturating_add(1);
        next
    }

    /// All readings of what follows, up to the end, or to a `,` or `}` inside of braces.
    fn sequence(&mut self, inside: bool) -> Result<Vec<Vec<Token>>> {
        let mut all: Vec<Vec<Token>> = vec![Vec::new()];
        while let Some(c) = self.peek() {
            if c == '}' || (inside && c == ',') {
                break;
            }
            self.at = self.at.saturating_add(1);
            let token = match c {
                '\\' => match self.next() {
                    // A slash separates whatever is in front of it.
                    Some('/') => Token::Slash,
                    Some(c) => Token::Piece(Piece::Plain(c)),
                    None => return Err(wrong(self.pattern, "a `\\` stands at its end")),
                },
                '/' => Token::Slash,
                '?' => Token::Piece(Piece::Any),
                '*' => Token::Piece(Piece::Many),
                '[' => Token::Piece(self.class()?),
                '{' => {
                    let ways = self.alternatives()?;
                    all = all
                        .iter()
                        .flat_map(|begun| ways.iter().map(move |way| [begun.as_slice(), way].concat()))
                        .collect();
                    if all.len() > MOST {
                        return Err(wrong(self.pattern, "its braces stand for too much"));
                    }
                    continue;
                }
                c => Token::Piece(Piece::Plain(c)),
            };
            all.iter_mut().for_each(|way| way.push(token.clone()));
        }
        Ok(all)
    }

    fn alternatives(&mut self) -> Result<Vec<Vec<Token>>> {
        let mut ways = Vec::new();
        loop {
            // An empty one stands for nothing at all, and not for the empty text.
            ways.extend(self.sequence(true)?.into_iter().filter(|way| !way.is_empty()));
            match self.next() {
                Some(',') => {}
                Some('}') if ways.is_empty() => return Ok(vec![Vec::new()]),
                Some('}') => return Ok(ways),
                _ => return Err(wrong(self.pattern, "a `{` is not closed")),
            }
        }
    }

    /// What follows a `[`. A `\` in it is a character like any other.
    fn class(&mut self) -> Result<Piece> {
        let negated = matches!(self.peek(), Some('!' | '^'));
        if negated {
            self.at = self.at.saturating_add(1);
        }
        let mut ranges: Vec<(char, char)> = Vec::new();
        let mut open = false;
        loop {
            let first = ranges.is_empty();
            match self.next() {
                None => return Err(wrong(self.pattern, "a `[` is not closed")),
                Some(']') if !first => break,
                Some('-') if !first && !open => open = true,
                Some(c) => match ranges.last_mut().filter(|_| open) {
                    Some(last) if c < last.0 => {
                        return Err(wrong(self.pattern, "a range of characters is the wrong way round"));
                    }
                    Some(last) => {
                        last.1 = c;
                        open = false;
                    }
                    None => ranges.push((c, c)),
                },
            }
        }
        if open {
            ranges.push(('-', '-'));
        }
        Ok(Piece::Class { negated, ranges })
    }
}

fn components(tokens: &[Token], pattern: &str) -> Result<Vec<Component>> {
    let mut components: Vec<Component> = Vec::new();
    if tokens.is_empty() {
        return Ok(components);
    }
    for part in tokens.split(|token| *token == Token::Slash) {
        let pieces = part.iter().filter_map(|token| match token {
            Token::Piece(piece) => Some(piece),
            Token::Slash => None,
        });
        let mut name: Vec<Piece> = Vec::new();
        let mut stars: usize = 0;
        for piece in pieces {
            if *piece == Piece::Many {
                stars = stars.saturating_add(1);
            }
            // Several are no more than one.
            if *piece != Piece::Many || name.last() != Some(&Piece::Many) {
                name.push(piece.clone());
            }
        }
        let plain = |text: &str| name.iter().eq(text.chars().map(Piece::Plain).collect::<Vec<_>>().iter());
        if plain("") || plain(".") || plain("..") {
            return Err(wrong(pattern, "patterns are paths below the directory: no `.`, `..` or empty components"));
        }
        if stars == 2 && part.len() == 2 {
            if components.last() != Some(&Component::Recursive) {
                components.push(Component::Recursive);
            }
        } else {
            components.push(Component::Name(name));
        }
    }
    Ok(components)
}
