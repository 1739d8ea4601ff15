//! What to do about an error: serde's messages in the operator's words, with an example of the right form.

/// A failure as serde told it, in other words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// What is wrong.
    pub(super) message: String,
    /// What to do.
    pub(super) hint: Option<String>,
}

/// How each key is written. `[]` stands for any entry of a list.
const FORMS: &[(&str, &str)] = &[
    ("instance", "add a table: [instance], with name = \"bitbucket\""),
    ("instance.name", "name = \"bitbucket\""),
    ("instance.state", "state = \"/var/lib/bkhost\""),
    ("instance.rpo", "rpo = \"6h\""),
    (
        "application",
        "add a table: [application], with type = \"bitbucket\", \"service\" or \"command\", or type = \"none\" if nothing has to \
         be locked",
    ),
    (
        "application.type",
        "type = \"bitbucket\", \"service\" or \"command\", or type = \"none\" if nothing has to be locked",
    ),
    ("application.services", "services = [\"arms-proxy\", \"hbserver\"]"),
    ("application.manager", "manager = \"systemd\" or \"init\""),
    ("application.systemctl", "systemctl = \"/usr/bin/systemctl\""),
    ("application.quiesce", "quiesce = [\"/usr/local/sbin/app\", \"quiesce\"]"),
    ("application.resume", "resume = [\"/usr/local/sbin/app\", \"resume\"]"),
    ("application.at-rest", "at-rest = [\"/usr/local/sbin/app\", \"at-rest\"]"),
    ("application.running", "running = [\"/usr/local/sbin/app\", \"running\"]"),
    ("application.timeout", "timeout = \"5m\""),
    ("application.url", "url = \"http://127.0.0.1:7990\""),
    ("application.username", "username = \"admin\""),
    ("application.password", "password = { env = \"BITBUCKET_BACKUP_PASS\" }"),
    ("application.ca-file", "ca-file = \"/etc/ssl/bitbucket.pem\""),
    ("application.drain-timeout", "drain-timeout = \"5m\""),
    ("application.max-lock-time", "max-lock-time = \"15m\""),
    ("application.zero-downtime", "zero-downtime = false"),
    ("application.max-skew", "max-skew = \"1m\""),
    ("part", "add at least one [[part]], with name = \"home\" and plugin = \"zfs.wasm\""),
    ("part[].name", "name = \"home\""),
    ("part[].plugin", "plugin = \"zfs.wasm\""),
    ("part[].after", "after = [\"database\"]"),
    ("part[].run-as", "run-as = \"postgres\""),
    ("part[].profile", "profile = \"bitbucket-home\""),
    ("part[].exclude", "exclude = [\"/caches\", \"*.tmp\"], globs relative to the part's root"),
    ("part[].options", "the options of the part's profile below [part.options]"),
    ("part[].options.exclude-repositories", "exclude-repositories = [12, 77], ids of repositories"),
    ("part[].options.git-locks", "git-locks = \"remove\" or \"report\""),
    ("part[].staging", "staging = \"/srv/bkhost-staging\""),
    ("part[].config", "write the plugin's own keys below [part.config]"),
    ("part[].secrets", "password = { env = \"PGPASSWORD\" } below [part.secrets]"),
    ("part[].via", "via = [\"/usr/bin/docker\", \"exec\", \"-i\", \"--env={env}\", \"postgres\"]"),
    ("part[].programs", "pg_dump = \"/usr/lib/postgresql/15/bin/pg_dump\" below [part.programs]"),
    ("part[].min-share", "min-share = \"50%\", or \"0%\" if it may shrink as it likes"),
    ("part[].limits", "memory = \"256MiB\" and the like below [part.limits]"),
    ("part[].limits.memory", "memory = \"256MiB\""),
    ("part[].limits.cpu", "cpu = \"60s\""),
    ("part[].limits.call", "call = \"10m\""),
    ("part[].limits.long-call", "long-call = \"24h\""),
    ("part[].limits.log", "log = \"1MiB\""),
    ("part[].limits.freeze", "freeze = \"30s\""),
    ("part[].offsite", "add a [[part.offsite]], with name = \"dr\" and the plugin's keys below [part.offsite.config]"),
    ("part[].offsite[].name", "name = \"dr\""),
    ("part[].offsite[].required", "required = true"),
    ("part[].offsite[].timeout", "timeout = \"24h\""),
    ("part[].offsite[].retention", "keep-last = 7 below [part.offsite.retention]"),
    ("part[].offsite[].config", "region = \"eu-west-1\" and the like below [part.offsite.config]"),
    ("part[].offsite[].secrets", "external-id = { env = \"EXTERNAL_ID\" } below [part.offsite.secrets]"),
    ("store", "add a [[store]], with to = \"/backups\""),
    ("store[].to", "to = \"/backups\", or to = \"s3://bucket/prefix\""),
    ("store[].name", "name = \"offsite\""),
    ("store[].required", "required = false"),
    ("store[].endpoint", "endpoint = \"https://minio.example.org:9000\""),
    ("store[].region", "region = \"eu-central-1\""),
    ("store[].path-style", "path-style = true"),
    ("store[].ca-file", "ca-file = \"/etc/ssl/minio.pem\""),
    ("store[].access-key", "access-key = { file = \"/etc/bkhost/s3-key\" }"),
    ("store[].secret-key", "secret-key = { file = \"/etc/bkhost/s3-secret\" }"),
    ("store[].session-token", "session-token = { file = \"/etc/bkhost/s3-token\" }"),
    ("store[].storage-class", "storage-class = \"STANDARD_IA\""),
    ("store[].encryption", "encryption = \"aes256\" or \"aws-kms\""),
    ("store[].kms-key", "kms-key = \"alias/backup\""),
    ("store[].timeout", "timeout = \"60s\""),
    ("store[].retry-for", "retry-for = \"2m\""),
    ("retention", "keep-last = 7 below [retention]"),
    ("retention.keep-last", "keep-last = 7, or 0 to keep all"),
    ("retention.keep-hourly", "keep-hourly = 24"),
    ("retention.keep-daily", "keep-daily = 7"),
    ("retention.keep-weekly", "keep-weekly = 4"),
    ("retention.keep-monthly", "keep-monthly = 12"),
    ("retention.keep-yearly", "keep-yearly = 3"),
    ("retention.keep-within", "keep-within = \"30d\""),
    ("retention.keep-proved-min", "keep-proved-min = 1, or more"),
    ("retention.time-zone", "time-zone = \"Europe/Berlin\", or leave it out for the system's"),
    ("part[].offsite[].retention.keep-last", "keep-last = 7, or 0 to keep all"),
    ("part[].offsite[].retention.keep-hourly", "keep-hourly = 24"),
    ("part[].offsite[].retention.keep-daily", "keep-daily = 7"),
    ("part[].offsite[].retention.keep-weekly", "keep-weekly = 4"),
    ("part[].offsite[].retention.keep-monthly", "keep-monthly = 12"),
    ("part[].offsite[].retention.keep-yearly", "keep-yearly = 3"),
    ("part[].offsite[].retention.keep-within", "keep-within = \"30d\""),
    ("part[].offsite[].retention.keep-proved-min", "keep-proved-min = 1, or more"),
    ("part[].offsite[].retention.time-zone", "time-zone = \"Europe/Berlin\", or leave it out for the system's"),
    ("coverage", "parts = [\"home\", \"database\"] below [coverage]"),
    ("coverage.parts", "parts = [\"home\", \"database\"]"),
    ("coverage.kinds", "kinds = [\"database\"]; there are disk, database, search and other"),
    ("coverage.paths", "paths = [\"/var/atlassian/home\"]"),
    ("coverage.min-share", "min-share = \"50%\", or \"0%\" to switch it off"),
    ("metrics", "textfile = \"/var/lib/prometheus/node-exporter/bkhost-NAME.prom\" below [metrics]"),
    ("metrics.textfile", "textfile = \"/var/lib/prometheus/node-exporter/bkhost-NAME.prom\""),
    ("encryption", "recipients = [\"age1…\"] below [encryption]"),
    ("encryption.recipients", "recipients = [\"age1…\"], public keys as age-keygen prints them"),
    ("encryption.recipients-file", "recipients-file = \"/etc/bkhost/recipients.txt\""),
    ("archive", "level = 3 below [archive]"),
    ("archive.format", "format = \"tar.zst\", or \"tar.gz\""),
    ("archive.level", "level = 3"),
    ("archive.threads", "threads = 0 for one per processor"),
    ("restore", "before = [[\"/usr/bin/systemctl\", \"stop\", \"bitbucket\"]] and the like below [restore]"),
    ("restore.before", "before = [[\"/usr/bin/systemctl\", \"stop\", \"bitbucket\"]]"),
    ("restore.after", "after = [[\"/usr/bin/systemctl\", \"start\", \"bitbucket\"]]"),
    ("restore.always", "always = false"),
    ("restore.timeout", "timeout = \"5m\""),
    ("drill", "scratch = \"/var/tmp/drill\" below [drill]"),
    ("drill.scratch", "scratch = \"/var/tmp/drill\", a directory that exists"),
    ("drill.skip", "skip = [\"part\"], names of [[part]]s"),
    ("drill.check", "check = [[\"/usr/local/bin/check-restored\", \"--quick\"]], each a program and its arguments"),
    ("drill.check-timeout", "check-timeout = \"1h\""),
    ("notify", "a [[notify]] has a type (webhook, ping, mail or command) and the keys of that type"),
    ("notify[].type", "type = \"mail\", \"webhook\", \"ping\" or \"command\""),
    ("notify[].name", "name = \"on-call\""),
    ("notify[].on", "on = [\"failure\", \"locked\"]; there are start, success, failure and locked"),
    ("notify[].url", "url = \"https://hooks.example.org/backup\", or url-from = { file = \"/etc/bkhost/hook\" }"),
    ("notify[].url-from", "url-from = { file = \"/etc/bkhost/hook\" }"),
    ("notify[].server", "server = \"smtp://localhost:25\", \"smtp://host:587?tls=required\" or \"smtps://host:465\""),
    ("notify[].username", "username = \"backup\""),
    ("notify[].password", "password = { file = \"/etc/bkhost/mail-password\" }"),
    ("notify[].from", "from = \"bkhost@example.org\""),
    ("notify[].to", "to = [\"admin@example.org\"]"),
    ("notify[].command", "command = [\"/usr/local/bin/page\", \"backup\"]"),
    ("grant", "one [[grant]] per plugin; `bkhost plugin inspect FILE` prints it"),
    ("grant[].plugin", "plugin = \"acme.wasm\""),
    ("grant[].sha256", "64 hexadecimal digits: `sha256sum FILE` prints them"),
    ("grant[].exec", "exec = { snapshot = \"/usr/sbin/acme\" }"),
    ("grant[].read", "read = [\"/srv/acme\"]"),
    ("grant[].write", "write = []"),
    ("grant[].freeze", "freeze = [\"/srv/acme\"]"),
    ("grant[].http", "http = [\"https://api.acme.example\"]"),
];

