//! `[part.config]` as JSON, which is what plugins get.

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Number, Value};

/// Reads a table of TOML as JSON.
pub(super) fn plugin_config<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    table(toml::Table::deserialize(deserializer)?).map_err(D::Error::custom)
}

fn table(table: toml::Table) -> Result<Map<String, Value>, String> {
    table.into_iter().map(|(key, value)| Ok((key, json(value)?))).collect()
}

/// TOML as JSON. A date becomes its text; infinities and NaN have no JSON form.
pub(super) fn json(value: toml::Value) -> Result<Value, String> {
    Ok(match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => Value::Number(
            Number::from_f64(number).ok_or_else(|| format!("a plugin cannot be given the number {number}"))?,
        ),
        toml::Value::Boolean(value) => Value::Bool(value),
        toml::Value::Datetime(date) => Value::String(date.to_string()),
        toml::Value::Array(items) => Value::Array(items.into_iter().map(json).collect::<Result<_, _>>()?),
        toml::Value::Table(items) => Value::Object(table(items)?),
    })
}
