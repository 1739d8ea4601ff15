//! Filling the slots of a command: which values are allowed, and the arguments they become. Pure: nothing runs here.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

use super::manifest::{Argv, Element, Encoding, ExecRequest, OneOf, PathRoot, Piece, Slot, config_key};
use super::{Argument, CallError};

/// The longest value of a slot, in bytes.
pub(super) const MAX_LENGTH: usize = 4096;
/// The most values of a repeated slot.
const MAX_VALUES: usize = 4096;
/// The most that all arguments of a command may hold, in bytes: well below what the kernel takes.
const MAX_TOTAL: usize = 1 << 20;

const MANIFEST_ONLY: &str = "no line of bkhost.toml allows this: the plugin's own manifest rules it out";

/// A regular expression that has to match the whole text.
pub(super) fn anchored(pattern: &str) -> Result<Regex, regex::Error> {
    Regex::new(&format!(r"\A(?:{pattern})\z"))
}

/// A value as it is shown in messages: quoted, escaped, short.
pub(super) fn shown(value: &str) -> String {
    let short: String = value.chars().take(80).collect();
    if short.len() < value.len() { format!("{short:?}…") } else { format!("{short:?}") }
}

/// The rules for every value, whatever its slot.
///
/// # Errors
/// Which rule it breaks.
pub(super) fn well_formed(value: &str, max_length: usize) -> Result<(), String> {
    sized(value, max_length)?;
    if value.starts_with('-') {
        return Err("it starts with `-`, so that the program would take it for an option".to_owned());
    }
    // Line and paragraph separator end a line for some tools, as control characters do.
    if let Some(c) = value.chars().find(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
        return Err(format!("it holds the control character {:?}", c));
    }
    Ok(())
}

fn sized(value: &str, max_length: usize) -> Result<(), String> {
    match value.len() {
        0 => Err("it is empty".to_owned()),
        length if length > max_length => Err(format!("it is {length} bytes long, and {max_length} are allowed")),
        _ => Ok(()),
    }
}

/// The hex digits of a value's bytes.
fn in_hex(value: &str) -> String {
    value.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// A value of `[part.config]`, by a key that may have dots.
pub(super) fn config_value<'a>(config: &'a Value, key: &str) -> Option<&'a Value> {
    key.split('.').try_fold(config, |value, part| value.get(part)).filter(|value| !value.is_null())
}

/// A value of the configuration as text: one for a scalar, one for each entry of a list.
pub(super) fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Number(number) => vec![number.to_string()],
        Value::Bool(flag) => vec![flag.to_string()],
        Value::Array(values) => values.iter().filter(|v| !v.is_array()).flat_map(texts).collect(),
        Value::Null | Value::Object(_) => Vec::new(),
    }
}

/// What one slot may hold, ready to decide.
#[derive(Debug, Clone)]
enum Form {
    OneOf { source: Option<String>, list: bool, values: Vec<String>, prefix: Option<Regex>, suffix: Option<Regex> },
    Pattern(Regex),
    Path(PathRoot),
}

/// The rules for one slot.
#[derive(Debug, Clone)]
struct Rules {
    form: Form,
    max_length: usize,
    hex: bool,
}

/// The slots of one command, with the part's configuration filled in.
#[derive(Debug, Clone)]
pub(super) struct Forms {
    command: String,
    slots: BTreeMap<String, Rules>,
    /// Those that go into the environment.
    env: Vec<String>,
}

/// Values that were allowed, by slot. Those of path slots are still guest paths.
#[derive(Debug, Clone, Default)]
pub(super) struct Filled(BTreeMap<String, Vec<String>>);

impl Forms {
    /// Prepare the slots of a command.
    ///
    /// # Errors
    /// A regular expression of the manifest is none, which [`super::Manifest::parse`] rules out.
    pub(super) fn new(command: &ExecRequest, config: &Value, restore_to: Option<&str>) -> Result<Self, regex::Error> {
        let form = |slot: &Slot| -> Result<Form, regex::Error> {
            if let Some(pattern) = &slot.pattern {
                return anchored(pattern).map(Form::Pattern);
            }
            if let Some(root) = slot.path {
                return Ok(Form::Path(root));
            }
            let (source, list, values) = match &slot.one_of {
                Some(OneOf::Values(values)) => (None, true, values.clone()),
                Some(OneOf::Reference(text)) => {
                    let value = config_key(text).and_then(|key| config_value(config, key));
                    let values = match value {
                        Some(value) => texts(value),
                        None if text == "restore.to" => restore_to.map(str::to_owned).into_iter().collect(),
                        None => Vec::new(),
                    };
                    (Some(text.clone()), value.is_some_and(Value::is_array), values)
                }
                None => (None, true, Vec::new()),
            };
            let compile = |pattern: &Option<String>| pattern.as_deref().map(anchored).transpose();
            Ok(Form::OneOf { source, list, values, prefix: compile(&slot.prefix)?, suffix: compile(&slot.suffix)? })
        };
        let slots = command
            .slots
            .iter()
            .map(|(name, slot)| {
                let max_length = slot.max_length.unwrap_or(MAX_LENGTH);
                Ok((name.clone(), Rules { form: form(slot)?, max_length, hex: slot.encoding == Some(Encoding::Hex) }))
            })
            .collect::<Result<_, regex::Error>>()?;
        Ok(Self { command: command.id.clone(), slots, env: command.env_slots().map(str::to_owned).collect() })
    }

