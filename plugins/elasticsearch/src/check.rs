//! What would fail later.

use bkhost_sdk::{Finding, Result};
use serde_json::{Value, json};

use crate::client::Client;
use crate::cluster::{self, Cluster};
use crate::config::Config;
use crate::repository::Repository;

/// What a user needs, where the cluster can be asked for it.
const PRIVILEGES: [(&str, &str); 3] = [
    ("monitor", "look at indices and health"),
    ("create_snapshot", "take snapshots"),
    ("manage", "register the repository, delete snapshots, restore"),
];

pub(crate) fn check(config: &Config, client: &Client, repository: &Repository) -> Result<Vec<Finding>> {
    let subject = format!("cluster {}", client.base());
    let cluster = match Cluster::find(client) {
        Ok(cluster) => cluster,
        Err(error) => return Ok(vec![Finding::from_error(subject, error)]),
    };
    let told = format!("{} {}, called {}", cluster.product(), cluster.version, cluster.name);
    if cluster.is_too_old() {
        return Ok(vec![
            Finding::failure(subject, format!("{told}: too old"))
                .hint("Elasticsearch 7.10 and OpenSearch 1.0 are the first that can do all that is needed"),
        ]);
    }
    let mut findings = vec![Finding::info(subject.as_str(), told)];
    findings.extend(unencrypted(client.base()).then(|| {
        Finding::warning(subject, "requests go over the network unencrypted, and the password or key with them")
            .hint("let the cluster speak TLS: url = \"https://…\", and ca-file for a CA of your own")
    }));
    let steps: [&dyn Fn() -> Result<Vec<Finding>>; 3] =
        [&|| rights(client, &cluster), &|| indices(config, client), &|| places(client, &cluster, repository)];
    for (step, subject) in steps.iter().zip(["privileges", "indices", "repository"]) {
        match step() {
            Ok(found) => findings.extend(found),
            Err(error) => findings.push(Finding::from_error(subject, error)),
        }
    }
    Ok(findings)
}

fn unencrypted(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let host = rest.split('/').next().unwrap_or_default();
    !["localhost", "127.", "[::1]"].iter().any(|local| host.starts_with(local))
}

fn indices(config: &Config, client: &Client) -> Result<Vec<Finding>> {
    let all = cluster::indices(client)?;
    // Those of a data stream are hidden, and the stream is what a pattern means.
    let streams = all.iter().filter_map(|index| {
        let rest = index.name.strip_prefix(".ds-")?;
        let (stream, _) = rest.rsplit_once('-')?;
        Some(stream.rsplit_once('-').filter(|(_, date)| date.contains('.')).map_or(stream, |(stream, _)| stream))
    });
    let mut streams = streams.filter(|stream| config.indices.iter().any(|pattern| cluster::means(pattern, stream)));
    if let Some(stream) = streams.next() {
        let subject = format!("data stream {stream}");
        let message = "it would be captured, and this plugin cannot restore data streams";
        return Ok(vec![
            Finding::failure(subject, message)
                .hint("under [part.config]: let `indices` name what is to be captured without it"),
        ]);
    }
    let names: Vec<_> = all.iter().map(|index| index.name.clone()).collect();
    let idle = cluster::idle(&config.indices, &names);
    if !idle.is_empty() {
        return Err(cluster::none(&idle));
    }
    let chosen: Vec<_> = all.iter().filter(|index| cluster::is_chosen(&config.indices, &index.name)).collect();
    let mut findings = vec![Finding::info("indices", format!("{} of {} are captured", chosen.len(), all.len()))];
    for index in chosen.iter().filter(|index| index.health == "red") {
        findings.push(
            Finding::failure(
                format!("index {}", index.name),
                "it is red: a primary shard is missing, and so would it be in the snapshot",
            )
            .hint("GET _cluster/allocation/explain says why"),
        );
    }
    let health = client.get("_cluster/health")?;
    if health.get("status").and_then(Value::as_str) == Some("red") && findings.len() == 1 {
        findings.push(Finding::warning("cluster", "it is red, by indices that are not captured"));
    }
    Ok(findings)
}

