//! What would fail later.

use bkhost_sdk::{Error, ErrorCode, Finding, Result, config as host, exec};

use crate::names::pool;
use crate::properties::{self, absent};
use crate::{Archive, Config, tool, tree};

/// The host takes so many sources of one part.
const MOST: usize = 1000;

pub(crate) fn check(config: &Config) -> Result<Vec<Finding>> {
    let mut findings = vec![version()?];
    for dataset in &config.datasets {
        findings.extend(self::dataset(dataset, config)?);
    }
    if config.recursive {
        findings.extend(below(config)?);
    }
    if config.archive == Archive::Stream {
        findings.push(streams(config)?);
        if !host::excludes().is_empty() {
            findings.push(
                Finding::warning("streams", "hold whole datasets: nothing of what is excluded can be left out of them")
                    .hint("set archive = \"files\""),
            );
        }
    } else if (config.recursive || config.datasets.len() > 1) && !host::excludes().is_empty() {
        findings.push(Finding::warning(
            "exclude",
            "patterns with a slash are relative to the root of each dataset: make a part of each that has its own",
        ));
    }
    findings.extend(rights(config)?);
    let mut pools: Vec<_> = config.datasets.iter().map(|dataset| pool(dataset)).collect();
    pools.sort_unstable();
    pools.dedup();
    if pools.len() > 1 {
        findings.push(
            Finding::warning(
                "datasets",
                format!("they are in {} pools: ZFS cannot snapshot them together", pools.len()),
            )
            .hint("without a lock, give each pool a part of its own, or expect a small skew between them"),
        );
    }
    Ok(findings)
}

fn streams(config: &Config) -> Result<Finding> {
    let known = tool::sending()?;
    let flags: Vec<&str> = [
        (known.properties && config.properties, "-p"),
        (known.large, "-L"),
        (known.compressed, "-c"),
        (known.raw, "-w"),
    ]
    .into_iter()
    .filter_map(|(known, flag)| known.then_some(flag))
    .collect();
    let raw = if known.raw { "; -w for encrypted datasets only, whose restore needs their key" } else { "" };
    Ok(Finding::info(
        "zfs send",
        format!("uses {}{raw}; a full stream every {} sets", flags.join(" "), config.full_every),
    ))
}

/// What `recursive` brings in.
fn below(config: &Config) -> Result<Vec<Finding>> {
    let all = tree::datasets(config)?;
    let mut findings = Vec::new();
    for stray in config.exclude.iter().filter(|name| !all.iter().any(|found| found.name == **name)) {
        findings.push(Finding::warning("exclude", format!("{stray} does not exist")));
    }
    let inside: Vec<_> = all.iter().filter(|found| !config.excluded(&found.name)).collect();
    if config.archive == Archive::Files {
        for volume in inside.iter().filter(|found| found.volume && !config.datasets.contains(&found.name)) {
            findings.push(
                Finding::failure(format!("dataset {}", volume.name), "is a volume, which holds no files")
                    .hint("set archive = \"stream\" in [part.config], or name it in exclude"),
            );
        }
    }
    if inside.len() > MOST {
        findings.push(
            Finding::failure("datasets", format!("{} datasets: a part can hold {MOST}", inside.len()))
                .hint("split them into several parts"),
        );
    }
    findings.push(Finding::info("datasets", format!("{} with those below them", inside.len())));
    Ok(findings)
}

fn version() -> Result<Finding> {
    let output = match exec::run("version", &[]) {
        Ok(output) => output,
        Err(error) if error.code == ErrorCode::NotFound => return Ok(Finding::from_error("zfs", error)),
        Err(error) => return Err(error),
    };
    Ok(match output.status {
        0 => Finding::info("zfs", output.first_line()),
        _ => Finding::info("zfs", "it does not tell its version (older than 0.8, or zfs-fuse)"),
    })
}

