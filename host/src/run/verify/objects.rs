//! Every byte of every object, as it is stored: nothing is decrypted or decompressed.

use futures_util::{StreamExt, stream};

use super::{Verification, all, at_once};
use crate::archive::set::ObjectRecord;
use crate::archive::verify_stored;
use crate::error::Result;
use crate::report::Phase;
use crate::run::chain::{Chain, Link};
use crate::run::proof::watched;
use crate::run::prune::blocking;

/// Read the objects of these parts and of those on which they build.
///
/// # Errors
/// `Damaged`, naming each object that is; `Store`; `Cancelled`.
pub(super) async fn read(verification: &Verification<'_>, chains: &[Chain]) -> Result<()> {
    let objects = chains.iter().flat_map(|chain| {
        chain.links().flat_map(move |link| link.part.objects.iter().map(move |object| (chain, link, object)))
    });
    let work = objects.map(|(chain, link, object)| async move {
        let result = one(verification, link, object).await;
        result.map_err(|e| chain.told(link, e))
    });
    all(stream::iter(work).buffered(at_once()).collect::<Vec<_>>().await).map(drop)
}

async fn one(verification: &Verification<'_>, link: &Link, object: &ObjectRecord) -> Result<u64> {
    verification
        .known
        .or_look(&link.set, &object.file, async {
            let (set, object) = (link.set.clone(), object.clone());
            let what = Phase::Verify.name();
            let control = watched(&verification.reporter, &object.file, what, Some(object.bytes), &verification.cancel);
            blocking(move || verify_stored(set.object(&object.file)?, &object, &control).map(|()| object.bytes)).await
        })
        .await
}