fn places(client: &Client, cluster: &Cluster, repository: &Repository) -> Result<Vec<Finding>> {
    let subject = format!("repository {}", repository.name);
    if let Some(found) = repository.registered(client)? {
        if let Some(error) = repository.objection(&found, true) {
            return Ok(vec![Finding::from_error(subject, error)]);
        }
        let nodes = repository.verify(client)?;
        // A dry run does not try it.
        let nodes = nodes.map_or_else(String::new, |nodes| format!("; {nodes} nodes can write to it"));
        return Ok(vec![Finding::info(subject, format!("{} {}{nodes}", repository.kind, repository.place()))]);
    }
    let objection = if repository.kind == "fs" { paths(client, repository) } else { plugins(client, cluster) };
    let registered =
        Finding::info(subject.as_str(), format!("{} {}: it will be registered", repository.kind, repository.place()));
    Ok(vec![objection.map_or(registered, |(message, hint)| Finding::failure(subject, message).hint(hint))])
}

/// Why no `fs` repository can be registered there, if the nodes tell.
fn paths(client: &Client, repository: &Repository) -> Option<(String, &'static str)> {
    // Some services do not let this be seen.
    let nodes = client.get("_nodes/settings").ok()?;
    let location = repository.settings.get("location")?.trim_end_matches('/').to_owned();
    for node in nodes.get("nodes")?.as_object()?.values() {
        let name = node.get("name").and_then(Value::as_str).unwrap_or_default();
        let repo = node.pointer("/settings/path/repo");
        let paths: Vec<&str> = match repo {
            Some(Value::Array(paths)) => paths.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(path)) => path.split(',').map(str::trim).collect(),
            _ => Vec::new(),
        };
        let below = |path: &&str| {
            let path = path.trim_end_matches('/');
            location == path || location.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
        };
        // A relative one is below the first.
        let good = if location.starts_with('/') { paths.iter().any(below) } else { !paths.is_empty() };
        if !good || location.split('/').any(|piece| piece == "..") {
            let known = if paths.is_empty() { "is not set".to_owned() } else { format!("is {}", paths.join(", ")) };
            return Some((
                format!("the location {location} is not below path.repo, which {known} on the node {name}"),
                "set path.repo in the elasticsearch.yml (opensearch.yml) of every node, and restart them",
            ));
        }
    }
    None
}

/// Why no `s3` repository can be registered, if the nodes tell.
fn plugins(client: &Client, cluster: &Cluster) -> Option<(String, &'static str)> {
    if cluster.has_s3() {
        return None;
    }
    let plugins = client.get("_cat/plugins?format=json&h=name,component").ok()?;
    let there =
        plugins.as_array()?.iter().any(|item| item.get("component").and_then(Value::as_str) == Some("repository-s3"));
    (!there).then(|| {
        (
            "no node has the plugin repository-s3".to_owned(),
            "on every node: elasticsearch-plugin (opensearch-plugin) install repository-s3, then restart it",
        )
    })
}

/// What the cluster says of the user's privileges; nothing where it has no security, or another one.
fn rights(client: &Client, cluster: &Cluster) -> Result<Vec<Finding>> {
    if cluster.opensearch {
        return Ok(Vec::new());
    }
    let names: Vec<_> = PRIVILEGES.iter().map(|(name, _)| *name).collect();
    // A refusal says that there is no security.
    let Ok(answer) = client.ask("_security/user/_has_privileges", &json!({ "cluster": names })) else {
        return Ok(Vec::new());
    };
    let user = answer.get("username").and_then(Value::as_str).unwrap_or("the user").to_owned();
    let lacks = |name: &str| answer.pointer(&format!("/cluster/{name}")).and_then(Value::as_bool) == Some(false);
    let lacking = PRIVILEGES.iter().filter(|(name, _)| lacks(name));
    Ok(lacking
        .map(|(name, what)| {
            Finding::failure("privileges", format!("{user} lacks the cluster privilege {name}: {what}"))
                .hint("give it to a role of this user, or take another user")
        })
        .collect())
}
