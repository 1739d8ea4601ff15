//! What is answered, in the forms of the public documentation.

use std::collections::BTreeMap;
use std::path::{Component, Path};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::files;
use super::rules::Request;
use super::world::{Auth, Flavor, Index, Restored, World, shard_of};
use crate::aws::http::Message;

fn ok(body: &Value) -> Message {
    Message::response(200, "application/json", &body.to_string())
}

/// A refusal.
pub(super) fn error(status: u16, kind: &str, reason: &str) -> Message {
    let cause = json!({ "type": kind, "reason": reason });
    let body = json!({ "error": { "root_cause": [cause], "type": kind, "reason": reason }, "status": status });
    Message::response(status, "application/json", &body.to_string())
}

fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            let mut starts = (0..=rest.len()).filter(|at| rest.is_char_boundary(*at));
            starts.any(|at| fits(after, &rest[at..]))
        }),
    }
}

/// The privilege that a call needs.
fn action(request: &Request, segments: &[&str]) -> &'static str {
    match (request.method.as_str(), segments) {
        ("PUT", ["_snapshot", _]) => "cluster:admin/repository/put",
        ("GET", ["_snapshot", _]) => "cluster:admin/repository/get",
        ("POST", ["_snapshot", _, "_verify"]) => "cluster:admin/repository/verify",
        ("GET", ["_snapshot", .., "_status"]) => "cluster:admin/snapshot/status",
        ("PUT", ["_snapshot", _, _]) => "cluster:admin/snapshot/create",
        ("GET", ["_snapshot", _, _]) => "cluster:admin/snapshot/get",
        ("DELETE", ["_snapshot", _, _]) => "cluster:admin/snapshot/delete",
        ("POST", ["_snapshot", _, _, "_restore"]) => "cluster:admin/snapshot/restore",
        ("DELETE", [_]) => "indices:admin/delete",
        _ => "cluster:monitor/main",
    }
}

pub(super) fn answer(world: &mut World, request: &Request) -> Message {
    let segments: Vec<&str> = request.path.split('/').filter(|segment| !segment.is_empty()).collect();
    let needed = action(request, &segments);
    if world.denied.iter().any(|denied| denied == needed) {
        let reason = if world.flavor.is_opensearch() {
            format!("no permissions for [{needed}] and User [name=backup, backend_roles=[], requestedTenant=null]")
        } else {
            format!("action [{needed}] is unauthorized for user [backup] with effective roles [watcher]")
        };
        return error(403, "security_exception", &reason);
    }
    match (request.method.as_str(), segments.as_slice()) {
        ("GET", []) => root(world),
        ("GET", ["_cat", what]) => cat(world, what),
        ("GET", ["_cluster", "health"]) => health(world),
        ("GET", ["_nodes", "settings"]) => {
            let repo = world.path_repo.as_ref().map(|path| json!({ "repo": [path.display().to_string()] }));
            ok(&json!({ "nodes": { "n1": { "name": "node-1", "settings": { "path": repo.unwrap_or(json!({})) } } } }))
        }
        ("GET", ["_security", "user", "_has_privileges"]) => privileges(world, request),
        ("GET", ["_snapshot", repository]) => match world.repositories.get(*repository) {
            Some(found) => {
                ok(&json!({ *repository: { "type": found.kind, "uuid": "r1", "settings": found.settings } }))
            }
            None => missing_repository(repository),
        },
        ("PUT", ["_snapshot", repository]) => register(world, repository, &request.body),
        (method, ["_snapshot", repository, rest @ ..]) => {
            if world.repositories.contains_key(*repository) {
                snapshots(world, method, repository, rest, request)
            } else {
                missing_repository(repository)
            }
        }
        (method, [index, rest @ ..]) if !index.starts_with('_') => indices(world, method, index, rest),
        _ => error(
            400,
            "illegal_argument_exception",
            &format!("no handler found for uri [{}] and method [{}]", request.path, request.method),
        ),
    }
}

fn missing_repository(name: &str) -> Message {
    error(404, "repository_missing_exception", &format!("[{name}] missing"))
}

fn root(world: &World) -> Message {
    let mut version = json!({ "number": world.version, "build_type": "tar", "lucene_version": "9.7.0" });
    let tagline = if world.flavor.is_opensearch() {
        version["distribution"] = json!("opensearch");
        "The OpenSearch Project: https://opensearch.org/"
    } else {
        version["build_flavor"] = json!("default");
        "You Know, for Search"
    };
    ok(
        &json!({ "name": "node-1", "cluster_name": "stub", "cluster_uuid": "c1", "version": version, "tagline": tagline }),
    )
}

fn status(index: &Index) -> &'static str {
    if index.works() { "yellow" } else { "red" }
}

