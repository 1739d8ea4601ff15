//! The lines of `bkhost.toml` that would allow something, ready to paste.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use super::manifest::{DirectoryRequest, config_key};
use super::rights::RightsRequest;
use super::slots::{config_value, texts};
use super::{Access, Manifest, program, server};

fn quote(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// The programs a manifest runs.
pub(super) fn programs(manifest: &Manifest) -> Vec<&str> {
    let names: BTreeSet<_> = manifest.exec.iter().map(|e| e.program.as_str()).collect();
    names.into_iter().collect()
}

/// `exec = { … }`
pub(super) fn exec<'a>(programs: impl Iterator<Item = (&'a str, &'a Path)>) -> String {
    let all: Vec<_> = programs.map(|(id, path)| format!("{id} = {}", quote(&path.to_string_lossy()))).collect();
    if all.is_empty() { "exec = {}".to_owned() } else { format!("exec = {{ {} }}", all.join(", ")) }
}

/// `read = […]`, `write = […]` or `freeze = […]`
pub(super) fn paths<'a>(key: &str, paths: impl Iterator<Item = &'a Path>) -> String {
    let all: Vec<_> = paths.map(|path| quote(&path.to_string_lossy())).collect();
    format!("{key} = [{}]", all.join(", "))
}

/// `http = […]`
pub(super) fn http(servers: impl Iterator<Item = (String, bool)>) -> String {
    let all: Vec<_> = servers
        .map(
            |(url, private)| if private { format!("{{ url = {}, private = true }}", quote(&url)) } else { quote(&url) },
        )
        .collect();
    format!("http = [{}]", all.join(", "))
}

/// `sign = […]`
pub(super) fn sign(servers: impl Iterator<Item = String>) -> String {
    let all: Vec<_> = servers.map(|url| quote(&url)).collect();
    format!("sign = [{}]", all.join(", "))
}

/// A whole `[[grant]]` with all that the plugin asks for in this part.
pub(super) fn full(request: &RightsRequest<'_>) -> String {
    let manifest = request.manifest;
    let programs: Vec<_> = manifest
        .exec
        .iter()
        .map(|e| {
            let found = request.programs.get(&e.program).cloned().or_else(|| program::find(&e.program, &e.search));
            (e.id.as_str(), found.unwrap_or_else(|| Path::new("/path/of").join(&e.program)))
        })
        .collect();
    let mut discovered = Vec::new();
    let mut directories = |key: &'static str, wanted: &dyn Fn(&DirectoryRequest) -> bool| {
        let mut all = BTreeSet::new();
        for directory in manifest.directory.iter().filter(|directory| wanted(directory)) {
            match (&directory.path, &directory.discover) {
                (Some(path), _) => {
                    let value = config_key(path).and_then(|key| config_value(request.config, key));
                    all.extend(value.map(texts).unwrap_or_default());
                }
                (None, Some(discover)) => discovered.push((key, discover.exec.clone())),
                (None, None) => {}
            }
        }
        paths(key, all.iter().map(Path::new))
    };
    let read = directories("read", &|directory| directory.access == Access::Read);
    let write = directories("write", &|directory| directory.access == Access::Write);
    let freeze = manifest.directory.iter().any(|directory| directory.freeze);
    let freeze = freeze.then(|| directories("freeze", &|directory| directory.freeze));
    let servers = |signed: bool| -> BTreeSet<String> {
        let asked = manifest.http.iter().filter(|http| !signed || http.sign.is_some());
        let all = asked.flat_map(|http| server::resolve_template(&http.url, request.config).unwrap_or_default());
        all.map(|server| server.to_string()).collect()
    };

    let mut text = String::new();
    let mut line = |line: &str| {
        let _infallible = writeln!(text, "{line}");
    };
    line("[[grant]]");
    line(&format!("plugin = {}", quote(request.plugin)));
    line(&format!("sha256 = {}", quote(request.digest)));
    line(&exec(programs.iter().map(|(id, path)| (*id, path.as_path()))));
    for (key, exec) in discovered {
        line(&format!("# {key}: add the directories that the command {exec} prints"));
    }
    line(&read);
    line(&write);
    if let Some(freeze) = freeze {
        line(&freeze);
    }
    line(&http(servers(false).into_iter().map(|url| (url, false))));
    let signed = servers(true);
    if !signed.is_empty() {
        line("# requests to these are signed with the keys of this host:");
        line(&sign(signed.into_iter()));
    }
    text
}
