//! What a component imports against what its manifest asks for: code that nobody was told about does not start.

use std::collections::BTreeMap;

use crate::capability::Manifest;
use crate::error::{Error, ErrorKind, Result};

/// The interface that makes a component a strategy.
const STRATEGY: &str = "bkhost:snapshot/strategy";
/// The optional interface of plugins that check what was archived.
pub(super) const VERIFY: &str = "bkhost:snapshot/verify";
/// The optional interface of plugins that rehearse a restore.
pub(super) const DRILL: &str = "bkhost:snapshot/drill";
/// The optional interface of plugins whose system has an identifier of its own.
pub(super) const IDENTITY: &str = "bkhost:snapshot/identity";
/// The optional interface of plugins that copy snapshots to other places.
pub(super) const OFFSITE: &str = "bkhost:snapshot/offsite";
/// The optional interface of plugins that capture volumes on which files of other parts may lie.
pub(super) const COVERS: &str = "bkhost:snapshot/covers";
/// The optional interface of plugins whose restore makes something at their vendor.
pub(super) const UNFINISHED: &str = "bkhost:snapshot/unfinished";
/// The version of the contract this build speaks, without its patch level.
const CONTRACT: &str = "0.1";

const EXEC: &str = "[[exec]]\nid = \"…\"\nprogram = \"…\"\nargv = […]\nreason = \"…\"";
const DIRECTORY: &str = "[[directory]]\nname = \"…\"\npath = \"config.…\"\nreason = \"…\"";
const FREEZE: &str = "[[directory]]\nname = \"…\"\npath = \"config.…\"\nfreeze = true\nreason = \"…\"";
const HTTP: &str = "[[http]]\nurl = \"https://…\"\nreason = \"…\"";

/// Refuses a component that is no strategy for this build, or imports what it did not ask for.
pub(super) fn check(manifest: &Manifest, imports: &BTreeMap<String, Vec<String>>, exports: &[String]) -> Result<()> {
    check_exports(exports)?;
    for (import, functions) in imports {
        check_import(manifest, import, functions)?;
    }
    Ok(())
}

/// Whether an optional interface is among the exports.
pub(super) fn offers(exports: &[String], interface: &str) -> bool {
    exports.iter().any(|export| split(export).0 == interface)
}

fn check_exports(exports: &[String]) -> Result<()> {
    for (interface, version) in exports.iter().map(|export| split(export)) {
        if matches!(interface, VERIFY | DRILL | IDENTITY | OFFSITE | COVERS | UNFINISHED) && !speaks(version) {
            return Err(other_version(interface, version));
        }
    }
    let offered = exports.iter().map(|export| split(export)).find(|(interface, _)| *interface == STRATEGY);
    match offered {
        Some((_, version)) if speaks(version) => Ok(()),
        Some((_, version)) => Err(other_version(STRATEGY, version)),
        None => Err(Error::new(ErrorKind::Plugin, format!("it is no strategy: it does not export `{STRATEGY}`"))
            .hint("a plugin implements the SDK's trait Strategy and calls its export macro")),
    }
}

fn check_import(manifest: &Manifest, import: &str, functions: &[String]) -> Result<()> {
    let (interface, version) = split(import);
    let (package, name) = interface.split_once('/').unwrap_or((interface, ""));
    match package {
        // What every program of Rust's standard library imports. Without a directory it can do nothing.
        "wasi:cli" | "wasi:io" | "wasi:clocks" | "wasi:random" | "wasi:filesystem" if version.starts_with("0.2.") => {
            Ok(())
        }
        "wasi:http" if matches!(name, "types" | "outgoing-handler") && version.starts_with("0.2.") => {
            asked(!manifest.http.is_empty(), import, "no server", HTTP)
        }
        "wasi:sockets" => Err(refused(import, "which no plugin gets")
            .hint("sockets would go round the gate: call servers through wasi:http, and tools through commands")),
        "bkhost:snapshot" if !speaks(version) => Err(other_version(interface, version)),
        "bkhost:snapshot" => match name {
            "types" | "config" | "log" | "progress" | "history" => Ok(()),
            // The contract's own types name the process: only functions count.
            "exec" => asked(functions.is_empty() || !manifest.exec.is_empty(), import, "no command", EXEC),
            "mirror" | "digest" | "others" => {
                asked(functions.is_empty() || !manifest.directory.is_empty(), import, "no directory", DIRECTORY)
            }
            "freeze" => {
                let freezes = manifest.directory.iter().any(|directory| directory.freeze);
                asked(functions.is_empty() || freezes, import, "no directory that may be frozen", FREEZE)
            }
            "archive" => {
                let feeds = functions.iter().any(|f| f == "feed");
                asked(!feeds || !manifest.exec.is_empty(), import, "no command", EXEC)
            }
            _ => Err(unknown(import)),
        },
        _ => Err(unknown(import)),
    }
}

fn asked(asked: bool, import: &str, nothing: &str, line: &str) -> Result<()> {
    if asked {
        return Ok(());
    }
    Err(refused(import, &format!("but its manifest asks for {nothing}"))
        .hint(format!("its author has to build it without that import, or to add to its plugin.toml:\n{line}")))
}

fn refused(import: &str, why: &str) -> Error {
    Error::new(ErrorKind::Denied, format!("it imports `{import}`, {why}"))
}

fn unknown(import: &str) -> Error {
    refused(import, "which this bkhost does not offer")
        .hint("a newer bkhost may: no line of a manifest or of the configuration allows it here")
}

