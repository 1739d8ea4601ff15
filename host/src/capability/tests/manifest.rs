use super::*;
use crate::ErrorKind;

fn refused(text: &str) -> crate::Error {
    match Manifest::parse(text) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(e) => e,
    }
}

#[test]
fn complete() {
    let text = manifest(
        r#"description = "test"
[restore]
target = "directory"
[[exec]]
id = "snapshot"
program = "zfs"
argv = ["snapshot", "-o", "bkhost:run={run}", ["-r", "{flag}"], "{snapshot...}"]
reason = "take the snapshot"
timeout = "5m"
max-output = "64KiB"
[exec.slots.snapshot]
one-of = "config.datasets"
suffix = "@bkhost-[a-z0-9-]{1,57}"
[exec.slots.run]
pattern = "[a-z0-9-]+"
max-length = 64
[exec.slots.flag]
one-of = ["x"]
[exec.env]
PGPASSWORD = { secret = "password" }
PGSSLMODE = { config = "config.sslmode" }
FOO = { value = "literal" }
[exec.stdin]
begin = "BEGIN;"
name = "NAME {run}"
[[exec]]
id = "mountpoint"
program = "zfs"
argv = ["get", "{dataset}", ["-x", "{more}"]]
reason = "where it is"
effect = "read"
[exec.slots.dataset]
one-of = "config.datasets"
[exec.slots.more]
path = "target"
[[directory]]
name = "tree"
path = "config.path"
reason = "read it"
[[directory]]
name = "mounts"
discover = { exec = "mountpoint", slot = "dataset", each = "config.datasets" }
access = "write"
reason = "read it"
[[http]]
url = "https://ec2.{config.region}.amazonaws.com"
reason = "call it"
[[http]]
url = "config.endpoint"
reason = "call it"
[[secret]]
name = "password"
reason = "log in"
[limits]
memory = "64MiB"
"#,
    );
    let manifest = Manifest::parse(&text).unwrap();
    let command = manifest.command("snapshot").unwrap();
    assert_eq!(command.timeout.0.as_secs(), 300);
    assert_eq!(command.effect, super::super::manifest::Effect::Change);
    assert_eq!(manifest.limits.memory.0, 64 << 20);
    assert_eq!(manifest.limits.cpu.0.as_secs(), 60);
    // What was read can be written and read again.
    Manifest::parse(&toml::to_string(&manifest).unwrap()).unwrap();
}

#[test]
fn defaults() {
    let manifest = Manifest::parse(&one("[]", "")).unwrap();
    let command = manifest.command("go").unwrap();
    assert_eq!((command.timeout.0.as_secs(), command.max_output.0), (600, 1 << 20));
    assert!(command.stdin.is_none());
}

