//! What a plugin's author should put right, beyond what keeps a plugin from being loaded at all.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::loaded::Plugin;
use super::schema::ConfigSchema;
use crate::capability::Manifest;
use crate::capability::manifest::{EnvValue, OneOf};
use crate::error::{ErrorKind, Result};
use crate::report::{Finding, Severity};

/// How deep settings are followed.
const DEPTH: usize = 8;

/// Review a plugin that was loaded: what its code imports, what it asks for, and what it says of its settings.
///
/// # Errors
/// It does not compile, or does not fit the contract.
pub fn review(plugin: &Plugin) -> Result<Vec<Finding>> {
    plugin.compile()?;
    let mut found = Vec::new();
    let info = &plugin.manifest().plugin;
    if info.description.trim().is_empty() {
        found.push(failure("[plugin]", "it has no description", "say in one sentence what it backs up"));
    }
    found.extend(settings(plugin.schema()));
    found.extend(references(plugin.manifest(), plugin.schema()));
    found.extend(unused(plugin.manifest(), plugin.imports()));
    Ok(found)
}

fn failure(subject: impl Into<String>, message: impl Into<String>, hint: &str) -> Finding {
    Finding { severity: Severity::Failure, ..warning(subject, message, hint) }
}

fn warning(subject: impl Into<String>, message: impl Into<String>, hint: &str) -> Finding {
    Finding {
        severity: Severity::Warning,
        kind: ErrorKind::Plugin,
        subject: subject.into(),
        message: message.into(),
        hint: Some(hint.to_owned()),
    }
}

/// All keys of `[part.config]`, those of tables included: `restore.zone`.
pub(super) fn keys(schema: &ConfigSchema) -> BTreeMap<String, &Value> {
    let mut found = BTreeMap::new();
    collect(schema, schema.json(), "", DEPTH, &mut found);
    found
}

fn collect<'a>(
    schema: &'a ConfigSchema,
    of: &'a Value,
    prefix: &str,
    depth: usize,
    found: &mut BTreeMap<String, &'a Value>,
) {
    let Some(depth) = depth.checked_sub(1) else { return };
    for (key, property) in schema.resolve(of).get("properties").and_then(Value::as_object).into_iter().flatten() {
        let key = format!("{prefix}{key}");
        collect(schema, property, &format!("{key}."), depth, found);
        found.insert(key, property);
    }
}

fn settings(schema: &ConfigSchema) -> Vec<Finding> {
    let mut found = Vec::new();
    let open = |of: &Value| schema.resolve(of).get("additionalProperties") != Some(&Value::Bool(false));
    let typo = "write \"additionalProperties\": false, so that a key that is misspelt is an error and not ignored";
    if open(schema.json()) {
        found.push(failure("[part.config]", "it takes keys that nobody described", typo));
    }
    for (key, property) in keys(schema) {
        let resolved = schema.resolve(property);
        let says = |name: &str| property.get(name).or_else(|| resolved.get(name));
        if says("description").and_then(Value::as_str).is_none_or(|text| text.trim().is_empty()) {
            let hint = "its \"description\" is what an operator reads when the key is missing or wrong";
            found.push(failure(format!("config.{key}"), "it is not described", hint));
        }
        if says("properties").is_some() && open(property) {
            found.push(failure(format!("config.{key}"), "it takes keys that nobody described", typo));
        }
        if let Some(default) = says("default")
            && !schema.accepts(property, default)
        {
            let hint = "whoever leaves the key out is told that it is wrong: correct the default or the schema";
            found.push(failure(format!("config.{key}"), format!("its default {default} is not valid"), hint));
        }
    }
    found
}

