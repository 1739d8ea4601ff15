//! Send streams as the archive: what each dataset's stream starts from, and the commands that make them.

use bkhost_sdk::exec::Command;
use bkhost_sdk::history::{self, Earlier};
use bkhost_sdk::{Archived, ArchivedForm, Error, Result, Snapshot, Source, exec, info, warn};
use serde::{Deserialize, Serialize};

use crate::names::{bookmark_name, snapshot_name};
use crate::own::{destroy, mine, own};
use crate::properties::{self, absent, gone};
use crate::tool::{self, Sending};
use crate::{Captured, Config, State, holds};

/// How a dataset's stream is made, and which streams make it up again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stream {
    /// What an increment starts from: a snapshot or a bookmark of the same dataset; none: a full stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<String>,
    /// The flags that decide whether an increment fits what it starts from: large blocks, compressed, raw.
    #[serde(default)]
    pub(crate) format: String,
    /// Whether the dataset's properties go along.
    #[serde(default)]
    pub(crate) properties: bool,
    /// The streams that a restore receives, the oldest first; this one is the last.
    pub(crate) pieces: Vec<Piece>,
}

/// One archived stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Piece {
    /// The set it is in; none: the set of this record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) set: Option<String>,
    /// Its name there.
    pub(crate) stream: String,
}

/// Decide for each dataset what its stream starts from. Names the set that this one builds on, if any does.
///
/// # Errors
/// The host's history or ZFS cannot be asked.
pub(crate) fn plan(config: &Config, snapshot: &mut Snapshot, state: &mut State) -> Result<()> {
    let sending = tool::sending()?;
    let earlier = usable(config, history::previous()?);
    let mut built = false;
    for (n, captured) in state.datasets.iter_mut().enumerate() {
        let format = format(sending, is_encrypted(sending, &captured.dataset)?);
        let base = earlier.as_ref().and_then(|(set, state)| Base::of(captured, set, state));
        let start = match base {
            Some(base) if base.stream.format != format => {
                info!("{}: a full stream, because those before have another format", captured.dataset);
                None
            }
            Some(base) => match base.start()? {
                Some(from) => Some((from, base)),
                None => {
                    warn!("{}: a full stream, because snapshot {} is gone", captured.dataset, base.snapshot());
                    None
                }
            },
            None => None,
        };
        // What that one started from is not needed as a start any more.
        if let Some((from, base)) = &start
            && let Some((dataset, label)) = base.stream.from.as_deref().and_then(|older| older.split_once('@'))
            && from.split(['@', '#']).next() == Some(dataset)
        {
            holds::release(dataset, label)?;
        }
        let mut stream = Stream { format, properties: config.properties && sending.properties, ..Stream::default() };
        let kind = if let Some((from, base)) = start {
            stream.pieces = base.pieces();
            // A stream from a bookmark cannot carry properties: those of the streams before stay.
            stream.properties &= !from.contains('#');
            stream.from = Some(from);
            built = true;
            "incremental"
        } else {
            "full"
        };
        stream.pieces.push(Piece { set: None, stream: format!("{kind}-{n}") });
        captured.stream = Some(stream);
    }
    snapshot.base = earlier.filter(|_| built).map(|(set, _)| set);
    match &snapshot.base {
        Some(set) => info!("builds on set {set}"),
        None => info!("every stream is a full one"),
    }
    Ok(())
}

/// The earlier set and its state, if a chain may go on from it.
fn usable(config: &Config, earlier: Option<Earlier>) -> Option<(String, State)> {
    let Some(Earlier { set, snapshot, depth }) = earlier else {
        info!("there is no earlier set to build on");
        return None;
    };
    if depth.saturating_add(1) >= config.full_every {
        info!("{} sets build on each other: time for a full one", depth.saturating_add(1));
        return None;
    }
    match snapshot.state::<State>() {
        Ok(state) if state.datasets.iter().any(|captured| captured.stream.is_some()) => Some((set, state)),
        _ => {
            info!("set {set} holds no streams to build on");
            None
        }
    }
}

/// What an increment of one dataset can start from.
struct Base<'a> {
    set: &'a str,
    label: &'a str,
    captured: &'a Captured,
    stream: &'a Stream,
}

impl<'a> Base<'a> {
    fn of(captured: &Captured, set: &'a str, state: &'a State) -> Option<Self> {
        let base = state.datasets.iter().find(|base| base.dataset == captured.dataset)?;
        let stream = base.stream.as_ref().filter(|_| base.guid.is_some() && base.volume == captured.volume)?;
        Some(Self { set, label: &state.label, captured: base, stream })
    }

    fn snapshot(&self) -> String {
        snapshot_name(&self.captured.dataset, self.label)
    }

    /// The snapshot, or else its bookmark, if it still is the one that was sent.
    fn start(&self) -> Result<Option<String>> {
        let guid = self.captured.guid.as_deref();
        let snapshot = self.snapshot();
        if own(&snapshot)?.is_some_and(|found| found.value("guid") == guid) {
            return Ok(Some(snapshot));
        }
        let bookmark = bookmark_name(&self.captured.dataset, self.label);
        Ok((bookmark_guid(&bookmark)?.as_deref() == guid).then_some(bookmark))
    }

    fn pieces(&self) -> Vec<Piece> {
        let own =
            |piece: &Piece| Piece { set: piece.set.clone().or_else(|| Some(self.set.to_owned())), ..piece.clone() };
        self.stream.pieces.iter().map(own).collect()
    }
}

