//! Flags, lookup, fitting; what files mean is told by the golden tests in `tests/ui`.

use std::path::Path;

use serde_json::json;

use super::{Config, Flags};
use crate::ErrorKind;

fn flags(set: &[&str]) -> Flags {
    Flags {
        plugin: "zfs.wasm".to_owned(),
        set: set.iter().map(|s| (*s).to_owned()).collect(),
        to: "/backups".to_owned(),
        ..Flags::default()
    }
}

#[test]
fn flags_alone_make_a_configuration() {
    let mut config = Config::from_flags(&flags(&["datasets=tank/home", "recursive=true"])).unwrap();
    assert_eq!(config.instance.name, "zfs");
    assert_eq!(config.application.kind(), "none");
    assert_eq!(config.stores[0].to, "/backups");
    assert_eq!(config.retention.keep_last, 0);
    let part = &mut config.parts[0];
    assert_eq!((part.name.as_str(), part.plugin.as_str()), ("zfs", "zfs.wasm"));
    assert_eq!(json!(part.config), json!({ "datasets": "tank/home", "recursive": true }));
    part.fit(&json!({ "properties": {
        "datasets": { "type": "array", "items": { "type": "string" } },
        "recursive": { "type": "boolean" },
    } }));
    assert_eq!(json!(part.config), json!({ "datasets": ["tank/home"], "recursive": true }));
}

#[test]
fn all_flags_arrive() {
    let flags = Flags {
        plugin: "./x/postgresql.wasm".to_owned(),
        set: vec!["port=5433".to_owned(), "nested.key=a".to_owned()],
        secrets: vec!["password=env:PGPASSWORD".to_owned(), "key=file:/etc/key".to_owned()],
        to: "here".to_owned(),
        name: Some("db".to_owned()),
        state: Some("/tmp/state".into()),
        keep_last: Some(4),
    };
    let config = Config::from_flags(&flags).unwrap();
    let cwd = std::env::current_dir().unwrap();
    assert_eq!(config.instance.name, "db");
    assert_eq!(config.instance.state.as_deref(), Some(Path::new("/tmp/state")));
    assert_eq!(config.stores[0].to, cwd.join("here").display().to_string());
    assert_eq!(config.retention.keep_last, 4);
    let part = &config.parts[0];
    assert_eq!(json!(part.config), json!({ "port": 5433, "nested": { "key": "a" } }));
    assert_eq!(json!(part.secrets), json!({ "password": { "env": "PGPASSWORD" }, "key": { "file": "/etc/key" } }));
    assert_eq!(config.plugin_path(part), Some(cwd.join("./x/postgresql.wasm")));
}

#[test]
fn wrong_flags_are_named() {
    let message = |flags: &Flags| Config::from_flags(flags).unwrap_err().message().to_owned();
    assert!(message(&flags(&["datasets"])).starts_with("--set datasets: "));
    assert!(message(&Flags { plugin: "My Plugin.wasm".into(), ..flags(&[]) }).starts_with("--plugin My Plugin.wasm: "));
    assert!(message(&Flags { name: Some("UP".into()), ..flags(&[]) }).starts_with("--name UP: "));
    assert!(
        message(&Flags { to: "gs://b/p".into(), ..flags(&[]) })
            .starts_with("--to gs://b/p: stores of the kind `gs://`")
    );
    assert!(message(&Flags { state: Some("x".into()), ..flags(&[]) }).starts_with("--state x: "));
    for secret in ["password", "password=hunter2", "password=plain:hunter2"] {
        let error = Config::from_flags(&Flags { secrets: vec![secret.into()], ..flags(&[]) }).unwrap_err();
        assert!(!format!("{error} {:?} {:?}", error.hint_text(), error.details()).contains("hunter2"), "{error}");
        assert!(error.hint_text().unwrap().contains("--secret password=env:NAME"));
    }
}