/// What the manifest takes from the configuration has to be in the schema: nothing else can be configured.
fn references(manifest: &Manifest, schema: &ConfigSchema) -> Vec<Finding> {
    let keys = keys(schema);
    let mut wanted: Vec<(String, String)> = Vec::new();
    let mut want = |whose: &str, text: &str| {
        let whole = text.strip_prefix("config.").into_iter();
        let within = text.split("{config.").skip(1).filter_map(|rest| rest.split('}').next());
        wanted.extend(whole.chain(within).map(|key| (whose.to_owned(), key.to_owned())));
    };
    for exec in &manifest.exec {
        let whose = format!("command {}", exec.id);
        for slot in exec.slots.values() {
            if let Some(OneOf::Reference(reference)) = &slot.one_of {
                want(&whose, reference);
            }
        }
        for value in exec.env.values() {
            if let EnvValue::Config(reference) = value {
                want(&whose, reference);
            }
        }
    }
    for directory in &manifest.directory {
        let whose = format!("directory {}", directory.name);
        directory.path.iter().chain(directory.discover.iter().map(|d| &d.each)).for_each(|text| want(&whose, text));
    }
    for http in &manifest.http {
        let whose = format!("server {}", http.url);
        want(&whose, &http.url);
        http.sign.iter().for_each(|sign| want(&whose, &sign.region));
        http.ca_file.iter().for_each(|file| want(&whose, file));
        http.authenticate.iter().filter_map(|how| how.username.as_ref()).for_each(|name| want(&whose, name));
        let role = http.sign.iter().filter_map(|sign| sign.role.as_ref());
        role.flat_map(|role| [Some(&role.arn), role.endpoint.as_ref()]).flatten().for_each(|text| want(&whose, text));
    }
    manifest.plugin.declared_if.keys().for_each(|key| want("[plugin] declared-if", &format!("config.{key}")));
    manifest.plugin.copied_if.keys().for_each(|key| want("[plugin] copied-if", &format!("config.{key}")));
    let missing = wanted.into_iter().filter(|(_, key)| !keys.contains_key(key));
    let hint = "name a key of config.schema.json, or add it there";
    missing.map(|(whose, key)| failure(whose, format!("config.{key} is no key of its settings"), hint)).collect()
}

