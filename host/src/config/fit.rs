//! Bare text of a flag, given the type that the plugin's schema asks for.

use serde_json::Value;

use super::model::Part;

impl Part {
    /// Gives the keys that flags set as bare text the types of the plugin's JSON Schema: `datasets=tank/a,tank/b` becomes
    /// a list where the schema has a list, `username=123` a string where it has a string. Call it before the
    /// configuration is checked against the schema; what does not fit is left for that check to tell.
    pub fn fit(&mut self, schema: &Value) {
        for (key, text) in &self.loose {
            let Some(property) = schema.get("properties").and_then(|all| all.get(key)) else { continue };
            let Some(value) = self.config.get_mut(key) else { continue };
            if allows(property, value) {
                continue;
            }
            if allows_type(property, "array") {
                let items = property.get("items");
                let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
                *value = Value::Array(entries.map(|entry| scalar(entry, items)).collect());
            } else if allows_type(property, "string") {
                *value = Value::String(text.clone());
            }
        }
    }
}

/// An entry of a list, as a number or a boolean where the schema asks for that.
fn scalar(text: &str, schema: Option<&Value>) -> Value {
    let string = Value::String(text.to_owned());
    match serde_json::from_str::<Value>(text) {
        Ok(value) if schema.is_some_and(|schema| allows(schema, &value) && !allows(schema, &string)) => value,
        _ => string,
    }
}

/// Whether a property's `type` is, or may be, that of the value. A property without a type allows all.
fn allows(property: &Value, value: &Value) -> bool {
    let own = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    property.get("type").is_none()
        || allows_type(property, own)
        || (own == "number" && allows_type(property, "integer"))
}

fn allows_type(property: &Value, name: &str) -> bool {
    match property.get("type") {
        Some(Value::String(own)) => own == name,
        Some(Value::Array(names)) => names.iter().any(|own| own == name),
        _ => false,
    }
}
