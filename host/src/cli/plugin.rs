//! `bkhost plugin`

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use super::args::PluginCommand;
use super::context::Context;
use super::output;
use crate::capability::manifest::{Argv, ExecRequest, RestoreTarget};
use crate::capability::{Origin, Rights, RightsRequest};
use crate::error::{Error, ErrorKind, Result};
use crate::plugin::{self, Plugin, Severity};
use crate::units;

pub(super) async fn plugin(context: &Context, what: &PluginCommand) -> Result<ExitCode> {
    let (PluginCommand::Inspect { plugin: name } | PluginCommand::Check { plugin: name }) = what;
    let host = context.host(None)?;
    // On a command line, a file in the current directory is what is meant; in a configuration it would be a surprise.
    let local = PathBuf::from(name);
    let path = if local.is_file() { local } else { host.find(name)? };
    let plugin = host.load(&path)?;
    if matches!(what, PluginCommand::Check { .. }) {
        return check(context, &plugin);
    }
    if context.global.json {
        output::json(&serde_json::json!({
            "path": plugin.path(),
            "sha256": plugin.digest(),
            "bytes": plugin.size(),
            "shipped": plugin.origin() == Origin::Shipped,
            "manifest": plugin.manifest(),
            "imports": plugin.imports(),
            "verifies": plugin.verifies(),
            "rehearses": plugin.rehearses(),
            "identifies": plugin.identifies(),
            "config-schema": plugin.schema().json(),
            "grant": grant(&plugin, name),
        }))?;
    } else {
        print(&plugin, name);
    }
    Ok(ExitCode::SUCCESS)
}

fn check(context: &Context, plugin: &Plugin) -> Result<ExitCode> {
    let findings = plugin::review(plugin)?;
    if context.global.json {
        output::json(&serde_json::json!({ "plugin": plugin.name(), "findings": findings }))?;
    } else {
        findings.iter().for_each(|finding| output::finding(plugin.name(), finding));
        if findings.is_empty() {
            output::line(format!("{}: nothing to put right", plugin.name()));
        }
    }
    let failures = findings.iter().filter(|finding| finding.severity == Severity::Failure).count();
    if failures == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Error::new(ErrorKind::Plugin, format!("{}: {failures} of the findings above are failures", plugin.name())))
}

fn print(plugin: &Plugin, name: &str) {
    let manifest = plugin.manifest();
    let field = |name: &str, value: String| output::line(format!("{name:<12} {value}"));
    field("plugin", format!("{} {}: {}", plugin.name(), manifest.plugin.version, manifest.plugin.description));
    field("file", format!("{} ({})", plugin.path().display(), units::human_bytes(plugin.size())));
    field("sha256", plugin.digest().to_owned());
    field(
        "origin",
        match plugin.origin() {
            Origin::Shipped => "came with this bkhost".to_owned(),
            Origin::ThirdParty => "third party: needs a grant".to_owned(),
        },
    );
    let own = |has: bool, whose: &str, hosts: &str| if has { whose.to_owned() } else { hosts.to_owned() };
    field(
        "verify",
        own(plugin.verifies(), "has a check of its own for what was archived", "bytes and files, by bkhost"),
    );
    let directory = plugin.manifest().restore.target == RestoreTarget::Directory;
    let without = if directory { "into a scratch directory, compared by bkhost" } else { "cannot be rehearsed" };
    field("drill", own(plugin.rehearses(), "rehearses a restore itself", without));
    let without = if directory { "by bkhost" } else { "by hand" };
    field("unfinished", own(plugin.abandons(), "removes what a restore that died has left", without));
    output::line("\nIt asks for:");
    for exec in &manifest.exec {
        field("command", format!("{} {}", exec.program, argv(exec)));
        field("", format!("{}: {}", exec.id, exec.reason));
    }
    for directory in &manifest.directory {
        let frozen = if directory.freeze { " (its file system may be frozen)" } else { "" };
        field("directory", format!("/source/{}{frozen}: {}", directory.name, directory.reason));
    }
    for http in &manifest.http {
        let signed =
            http.sign.as_ref().map(|sign| format!(" (signed for {} with AWS keys of this host)", sign.service));
        let named: Vec<_> = http.authenticate.iter().map(|how| how.secret.as_str()).collect();
        let named = if named.is_empty() { String::new() } else { format!(" (with the secret {})", named.join(" or ")) };
        field("server", format!("{}{}{named}: {}", http.url, signed.unwrap_or_default(), http.reason));
    }
    for secret in &manifest.secret {
        field("secret", format!("{}: {}", secret.name, secret.reason));
    }
    let keys = plugin.schema().json().get("properties").and_then(|keys| keys.as_object());
    output::line("\nKeys of [part.config]:");
    for (key, schema) in keys.into_iter().flatten() {
        let text = |name: &str| schema.get(name).and_then(|text| text.as_str()).unwrap_or_default().to_owned();
        field(key, text("description"));
    }
    if let Some(grant) = grant(plugin, name) {
        output::line(format!("\nTo allow all of it, after review, add to bkhost.toml:\n\n{grant}"));
    }
}

/// The arguments as the manifest has them; optional groups in brackets.
fn argv(exec: &ExecRequest) -> String {
    let words = exec.argv.iter().map(|word| match word {
        Argv::One(word) => word.clone(),
        Argv::Group(words) => format!("[{}]", words.join(" ")),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The grant to paste. The refusal for its lack is the one place that knows it.
fn grant(plugin: &Plugin, name: &str) -> Option<String> {
    if plugin.origin() == Origin::Shipped {
        return None;
    }
    Rights::resolve(RightsRequest {
        manifest: plugin.manifest(),
        digest: plugin.digest(),
        origin: plugin.origin(),
        plugin: name,
        grant: None,
        part: "part",
        config: &serde_json::json!({}),
        secrets: BTreeMap::new(),
        programs: BTreeMap::new(),
        via: Vec::new(),
        run_as: None,
        staging: PathBuf::from("/"),
        state: PathBuf::from("/"),
        target: None,
        restore_to: None,
    })
    .err()
    .and_then(|refusal| refusal.hint_text().map(str::to_owned))
}