#[test]
fn repeated_flags_make_lists() {
    let config = Config::from_flags(&flags(&["d=a", "d=b", "d=[\"c\", \"d\"]", "one=[\"x\"]"])).unwrap();
    assert_eq!(json!(config.parts[0].config), json!({ "d": ["a", "b", "c", "d"], "one": ["x"] }));
}

#[test]
fn the_schema_decides_what_bare_text_is() {
    let schema = json!({ "properties": {
        "list": { "type": "array", "items": { "type": "string" } },
        "numbers": { "type": "array", "items": { "type": "integer" } },
        "text": { "type": "string" },
        "number": { "type": "integer" },
        "either": { "type": ["string", "array"] },
        "any": {},
    } });
    let mut config = Config::from_flags(&flags(&[
        "list=a, b,",
        "numbers=1,2",
        "text=5432",
        "number=7",
        "either=a,b",
        "any=a,b",
        "quoted='a,b'",
        "wrong=x",
    ]))
    .unwrap();
    let part = &mut config.parts[0];
    part.fit(&schema);
    assert_eq!(
        json!(part.config),
        json!({ "any": "a,b", "either": "a,b", "list": ["a", "b"], "number": 7, "numbers": [1, 2],
                "quoted": "a,b", "text": "5432", "wrong": "x" })
    );
    // What is written as TOML is meant.
    let mut config = Config::from_flags(&flags(&["list=\"a,b\"", "text=[\"x\"]"])).unwrap();
    config.parts[0].fit(&schema);
    assert_eq!(json!(config.parts[0].config), json!({ "list": "a,b", "text": ["x"] }));
}

#[test]
fn files_are_read_with_care() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("b.toml");
    let load = || Config::load(&file, &[]);
    assert!(load().unwrap_err().message().contains("cannot read the configuration"));
    std::fs::write(&file, b"[instance]\nname = \"\xff\"\n").unwrap();
    assert!(load().unwrap_err().message().ends_with("b.toml:2: this is not UTF-8"));
    std::fs::write(&file, vec![b'#'; (1 << 20) + 1]).unwrap();
    assert!(load().unwrap_err().message().contains("larger than 1 MiB"));
    assert_eq!(Config::load(dir.path(), &[]).unwrap_err().kind(), ErrorKind::Config);
    std::fs::write(
        &file,
        "[instance]\nname = \"i\"\n[application]\ntype = \"none\"\n[[part]]\nname = \"p\"\nplugin = \"../x.wasm\"\n\
         [[part]]\nname = \"q\"\nplugin = \"zfs.wasm\"\n[[store]]\nto = \"/b\"\n",
    )
    .unwrap();
    let config = load().unwrap();
    assert_eq!(config.plugin_path(&config.parts[0]), Some(dir.path().join("../x.wasm")));
    assert_eq!(config.plugin_path(&config.parts[1]), None);
}

#[test]
fn an_explicit_file_wins() {
    assert_eq!(Config::locate(Some(Path::new("/x.toml"))).unwrap(), Path::new("/x.toml"));
}

#[test]
fn the_schema_describes_the_keys() {
    let schema = super::schema();
    let properties = &schema["properties"];
    for key in ["instance", "application", "part", "store", "retention", "archive", "grant"] {
        assert!(properties[key].is_object(), "{key}");
    }
    assert!(properties.get("dir").is_none());
    // What the golden tests accept, the schema accepts, and it refuses an unknown key.
    let validator = jsonschema::validator_for(&schema).unwrap();
    let text = include_str!("../../tests/ui/valid/full.toml");
    let mut file = serde_json::to_value(toml::from_str::<toml::Table>(text).unwrap()).unwrap();
    file["part"][0]["config"]["since"] = "2026-11-21".into();
    assert!(validator.is_valid(&file), "{:?}", validator.iter_errors(&file).map(|e| e.to_string()).collect::<Vec<_>>());
    file["application"]["nonsense"] = 1.into();
    assert!(!validator.is_valid(&file));
}
