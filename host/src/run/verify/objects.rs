//! Every byte of every object, as it is stored: nothing is decrypted or decompressed.

use futures_util::{StreamExt, stream};

use super::{Verification, at_once};
use crate::archive::set::ObjectRecord;
use crate::archive::verify_stored;
use crate::error::Result;
use crate::report::Phase;
use crate::run::chain::{Chain, Link};
use crate::run::proof::watched;
use crate::run::prune::blocking;
use crate::store::Amiss;

/// Read the objects of these parts and of those on which they build, but for those that are known to be amiss.
pub(super) async fn read(verification: &Verification<'_>, chains: &[Chain], amiss: &[Amiss]) -> Vec<Result<u64>> {
    let objects = chains.iter().flat_map(|chain| {
        chain.links().flat_map(move |link| link.part.objects.iter().map(move |object| (chain, link, object)))
    });
    let known = |chain: &Chain, link: &Link, object: &ObjectRecord| {
        chain.is_last(link) && amiss.iter().any(|amiss| amiss.object == object.file)
    };
    let work =
        objects.filter(|(chain, link, object)| !known(chain, link, object)).map(|(chain, link, object)| async move {
            let result = one(verification, link, object).await;
            result.map_err(|e| chain.told(link, e))
        });
    stream::iter(work).buffered(at_once()).collect().await
}

/// # Errors
/// `Damaged`, naming the object; `Store`; `Cancelled`.
pub(super) async fn one(verification: &Verification<'_>, link: &Link, object: &ObjectRecord) -> Result<u64> {
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
