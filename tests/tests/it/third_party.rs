//! A plugin that did not come with this bkhost.

use std::path::PathBuf;
use std::process::Command;

use bkhost_tests::{Bkhost, application_none, listing, plugins, postgres, tool};

/// A copy of a shipped plugin with one more custom section, which nothing looks at: another file all the same.
fn changed(bk: &Bkhost, plugin: &str) -> PathBuf {
    let mut bytes = std::fs::read(plugins().join(plugin)).unwrap();
    let name = b"note";
    bytes.extend([0, 2 + name.len() as u8, name.len() as u8]);
    bytes.extend(name);
    bytes.push(b'!');
    let path = bk.path(plugin);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn sha256(path: &PathBuf) -> String {
    let mut command = Command::new("sha256sum");
    command.arg(path);
    tool(command).split(' ').next().unwrap().to_owned()
}

/// The `[[grant]]` in what was printed.
fn stanza(text: &str) -> String {
    let from = text.find("[[grant]]").unwrap_or_else(|| panic!("no [[grant]] in {text}"));
    let lines = text[from..].lines().map(str::trim).take_while(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

#[test]
fn a_changed_plugin_needs_a_grant_and_the_refusal_is_one() {
    let bk = Bkhost::new();
    std::fs::create_dir(bk.path("home")).unwrap();
    std::fs::write(bk.path("home/f"), "1").unwrap();
    let plugin = changed(&bk, "directory.wasm");
    let part = format!(
        "[[part]]\nname = \"home\"\nplugin = \"{}\"\n[part.config]\npath = \"{}\"\n",
        plugin.display(),
        bk.path("home").display()
    );
    bk.config(&[&application_none(), &part]);
    let digest = sha256(&plugin);
    let refused = bk.run(&["run"]).fails(4, &["did not come with this bkhost", "[[grant]]", &digest]);
    assert_eq!(bk.stored(), [""; 0]);
    let grant = stanza(&refused.stderr);
    assert!(grant.contains(&format!("read = [\"{}\"]", bk.path("home").display())), "{grant}");

    // Pasting it is all that it takes.
    bk.config(&[&application_none(), &part, &grant]);
    let id = bk.backup_id();
    let to = bk.path("restored").display().to_string();
    bk.run(&["restore", &id, "--to", &to, "--confirm", bk.instance()]).ok();
    assert_eq!(listing(&bk.path("home")), listing(&bk.path("restored")));

    // Another file under the same name is not what was granted.
    let mut bytes = std::fs::read(&plugin).unwrap();
    *bytes.last_mut().unwrap() = b'?';
    std::fs::write(&plugin, bytes).unwrap();
    let other = sha256(&plugin);
    let refused =
        bk.run(&["run"]).fails(4, &["is not the file that was granted", &digest, &format!("sha256 = \"{other}\"")]);
    assert!(refused.stderr.contains("plugin inspect"), "{refused}");

    // A grant of less.
    let less = grant.replace(&digest, &other).replace(&bk.path("home").display().to_string(), "/nowhere");
    bk.config(&[&application_none(), &part, &less]);
    let line = format!("read = [\"/nowhere\", \"{}\"]", bk.path("home").display());
    bk.run(&["run"]).fails(4, &["does not let it read", &line]);
    assert_eq!(bk.list().len(), 1);
}

#[test]
fn commands_are_granted_one_by_one() {
    let postgres = postgres();
    let bk = Bkhost::new();
    postgres.create(bk.instance(), 10);
    let plugin = changed(&bk, "postgresql.wasm");
    let part = postgres.part("database", bk.instance(), "").replace("postgresql.wasm", &plugin.display().to_string());
    bk.config(&[&application_none(), &part]);
    let grant = stanza(&bk.run(&["run"]).fails(4, &["[[grant]]"]).stderr);
    bk.config(&[&application_none(), &part, &grant]);
    let id = bk.backup_id();
    bk.run(&["verify", &id]).ok();
    // Without the dump, the refusal is the line that would allow it.
    let without = grant.replacen("dump = ", "dump-not = ", 1);
    bk.config(&[&application_none(), &part, &without]);
    bk.run(&["run"]).fails(3, &["dump-not"]);
    let from = grant.find(" dump = ").unwrap();
    let to = from + grant[from..].find(',').unwrap();
    let without = format!("{}{}", &grant[..from], &grant[to + 1..]);
    bk.config(&[&application_none(), &part, &without]);
    bk.run(&["run"]).fails(4, &["dump", "[[grant]]", "pg_dump"]);
    assert_eq!(bk.list().len(), 1);
}

#[test]
fn inspect_tells_what_it_asks_for() {
    let bk = Bkhost::new();
    let plugin = changed(&bk, "zfs.wasm").display().to_string();
    let shipped = bk.run(&["plugin", "inspect", "zfs"]);
    // The changed one is in the current directory, but a bare name without `.wasm` is none of it.
    let shipped = shipped.ok();
    assert!(shipped.stdout.contains("came with this bkhost"), "{shipped}");
    for text in ["zfs snapshot", "take the snapshot", "datasets"] {
        assert!(shipped.stdout.contains(text), "{text}: {shipped}");
    }
    assert!(!shipped.stdout.contains("[[grant]]"), "{shipped}");
    let inspected = bk.run(&["plugin", "inspect", &plugin]).ok();
    assert!(inspected.stdout.contains("third party"), "{inspected}");
    assert!(stanza(&inspected.stdout).contains(&sha256(&PathBuf::from(&plugin))), "{inspected}");
    let json = bk.run(&["plugin", "inspect", &plugin, "--json"]).ok().json();
    assert_eq!((&json["shipped"], &json["sha256"]), (&false.into(), &sha256(&PathBuf::from(&plugin)).into()));
    assert_eq!(json["manifest"]["plugin"]["name"], "zfs");
}

#[test]
fn what_is_no_plugin() {
    let bk = Bkhost::new();
    let good = std::fs::read(plugins().join("directory.wasm")).unwrap();
    for (what, bytes) in [("empty", &[][..]), ("text", b"hello"), ("cut", &good[..good.len() / 2])] {
        std::fs::write(bk.path("x.wasm"), bytes).unwrap();
        let outcome = bk.run(&["plugin", "inspect", "./x.wasm"]);
        assert!([3, 4, 6].contains(&outcome.code) && outcome.stderr.contains("x.wasm"), "{what}: {outcome}");
    }
    bk.run(&["plugin", "inspect", "no-such"]).fails(13, &["no plugin `no-such.wasm`", "directory.wasm"]);
}