/// Every refusal names the line and says what to do.
#[test]
fn refusals() {
    let slot = |text: &str| one(r#"["{a}"]"#, &format!("[exec.slots.a]\n{text}"));
    let exec = |text: &str| one(r#"["x"]"#, text);
    let directory = |text: &str| {
        manifest(&format!("[[exec]]\nid = \"list\"\nprogram = \"acme\"\nargv = [\"{{d}}\"]\nreason = \"x\"\n{text}"))
    };
    for (text, line, why) in [
        (manifest("x = 1"), 7, "unknown field"),
        (manifest("").replace("\"0.1\"", "\"9.9\""), 4, "api"),
        (manifest("").replace("\"acme\"", "\"Acme!\""), 2, "plugin name"),
        (manifest("").replace("\"1.0.0\"", "\" \""), 3, "version"),
        (manifest("").replace("\"atomic\"", "\"quick\""), 6, "unknown variant"),
        (one("[]", "[[exec]]\nid = \"go\"\nprogram = \"b\"\nreason = \"x\""), 8, "two of the command"),
        (one("[\"{x}\"]", ""), 10, "no slot says"),
        (one("[\"{x\"]", ""), 10, "without its `}`"),
        (one("[\"a{x...}\"]", "[exec.slots.x]\npattern = \"a\""), 10, "whole argument"),
        (one("[\"{x...}\", \"{x}\"]", "[exec.slots.x]\npattern = \"a\""), 10, "repeated in one place"),
        (one("[[\"-r\"]]", ""), 10, "optional group"),
        (one("[[]]", ""), 10, "optional group"),
        (exec("[exec.slots.y]\npattern = \"a\""), 13, "used nowhere"),
        (exec("shell = true"), 13, "unknown field"),
        (exec("timeout = \"0s\""), 13, "timeout"),
        (exec("timeout = \"soon\""), 13, "no duration"),
        (exec("max-output = \"1GiB\""), 13, "max-output"),
        (exec("").replace("\"acme\"\nargv", "\"/bin/sh\"\nargv"), 9, "program name"),
        (exec("").replace("\"acme\"\nargv", "\"../sh\"\nargv"), 9, "program name"),
        (exec("").replace("\"acme\"\nargv", "\"-x\"\nargv"), 9, "program name"),
        (exec("").replace("\"test\"", "\"\""), 11, "reason"),
        (slot("pattern = \"a\"\npath = \"state\""), 13, "exactly one"),
        (slot(""), 13, "exactly one"),
        (slot("pattern = \"(\""), 14, "no regular expression"),
        (slot("pattern = \"a)|(b\""), 14, "no regular expression"),
        (slot("pattern = \"a\"\nsuffix = \"b\""), 13, "with one-of only"),
        (slot("pattern = \"a\"\nmax-length = 0"), 15, "max-length"),
        (slot("pattern = \"a\"\nmax-length = 5000"), 15, "max-length"),
        (slot("one-of = \"datasets\""), 14, "no reference"),
        (slot("one-of = \"config.\""), 14, "no reference"),
        (slot("one-of = \"secret.password\""), 14, "no reference"),
        (slot("one-of = []"), 14, "empty"),
        (slot("one-of = [\"-x\"]"), 14, "starts with `-`"),
        (slot("path = \"target\""), 14, "/target"),
        (slot("path = \"etc\""), 14, "unknown variant"),
        (exec("[exec.env]\nLD_PRELOAD = { value = \"x\" }"), 14, "not for a plugin"),
        (exec("[exec.env]\nPATH = { value = \"x\" }"), 14, "not for a plugin"),
        (exec("[exec.env]\nlower = { value = \"x\" }"), 14, "environment variable"),
        (exec("[exec.env]\nA = { secret = \"none\" }"), 14, "not declared"),
        (exec("[exec.env]\nA = { config = \"sslmode\" }"), 14, "config key"),
        (exec("[exec.env]\nA = { value = \"a\\nb\" }"), 14, "control"),
        (exec("[exec.env]\nA = { file = \"x\" }"), 14, "unknown variant"),
        (exec("[exec.stdin]\nl = \"a\\nb\""), 14, "control"),
        (exec("[exec.stdin]\nl = \"{a...}\"\n[exec.slots.a]\npattern = \"a\""), 14, "repeated"),
        (manifest("[[directory]]\nname = \"t\"\nreason = \"x\""), 8, "exactly one"),
        (manifest("[[directory]]\nname = \"t\"\npath = \"/etc\"\nreason = \"x\""), 9, "config key"),
        (manifest("[[directory]]\nname = \"../t\"\npath = \"config.p\"\nreason = \"x\""), 8, "directory name"),
        (
            manifest(
                "[[directory]]\nname = \"t\"\ndiscover = { exec = \"no\", slot = \"d\", each = \"config.x\" }\nreason = \"x\"",
            ),
            9,
            "no command",
        ),
        (
            directory(
                "[exec.slots.d]\npattern = \"a\"\n[[directory]]\nname = \"t\"\ndiscover = { exec = \"list\", slot = \"d\", each = \"config.x\" }\nreason = \"x\"",
            ),
            16,
            "changes things",
        ),
        (
            directory(
                "effect = \"read\"\n[exec.slots.d]\npattern = \"a\"\n[[directory]]\nname = \"t\"\ndiscover = { exec = \"list\", slot = \"e\", each = \"config.x\" }\nreason = \"x\"",
            ),
            17,
            "to need the slot",
        ),
        (
            directory(
                "effect = \"read\"\n[exec.slots.d]\npath = \"staging\"\n[[directory]]\nname = \"t\"\ndiscover = { exec = \"list\", slot = \"d\", each = \"config.x\" }\nreason = \"x\"",
            ),
            17,
            "guest path",
        ),
        (manifest("[[http]]\nurl = \"https://*.example\"\nreason = \"x\""), 8, "wildcards"),
        (manifest("[[http]]\nurl = \"https://{region}.example\"\nreason = \"x\""), 8, "config"),
        (
            manifest("[[secret]]\nname = \"a\"\nreason = \"x\"\n[[secret]]\nname = \"a\"\nreason = \"x\""),
            8,
            "two of the secret",
        ),
        (manifest("[limits]\nmemory = \"1KiB\""), 8, "memory"),
        (manifest("[limits]\ncpu = \"0s\""), 8, "cpu"),
        (manifest("[limits]\nfreeze = \"0s\""), 8, "freeze"),
        (manifest("[limits]\nfreeze = \"6m\""), 8, "freeze is more than 5m"),
        ("not toml".to_owned(), 1, "plugin.toml"),
    ] {
        let error = refused(&text);
        assert_eq!(error.kind(), ErrorKind::Plugin);
        assert!(error.message().contains(why), "wanted {why:?}: {error}\n{text}");
        assert!(error.message().starts_with(&format!("plugin.toml:{line}: ")), "wanted line {line}: {error}\n{text}");
        assert!(error.hint_text().is_some_and(|hint| !hint.is_empty()), "{error}");
    }
}
