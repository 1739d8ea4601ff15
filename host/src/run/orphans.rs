//! Killing the children of a run whose process is gone.

use super::journal::ChildRecord;
use super::leftovers::Leftovers;
use crate::archive::SetId;
use crate::capability::{Leader, kill_orphans};
use crate::report::{Level, Reporter};

/// Kill what the run `id` left running, if the machine was not booted since. Gives the process groups of the journal that
/// are gone.
pub(super) async fn kill(id: &SetId, left: &Leftovers, reporter: &Reporter) -> Vec<u32> {
    let groups: Vec<u32> = left.children.iter().map(|child| child.pgid).collect();
    if left.host.as_ref().is_some_and(|host| !host.is_of_this_boot()) {
        return groups;
    }
    let owner = id.to_string();
    let leaders: Vec<Leader> =
        left.children.iter().map(|ChildRecord { pgid, start }| Leader { pgid: *pgid, start: *start }).collect();
    let Ok((killed, stuck)) = tokio::task::spawn_blocking(move || kill_orphans(&owner, &leaders)).await else {
        return Vec::new();
    };
    if killed > 0 {
        reporter.message(Level::Warning, None, format!("{killed} processes of the run {id} were still there: killed"));
    }
    if !stuck.is_empty() {
        let text = format!("processes of the run {id} do not go, the kernel holds them: {stuck:?}");
        reporter.message(Level::Error, None, text);
    }
    groups
}
