//! What `restore.to` stands for in a rehearsal.

use serde_json::Value;

use super::Restore;

/// A piece of the text.
enum Piece<'a> {
    Literal(&'a str),
    Instance,
    Part,
    /// A key of `[part.config]`.
    Config(&'a str),
}

impl Restore {
    /// The target of a rehearsal; none if the manifest names none.
    ///
    /// # Errors
    /// The key of `[part.config]` that is missing.
    pub fn rehearsal_target(&self, config: &Value, instance: &str, part: &str) -> Result<Option<String>, String> {
        let Some(text) = &self.rehearsal else { return Ok(None) };
        let mut target = String::new();
        for piece in pieces(text)? {
            target.push_str(match piece {
                Piece::Literal(text) => text,
                Piece::Instance => instance,
                Piece::Part => part,
                Piece::Config(key) => {
                    config.get(key).and_then(Value::as_str).filter(|value| !value.is_empty()).ok_or(key)?
                }
            });
        }
        Ok(Some(target))
    }
}

/// What is wrong with a text, if something is.
pub(super) fn wrong(text: &str) -> Option<String> {
    pieces(text).err()
}

fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or("a `{` without its `}`")?;
        pieces.push(Piece::Literal(before));
        pieces.push(match name {
            "instance" => Piece::Instance,
            "part" => Piece::Part,
            _ => match name.strip_prefix("config.").filter(|key| !key.is_empty()) {
                Some(key) => Piece::Config(key),
                None => return Err(format!("`{{{name}}}` is neither {{instance}}, {{part}} nor {{config.<key>}}")),
            },
        });
        rest = after;
    }
    pieces.push(Piece::Literal(rest));
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_filled_in() {
        let of = |text: &str| Restore { rehearsal: Some(text.to_owned()), ..Restore::default() };
        let config = serde_json::json!({ "parent": "tank/scratch", "number": 7 });
        let target = |text: &str| of(text).rehearsal_target(&config, "wiki", "home");
        assert_eq!(target("{config.parent}/x-{instance}-{part}/d"), Ok(Some("tank/scratch/x-wiki-home/d".to_owned())));
        assert_eq!(target("{config.other}/x"), Err("other".to_owned()));
        assert_eq!(target("{config.number}"), Err("number".to_owned()));
        assert_eq!(Restore::default().rehearsal_target(&config, "a", "b"), Ok(None));
        for text in ["{", "a{b}", "{config.}", "{instance"] {
            assert!(wrong(text).is_some(), "{text}");
        }
        assert!(wrong("plain").is_none());
    }
}