/// How the key at this path (`part[1].limits.cpu`) is written, or else the nearest one above it.
pub(super) fn form(path: &str) -> Option<String> {
    let mut plain = String::new();
    let mut in_index = false;
    for c in path.chars() {
        in_index = (in_index || c == '[') && c != ']';
        if !in_index || c == '[' {
            plain.push(c);
        }
    }
    let mut path = plain.as_str();
    loop {
        if let Some((_, form)) = FORMS.iter().find(|(key, _)| *key == path) {
            let is_line = form.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
            return Some(if is_line { format!("write {form}") } else { (*form).to_owned() });
        }
        path = path.strip_suffix("[]").or_else(|| path.rsplit_once('.').map(|(above, _)| above))?;
    }
}

/// A table as it is headed in the file: `[[part]]`, `[part.limits]`, `[instance]`.
pub(super) fn header(path: &str) -> String {
    let plain: String = path.split('[').map(|piece| piece.split_once(']').map_or(piece, |(_, rest)| rest)).collect();
    match path {
        "" => "the file".to_owned(),
        _ if path.ends_with(']') => format!("[[{plain}]]"),
        _ => format!("[{plain}]"),
    }
}

/// Tells what serde said about what stands at `path`.
pub(super) fn tell(message: &str, path: &str) -> Told {
    if let Some((key, valid)) = names(message, "unknown field `") {
        // The place is that of the unknown key itself.
        let table = path.rsplit_once('.').map_or("", |(table, _)| table);
        let hint = match nearest(&key, valid.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`? Valid keys: {}", valid.join(", ")),
            None => format!("valid keys: {}", valid.join(", ")),
        };
        return Told { message: format!("unknown key `{key}` in {}", header(table)), hint: Some(hint) };
    }
    if let Some((value, valid)) = names(message, "unknown variant `") {
        let hint = match nearest(&value, valid.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`? Valid: {}", valid.join(", ")),
            None => format!("valid: {}", valid.join(", ")),
        };
        return Told { message: format!("`{path}` cannot be `{value}`"), hint: Some(hint) };
    }
    if let Some((key, _)) = names(message, "missing field `") {
        let full = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let message = match key.as_str() {
            "instance" | "application" if path.is_empty() => format!("the table [{key}] is missing"),
            "part" | "store" if path.is_empty() => format!("there is no [[{key}]]"),
            _ => format!("the key `{key}` is missing in {}", header(path)),
        };
        return Told { message, hint: form(&full) };
    }
    let hint = form(path).filter(|_| !message.contains("write "));
    let mismatch = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
    if let Some((found, expected)) = mismatch.and_then(|rest| rest.split_once(", expected ")) {
        let hint = match (found, expected) {
            ("map", "a sequence") => Some(format!("write [[{path}]], with two brackets on each side")),
            _ => hint,
        };
        return Told { message: format!("`{path}` must be {}, not {}", kind(expected), value(found)), hint };
    }
    let message = if path.is_empty() { message.to_owned() } else { format!("`{path}`: {message}") };
    Told { message, hint }
}

/// What serde found, in the same words.
fn value(found: &str) -> String {
    match found.split_once(' ') {
        Some(("string", text)) => format!("the text {text}"),
        Some(("integer", number)) => format!("the number {}", number.trim_matches('`')),
        Some(("floating", number)) => format!("the number {}", number.trim_start_matches("point ").trim_matches('`')),
        Some(("boolean", value)) => value.trim_matches('`').to_owned(),
        _ if found == "map" => "a table".to_owned(),
        _ if found == "sequence" => "a list".to_owned(),
        _ => found.to_owned(),
    }
}

/// What serde expected, in words for people who do not write Rust.
fn kind(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i32" | "i64" => "a whole number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "a table",
        "path string" => "a path",
        _ if expected.starts_with("struct ") => "a table",
        other => other,
    }
}

/// The names between backquotes in a message with this beginning: the one it is about, and the valid ones.
fn names(message: &str, beginning: &str) -> Option<(String, Vec<String>)> {
    let (name, rest) = message.strip_prefix(beginning)?.split_once('`')?;
    Some((name.to_owned(), rest.split('`').skip(1).step_by(2).map(str::to_owned).collect()))
}

/// The name that was probably meant.
pub(crate) fn nearest<'a>(name: &str, valid: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_ascii_lowercase().replace('_', "-");
    let name = plain(name);
    valid
        .map(|candidate| (distance(&name, &plain(candidate)), candidate))
        .min_by_key(|(distance, _)| *distance)
        // A third of the name may be wrong, and two letters of a short one only if the rest is more than that.
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count() / 3).max(1))
        .map(|(_, candidate)| candidate)
}