fn dataset(dataset: &str, config: &Config) -> Result<Vec<Finding>> {
    let subject = format!("dataset {dataset}");
    let output = exec::run("dataset", &[("dataset", dataset)])?;
    if absent(&output) {
        return Ok(vec![Finding::failure(subject, "does not exist").hint("see `zfs list`")]);
    }
    let output = match output.ok() {
        Ok(output) => output,
        Err(error) => return Ok(vec![Finding::from_error(subject, denied(error))]),
    };
    let Some(found) = properties::parse(&output.stdout).into_iter().next() else {
        return Ok(vec![Finding::failure(subject, "zfs said nothing about it")]);
    };
    // Streams need no directory.
    if config.archive == Archive::Files {
        if found.value("type") != Some("filesystem") {
            let what = found.value("type").unwrap_or("something else");
            return Ok(vec![
                Finding::failure(subject, format!("is a {what}, not a file system"))
                    .hint("set archive = \"stream\" in [part.config]"),
            ]);
        }
        if found.value("mounted") != Some("yes") {
            return Ok(vec![
                Finding::failure(subject, "is not mounted").hint("mount it: an application cannot be living there now"),
            ]);
        }
    }
    let mut findings = Vec::new();
    if !config.recursive {
        let listed = exec::run("descendants", &[("dataset", dataset)])?.ok()?;
        let listed = tree::parse(&listed.stdout);
        let below = forgotten(dataset, listed.iter().map(|found| found.name.as_str()), &config.datasets);
        if !below.is_empty() {
            findings.push(
                Finding::warning(
                    subject.as_str(),
                    format!("its snapshot does not hold what is below it: {}", below.join(", ")),
                )
                .hint("add these to [part.config] datasets if their data is needed, or set recursive = true"),
            );
        }
    }
    let referenced = found.number("referenced").unwrap_or(0);
    findings.push(Finding::info(
        subject,
        format!("{} MiB, mounted at {}", referenced >> 20, found.value("mountpoint").unwrap_or("-")),
    ));
    Ok(findings)
}

/// The datasets directly or indirectly below this one that nobody configured; not our own clones.
fn forgotten<'a>(dataset: &str, listed: impl Iterator<Item = &'a str>, configured: &[String]) -> Vec<&'a str> {
    listed
        .filter(|name| {
            name.strip_prefix(dataset).is_some_and(|rest| rest.starts_with('/') && !rest.starts_with("/bkhost-"))
        })
        .filter(|name| !configured.iter().any(|one| one == name))
        .collect()
}

/// A user other than root needs rights that were delegated. Permission sets hide what they hold: so this only warns.
fn rights(config: &Config) -> Result<Vec<Finding>> {
    let user = match exec::run("user", &[]).and_then(exec::Output::ok) {
        Ok(output) => output.first_line().to_owned(),
        // `id` is a courtesy: without it there is nothing to say.
        Err(_) => return Ok(Vec::new()),
    };
    if user == "root" {
        return Ok(Vec::new());
    }
    let mut findings = Vec::new();
    for dataset in &config.datasets {
        let output = exec::run("allowed", &[("dataset", dataset)])?;
        let missing = missing_rights(&output.stdout, &user, config.archive);
        if !missing.is_empty() {
            let list = missing.join(",");
            findings.push(
                Finding::warning(format!("dataset {dataset}"), format!("user {user} seems to lack: {list}"))
                    .hint(format!("zfs allow -u {user} {list} '{dataset}'")),
            );
        }
    }
    Ok(findings)
}

/// Which of the rights that a run needs `zfs allow` does not show for the user.
fn missing_rights(allowed: &str, user: &str, archive: Archive) -> Vec<&'static str> {
    let who = [format!("user {user} "), "everyone ".to_owned(), "group ".to_owned()];
    let lines: Vec<&str> =
        allowed.lines().map(str::trim).filter(|line| who.iter().any(|who| line.starts_with(who.as_str()))).collect();
    let has = |right: &str| {
        lines.iter().any(|line| line.split([' ', ',']).any(|word| word == right || word.starts_with('@')))
    };
    let streams: &[&str] = if archive == Archive::Stream { &["send", "bookmark"] } else { &[] };
    let all = ["snapshot", "destroy", "mount", "userprop", "hold", "release"].iter().chain(streams);
    all.copied().filter(|right| !has(right)).collect()
}

fn denied(error: Error) -> Error {
    if error.detail_of("stderr").is_some_and(|stderr| stderr.contains("ermission denied")) {
        return error
            .code(ErrorCode::Denied)
            .hint("run bkhost as root, or delegate: zfs allow <user> snapshot,destroy,mount,userprop <dataset>");
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_below_and_was_not_configured() {
        let listed = ["tank/home", "tank/home/a", "tank/home/b", "tank/home/bkhost-i-1", "tank/home2"];
        assert_eq!(forgotten("tank/home", listed.into_iter(), &["tank/home/b".into()]), ["tank/home/a"]);
    }

    #[test]
    fn delegated_rights() {
        let allowed = "---- Permissions on tank/home ----\nLocal+Descendent permissions:\n\
            \tuser backup destroy,hold,mount,release,snapshot\n\tuser other userprop\n";
        assert_eq!(missing_rights(allowed, "backup", Archive::Files), ["userprop"]);
        assert_eq!(missing_rights(allowed, "backup", Archive::Stream), ["userprop", "send", "bookmark"]);
        assert_eq!(
            missing_rights(allowed, "back", Archive::Files),
            ["snapshot", "destroy", "mount", "userprop", "hold", "release"]
        );
        assert!(missing_rights("\tuser backup @backup\n", "backup", Archive::Stream).is_empty());
    }
}