/// What is asked for and never used is a right that somebody else may use one day.
fn unused(manifest: &Manifest, imports: &BTreeMap<String, Vec<String>>) -> Vec<Finding> {
    let imported = |interface: &str, function: Option<&str>| {
        imports.iter().any(|(import, functions)| {
            import.split('@').next() == Some(interface)
                && function.map_or(!functions.is_empty(), |wanted| functions.iter().any(|f| f == wanted))
        })
    };
    let mut found = Vec::new();
    let hint = "remove it from plugin.toml: an operator grants what is asked for";
    let runs = imported("bkhost:snapshot/exec", None) || imported("bkhost:snapshot/archive", Some("feed"));
    let discovers: BTreeSet<_> = manifest
        .directory
        .iter()
        .filter_map(|directory| directory.discover.as_ref())
        .map(|d| d.exec.as_str())
        .collect();
    for exec in manifest.exec.iter().filter(|exec| !runs && !discovers.contains(exec.id.as_str())) {
        found.push(warning(format!("command {}", exec.id), "its code runs no command", hint));
    }
    let calls = imported("wasi:http/outgoing-handler", None);
    for http in manifest.http.iter().filter(|_| !calls) {
        found.push(warning(format!("server {}", http.url), "its code calls no server", hint));
    }
    let freezes = imported("bkhost:snapshot/freeze", None);
    for directory in manifest.directory.iter().filter(|directory| directory.freeze && !freezes) {
        found.push(warning(format!("directory {}", directory.name), "its code freezes no file system", hint));
    }
    let asks = manifest.http.iter().flat_map(|http| &http.authenticate).map(|how| how.secret.as_str());
    let used: BTreeSet<_> = manifest
        .exec
        .iter()
        .flat_map(|exec| exec.env.values())
        .filter_map(|value| if let EnvValue::Secret(name) = value { Some(name.as_str()) } else { None })
        .chain(asks)
        .collect();
    let signs = manifest.http.iter().any(|http| http.sign.is_some());
    let roles = manifest.http.iter().filter_map(|http| http.sign.as_ref()?.role.as_ref());
    let of_roles: BTreeSet<_> = roles.filter_map(|role| role.external_id.as_deref()).collect();
    let of_signing = ["access-key-id", "secret-access-key", "session-token"];
    for secret in &manifest.secret {
        let name = secret.name.as_str();
        let is_used = used.contains(name) || of_roles.contains(name) || (signs && of_signing.contains(&name));
        if !is_used {
            found.push(warning(format!("secret {name}"), "no command and no request gets it", hint));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(more: &str) -> Manifest {
        let plain =
            "[plugin]\nname = \"x\"\nversion = \"1\"\napi = \"0.1\"\nkind = \"other\"\nconsistency = \"copied\"\n";
        Manifest::parse(&format!("{plain}{more}")).unwrap()
    }

    fn schema(properties: &str) -> ConfigSchema {
        ConfigSchema::parse(&format!(
            r##"{{"type":"object","additionalProperties":false,"properties":{{{properties}}},
                "$defs":{{"name":{{"type":"string","pattern":"^[a-z]+$","description":"A name."}}}}}}"##
        ))
        .unwrap()
    }

    fn said(found: &[Finding]) -> Vec<String> {
        assert!(found.iter().all(|finding| finding.hint.is_some()));
        found.iter().map(|finding| format!("{}: {}", finding.subject, finding.message)).collect()
    }

    #[test]
    fn a_setting_is_described_closed_and_has_a_valid_default() {
        let good = schema(
            r##""a":{"$ref":"#/$defs/name","default":"x"},
               "t":{"type":"object","description":"T.","additionalProperties":false,
                    "properties":{"n":{"type":"integer","description":"N.","default":3}}}"##,
        );
        assert_eq!(said(&settings(&good)), [""; 0]);
        assert_eq!(keys(&good).into_keys().collect::<Vec<_>>(), ["a", "t", "t.n"]);
        let bad = schema(
            r##""a":{"$ref":"#/$defs/name","default":"X1"},"b":{"type":"string"},
               "t":{"type":"object","description":"T.","properties":{"n":{"type":"integer","description":" "}}}"##,
        );
        assert_eq!(
            said(&settings(&bad)),
            [
                "config.a: its default \"X1\" is not valid",
                "config.b: it is not described",
                "config.t: it takes keys that nobody described",
                "config.t.n: it is not described",
            ]
        );
        let open = ConfigSchema::parse(r#"{"type":"object"}"#).unwrap();
        assert_eq!(said(&settings(&open)), ["[part.config]: it takes keys that nobody described"]);
    }

    #[test]
    fn what_the_manifest_takes_from_the_settings_is_there() {
        let manifest = manifest(
            "[[exec]]\nid = \"a\"\nprogram = \"a\"\nargv = [\"{s}\"]\nreason = \"r\"\n[exec.slots.s]\none-of = \"config.a\"\n\
             [exec.env]\nX = { config = \"config.t.no\" }\n\
             [[directory]]\nname = \"d\"\npath = \"config.path\"\nreason = \"r\"\n\
             [[http]]\nurl = \"https://x.{config.region}.example\"\nreason = \"r\"\n",
        );
        let lacking = schema(r#""a":{"type":"string","description":"A."}"#);
        assert_eq!(
            said(&references(&manifest, &lacking)),
            [
                "command a: config.t.no is no key of its settings",
                "directory d: config.path is no key of its settings",
                "server https://x.{config.region}.example: config.region is no key of its settings",
            ]
        );
    }

    #[test]
    fn a_right_that_is_not_used_is_told() {
        let asks = manifest(
            "[[exec]]\nid = \"a\"\nprogram = \"a\"\nreason = \"r\"\n[exec.env]\nP = { secret = \"used\" }\n\
             [[http]]\nurl = \"https://a.example\"\nreason = \"r\"\n\
             [[secret]]\nname = \"used\"\nreason = \"r\"\n[[secret]]\nname = \"idle\"\nreason = \"r\"\n",
        );
        let imports = |list: &[(&str, &[&str])]| {
            let functions = |f: &&[&str]| f.iter().map(|f| (*f).to_owned()).collect();
            list.iter().map(|(import, f)| (format!("{import}@0.1.0"), functions(f))).collect()
        };
        // The types of an interface alone do nothing.
        let none = imports(&[("bkhost:snapshot/exec", &[]), ("bkhost:snapshot/archive", &["extract"])]);
        assert_eq!(
            said(&unused(&asks, &none)),
            [
                "command a: its code runs no command",
                "server https://a.example: its code calls no server",
                "secret idle: no command and no request gets it",
            ]
        );
        let all = imports(&[("bkhost:snapshot/archive", &["feed"]), ("wasi:http/outgoing-handler", &["handle"])]);
        assert_eq!(said(&unused(&asks, &all)), ["secret idle: no command and no request gets it"]);
    }
}