    /// Check the values that the guest gives.
    ///
    /// # Errors
    /// `denied`: an unknown or doubled slot, or a value that its slot does not allow.
    pub(super) fn fill(&self, arguments: &[Argument]) -> Result<Filled, CallError> {
        let mut filled = BTreeMap::new();
        let mut total = 0;
        for Argument { slot, values } in arguments {
            let Some(Rules { form, max_length, hex }) = self.slots.get(slot) else {
                return Err(self.refuse(format!("has no slot {}", shown(slot))).hint(MANIFEST_ONLY));
            };
            if values.is_empty() || values.len() > MAX_VALUES {
                let message = format!("slot {slot}: {} values, and 1 to {MAX_VALUES} are allowed", values.len());
                return Err(self.refuse(message).hint(MANIFEST_ONLY));
            }
            for value in values {
                total += value.len();
                // In hex, no character is left that could mean something to the program.
                let formed = if *hex { sized(value, *max_length) } else { well_formed(value, *max_length) };
                if let Err(why) = formed {
                    let message = format!("slot {slot}: {} is not allowed: {why}", shown(value));
                    return Err(self.refuse(message).hint(MANIFEST_ONLY));
                }
                self.allow(slot, form, value)?;
            }
            if total > MAX_TOTAL {
                return Err(self.refuse(format!("the values are more than {MAX_TOTAL} bytes")).hint(MANIFEST_ONLY));
            }
            let values = if *hex { values.iter().map(|value| in_hex(value)).collect() } else { values.clone() };
            if filled.insert(slot.clone(), values).is_some() {
                return Err(self.refuse(format!("slot {slot} is given twice")).hint(MANIFEST_ONLY));
            }
        }
        Ok(Filled(filled))
    }

    fn refuse(&self, why: impl std::fmt::Display) -> CallError {
        CallError::denied(format!("command {}: {why}", self.command))
    }

    fn allow(&self, slot: &str, form: &Form, value: &str) -> Result<(), CallError> {
        let refused = |rule: String| self.refuse(format!("slot {slot}: {} is not allowed: {rule}", shown(value)));
        match form {
            // Where it leads is decided when it is opened.
            Form::Path(_) => Ok(()),
            Form::Pattern(pattern) if pattern.is_match(value) => Ok(()),
            Form::Pattern(pattern) => {
                let text = pattern.as_str();
                let text = text.strip_prefix(r"\A(?:").and_then(|t| t.strip_suffix(r")\z")).unwrap_or(text);
                Err(refused(format!("the manifest allows what matches {text:?}")).hint(MANIFEST_ONLY))
            }
            Form::OneOf { source, list, values, prefix, suffix } => {
                let (prefix, suffix) = (prefix.as_ref(), suffix.as_ref());
                if values.iter().any(|allowed| surrounded(value, allowed, prefix, suffix)) {
                    return Ok(());
                }
                let Some(source) = source else {
                    return Err(refused(format!("the manifest allows {values:?}")).hint(MANIFEST_ONLY));
                };
                let around =
                    if prefix.is_some() || suffix.is_some() { ", with the manifest's prefix and suffix" } else { "" };
                let error = refused(format!("it is not of {source}{around}"));
                Err(match (base(value, prefix, suffix), config_key(source)) {
                    (None, _) => error.hint(MANIFEST_ONLY),
                    (Some(base), None) => error.hint(format!("bkhost restore --to {base}")),
                    (Some(base), Some(key)) => error.hint(config_line(key, *list, values, base)),
                })
            }
        }
    }

