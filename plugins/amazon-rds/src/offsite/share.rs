//! Letting another account see a snapshot, for as long as it copies it.

use bkhost_sdk::{Error, Result};
use bkhost_sdk_aws::Parameters;

use crate::kind::Kind;
use crate::rds::Rds;

/// Share it, if it is another account that copies.
pub(super) fn open(here: &Rds, account: Option<&str>, kind: Kind, id: &str) -> Result<()> {
    let Some(account) = account else { return Ok(()) };
    let call = attribute(kind, id).list("ValuesToAdd.AttributeValue", [account]);
    here.client.change_again(kind.names().share, &call).map(drop).map_err(|failure| {
        Error::from(failure).context(format!("sharing {id} with account {account}")).hint(
            "a snapshot that is encrypted with Amazon's own key (aws/rds) cannot be shared: the database needs a key of your own",
        )
    })
}

/// Nobody else sees it any more. Idempotent; of one that is gone nothing is left.
pub(super) fn close(here: &Rds, account: Option<&str>, kind: Kind, id: &str) -> Result<()> {
    let Some(account) = account else { return Ok(()) };
    let call = attribute(kind, id).list("ValuesToRemove.AttributeValue", [account]);
    match here.client.change_again(kind.names().share, &call) {
        Ok(_) => Ok(()),
        Err(failure) if failure.is_missing() => Ok(()),
        Err(failure) => Err(Error::from(failure).context(format!("{id} is still shared with account {account}"))),
    }
}

fn attribute(kind: Kind, id: &str) -> Parameters {
    Parameters::new().set(kind.names().snapshot_id, id).set("AttributeName", "restore")
}
