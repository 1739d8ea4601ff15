//! `bkhost ls`

use std::process::ExitCode;

use super::args::{KeyArgs, Place};
use super::context::Context;
use super::output;
use crate::archive::{Kind, unescape};
use crate::error::{Error, ErrorKind, Result};
use crate::run::{self, Content};

pub(super) async fn ls(
    context: &Context,
    id: &str,
    part: Option<&str>,
    path: Option<&str>,
    keys: &KeyArgs,
    place: &Place,
) -> Result<ExitCode> {
    let opened = context.open(place, keys).await?;
    let chosen: Vec<String> = part.map(str::to_owned).into_iter().collect();
    let set = context.reveal(opened.set_for(id, &chosen).await?).await?;
    let parts = &set.manifest.parts;
    let names = || parts.iter().map(|part| part.name.as_str()).collect::<Vec<_>>().join(", ");
    let part = match (part, parts.as_slice()) {
        (Some(name), _) => set.manifest.part(name).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("the set has no part `{name}`"))
                .hint(format!("its parts are: {}", names()))
        })?,
        (None, [only]) => only,
        (None, _) => {
            return Err(Error::new(ErrorKind::Config, "the set has several parts")
                .hint(format!("choose one with --part: {}", names())));
        }
    };
    let below = match path {
        None | Some("." | "./") => None,
        Some(path) => Some(unescape(path.strip_prefix("./").unwrap_or(path)).ok_or_else(|| {
            Error::new(ErrorKind::Config, format!("`{path}` holds a backslash that begins no escape"))
                .hint("write \\\\ for a backslash, and \\xNN for any byte")
        })?),
    };
    let json = context.global.json;
    let print = move |content: Content| {
        if json {
            let _ = output::json(&content);
        } else {
            output::line(as_line(&content));
        }
    };
    let cancel = context.cancel()?;
    let listed = run::contents(&context.reporter(), &set, part, below, &cancel, print).await;
    let count = run::noted(&context.reporter(), &set, listed).await?;
    if count > 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let what = path.unwrap_or(".");
    Err(Error::new(ErrorKind::NotFound, format!("part `{}` of set {} has no `{what}`", part.name, set.manifest.id))
        .hint("`bkhost ls` without a path prints all of them"))
}

fn as_line(content: &Content) -> String {
    let kind = match content.kind {
        Kind::File => '-',
        Kind::Directory => 'd',
        Kind::Symlink => 'l',
        Kind::Hardlink => 'h',
        Kind::Fifo => 'p',
        Kind::CharDevice => 'c',
        Kind::BlockDevice => 'b',
    };
    let seconds = content.mtime.split('.').next().and_then(|text| text.parse::<i64>().ok());
    let time = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    let time = time.map_or_else(|| content.mtime.clone(), |time| time.to_string());
    let link = content.link.as_ref().map(|link| format!(" -> {link}")).unwrap_or_default();
    format!(
        "{kind}{} {:>12} {time} {}:{} {}{link}",
        content.mode, content.size, content.user, content.group, content.path
    )
}
