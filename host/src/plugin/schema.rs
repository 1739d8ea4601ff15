//! `[part.config]` against the plugin's own JSON Schema.

use jsonschema::error::ValidationErrorKind;
use jsonschema::paths::LocationSegment;
use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::{Map, Value};

use super::text;
use crate::error::{Error, ErrorKind, Result};

/// How deep defaults are filled in.
const DEPTH: usize = 16;
/// So much of a wrong value is shown.
const SHOWN: usize = 60;

/// A plugin's JSON Schema for `[part.config]`.
#[derive(Debug)]
pub struct ConfigSchema {
    schema: Value,
    validator: Validator,
}

impl ConfigSchema {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let wrong = |what: String| {
            Error::new(ErrorKind::Plugin, format!("its section `bkhost:config-schema` {what}"))
                .hint("the schema is part of the plugin: its author has to correct it")
        };
        let schema: Value = serde_json::from_str(text).map_err(|e| wrong(format!("is not JSON: {e}")))?;
        if schema.get("type").and_then(Value::as_str) != Some("object") {
            return Err(wrong("must describe an object: `\"type\": \"object\"`".to_owned()));
        }
        let validator = jsonschema::options()
            // Linear time: a pattern of a plugin cannot stall the host.
            .with_pattern_options(PatternOptions::regex())
            .build(&schema)
            .map_err(|e| wrong(format!("is no valid JSON Schema: {}", text::line(&e.to_string(), 500))))?;
        Ok(Self { schema, validator })
    }

    /// The schema itself.
    #[must_use]
    pub fn json(&self) -> &Value {
        &self.schema
    }

    /// The configuration with the schema's defaults filled in.
    ///
    /// # Errors
    /// [`ErrorKind::Config`], naming the key and what is expected there. Further problems are details.
    pub fn complete(&self, config: &Value) -> Result<Value> {
        let mut config = config.clone();
        self.fill(&self.schema, &mut config, DEPTH);
        let errors: Vec<Error> = self.validator.iter_errors(&config).take(10).map(|e| self.explain(&e)).collect();
        let mut errors = errors.into_iter();
        let Some(first) = errors.next() else { return Ok(config) };
        Err((1..).zip(errors).fold(first, |first, (n, more)| first.detail(format!("also-{n}"), more.message())))
    }

    /// Whether a value is valid against a part of this schema.
    pub(super) fn accepts(&self, part: &Value, value: &Value) -> bool {
        let mut part = part.clone();
        // What it refers to is looked up in it.
        if let (Some(part), Some(definitions)) = (part.as_object_mut(), self.schema.get("$defs")) {
            part.insert("$defs".to_owned(), definitions.clone());
        }
        let options = jsonschema::options().with_pattern_options(PatternOptions::regex());
        let mut value = value.clone();
        self.fill(&part, &mut value, DEPTH);
        options.build(&part).is_ok_and(|validator| validator.is_valid(&value))
    }

    fn fill(&self, schema: &Value, value: &mut Value, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else { return };
        let schema = self.resolve(schema);
        match value {
            Value::Object(object) => {
                for (key, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
                    let default = property.get("default").or_else(|| self.resolve(property).get("default"));
                    if let Some(default) = default
                        && !object.contains_key(key)
                    {
                        object.insert(key.clone(), default.clone());
                    }
                    if let Some(value) = object.get_mut(key) {
                        self.fill(property, value, depth);
                    }
                }
            }
            Value::Array(items) => {
                if let Some(item) = schema.get("items") {
                    items.iter_mut().for_each(|value| self.fill(item, value, depth));
                }
            }
            _ => {}
        }
    }

    /// Follows references within the schema.
    pub(super) fn resolve<'a>(&'a self, mut schema: &'a Value) -> &'a Value {
        for _ in 0..DEPTH {
            let target = schema.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#'));
            match target.and_then(|pointer| self.schema.pointer(pointer)) {
                Some(target) => schema = target,
                None => break,
            }
        }
        schema
    }

    fn explain(&self, error: &ValidationError<'_>) -> Error {
        let mut key = "part.config".to_owned();
        for segment in error.instance_path().segments() {
            match segment {
                LocationSegment::Property(name) => key = format!("{key}.{name}"),
                LocationSegment::Index(n) => key = format!("{key}[{n}]"),
            }
        }
        let shown = || text::line(&error.instance().to_string(), SHOWN);
        let at = |what: String| Error::new(ErrorKind::Config, text::line(&format!("{key}{what}"), 1000));
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected }
            | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
                let names = unexpected.join(&format!("`, `{key}."));
                let error = Error::new(ErrorKind::Config, text::line(&format!("unknown key `{key}.{names}`"), 1000));
                let known = self.keys_at(error_path(&key));
                if known.is_empty() { error } else { error.hint(format!("the plugin knows: {known}")) }
            }
            ValidationErrorKind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                let error = Error::new(ErrorKind::Config, format!("`{key}.{name}` is missing"));
                match self.property(error_path(&key), name).and_then(describe) {
                    Some(description) => error.hint(format!("it is expected to be {description}")),
                    None => error.hint(format!("add `{name} = …` to the part's [part.config]")),
                }
            }
            ValidationErrorKind::Type { .. } => {
                self.with_hint(&key, at(format!(" is {}; {}", shown(), expected(error))))
            }
            _ => self.with_hint(&key, at(format!(": {}", text::line(&error.to_string(), 500)))),
        }
    }

    /// The error with what the schema says of the key, or of what holds it.
    fn with_hint(&self, key: &str, error: Error) -> Error {
        let path = error_path(key);
        let outer = path.split_once('[').map_or(path, |(outer, _)| outer);
        // What stands beside a reference says more than what it refers to.
        let of_key = outer.rsplit_once('.').and_then(|(table, name)| {
            let property = self.object_at(table).get("properties")?.get(name)?;
            property.get("description").or_else(|| self.resolve(property).get("description"))
        });
        match self.object_at(path).get("description").filter(|_| path != outer).or(of_key).and_then(Value::as_str) {
            Some(description) => {
                error.hint(format!("{}: {}", key.trim_start_matches("part."), text::line(description, 300)))
            }
            None => error,
        }
    }

    fn object_at(&self, path: &str) -> &Value {
        let steps = path.split('.').filter(|step| !step.is_empty());
        steps.fold(self.resolve(&self.schema), |schema, step| {
            let (name, index) = step.split_once('[').map_or((step, false), |(name, _)| (name, true));
            let property = schema.get("properties").and_then(|p| p.get(name)).unwrap_or(&Value::Null);
            let property = self.resolve(property);
            if index { self.resolve(property.get("items").unwrap_or(&Value::Null)) } else { property }
        })
    }

    fn keys_at(&self, path: &str) -> String {
        let properties: Option<&Map<String, Value>> = self.object_at(path).get("properties").and_then(Value::as_object);
        properties.map(|p| p.keys().cloned().collect::<Vec<_>>().join(", ")).unwrap_or_default()
    }

    fn property(&self, path: &str, name: &str) -> Option<&Value> {
        Some(self.resolve(self.object_at(path).get("properties")?.get(name)?))
    }
}

