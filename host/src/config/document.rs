//! The configuration as a tree of values that know where they were written: the file, with the flags laid over it.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::hint::nearest;
use super::source::{Place, Sources};
use crate::error::{Error, Result};

/// One step on the way to a value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step<'a> {
    /// A key of a table.
    Key(&'a str),
    /// An entry of an array, from 0.
    Index(usize),
}

/// The value at the end of a path.
pub(super) fn find<'a, 'i>(root: &'a DeTable<'i>, path: &[Step<'_>]) -> Option<&'a Spanned<DeValue<'i>>> {
    let (Step::Key(first), rest) = path.split_first()? else { return None };
    rest.iter().try_fold(root.get(*first)?, |value, step| match (value.get_ref(), step) {
        (DeValue::Table(table), Step::Key(key)) => table.get(*key),
        (DeValue::Array(items), Step::Index(index)) => items.get(*index),
        _ => None,
    })
}

/// The keys on the way to what stands at a place, such as `part[1].config`: as deep as the tree goes.
pub(super) fn path_of(root: &DeTable<'_>, place: &Place) -> String {
    fn inside(outer: &Place, inner: &Place) -> bool {
        outer.start <= inner.start && inner.end <= outer.end
    }
    fn descend(table: &DeTable<'_>, place: &Place, path: &mut String) {
        for (key, value) in table {
            let here = inside(&key.span(), place) || inside(&value.span(), place) || holds(value, place);
            if !here {
                continue;
            }
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(key.get_ref());
            match value.get_ref() {
                DeValue::Table(table) if !inside(&key.span(), place) => descend(table, place, path),
                DeValue::Array(items) => {
                    let entry =
                        items.iter().enumerate().find(|(_, item)| inside(&item.span(), place) || holds(item, place));
                    if let Some((index, item)) = entry {
                        path.push_str(&format!("[{index}]"));
                        if let DeValue::Table(table) = item.get_ref() {
                            descend(table, place, path);
                        }
                    }
                }
                _ => {}
            }
            return;
        }
    }
    /// The span of a table written as `[header]` ends with the header: look into it.
    fn holds(value: &Spanned<DeValue<'_>>, place: &Place) -> bool {
        match value.get_ref() {
            DeValue::Table(table) => table
                .iter()
                .any(|(key, value)| inside(&key.span(), place) || inside(&value.span(), place) || holds(value, place)),
            DeValue::Array(items) => items.iter().any(|item| inside(&item.span(), place) || holds(item, place)),
            _ => false,
        }
    }
    let mut path = String::new();
    descend(root, place, &mut path);
    path
}

/// A plugin's key that a flag set as bare text.
#[derive(Debug)]
pub(super) struct Loose {
    /// Of which part.
    pub(super) part: usize,
    /// The key of `config`.
    pub(super) key: String,
    /// The text behind `=`.
    pub(super) text: String,
}

/// Lays flags over a document.
pub(super) struct Overlay<'i, 's> {
    /// The document.
    pub(super) root: DeTable<'i>,
    /// What the flags set as bare text.
    pub(super) loose: Vec<Loose>,
    sources: &'s Sources,
    /// The paths that a flag has set, and so what a second one adds to.
    set: Vec<Vec<String>>,
}

impl<'i, 's> Overlay<'i, 's> {
    /// Nothing laid over it yet.
    pub(super) fn new(root: DeTable<'i>, sources: &'s Sources) -> Self {
        Self { root, loose: Vec::new(), sources, set: Vec::new() }
    }

    /// Sets `path` to what `text` says: TOML if it is a value of TOML, else the text itself.
    pub(super) fn set(&mut self, path: &[String], text: &'i str, place: &Place) -> Result<()> {
        let (value, bare) = parse(text, path, place);
        let again = self.set.iter().any(|earlier| earlier == path);
        self.set.push(path.to_vec());
        let part = self.put(path, value, again, place)?;
        if let (Some(part), [table, _, config, key]) = (part, path)
            && table == "part"
            && config == "config"
        {
            self.loose.retain(|loose| loose.part != part || loose.key != *key);
            if bare && !again {
                self.loose.push(Loose { part, key: key.clone(), text: text.to_owned() });
            }
        }
        Ok(())
    }

    /// Puts a value at the end of a path, making tables on the way; the index of the part, if it goes through one.
    fn put(
        &mut self,
        path: &[String],
        value: Spanned<DeValue<'i>>,
        again: bool,
        place: &Place,
    ) -> Result<Option<usize>> {
        let (sources, mut part, mut table) = (self.sources, None, &mut self.root);
        let Some((last, way)) = path.split_last() else { return Ok(None) };
        let mut way = way.iter();
        let mut depth: usize = 0;
        while let Some(step) = way.next() {
            let entry = table.entry(key(step, place)).or_insert_with(|| {
                let new = match (depth, step.as_str()) {
                    (0, "store") => DeValue::Array(DeArray::from_iter([table_value(place)])),
                    (0, "part" | "grant" | "notify") => DeValue::Array(DeArray::new()),
                    _ => DeValue::Table(DeTable::new()),
                };
                Spanned::new(place.clone(), new)
            });
            let not_a_table = || {
                let error = sources.error(Some(place), false, &format!("`{step}` is not a table"));
                error.hint("give the key itself a value, not one below it")
            };
            table = match (depth, step.as_str(), entry.get_mut()) {
                (0, "store", DeValue::Array(items)) => {
                    items.iter_mut().next().and_then(as_table).ok_or_else(not_a_table)?
                }
                (0, "part" | "grant" | "notify", DeValue::Array(items)) => {
                    let by = if step == "grant" { "plugin" } else { "name" };
                    let name = way.next().ok_or_else(not_a_table)?;
                    let index = entry_named(items, step, by, name)
                        .map_err(|(message, hint)| sources.error(Some(place), false, &message).hint(hint))?;
                    if step == "part" {
                        part = Some(index);
                    }
                    items.get_mut(index).and_then(as_table).ok_or_else(not_a_table)?
                }
                (_, _, DeValue::Table(table)) => table,
                _ => return Err(not_a_table()),
            };
            depth = depth.saturating_add(1);
        }
        match table.get_mut(last.as_str()).filter(|_| again) {
            Some(earlier) => append(earlier, value, place),
            None => {
                // Removed first: the map would keep the old key, and with it the old place.
                table.remove(last.as_str());
                table.insert(key(last, place), value);
            }
        }
        Ok(part)
    }
}

fn key<'i>(name: &str, place: &Place) -> Spanned<Cow<'i, str>> {
    Spanned::new(place.clone(), Cow::Owned(name.to_owned()))
}

fn table_value<'i>(place: &Place) -> Spanned<DeValue<'i>> {
    Spanned::new(place.clone(), DeValue::Table(DeTable::new()))
}

fn as_table<'a, 'i>(value: &'a mut Spanned<DeValue<'i>>) -> Option<&'a mut DeTable<'i>> {
    match value.get_mut() {
        DeValue::Table(table) => Some(table),
        _ => None,
    }
}

/// The entry of `[[part]]`, `[[grant]]` or `[[notify]]` that is called so.
fn entry_named(items: &DeArray<'_>, table: &str, by: &str, name: &str) -> Result<usize, (String, String)> {
    let names: Vec<&str> = items.iter().filter_map(|item| item.get_ref().get(by)?.get_ref().as_str()).collect();
    let found =
        items.iter().position(|item| item.get_ref().get(by).is_some_and(|v| v.get_ref().as_str() == Some(name)));
    found.ok_or_else(|| {
        let hint = match nearest(name, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if names.is_empty() => format!("the file has no [[{table}]]"),
            None => format!("there are: {}", names.join(", ")),
        };
        (format!("there is no {table} whose {by} is `{name}`"), hint)
    })
}

/// Appends to what an earlier flag set: a key that is given twice is a list.
fn append<'i>(earlier: &mut Spanned<DeValue<'i>>, value: Spanned<DeValue<'i>>, place: &Place) {
    let first = std::mem::replace(earlier, Spanned::new(place.clone(), DeValue::Boolean(false)));
    let items = [first, value].into_iter().flat_map(|value| match value.get_ref() {
        DeValue::Array(items) => items.iter().cloned().collect(),
        _ => vec![value],
    });
    *earlier = Spanned::new(place.clone(), DeValue::Array(items.collect()));
}