fn cat(world: &World, what: &str) -> Message {
    let mut rows = Vec::new();
    if what == "plugins" && world.s3 {
        rows.push(json!({ "name": "node-1", "component": "repository-s3" }));
    }
    for (name, index) in &world.indices {
        match what {
            "indices" => {
                let open = if index.open { "open" } else { "close" };
                rows.push(json!({ "index": name, "status": open, "health": status(index) }));
            }
            "shards" => {
                for shard in 0..index.shards {
                    let state = if index.broken.is_some() {
                        "UNASSIGNED"
                    } else if index.is_restoring() {
                        "INITIALIZING"
                    } else {
                        "STARTED"
                    };
                    let reason = index.broken.as_ref().map(|_| "ALLOCATION_FAILED");
                    rows.push(json!({ "index": name, "shard": shard.to_string(), "prirep": "p", "state": state,
                        "unassigned.reason": reason, "unassigned.details": index.broken }));
                }
            }
            "recovery" => {
                let Some(from) = &index.restored else { continue };
                let whole = from.ends.saturating_duration_since(from.begun).as_secs_f64().max(0.001);
                let part = (from.begun.elapsed().as_secs_f64() / whole).min(1.0);
                let stage = if index.is_restoring() { "index" } else { "done" };
                let done = (from.bytes as f64 * part) as u64;
                rows.push(json!({ "index": name, "shard": "0", "type": "snapshot", "stage": stage, "repository": from.repository,
                    "snapshot": from.snapshot, "bytes_recovered": done.to_string(), "bytes_total": from.bytes.to_string() }));
            }
            _ => {}
        }
    }
    ok(&Value::Array(rows))
}

fn health(world: &World) -> Message {
    let of = |index: &Index| {
        let active = if index.works() { index.shards } else { 0 };
        json!({ "status": status(index), "number_of_shards": index.shards, "number_of_replicas": 1, "active_primary_shards": active,
            "active_shards": active, "relocating_shards": 0, "initializing_shards": index.shards - active, "unassigned_shards": 0 })
    };
    let indices: Map<String, Value> = world.indices.iter().map(|(name, index)| (name.clone(), of(index))).collect();
    let all = if world.indices.values().all(Index::works) { "yellow" } else { "red" };
    ok(&json!({ "cluster_name": "stub", "status": all, "timed_out": false, "number_of_nodes": 1, "indices": indices }))
}

