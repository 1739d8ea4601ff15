//! `bkhost copy`

use std::process::ExitCode;

use super::args::Place;
use super::context::Context;
use super::output;
use crate::archive::SetId;
use crate::error::{Error, ErrorKind, Result};
use crate::run::{self, blocking};
use crate::store::Store;
use crate::units;

pub(super) async fn copy(
    context: &Context,
    id: Option<&str>,
    from: Option<String>,
    to: &str,
    instance: Option<String>,
) -> Result<ExitCode> {
    let opened = context.place(&Place { store: from, instance }).await?;
    let to = context.store(opened.config(), to).await?;
    let mut sources = opened.clone();
    sources.stores.retain(|store| store.location() != to.location());
    if sources.stores.is_empty() {
        let text = format!("there is no store to copy from, other than {} itself", to.location());
        return Err(Error::new(ErrorKind::Config, text).hint("name two stores with --from and --to"));
    }
    let (from, ids) = match id {
        Some(id) => {
            let set = sources.set(id).await?;
            (set.store().clone(), vec![set.manifest.id])
        }
        None => {
            // The first that is left.
            let from = sources.stores.first().unwrap_or(&sources.store).clone();
            let ids = proved(&from, &opened.instance).await?;
            (from, ids)
        }
    };
    let session = context.session(opened.config_or_plain())?;
    let copied = run::copy(&session, &from, &to, &ids).await?;
    if context.global.json {
        output::json(&copied)?;
    } else {
        copied.present.iter().for_each(|id| output::line(format!("set {id} is in {} already", to.location())));
        copied.pinned.iter().for_each(|id| output::line(format!("set {id} is pinned in {} too", to.location())));
        output::line(format!(
            "{} sets copied from {} to {}, {} sent",
            copied.copied.len(),
            from.location(),
            to.location(),
            units::human_bytes(copied.bytes)
        ));
    }
    Ok(ExitCode::SUCCESS)
}

async fn proved(store: &Store, instance: &str) -> Result<Vec<SetId>> {
    let (store, instance) = (store.clone(), instance.to_owned());
    let sets = blocking(move || store.list(&instance)).await?;
    Ok(sets.into_iter().filter(|set| set.manifest().is_some()).map(|set| set.id).collect())
}
