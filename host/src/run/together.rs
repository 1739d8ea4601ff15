//! Parts at work side by side.

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio_util::sync::CancellationToken;

use super::part::LivePart;
use crate::error::{Error, Result};

/// Do `work` for all of these parts at once. The first failure cancels the others; all have ended when this returns.
/// The error names its part.
///
/// # Errors
/// The first failure: those of parts that were cancelled because of it are not the news.
pub(super) async fn together<'a, 'p, T, F>(parts: F, cancel: &CancellationToken) -> Result<Vec<T>>
where
    'p: 'a,
    F: IntoIterator<Item = (String, std::pin::Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>)>,
{
    let mut work: FuturesUnordered<_> = parts
        .into_iter()
        .map(|(name, future)| async move { future.await.map_err(|e| e.within(format!("part `{name}`"))) })
        .collect();
    let mut done = Vec::new();
    let mut first: Option<Error> = None;
    while let Some(result) = work.next().await {
        match result {
            Ok(value) => done.push(value),
            Err(error) => {
                cancel.cancel();
                first.get_or_insert(error);
            }
        }
    }
    first.map_or(Ok(done), Err)
}

/// The order in which parts are captured: each inner list at once, one list after the other.
#[must_use]
pub(super) fn levels(parts: &[LivePart<'_>]) -> Vec<Vec<usize>> {
    let mut levels: Vec<Vec<usize>> = Vec::new();
    let mut captured: Vec<&str> = Vec::new();
    while captured.len() < parts.len() {
        let ready: Vec<usize> = parts
            .iter()
            .enumerate()
            .filter(|(_, part)| !captured.contains(&part.name()))
            .filter(|(_, part)| part.part.settings.after.iter().all(|name| captured.contains(&name.as_str())))
            .map(|(index, _)| index)
            .collect();
        // The configuration was checked for cycles; a cycle here must not turn into an endless loop under the lock.
        let ready = if ready.is_empty() {
            (0..parts.len()).filter(|i| parts.get(*i).is_some_and(|p| !captured.contains(&p.name()))).collect()
        } else {
            ready
        };
        captured.extend(ready.iter().filter_map(|index| parts.get(*index)).map(LivePart::name));
        levels.push(ready);
    }
    levels
}