/// How many letters have to be inserted, removed, replaced or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    let mut last_a = None;
    for (i, ca) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for (j, cb) in b.iter().enumerate() {
            let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
            let mut best = (at(&row, j) + usize::from(ca != *cb)).min(at(&row, j + 1) + 1).min(at(&next, j) + 1);
            if let Some(left) = j.checked_sub(1)
                && last_a == Some(*cb)
                && b.get(left) == Some(&ca)
            {
                best = best.min(at(&before, left) + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
        last_a = Some(ca);
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, n) in [
            ("", "", 0),
            ("a", "", 1),
            ("", "ab", 2),
            ("kitten", "sitting", 3),
            ("keep-lsat", "keep-last", 1),
            ("ü", "u", 1),
        ] {
            assert_eq!(distance(a, b), n, "{a} {b}");
            assert_eq!(distance(b, a), n, "{b} {a}");
        }
    }

    #[test]
    fn nearest_names_are_near() {
        let keys = ["name", "plugin", "after", "run-as"];
        assert_eq!(nearest("plugn", keys.into_iter()), Some("plugin"));
        assert_eq!(nearest("run_as", keys.into_iter()), Some("run-as"));
        assert_eq!(nearest("Name", keys.into_iter()), Some("name"));
        assert_eq!(nearest("foo", keys.into_iter()), None);
        assert_eq!(nearest("x", [].into_iter()), None);
    }

    #[test]
    fn forms_and_headers() {
        assert_eq!(form("part[12].limits.cpu").unwrap(), "write cpu = \"60s\"");
        assert_eq!(form("part[home].limits.cpu").unwrap(), "write cpu = \"60s\"");
        assert!(form("part[0].programs.pg_dump").unwrap().contains("/bin/pg_dump"));
        assert!(form("application.password.env").unwrap().contains("password = {"));
        assert!(form("grant[0].read[1]").unwrap().contains("read = ["));
        assert_eq!(form("unheard.of"), None);
        assert_eq!(header("part[1]"), "[[part]]");
        assert_eq!(header("part[1].limits"), "[part.limits]");
        assert_eq!(header("instance"), "[instance]");
    }
}