fn privileges(world: &World, request: &Request) -> Message {
    if matches!(world.auth, Auth::Anybody) || world.flavor.is_opensearch() {
        return error(400, "illegal_argument_exception", "no handler found");
    }
    let lacks = |name: &str| {
        world.denied.iter().any(|denied| match name {
            "create_snapshot" => denied == "cluster:admin/snapshot/create",
            "manage" => denied == "cluster:admin/snapshot/delete" || denied == "cluster:admin/repository/put",
            _ => false,
        })
    };
    let names = request.body["cluster"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
    let all: Map<String, Value> = names.map(|name| (name.to_owned(), json!(!lacks(name)))).collect();
    ok(
        &json!({ "username": "backup", "has_all_requested": all.values().all(|has| has == &json!(true)), "cluster": all }),
    )
}

fn register(world: &mut World, name: &str, body: &Value) -> Message {
    let kind = body["type"].as_str().unwrap_or_default();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let settings: BTreeMap<String, String> =
        body["settings"].as_object().into_iter().flatten().map(|(key, value)| (key.clone(), text(value))).collect();
    let refuse = |reason: String| {
        let cause = json!({ "type": "repository_exception", "reason": reason });
        let whole = json!({ "error": { "root_cause": [cause], "type": "repository_exception",
            "reason": format!("[{name}] failed to create repository"), "caused_by": cause }, "status": 500 });
        Message::response(500, "application/json", &whole.to_string())
    };
    if kind == "s3" && !world.s3 && world.flavor != Flavor::Elastic8 {
        return refuse(format!("[{name}] repository type [s3] does not exist"));
    }
    if kind == "fs" {
        let location = settings.get("location").cloned().unwrap_or_default();
        let below = |root: &Path| {
            let path = root.join(&location);
            path.starts_with(root) && path.components().all(|piece| piece != Component::ParentDir)
        };
        if !world.path_repo.as_deref().is_some_and(below) {
            return refuse(format!(
                "[{name}] location [{location}] doesn't match any of the locations specified by path.repo"
            ));
        }
    }
    world.register(name, kind, settings);
    if !writable(&world.repositories[name].directory) {
        world.repositories.remove(name);
        return unwritable(name);
    }
    ok(&json!({ "acknowledged": true }))
}

fn writable(directory: &Path) -> bool {
    let probe = directory.join("tests-probe");
    std::fs::write(&probe, "").is_ok() && std::fs::remove_file(probe).is_ok()
}

fn unwritable(name: &str) -> Message {
    error(500, "repository_verification_exception", &format!("[{name}] path  is not accessible on master node"))
}

fn snapshots(world: &mut World, method: &str, repository: &str, rest: &[&str], request: &Request) -> Message {
    match (method, rest) {
        ("POST", ["_verify"]) => {
            if writable(&world.repositories[repository].directory) {
                ok(&json!({ "nodes": { "n1": { "name": "node-1" } } }))
            } else {
                unwritable(repository)
            }
        }
        ("GET", ["_status"]) => running(world, repository),
        ("GET", [pattern]) => list(world, repository, pattern),
        ("PUT", [name]) => take(world, repository, name, &request.body),
        ("DELETE", [name]) => {
            if world.repositories[repository].settings.get("readonly").is_some_and(|value| value == "true") {
                return error(
                    500,
                    "repository_exception",
                    &format!("[{repository}] cannot delete snapshot from a readonly repository"),
                );
            }
            if world.delete(repository, name) {
                ok(&json!({ "acknowledged": true }))
            } else {
                missing(repository, name)
            }
        }
        ("POST", [name, "_restore"]) => restore(world, repository, name, &request.body),
        _ => error(405, "illegal_argument_exception", "Incorrect HTTP method"),
    }
}

fn missing(repository: &str, name: &str) -> Message {
    error(404, "snapshot_missing_exception", &format!("[{repository}:{name}] is missing"))
}

fn running(world: &World, repository: &str) -> Message {
    let of = |running: &super::world::Running| {
        let mut indices: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
        let (mut total, mut done) = (0, 0);
        for shard in &running.shards {
            total += shard.bytes;
            done += if shard.stage() == "DONE" { shard.bytes } else { 0 };
            let mut told = json!({ "stage": shard.stage(), "stats": {} });
            if let Some(why) = &shard.failure {
                told["reason"] = json!(why);
            }
            indices.entry(&shard.index).or_default().insert(shard.number.to_string(), told);
        }
        let indices: Map<String, Value> =
            indices.into_iter().map(|(name, shards)| (name.to_owned(), json!({ "shards": shards }))).collect();
        let size = |bytes: u64| json!({ "file_count": 1, "size_in_bytes": bytes });
        json!({ "snapshot": running.name, "repository": repository, "uuid": "u", "state": "STARTED", "indices": indices,
            "stats": { "incremental": size(total), "processed": size(done), "total": size(total) } })
    };
    let all: Vec<_> = world.running.iter().filter(|running| running.repository == repository).map(of).collect();
    ok(&json!({ "snapshots": all }))
}

fn list(world: &World, repository: &str, pattern: &str) -> Message {
    let mut found: Vec<Value> =
        world.shots(repository).into_iter().filter(|shot| fits(pattern, shot["snapshot"].as_str().unwrap())).collect();
    if found.is_empty() && !pattern.contains('*') {
        return missing(repository, pattern);
    }
    for shot in &mut found {
        let shot = shot.as_object_mut().unwrap();
        shot.remove("_meta");
        if world.flavor.is_opensearch() {
            shot.remove("feature_states");
        }
        if world.flavor == Flavor::Elastic8 {
            shot.insert("repository".to_owned(), json!(repository));
        }
    }
    let count = found.len();
    ok(&match world.flavor {
        Flavor::Elastic710 => json!({ "responses": [{ "repository": repository, "snapshots": found }] }),
        Flavor::Elastic8 => json!({ "snapshots": found, "total": count, "remaining": 0 }),
        _ => json!({ "snapshots": found }),
    })
}

fn take(world: &mut World, repository: &str, name: &str, body: &Value) -> Message {
    if world.repositories[repository].settings.get("readonly").is_some_and(|value| value == "true") {
        return error(
            500,
            "repository_exception",
            &format!("[{repository}] cannot create snapshot in a readonly repository"),
        );
    }
    if name.bytes().any(|b| b.is_ascii_uppercase() || b" ,#\\/*?\"<>|".contains(&b)) || name.starts_with('_') {
        return error(
            400,
            "invalid_snapshot_name_exception",
            &format!("[{repository}:{name}] Invalid snapshot name [{name}]"),
        );
    }
    if world.shots(repository).iter().any(|shot| shot["snapshot"] == name) {
        let reason =
            format!("[{repository}:{name}] Invalid snapshot name [{name}], snapshot with the same name already exists");
        return error(400, "invalid_snapshot_name_exception", &reason);
    }
    if body["metadata"].to_string().len() > 1024 {
        return error(400, "action_request_validation_exception", "metadata must be smaller than 1024 bytes");
    }
    let mut chosen = Vec::new();
    for pattern in body["indices"].as_str().unwrap_or("*").split(',') {
        let there = world
            .indices
            .keys()
            .filter(|name| fits(pattern, name) && (pattern.starts_with('.') || !name.starts_with('.')));
        let there: Vec<_> = there.cloned().collect();
        if there.is_empty() && !pattern.contains('*') && body["ignore_unavailable"] != json!(true) {
            return error(404, "index_not_found_exception", &format!("no such index [{pattern}]"));
        }
        chosen.extend(there);
    }
    chosen.sort();
    chosen.dedup();
    let broken = chosen.iter().find(|name| !world.indices[*name].works());
    if let Some(broken) = broken.filter(|_| body["partial"] != json!(true)) {
        return error(
            500,
            "snapshot_exception",
            &format!("[{repository}:{name}] Indices don't have primary shards [{broken}]"),
        );
    }
    let global_state = body["include_global_state"] != json!(false);
    world.begin(repository, name, &chosen, &body["metadata"], global_state);
    ok(&json!({ "accepted": true }))
}

fn restore(world: &mut World, repository: &str, name: &str, body: &Value) -> Message {
    let Some(record) = world.shots(repository).into_iter().find(|shot| shot["snapshot"] == name) else {
        return error(500, "snapshot_restore_exception", &format!("[{repository}:{name}] snapshot does not exist"));
    };
    if record["state"] != "SUCCESS" && record["state"] != "PARTIAL" {
        return error(
            500,
            "snapshot_restore_exception",
            &format!("[{repository}:{name}] unsupported snapshot state [{}]", record["state"]),
        );
    }
    let (directory, uuid) =
        (world.repositories[repository].directory.clone(), record["uuid"].as_str().unwrap().to_owned());
    let replacement = body.get("rename_pattern").map(|pattern| {
        assert_eq!(pattern, "^(.+)$", "the stub knows no other");
        body["rename_replacement"].as_str().unwrap()
    });
    let renamed = |index: &str| replacement.map_or_else(|| index.to_owned(), |text| text.replace("$1", index));
    let patterns: Vec<&str> = body["indices"].as_str().unwrap_or("*").split(',').collect();
    let meta = record["_meta"].as_object().unwrap();
    let chosen: Vec<_> = meta.iter().filter(|(index, _)| patterns.iter().any(|pattern| fits(pattern, index))).collect();
    for (index, _) in &chosen {
        let target = renamed(index);
        if world.indices.get(&target).is_some_and(|there| there.open) {
            let reason = format!(
                "[{repository}:{name}] cannot restore index [{target}] because an open index with same name already exists in the cluster. Either close or delete the existing index or restore the index under a different name by providing a rename pattern and replacement name"
            );
            return error(500, "snapshot_restore_exception", &reason);
        }
    }
    for (name_there, meta) in chosen {
        let index = name_there.as_str();
        let shards: u32 = meta["shards"].as_u64().unwrap().try_into().unwrap();
        let (mut documents, mut broken) = (BTreeMap::new(), None);
        for number in 0..shards {
            match files::read_shard(&directory, &uuid, index, number) {
                Ok(of_shard) => documents.extend(of_shard),
                Err(why) => {
                    broken = Some(format!(
                        "failed shard on node [n1]: failed recovery, failure RecoveryFailedException[[{index}][{number}]]; nested: IndexShardRestoreFailedException[restore failed]; nested: {why}"
                    ));
                }
            }
        }
        assert!(documents.keys().all(|id| shard_of(id, shards) < shards));
        let bytes = documents
            .iter()
            .map(|(id, document): (&String, &Value)| id.len() + document.to_string().len())
            .sum::<usize>() as u64;
        let begun = Instant::now();
        let ends = begun + Duration::from_secs_f64(bytes as f64 / world.rate as f64);
        let restored = Restored { repository: repository.to_owned(), snapshot: name.to_owned(), begun, ends, bytes };
        let aliases = if body["include_aliases"] == json!(false) {
            Vec::new()
        } else {
            serde_json::from_value(meta["aliases"].clone()).unwrap()
        };
        let target = renamed(index);
        world
            .indices
            .insert(target, Index { open: true, shards, documents, aliases, broken, restored: Some(restored) });
    }
    ok(&json!({ "accepted": true }))
}

fn indices(world: &mut World, method: &str, name: &str, rest: &[&str]) -> Message {
    let Some(index) = world.indices.get_mut(name) else {
        return error(404, "index_not_found_exception", &format!("no such index [{name}]"));
    };
    match (method, rest) {
        ("POST", ["_close"]) => index.open = false,
        ("POST", ["_open"]) => index.open = true,
        ("DELETE", []) => drop(world.indices.remove(name)),
        _ => return error(405, "illegal_argument_exception", "Incorrect HTTP method"),
    }
    ok(&json!({ "acknowledged": true }))
}
