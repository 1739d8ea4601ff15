//! What is shipped: the files themselves, and what they say of themselves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bkhost_tests::{Bkhost, plugins};
use serde_json::Value;
use wasmparser::{ComponentTypeRef, Parser, Payload};

use super::SYSTEMS;

/// The names of the plugins that were built.
fn built() -> Vec<String> {
    let entries = std::fs::read_dir(plugins()).unwrap().map(|entry| entry.unwrap().path());
    let components = entries.filter(|path| path.extension().is_some_and(|extension| extension == "wasm"));
    let mut names: Vec<_> = components.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

/// The crate of a plugin.
fn source(plugin: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins").join(plugin)
}

fn read(plugin: &str, file: &str) -> String {
    let path = source(plugin).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn every_shipped_plugin_is_put_through_the_suite() {
    assert_eq!(
        built(),
        SYSTEMS,
        "a plugin is shipped that has no system in tests/tests/it/conformance, or the reverse"
    );
    for plugin in built() {
        assert!(source(&plugin).join("Cargo.toml").exists(), "{plugin}");
    }
}

/// What a component imports and embeds, as a reader of its own finds it.
struct Component {
    /// Interfaces, without their versions.
    imports: Vec<String>,
    /// Custom sections, wherever they are.
    sections: BTreeMap<String, Vec<String>>,
}

fn component(plugin: &str) -> Component {
    let bytes = std::fs::read(plugins().join(format!("{plugin}.wasm"))).unwrap();
    let mut found = Component { imports: Vec::new(), sections: BTreeMap::new() };
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(&bytes) {
        match payload.unwrap() {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(imports) if depth == 0 => {
                for import in imports {
                    let import = import.unwrap();
                    assert!(matches!(import.ty, ComponentTypeRef::Instance(_)), "{plugin}: {import:?}");
                    found.imports.push(import.name.name.split('@').next().unwrap().to_owned());
                }
            }
            Payload::CustomSection(section) => {
                let text = String::from_utf8_lossy(section.data()).into_owned();
                found.sections.entry(section.name().to_owned()).or_default().push(text);
            }
            _ => {}
        }
    }
    assert!(!found.imports.is_empty(), "{plugin}");
    found
}

#[test]
fn nothing_is_imported_that_was_not_asked_for() {
    for plugin in built() {
        let Component { imports, sections } = component(&plugin);
        // What it asks for is what its source says.
        let manifest = read(&plugin, "plugin.toml");
        assert_eq!(sections["bkhost:manifest"], [manifest.as_str()], "{plugin}");
        assert_eq!(sections["bkhost:config-schema"], [read(&plugin, "config.schema.json")], "{plugin}");
        let asks = |table: &str| manifest.lines().any(|line| line.trim() == table);
        let freezes = manifest.lines().any(|line| line.trim() == "freeze = true");
        for import in &imports {
            let (package, interface) = import.split_once('/').unwrap();
            let allowed = match (package, interface) {
                // A Rust program always imports these; without a directory they can do nothing.
                ("wasi:cli" | "wasi:io" | "wasi:clocks" | "wasi:filesystem" | "wasi:random", _) => true,
                ("wasi:http", "types" | "outgoing-handler") => asks("[[http]]"),
                ("bkhost:snapshot", "types" | "config" | "log" | "progress" | "history" | "archive") => true,
                // The contract's types name its process.
                ("bkhost:snapshot", "exec") => asks("[[exec]]") || !runs(&plugin),
                ("bkhost:snapshot", "mirror" | "digest" | "others") => asks("[[directory]]"),
                ("bkhost:snapshot", "freeze") => freezes,
                _ => false,
            };
            assert!(allowed, "{plugin} imports {import}, which its plugin.toml does not ask for");
            assert!(!import.starts_with("wasi:sockets"), "{plugin} imports {import}");
        }
        // The host tells the same.
        let told = inspect(&plugin)["imports"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let told: Vec<_> = told.iter().map(|import| import.split('@').next().unwrap()).collect();
        let mut ours: Vec<_> = imports.iter().map(String::as_str).collect();
        ours.sort_unstable();
        assert_eq!(ours, told, "{plugin}");
    }
}

fn inspect(plugin: &str) -> Value {
    Bkhost::new().run(&["plugin", "inspect", plugin, "--json"]).ok().json()
}

/// Whether its code runs commands.
fn runs(plugin: &str) -> bool {
    let inspected = inspect(plugin);
    let imports = inspected["imports"].as_object().unwrap();
    imports
        .iter()
        .any(|(name, functions)| name.starts_with("bkhost:snapshot/exec") && functions != &Value::Array(vec![]))
}

#[test]
fn every_right_has_a_reason_and_every_setting_is_described() {
    let bk = Bkhost::new();
    for plugin in built() {
        let checked = bk.run(&["plugin", "check", &plugin, "--json"]).ok();
        assert_eq!(checked.json()["findings"], serde_json::json!([]), "{plugin}: {checked}");
        let inspected = inspect(&plugin);
        for table in ["exec", "directory", "http", "secret"] {
            for item in inspected["manifest"][table].as_array().unwrap() {
                let reason = item["reason"].as_str().unwrap();
                assert!(reason.split(' ').count() >= 2, "{plugin}: {table}: {item}");
            }
        }
    }
}

#[test]
fn the_readme_of_every_plugin_names_its_settings_and_secrets() {
    for plugin in built() {
        let (inspected, readme) = (inspect(&plugin), read(&plugin, "README.md"));
        let keys = inspected["config-schema"]["properties"].as_object().unwrap();
        for (key, schema) in keys {
            assert!(
                ["`", "."].iter().any(|end| readme.contains(&format!("`{key}{end}"))),
                "plugins/{plugin}/README.md does not name the key `{key}`"
            );
            for inner in schema["properties"].as_object().into_iter().flat_map(|inner| inner.keys()) {
                assert!(readme.contains(inner), "plugins/{plugin}/README.md does not name {key}.{inner}");
            }
        }
        for secret in inspected["manifest"]["secret"].as_array().unwrap() {
            let name = secret["name"].as_str().unwrap();
            assert!(readme.contains(name), "plugins/{plugin}/README.md does not name the secret {name}");
        }
        for program in inspected["manifest"]["exec"].as_array().unwrap() {
            let name = program["program"].as_str().unwrap();
            assert!(
                readme.contains(name) || ["df", "cat", "test", "rm", "mount", "umount"].contains(&name),
                "plugins/{plugin}/README.md does not name the program {name}"
            );
        }
        let all = std::fs::read_to_string(source("../README.md")).unwrap();
        assert!(
            all.contains(&format!("plugins/{plugin}/README.md")) || all.contains(&format!("plugins/{plugin}")),
            "README.md does not name {plugin}"
        );
    }
}
