use proptest::prelude::*;
use serde_json::json;

use super::super::Code;
use super::super::slots::Forms;
use super::*;

/// The arguments that a command would get, or why not.
fn render(argv: &str, slots: &str, config: &Value, arguments: &[(&str, &[&str])]) -> Result<Vec<String>, CallError> {
    let manifest = Manifest::parse(&one(argv, slots)).unwrap();
    let command = manifest.command("go").unwrap();
    let forms = Forms::new(command, config, Some("target_db")).unwrap();
    let filled = forms.fill(&given(arguments))?;
    forms.argv(&command.argv, &filled)
}

const DATASETS: &str = "[exec.slots.s]\none-of = \"config.datasets\"\nsuffix = \"@bkhost-[a-z0-9-]{1,57}\"";

#[test]
fn rendered() {
    let config = json!({"datasets": ["tank/a", "tank/b"], "port": 5432, "flag": true, "name": "x y"});
    let pattern = "[exec.slots.a]\npattern = \"[a-z ]+\"";
    for (argv, slots, arguments, expected) in [
        (
            r#"["snapshot", "{s...}"]"#,
            DATASETS,
            &[("s", &["tank/a@bkhost-1", "tank/b@bkhost-1"][..])][..],
            &["snapshot", "tank/a@bkhost-1", "tank/b@bkhost-1"][..],
        ),
        (r#"["--x={a}"]"#, pattern, &[("a", &["one two"])], &["--x=one two"]),
        (r#"["go", ["-r", "{a}"]]"#, pattern, &[], &["go"]),
        (r#"["go", ["-r", "{a}"]]"#, pattern, &[("a", &["b"])], &["go", "-r", "b"]),
        (r#"["go", ["-r", "{a...}"]]"#, pattern, &[("a", &["b", "c"])], &["go", "-r", "b", "c"]),
        (r#"["{a}", "{a}"]"#, pattern, &[("a", &["b"])], &["b", "b"]),
        (r#"["{{x}}", "{a}"]"#, pattern, &[("a", &["b"])], &["{x}", "b"]),
        (r#"["-p", "{a}"]"#, "[exec.slots.a]\none-of = \"config.port\"", &[("a", &["5432"])], &["-p", "5432"]),
        (r#"["{a}"]"#, "[exec.slots.a]\none-of = \"config.flag\"", &[("a", &["true"])], &["true"]),
        (r#"["{a}"]"#, "[exec.slots.a]\none-of = \"config.name\"", &[("a", &["x y"])], &["x y"]),
        (r#"["{a}"]"#, "[exec.slots.a]\none-of = \"restore.to\"", &[("a", &["target_db"])], &["target_db"]),
        (r#"["{a}"]"#, "[exec.slots.a]\none-of = [\"on\", \"off\"]", &[("a", &["off"])], &["off"]),
        (
            r#"["{a}"]"#,
            "[exec.slots.a]\none-of = \"config.name\"\nprefix = \"(old|new):\"",
            &[("a", &["new:x y"])],
            &["new:x y"],
        ),
    ] {
        assert_eq!(render(argv, slots, &config, arguments).unwrap(), expected, "{argv}");
    }
}

#[test]
fn values_that_no_slot_takes() {
    let config = json!({});
    let long = "a".repeat(4097);
    for value in [
        "",
        "-",
        "-rf",
        "--output=/etc/passwd",
        "a\0b",
        "a\nb",
        "a\rb",
        "a\tb",
        "\u{1b}[2J",
        "a\u{7f}",
        "a\u{85}b",
        "a\u{2028}b",
        &long,
    ] {
        for (argv, name) in [(r#"["{a}"]"#, "plain"), (r#"["{a...}"]"#, "repeated"), (r#"["--x={a}"]"#, "embedded")] {
            let error = render(argv, "[exec.slots.a]\npattern = \"(?s).*\"", &config, &[("a", &[value])]).unwrap_err();
            assert_eq!(error.code, Code::Denied, "{name} {value:?}");
            assert!(error.message.len() < 400, "a huge value is not repeated: {}", error.message.len());
        }
        let among =
            render(r#"["{a...}"]"#, "[exec.slots.a]\npattern = \"(?s).*\"", &config, &[("a", &["good", value])]);
        assert_eq!(among.unwrap_err().code, Code::Denied);
    }
    let max = "a".repeat(4096);
    render(r#"["{a}"]"#, "[exec.slots.a]\npattern = \"a*\"", &config, &[("a", &[&max])]).unwrap();
    let short = "[exec.slots.a]\npattern = \"a*\"\nmax-length = 3";
    render(r#"["{a}"]"#, short, &config, &[("a", &["aaa"])]).unwrap();
    render(r#"["{a}"]"#, short, &config, &[("a", &["aaaa"])]).unwrap_err();
    let many: Vec<_> = vec!["a"; 5000];
    render(r#"["{a...}"]"#, short, &config, &[("a", &many)]).unwrap_err();
    let heavy: Vec<_> = vec![max.as_str(); 300];
    render(r#"["{a...}"]"#, "[exec.slots.a]\npattern = \"a*\"", &config, &[("a", &heavy)]).unwrap_err();
}

#[test]
fn in_hex_a_value_is_checked_as_it_is_and_written_as_digits() {
    let config = json!({"names": ["a'b", "-x", "ü\n"]});
    let hex = "[exec.slots.a]\none-of = \"config.names\"\nencoding = \"hex\"";
    for (value, expected) in [("a'b", "X612762"), ("-x", "X2d78"), ("ü\n", "Xc3bc0a")] {
        assert_eq!(render(r#"["X{a}"]"#, hex, &config, &[("a", &[value])]).unwrap(), [expected]);
    }
    for value in ["", "612762", "a'", "b"] {
        assert_eq!(render(r#"["{a}"]"#, hex, &config, &[("a", &[value])]).unwrap_err().code, Code::Denied, "{value}");
    }
    let short = "[exec.slots.a]\npattern = \"(?s).*\"\nmax-length = 3\nencoding = \"hex\"";
    assert_eq!(render(r#"["{a...}"]"#, short, &config, &[("a", &["\0'`", "--"])]).unwrap(), ["002760", "2d2d"]);
    render(r#"["{a}"]"#, short, &config, &[("a", &["abcd"])]).unwrap_err();
    for wrong in ["path = \"staging\"\nencoding = \"hex\"", "pattern = \"a\"\nencoding = \"base64\""] {
        Manifest::parse(&one(r#"["{a}"]"#, &format!("[exec.slots.a]\n{wrong}"))).unwrap_err();
    }
}

#[test]
fn a_setting_can_make_a_plugin_copy() {
    use crate::capability::Consistency::{Atomic, Copied};
    let manifest = super::manifest("").replace("kind = ", "copied-if = { mode = \"lock\", live = \"false\" }\nkind = ");
    let plugin = Manifest::parse(&manifest).unwrap().plugin;
    for (config, expected) in [
        (json!({}), Atomic),
        (json!({"mode": "refuse", "live": true}), Atomic),
        (json!({"mode": "lock", "live": true}), Copied),
        (json!({"mode": "refuse", "live": false}), Copied),
    ] {
        assert_eq!(plugin.consistency_of(&config), expected, "{config}");
    }
}

#[test]
fn a_setting_can_make_the_target_a_directory() {
    use crate::capability::manifest::RestoreTarget::{Directory, Name};
    let text = super::manifest("[restore]\ntarget = \"name\"\ndirectory-if = { method = \"physical\" }\n");
    let manifest = Manifest::parse(&text).unwrap();
    assert_eq!(manifest.restore.target_of(&json!({"method": "dump"})), Name);
    assert_eq!(manifest.restore.target_of(&json!({})), Name);
    assert_eq!(manifest.restore.target_of(&json!({"method": "physical"})), Directory);
    assert!(
        manifest.restore.into_directory() && !Manifest::parse(&super::manifest("")).unwrap().restore.into_directory()
    );
}

#[test]
fn values_of_the_configuration_only() {
    let config =
        json!({"datasets": ["tank/a", "", "tank/a.b"], "port": 5432, "empty": [], "map": {"x": "y"}, "null": null});
    for value in [
        "tank/a",
        "tank/a@bkhost-",
        "tank/a@bkhost-1@bkhost-2",
        "tank/a/sub@bkhost-1",
        "tank/ab@bkhost-1",
        "tank@bkhost-1",
        "xtank/a@bkhost-1",
        "tank/a@bkhost-1 ",
        "tank/a@BKHOST-1",
        "@bkhost-1",
        "tank/aXb@bkhost-1",
        "tank/a@other",
        "tank/a@bkhost-1%tank/c@bkhost-2",
    ] {
        let error = render(r#"["{s...}"]"#, DATASETS, &config, &[("s", &[value])]).unwrap_err();
        assert_eq!(error.code, Code::Denied, "{value}");
    }
    render(r#"["{s...}"]"#, DATASETS, &config, &[("s", &["tank/a.b@bkhost-1"])]).unwrap();
    for (key, value) in [
        ("port", "543"),
        ("port", "54321"),
        ("port", "05432"),
        ("empty", "x"),
        ("map", "y"),
        ("map", "x"),
        ("null", "null"),
        ("missing", "x"),
    ] {
        let slots = format!("[exec.slots.a]\none-of = \"config.{key}\"");
        render(r#"["{a}"]"#, &slots, &config, &[("a", &[value])]).unwrap_err();
    }
}

#[test]
fn the_hint_is_the_line_that_would_allow_it() {
    let config = json!({"datasets": ["tank/a"], "database": "one"});
    let error = render(r#"["{s...}"]"#, DATASETS, &config, &[("s", &["tank/b@bkhost-1"])]).unwrap_err();
    assert_eq!(hint(&error), "under [part.config]: datasets = [\"tank/a\", \"tank/b\"]");
    assert!(error.message.contains("config.datasets"), "{}", error.message);
    let error =
        render(r#"["{a}"]"#, "[exec.slots.a]\none-of = \"config.database\"", &config, &[("a", &["two"])]).unwrap_err();
    assert_eq!(hint(&error), "under [part.config]: database = \"two\"");
    let error =
        render(r#"["{a}"]"#, "[exec.slots.a]\none-of = \"restore.to\"", &config, &[("a", &["two"])]).unwrap_err();
    assert!(hint(&error).contains("--to two"));
    let error = render(r#"["{a}"]"#, "[exec.slots.a]\npattern = \"[0-9]+\"", &config, &[("a", &["two"])]).unwrap_err();
    assert!(error.message.contains("[0-9]+") && hint(&error).contains("manifest"), "{error:?}");
}

#[test]
fn patterns_match_the_whole_value() {
    for pattern in ["a|b", "a", "^a", "a$", "(?m)^a$", "(?:a)", "a|", "|a"] {
        let slots = format!("[exec.slots.a]\npattern = '{pattern}'");
        for value in ["ax", "xa", "a;b", "bb", "aa", "x"] {
            render(r#"["{a}"]"#, &slots, &json!({}), &[("a", &[value])]).unwrap_err();
        }
        render(r#"["{a}"]"#, &slots, &json!({}), &[("a", &["a"])]).unwrap();
    }
}

#[test]
fn slots_that_do_not_fit() {
    let slots = "[exec.slots.a]\npattern = \"[a-z]\"\n[exec.slots.b]\npattern = \"[a-z]\"";
    let argv = r#"["{a}", ["-b", "{b}", "{a}"]]"#;
    let call = |arguments: &[(&str, &[&str])]| render(argv, slots, &json!({}), arguments);
    assert_eq!(call(&[("a", &["x"]), ("b", &["y"])]).unwrap(), ["x", "-b", "y", "x"]);
    for (arguments, why) in [
        (&[][..], "missing"),
        (&[("b", &["x"][..])], "missing"),
        (&[("a", &["x"]), ("c", &["x"])], "no slot"),
        (&[("a", &["x"]), ("a", &["x"])], "twice"),
        (&[("a", &["x", "y"])], "one value"),
        (&[("a", &[])], "0 values"),
    ] {
        let error = call(arguments).unwrap_err();
        assert!(error.code == Code::Denied && error.message.contains(why), "{why}: {error:?}");
    }
    // A group that is only half given is not dropped in silence.
    let argv = r#"["go", ["{a}", "{b}"]]"#;
    render(argv, slots, &json!({}), &[("a", &["x"])]).unwrap_err();
}

proptest! {
    #[test]
    fn nothing_of_a_slot_becomes_an_option(value in ".{0,40}", dashes in "-{0,2}") {
        let value = format!("{dashes}{value}");
        for argv in [r#"["{a}"]"#, r#"["{a...}"]"#] {
            if let Ok(rendered) = render(argv, "[exec.slots.a]\npattern = \"(?s).*\"", &json!({}), &[("a", &[&value])]) {
                prop_assert!(rendered.iter().all(|e| !e.starts_with('-') && !e.is_empty() && !e.chars().any(char::is_control)));
            }
        }
    }

    #[test]
    fn only_configured_names_pass(value in "[a-z/@0-9-]{0,12}", name in "[a-z]{1,3}") {
        let config = json!({"datasets": [name]});
        if render(r#"["{s...}"]"#, DATASETS, &config, &[("s", &[&value])]).is_ok() {
            let prefix = format!("{name}@bkhost-");
            prop_assert!(value.starts_with(&prefix), "{}", value);
        }
        let own = format!("{name}@bkhost-1");
        let own = render(r#"["{s...}"]"#, DATASETS, &config, &[("s", &[&own])]).is_ok();
        prop_assert!(own);
    }
}
