//! The text form of an argument: literals and `{slots}`.

/// A piece of an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Text that is taken as it is.
    Literal(String),
    /// The value of a slot.
    Slot(String),
}

/// One argument of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Element {
    /// Its pieces, joined.
    Joined(Vec<Piece>),
    /// `{name...}`: one argument for each value.
    Repeated(String),
}

impl Element {
    /// Parse the text form.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.chars().any(char::is_control) {
            return Err(format!("{text:?} holds a control character"));
        }
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '{' if chars.next_if_eq(&'{').is_some() => literal.push('{'),
                '}' if chars.next_if_eq(&'}').is_some() => literal.push('}'),
                '}' => return Err(format!("{text:?} has a `}}` without its `{{`; a literal brace is written twice")),
                '{' => {
                    if !literal.is_empty() {
                        pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                    }
                    let mut name = String::new();
                    loop {
                        match chars.next() {
                            Some('}') => break,
                            Some(c) => name.push(c),
                            None => return Err(format!("{text:?} has a `{{` without its `}}`")),
                        }
                    }
                    pieces.push(Piece::Slot(name));
                }
                c => literal.push(c),
            }
        }
        if !literal.is_empty() || pieces.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        if let [Piece::Slot(name)] = pieces.as_slice()
            && let Some(name) = name.strip_suffix("...")
        {
            return slot_name(name).map(|()| Self::Repeated(name.to_owned()));
        }
        for piece in &pieces {
            if let Piece::Slot(name) = piece {
                if name.ends_with("...") {
                    return Err(format!("{text:?}: a repeated slot has to be a whole argument"));
                }
                slot_name(name)?;
            }
        }
        Ok(Self::Joined(pieces))
    }

    /// The slots it needs.
    pub(crate) fn slots(&self) -> impl Iterator<Item = &str> {
        let (one, many) = match self {
            Self::Repeated(name) => (Some(name.as_str()), [].as_slice()),
            Self::Joined(pieces) => (None, pieces.as_slice()),
        };
        one.into_iter().chain(many.iter().filter_map(|piece| match piece {
            Piece::Slot(name) => Some(name.as_str()),
            Piece::Literal(_) => None,
        }))
    }
}

fn slot_name(name: &str) -> Result<(), String> {
    let good = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_');
    if good { Ok(()) } else { Err(format!("{{{name}}} is no slot: a name is a-z, then a-z, 0-9, - and _")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let literal = |t: &str| Piece::Literal(t.into());
        let slot = |t: &str| Piece::Slot(t.into());
        for (text, expected) in [
            ("snapshot", Element::Joined(vec![literal("snapshot")])),
            ("", Element::Joined(vec![literal("")])),
            ("{a}", Element::Joined(vec![slot("a")])),
            ("x={a},{b}!", Element::Joined(vec![literal("x="), slot("a"), literal(","), slot("b"), literal("!")])),
            ("{{a}}", Element::Joined(vec![literal("{a}")])),
            ("{{{a}}}", Element::Joined(vec![literal("{"), slot("a"), literal("}")])),
            ("{a...}", Element::Repeated("a".into())),
        ] {
            assert_eq!(Element::parse(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn refused() {
        for text in
            ["{", "}", "{a", "a}", "{}", "{...}", "{A}", "{a b}", "x{a...}", "{a...}{b}", "{-a}", "{a\n}", "a\0"]
        {
            assert!(Element::parse(text).is_err(), "{text}");
        }
    }
}