fn other_version(interface: &str, version: &str) -> Error {
    Error::new(ErrorKind::Plugin, format!("it speaks `{interface}` version {version}; this bkhost speaks {CONTRACT}"))
        .hint("use a version of the plugin that was built for this bkhost")
}

fn split(name: &str) -> (&str, &str) {
    name.split_once('@').unwrap_or((name, ""))
}

/// A patch level of the contract only adds to it.
fn speaks(version: &str) -> bool {
    version.strip_prefix(CONTRACT).is_some_and(|rest| rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str =
        "[plugin]\nname = \"x\"\nversion = \"1.0.0\"\napi = \"0.1\"\nkind = \"other\"\nconsistency = \"copied\"\n";

    fn manifest(more: &str) -> Manifest {
        Manifest::parse(&format!("{PLAIN}{more}")).unwrap()
    }

    fn try_import(more: &str, import: &str, functions: &[&str]) -> Result<()> {
        let functions = functions.iter().map(|f| (*f).to_owned()).collect();
        check(&manifest(more), &BTreeMap::from([(import.to_owned(), functions)]), &[format!("{STRATEGY}@0.1.0")])
    }

    #[test]
    fn the_baseline_needs_no_line() {
        for import in [
            "wasi:cli/environment@0.2.6",
            "wasi:io/poll@0.2.0",
            "wasi:clocks/wall-clock@0.2.6",
            "wasi:filesystem/types@0.2.6",
            "wasi:random/random@0.2.6",
            "bkhost:snapshot/types@0.1.0",
            "bkhost:snapshot/config@0.1.3",
            "bkhost:snapshot/log@0.1.0",
        ] {
            try_import("", import, &["f"]).unwrap();
        }
        try_import("", "bkhost:snapshot/exec@0.1.0", &[]).unwrap();
        try_import("", "bkhost:snapshot/archive@0.1.0", &["extract"]).unwrap();
    }

    #[test]
    fn what_was_not_asked_for_is_refused_with_the_line() {
        let exec = "[[exec]]\nid = \"a\"\nprogram = \"true\"\nargv = []\nreason = \"r\"\n";
        let directory = "[[directory]]\nname = \"tree\"\npath = \"config.path\"\nreason = \"r\"\n";
        let freeze = "[[directory]]\nname = \"tree\"\npath = \"config.path\"\nfreeze = true\nreason = \"r\"\n";
        let http = "[[http]]\nurl = \"https://a.example\"\nreason = \"r\"\n";
        for (import, function, line, asked) in [
            ("wasi:http/outgoing-handler@0.2.4", "handle", "[[http]]", http),
            ("wasi:http/types@0.2.4", "x", "[[http]]", http),
            ("bkhost:snapshot/exec@0.1.0", "run", "[[exec]]", exec),
            ("bkhost:snapshot/archive@0.1.0", "feed", "[[exec]]", exec),
            ("bkhost:snapshot/mirror@0.1.0", "copy", "[[directory]]", directory),
            ("bkhost:snapshot/freeze@0.1.0", "freeze", "freeze = true", freeze),
            ("bkhost:snapshot/digest@0.1.0", "file", "[[directory]]", directory),
            ("bkhost:snapshot/others@0.1.0", "holds", "[[directory]]", directory),
        ] {
            let error = try_import("", import, &[function]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Denied);
            assert!(error.message().contains(import), "{error}");
            assert!(error.hint_text().unwrap().contains(line), "{error:?}");
            try_import(asked, import, &[function]).unwrap();
        }
    }

    #[test]
    fn nothing_else_is_offered() {
        for import in [
            "wasi:sockets/tcp@0.2.6",
            "wasi:sockets/network@0.2.6",
            "wasi:http/incoming-handler@0.2.4",
            "wasi:cli/environment@0.3.0",
            "wasi:keyvalue/store@0.2.0",
            "acme:secret/door@1.0.0",
            "bkhost:snapshot/shell@0.1.0",
            "env",
        ] {
            let error = try_import("", import, &["f"]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
            assert!(error.message().contains(import), "{error}");
        }
    }

    #[test]
    fn another_version_of_the_contract_is_refused() {
        for version in ["0.2.0", "1.0.0", "0.10.0", ""] {
            let export = format!("{STRATEGY}@{version}");
            let error = check(&manifest(""), &BTreeMap::new(), &[export]).unwrap_err();
            assert!(error.message().contains("this bkhost speaks 0.1"), "{error}");
            let error = try_import("", &format!("bkhost:snapshot/exec@{version}"), &[]).unwrap_err();
            assert!(error.message().contains("this bkhost speaks 0.1"), "{error}");
        }
    }

    #[test]
    fn optional_interfaces_are_found_and_their_version_checked() {
        let export = |interface: &str, version: &str| format!("{interface}@{version}");
        let exports = [export(STRATEGY, "0.1.0"), export(DRILL, "0.1.0"), "bkhost:snapshot/standby@0.1.0".to_owned()];
        check(&manifest(""), &BTreeMap::new(), &exports).unwrap();
        assert!(offers(&exports, DRILL) && !offers(&exports, VERIFY));
        for interface in [VERIFY, DRILL, OFFSITE] {
            let exports = [export(STRATEGY, "0.1.0"), export(interface, "0.2.0")];
            let error = check(&manifest(""), &BTreeMap::new(), &exports).unwrap_err();
            assert!(error.message().contains(interface) && error.message().contains("0.2.0"), "{error}");
        }
    }

    #[test]
    fn a_component_without_the_export_is_no_strategy() {
        let error = check(&manifest(""), &BTreeMap::new(), &["wasi:cli/run@0.2.6".into()]).unwrap_err();
        assert!(error.message().contains("no strategy"), "{error}");
    }
}