/// The value behind `=`, and whether it is bare text: not written as a string, list or table of TOML.
fn parse<'i>(text: &'i str, path: &[String], place: &Place) -> (Spanned<DeValue<'i>>, bool) {
    let parsed = DeValue::parse(text).ok().map(|value| respan(value, place));
    match parsed {
        Some(value) => {
            let explicit = matches!(value.get_ref(), DeValue::String(_) | DeValue::Array(_) | DeValue::Table(_));
            (value, !explicit)
        }
        // The one list among the host's own keys that one would write without brackets.
        None if path.last().is_some_and(|key| key == "after") => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            let items = items.map(|item| Spanned::new(place.clone(), DeValue::String(Cow::Borrowed(item))));
            (Spanned::new(place.clone(), DeValue::Array(items.collect())), false)
        }
        None => (Spanned::new(place.clone(), DeValue::String(Cow::Borrowed(text))), true),
    }
}

/// The same value, written at another place.
fn respan<'i>(value: Spanned<DeValue<'i>>, place: &Place) -> Spanned<DeValue<'i>> {
    let value = match value.into_inner() {
        DeValue::Array(items) => DeValue::Array(items.iter().cloned().map(|item| respan(item, place)).collect()),
        DeValue::Table(items) => DeValue::Table(
            items
                .into_iter()
                .map(|(key, value)| (Spanned::new(place.clone(), key.into_inner()), respan(value, place)))
                .collect(),
        ),
        plain => plain,
    };
    Spanned::new(place.clone(), value)
}

/// Splits `a.b."c.d"=value` into its path and the text of its value.
///
/// # Errors
/// If it has another form; the error names no flag.
pub(super) fn split_assignment(assignment: &str) -> Result<(Vec<String>, &str), &'static str> {
    const FORM: &str = "is not of the form key=value";
    let (key, value) = assignment.split_once('=').ok_or(FORM)?;
    let line = format!("{} = 0", key.trim());
    let table = DeTable::parse(&line).map_err(|_| "has a key that TOML does not allow")?;
    let mut path = Vec::new();
    let mut next = Some(table.get_ref());
    while let Some((key, value)) = next.and_then(|table| table.iter().next()) {
        path.push(key.get_ref().to_string());
        next = value.get_ref().as_table();
    }
    if path.is_empty() { Err(FORM) } else { Ok((path, value.trim())) }
}

/// The error of a flag that is no assignment.
pub(super) fn bad_assignment(sources: &Sources, place: &Place, what: &str) -> Error {
    sources
        .error(Some(place), false, what)
        .hint("write --set application.drain-timeout=2m, or --set part.home.config.datasets=tank/home")
}