    /// The guest paths among the values, with the root each has to be below.
    pub(super) fn paths<'a>(&'a self, filled: &'a mut Filled) -> impl Iterator<Item = (PathRoot, &'a mut String)> {
        filled
            .0
            .iter_mut()
            .filter_map(|(slot, values)| match self.slots.get(slot) {
                Some(Rules { form: Form::Path(root), .. }) => Some((*root, values)),
                _ => None,
            })
            .flat_map(|(root, values)| values.iter_mut().map(move |value| (root, value)))
    }

    /// The arguments of the command.
    ///
    /// # Errors
    /// `denied`: a slot is missing, or one is given that the arguments do not use.
    pub(super) fn argv(&self, argv: &[Argv], filled: &Filled) -> Result<Vec<String>, CallError> {
        let mut used = self.env.clone();
        let mut rendered = Vec::new();
        for slot in &self.env {
            self.one(slot, filled)?;
        }
        for entry in argv {
            match entry {
                Argv::One(text) => self.render(&self.parse(text)?, filled, &mut used, &mut rendered)?,
                Argv::Group(texts) => {
                    let elements = texts.iter().map(|text| self.parse(text)).collect::<Result<Vec<_>, _>>()?;
                    if elements.iter().flat_map(Element::slots).all(|slot| filled.0.contains_key(slot)) {
                        for element in &elements {
                            self.render(element, filled, &mut used, &mut rendered)?;
                        }
                    }
                }
            }
        }
        self.all_used(filled, &used)?;
        Ok(rendered)
    }

    /// One line for the command's stdin, without a newline.
    ///
    /// # Errors
    /// As [`Forms::argv`].
    pub(super) fn line(&self, text: &str, filled: &Filled) -> Result<String, CallError> {
        let (mut used, mut rendered) = (Vec::new(), Vec::new());
        self.render(&self.parse(text)?, filled, &mut used, &mut rendered)?;
        self.all_used(filled, &used)?;
        Ok(rendered.concat())
    }

    fn parse(&self, text: &str) -> Result<Element, CallError> {
        Element::parse(text).map_err(|why| self.refuse(why).hint(MANIFEST_ONLY))
    }

    fn all_used(&self, filled: &Filled, used: &[String]) -> Result<(), CallError> {
        match filled.0.keys().find(|slot| !used.contains(slot)) {
            None => Ok(()),
            Some(slot) => Err(self
                .refuse(format!(
                    "slot {slot} is given, and nothing here uses it (or another slot of its group is missing)"
                ))
                .hint(MANIFEST_ONLY)),
        }
    }

    fn values<'a>(&self, slot: &str, filled: &'a Filled) -> Result<&'a [String], CallError> {
        let given = filled.0.get(slot).map(Vec::as_slice);
        given.ok_or_else(|| self.refuse(format!("slot {slot} is missing")).hint(MANIFEST_ONLY))
    }

    /// The value of a slot that takes one.
    ///
    /// # Errors
    /// `denied`: it is missing, or there are several.
    pub(super) fn one<'a>(&self, slot: &str, filled: &'a Filled) -> Result<&'a str, CallError> {
        match self.values(slot, filled)? {
            [value] => Ok(value),
            many => {
                let message = format!("slot {slot} takes one value, and {} are given", many.len());
                Err(self.refuse(message).hint(MANIFEST_ONLY))
            }
        }
    }

    fn render(
        &self,
        element: &Element,
        filled: &Filled,
        used: &mut Vec<String>,
        out: &mut Vec<String>,
    ) -> Result<(), CallError> {
        used.extend(element.slots().map(str::to_owned));
        match element {
            Element::Repeated(slot) => out.extend_from_slice(self.values(slot, filled)?),
            Element::Joined(pieces) => {
                let mut joined = String::new();
                for piece in pieces {
                    match piece {
                        Piece::Literal(text) => joined.push_str(text),
                        Piece::Slot(slot) => joined.push_str(self.one(slot, filled)?),
                    }
                }
                out.push(joined);
            }
        }
        Ok(())
    }
}

/// Whether `value` is an allowed value between a prefix and a suffix that match as a whole.
fn surrounded(value: &str, allowed: &str, prefix: Option<&Regex>, suffix: Option<&Regex>) -> bool {
    let whole = |pattern: Option<&Regex>, text: &str| pattern.map_or(text.is_empty(), |p| p.is_match(text));
    if allowed.is_empty() {
        return false;
    }
    // Every place, overlapping ones too, where the allowed value could be.
    value.char_indices().any(|(at, _)| {
        value.split_at_checked(at).is_some_and(|(before, rest)| {
            rest.strip_prefix(allowed).is_some_and(|after| whole(prefix, before) && whole(suffix, after))
        })
    })
}

/// What of `value` would have to be configured, as far as it has the manifest's prefix and suffix.
fn base<'a>(value: &'a str, prefix: Option<&Regex>, suffix: Option<&Regex>) -> Option<&'a str> {
    let whole = |pattern: Option<&Regex>, text: &str| pattern.map_or(text.is_empty(), |p| p.is_match(text));
    let cuts = || value.char_indices().map(|(at, _)| at).chain([value.len()]);
    let start = cuts().find(|at| value.get(..*at).is_some_and(|text| whole(prefix, text)))?;
    let end = cuts().find(|at| *at > start && value.get(*at..).is_some_and(|text| whole(suffix, text)))?;
    value.get(start..end)
}

fn config_line(key: &str, list: bool, values: &[String], base: &str) -> String {
    let quote = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let line = if list {
        let all: Vec<_> = values.iter().map(|v| quote(v)).chain([quote(base)]).collect();
        format!("{key} = [{}]", all.join(", "))
    } else {
        format!("{key} = {}", quote(base))
    };
    format!("under [part.config]: {line}")
}