/// `part.config.a.b` without its fixed start.
fn error_path(key: &str) -> &str {
    key.strip_prefix("part.config").unwrap_or_default()
}

fn expected(error: &ValidationError<'_>) -> String {
    // "1 is not of type "string"" → "expected a "string"": the library knows the set of types, and says it last.
    let text = error.to_string();
    let types = text.rsplit_once(" is not of type").or_else(|| text.rsplit_once(" is not of types"));
    types.map_or_else(|| text.clone(), |(_, types)| format!("expected{}", types.trim_start_matches('s')))
}

/// What a schema says about its value, in words.
fn describe(schema: &Value) -> Option<String> {
    let kind = schema.get("type").and_then(Value::as_str);
    let description = schema.get("description").and_then(Value::as_str).map(|d| text::line(d, 200));
    match (kind, description) {
        (Some(kind), Some(description)) => Some(format!("of type {kind}: {description}")),
        (Some(kind), None) => Some(format!("of type {kind}")),
        (None, Some(description)) => Some(description),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> ConfigSchema {
        ConfigSchema::parse(
            &json!({
                "type": "object",
                "additionalProperties": false,
                "required": ["datasets", "host"],
                "properties": {
                    "datasets": { "type": "array", "items": { "type": "string", "pattern": "^[a-z/]+$" }, "minItems": 1,
                                  "description": "The datasets to snapshot." },
                    "host": { "type": "string" },
                    "port": { "type": "integer", "default": 5432, "minimum": 1, "maximum": 65535 },
                    "mode": { "enum": ["fast", "safe"], "default": "safe" },
                    "tls": { "$ref": "#/$defs/tls" },
                },
                "$defs": { "tls": { "type": "object", "additionalProperties": false,
                                    "properties": { "verify": { "type": "boolean", "default": true } } } },
            })
            .to_string(),
        )
        .unwrap()
    }

    fn refused(config: Value) -> Error {
        let error = schema().complete(&config).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        error
    }

    #[test]
    fn defaults_are_filled_in_and_nothing_else_changes() {
        let complete =
            schema().complete(&json!({ "host": "h", "datasets": ["tank"], "tls": {}, "mode": "fast" })).unwrap();
        assert_eq!(
            complete,
            json!({ "host": "h", "datasets": ["tank"], "tls": { "verify": true }, "mode": "fast", "port": 5432 })
        );
    }

    #[test]
    fn errors_name_the_key_and_what_is_expected() {
        let good = json!({ "host": "h", "datasets": ["tank"] });
        let with = |key: &str, value: Value| {
            let mut config = good.clone();
            config[key] = value;
            refused(config)
        };
        let missing = refused(json!({ "host": "h" }));
        assert_eq!(missing.message(), "`part.config.datasets` is missing");
        assert!(missing.hint_text().unwrap().contains("The datasets to snapshot."), "{missing:?}");

        let unknown = with("dataset", json!("x"));
        assert_eq!(unknown.message(), "unknown key `part.config.dataset`");
        assert!(unknown.hint_text().unwrap().contains("datasets, host, port"), "{unknown:?}");

        let nested = with("tls", json!({ "verfy": true }));
        assert_eq!(nested.message(), "unknown key `part.config.tls.verfy`");
        assert!(nested.hint_text().unwrap().contains("verify"), "{nested:?}");

        let kind = with("port", json!("5432"));
        assert!(kind.message().starts_with("part.config.port is \"5432\"; expected"), "{kind}");
        assert!(kind.message().contains("integer"), "{kind}");

        let item = with("datasets", json!(["tank", "Tank 2"]));
        assert!(item.message().starts_with("part.config.datasets[1]"), "{item}");
        assert_eq!(item.hint_text(), Some("config.datasets[1]: The datasets to snapshot."));
        assert!(with("port", json!(0)).message().starts_with("part.config.port"));
        let one_of = with("mode", json!("slow"));
        assert!(one_of.message().contains("fast") && one_of.message().contains("safe"), "{one_of}");
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let error = refused(json!({ "datasets": 1, "port": "x" }));
        assert_eq!(error.details().len(), 2, "{error:?}");
    }

    #[test]
    fn a_schema_that_cannot_work_is_refused() {
        for (text, expected) in [
            ("", "not JSON"),
            ("[]", "describe an object"),
            ("{}", "describe an object"),
            (r#"{"type":"object","properties":{"a":{"type":"strin"}}}"#, "no valid JSON Schema"),
            (r#"{"type":"object","properties":{"a":{"pattern":"("}}}"#, "no valid JSON Schema"),
            (r#"{"type":"object","properties":{"a":{"$ref":"https://example.com/x"}}}"#, "no valid JSON Schema"),
        ] {
            let error = ConfigSchema::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Plugin);
            assert!(error.message().contains(expected), "{text}: {error}");
        }
    }
}
