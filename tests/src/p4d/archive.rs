//! Versioned files: text in RCS files (`file,v`), binaries one by one (`file,d/1.<change>.gz`).

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};

use md5::{Digest, Md5};

use super::{Database, Result, io, now};

pub(super) fn md5(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02X}");
        text
    })
}

fn place(root: &Path, file: &str, suffix: &str) -> PathBuf {
    root.join(format!("{}{suffix}", file.trim_start_matches('/')))
}

/// An RCS file's revisions with their changes, newest first.
fn revisions(text: &str) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    for part in text.split("\n\n1.").skip(1) {
        let Some((number, rest)) = part.split_once("\nlog\n@@\ntext\n@") else { continue };
        let body = rest.rsplit_once("@\n").map_or(rest, |(body, _)| body).replace("@@", "@");
        let body = match body.split_once('\n') {
            // A delta: all lines of the newer revision go, these come.
            Some((command, rest)) if !found.is_empty() && command.starts_with("d1 ") => {
                rest.split_once('\n').map_or(String::new(), |(_, rest)| rest.to_owned())
            }
            _ => body,
        };
        found.push((number.parse().unwrap_or(0), body));
    }
    found
}

fn rcs(revisions: &[(u64, String)]) -> String {
    let head = revisions.first().map_or(0, |(change, _)| *change);
    let mut text = format!("head     1.{head};\naccess   ;\nsymbols  ;\nlocks    ;comment  @@;\n");
    for (n, (change, _)) in revisions.iter().enumerate() {
        let next = revisions.get(n + 1).map_or(String::new(), |(change, _)| format!("1.{change}"));
        let _ =
            write!(text, "\n\n1.{change}\ndate     {};  author p4;  state Exp;\nbranches ;\nnext     {next};\n", now());
    }
    text.push_str("\n\ndesc\n@@\n");
    for (n, (change, body)) in revisions.iter().enumerate() {
        let delta = match n.checked_sub(1).and_then(|n| revisions.get(n)) {
            None => body.clone(),
            Some((_, newer)) => {
                let (old, new) = (newer.lines().count(), body.lines().count());
                format!("d1 {old}\na{old} {new}\n{body}")
            }
        };
        let _ = write!(text, "\n\n1.{change}\nlog\n@@\ntext\n@{}@\n", delta.replace('@', "@@"));
    }
    text
}

/// Submit one file: its content to the depot, then its metadata to the database. Returns the change.
///
/// # Errors
/// It cannot be written.
pub(super) fn submit(db: &mut Database, file: &str, content: &[u8], text: bool) -> Result<u64> {
    let change = db.counter("change").parse::<u64>().unwrap_or(0) + 1;
    let revision = db.table("db.rev").keys().filter(|key| key[0] == file).count() + 1;
    let suffix = if text { ",v".to_owned() } else { format!(",d/1.{change}.gz") };
    let path = place(&db.root, file, &suffix);
    std::fs::create_dir_all(path.parent().unwrap()).map_err(io("mkdir", &path))?;
    let bytes = if text {
        let mut all = revisions(&std::fs::read_to_string(&path).unwrap_or_default());
        all.insert(0, (change, String::from_utf8_lossy(content).into_owned()));
        rcs(&all).into_bytes()
    } else {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).and_then(|()| encoder.finish()).map_err(io("compress", &path))?
    };
    let temporary = path.with_extension("tmp");
    std::fs::write(&temporary, bytes).map_err(io("write", &temporary))?;
    std::fs::rename(&temporary, &path).map_err(io("rename", &path))?;
    let (change_text, time, size) = (change.to_string(), now().to_string(), content.len().to_string());
    let kind = if text { "0" } else { "65539" };
    let digest = md5(content);
    db.commit(&[
        ("db.change", &[&change_text, &change_text, "client", "p4", &time, "1", "standin"]),
        (
            "db.rev",
            &[
                file,
                &revision.to_string(),
                kind,
                "0",
                &change_text,
                &time,
                &time,
                &digest,
                &size,
                "0",
                "0",
                file,
                &suffix,
            ],
        ),
        ("db.counters", &["change", &change_text]),
    ])?;
    Ok(change)
}

/// Every revision that the database names, read from the depot in `depot` and compared with its digest; what is wrong.
#[must_use]
pub(super) fn verify(db: &Database, depot: &Path) -> Vec<String> {
    let mut wrong = Vec::new();
    for columns in db.table("db.rev").values() {
        let (file, revision, change, digest, suffix) =
            (&columns[0], &columns[1], &columns[4], &columns[7], &columns[12]);
        let path = place(depot, file, suffix);
        let content = std::fs::read(&path).ok().and_then(|bytes| {
            if suffix == ",v" {
                let text = String::from_utf8(bytes).ok()?;
                revisions(&text).into_iter().find(|(c, _)| c.to_string() == *change).map(|(_, body)| body.into_bytes())
            } else {
                let mut content = Vec::new();
                flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut content).ok()?;
                Some(content)
            }
        });
        match content {
            None => wrong.push(format!("{file}#{revision} - {digest} MISSING!")),
            Some(content) if md5(&content) != *digest => wrong.push(format!("{file}#{revision} - {digest} BAD!")),
            Some(_) => {}
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rcs_keeps_every_revision() {
        let all = vec![(9, "neu\nä@b\n".to_owned()), (4, String::new()), (2, "one\ntwo\n".to_owned())];
        assert_eq!(revisions(&rcs(&all)), all);
    }
}