fn format(sending: Sending, encrypted: bool) -> String {
    let flags = [(sending.large, 'L'), (sending.compressed, 'c'), (sending.raw && encrypted, 'w')];
    flags.into_iter().filter_map(|(on, flag)| on.then_some(flag)).collect()
}

/// Only a ZFS that can send raw has encryption at all.
fn is_encrypted(sending: Sending, dataset: &str) -> Result<bool> {
    if !sending.raw {
        return Ok(false);
    }
    let output = exec::run("encryption", &[("dataset", dataset)])?.ok()?;
    let found = properties::parse(&output.stdout).into_iter().next();
    Ok(found.is_some_and(|found| found.value("encryption").is_some_and(|value| value != "off")))
}

/// The streams as sources for the host to drain.
///
/// # Errors
/// The host's.
pub(crate) fn open(state: &State) -> Result<Vec<Source>> {
    commands(state).into_iter().map(|(name, command)| Ok(Source::output(name, command.spawn()?))).collect()
}

/// The commands that make the streams, by their names.
pub(crate) fn commands(state: &State) -> Vec<(String, Command)> {
    let mut commands = Vec::new();
    for captured in &state.datasets {
        let Some((stream, piece)) = captured.stream.as_ref().and_then(|s| Some((s, s.pieces.last()?))) else {
            continue;
        };
        let flags = format!("{}{}", if stream.properties { "p" } else { "" }, stream.format);
        let command = exec::command("send")
            .slot_if("flags", Some(flags).filter(|flags| !flags.is_empty()))
            .slot_if("from", stream.from.clone())
            .slot("snapshot", snapshot_name(&captured.dataset, &state.label));
        commands.push((piece.stream.clone(), command));
    }
    commands
}

/// These streams of a dataset among the archived ones.
///
/// # Errors
/// One of them is not in its set.
pub(crate) fn find<'a>(dataset: &str, pieces: &[Piece], archived: &'a [Archived]) -> Result<Vec<&'a Archived>> {
    if pieces.is_empty() {
        return Err(Error::not_found(format!("the set holds no stream of dataset {dataset}")));
    }
    // The items of the set itself come last.
    let own = archived.last().map(|item| item.set.as_str()).unwrap_or_default();
    let find = |piece: &Piece| {
        let set = piece.set.as_deref().unwrap_or(own);
        let named =
            |item: &&Archived| item.form == ArchivedForm::Stream && item.set == set && item.name == piece.stream;
        archived
            .iter()
            .find(named)
            .ok_or_else(|| Error::not_found(format!("set {set} holds no stream {} of {dataset}", piece.stream)))
    };
    pieces.iter().map(find).collect()
}

/// Remember the snapshots where ZFS has bookmarks: an increment can start there even when the snapshot is gone.
///
/// # Errors
/// The command cannot be run. That a bookmark cannot be made is told, and no failure.
pub(crate) fn bookmark(state: &mut State) -> Result<()> {
    for captured in &mut state.datasets {
        let (snapshot, name) =
            (snapshot_name(&captured.dataset, &state.label), bookmark_name(&captured.dataset, &state.label));
        let output = exec::run("bookmark", &[("snapshot", &snapshot), ("bookmark", &name)])?;
        captured.bookmark = output.status == 0 || output.stderr.contains("exists");
        // Older than bookmarks (zfs-fuse): then the snapshot itself stays as the start of the next increment.
        if output.stderr.contains("unrecognized command") {
            return Ok(());
        }
        if !captured.bookmark {
            warn!("no bookmark of {snapshot}: {}", output.failure().message);
        }
    }
    Ok(())
}

/// Destroy the bookmark of a snapshot, if it is the one of this guid. Idempotent.
///
/// # Errors
/// It is still there.
pub(crate) fn destroy_bookmark(dataset: &str, label: &str, guid: &str) -> Result<()> {
    let name = bookmark_name(dataset, label);
    let Some(found) = bookmark_guid(&name)? else { return Ok(()) };
    if found != guid {
        warn!("{name} was not made by this part: left alone");
        return Ok(());
    }
    let output = exec::run("destroy-bookmark", &[("bookmark", &name)])?;
    if absent(&output) || gone(&output) { Ok(()) } else { output.ok().map(drop) }
}

/// The guid of the snapshot that a bookmark remembers; none if there is no such bookmark, or no bookmarks at all.
fn bookmark_guid(name: &str) -> Result<Option<String>> {
    let output = exec::run("bookmark-guid", &[("bookmark", name)])?;
    if absent(&output) || gone(&output) || output.stderr.contains("invalid") {
        return Ok(None);
    }
    let found = properties::parse(&output.ok()?.stdout).into_iter().next();
    Ok(found.and_then(|found| found.value("guid").map(str::to_owned)))
}

/// With `keep-snapshots = false`: once a set is published, its bookmarks are all that the next increment needs.
///
/// # Errors
/// A snapshot is still there.
pub(crate) fn let_go(config: &Config, state: &State) -> Result<()> {
    if config.keep_snapshots {
        return Ok(());
    }
    for captured in state.datasets.iter().filter(|captured| captured.bookmark && captured.stream.is_some()) {
        let name = snapshot_name(&captured.dataset, &state.label);
        if own(&name)?
            .is_some_and(|found| mine(&found, &state.label) && found.value("guid") == captured.guid.as_deref())
        {
            holds::release(&captured.dataset, &state.label)?;
            destroy("destroy-snapshot", "snapshot", &name)?;
        }
    }
    Ok(())
}
