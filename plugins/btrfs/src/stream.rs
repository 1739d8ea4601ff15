//! Send streams as the archive: what each subvolume's stream starts from, and the commands that make them.

use bkhost_sdk::exec::Command;
use bkhost_sdk::history::{self, Earlier};
use bkhost_sdk::{Result, Snapshot, Source, exec, info, warn};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::names::snapshot_path;
use crate::{Captured, State, own};

/// How a subvolume's stream is made, and which streams make it up again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stream {
    /// The snapshot that an increment starts from; none: a full stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<String>,
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
    /// The name of the snapshot in it, by which it is received.
    pub(crate) snapshot: String,
}

/// Decide for each subvolume what its stream starts from. Names the set that this one builds on, if any does.
///
/// # Errors
/// The host's history or btrfs cannot be asked.
pub(crate) fn plan(config: &Config, snapshot: &mut Snapshot, state: &mut State) -> Result<()> {
    let earlier = usable(config, history::previous()?);
    let mut built = false;
    let (label, snapshots) = (state.label.clone(), state.snapshots.clone());
    for (n, captured) in state.subvolumes.iter_mut().enumerate() {
        let start = match &earlier {
            Some((set, base)) => start(captured, set, base)?,
            None => None,
        };
        let mut stream = Stream::default();
        let kind = match start {
            Some((from, pieces)) => {
                stream = Stream { from: Some(from), pieces };
                built = true;
                "incremental"
            }
            None => "full",
        };
        let path = snapshot_path(&snapshots, &label, n);
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        stream.pieces.push(Piece { set: None, stream: format!("{kind}-{n}"), snapshot: name });
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
        Ok(state) if state.has_streams() && state.snapshots == config.snapshots => Some((set, state)),
        _ => {
            info!("set {set} holds no streams to build on");
            None
        }
    }
}

/// The snapshot of the earlier set that an increment of this subvolume can start from, and the streams up to it. It has to be
/// there still, and of this very subvolume: after a restore in place, the subvolume is another one.
fn start(captured: &Captured, set: &str, base: &State) -> Result<Option<(String, Vec<Piece>)>> {
    let ours = &captured.marked;
    let found = base.subvolumes.iter().enumerate().find(|(_, base)| base.marked.path == ours.path);
    let Some((n, earlier)) = found else { return Ok(None) };
    let Some(stream) = earlier.stream.as_ref().filter(|_| earlier.marked.snapshot.is_some()) else { return Ok(None) };
    if earlier.marked.source != ours.source {
        info!("{}: a full stream, because it is another subvolume than before", ours.path);
        return Ok(None);
    }
    let path = base.path(n);
    if !own::own(&path)?.subvolume().is_some_and(|found| found.readonly && own::is(&found, &earlier.marked)) {
        warn!("{}: a full stream, because snapshot {path} is gone", ours.path);
        return Ok(None);
    }
    let of = |piece: &Piece| Piece { set: piece.set.clone().or_else(|| Some(set.to_owned())), ..piece.clone() };
    Ok(Some((path, stream.pieces.iter().map(of).collect())))
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
    for (n, captured) in state.subvolumes.iter().enumerate() {
        let Some((stream, piece)) = captured.stream.as_ref().and_then(|s| Some((s, s.pieces.last()?))) else {
            continue;
        };
        let command = exec::command("send").slot_if("from", stream.from.clone()).slot("snapshot", state.path(n));
        commands.push((piece.stream.clone(), command));
    }
    commands
}
