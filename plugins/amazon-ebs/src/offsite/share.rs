//! Letting another account see snapshots, for as long as it copies them.

use bkhost_sdk::{Error, Result};
use bkhost_sdk_aws::Parameters;

use crate::ec2::Ec2;
use crate::state::State;

/// Share them, if it is another account that copies.
pub(super) fn open(here: &Ec2, account: Option<&str>, state: &State) -> Result<()> {
    let Some(account) = account else { return Ok(()) };
    for captured in &state.volumes {
        let call = permission("add", &captured.snapshot, account);
        here.client.change_again("ModifySnapshotAttribute", &call).map_err(|failure| {
            let error = Error::from(failure).context(format!("sharing {} with account {account}", captured.snapshot));
            if captured.encrypted {
                error.hint(
                    "a snapshot that is encrypted with Amazon's own key (aws/ebs) cannot be shared: encrypt the volume with a \
                     key of your own",
                )
            } else {
                error
            }
        })?;
    }
    Ok(())
}

/// Nobody else sees them any more. Idempotent; of one that is gone nothing is left.
pub(super) fn close(here: &Ec2, account: Option<&str>, state: &State) -> Result<()> {
    let Some(account) = account else { return Ok(()) };
    let mut left: Option<Error> = None;
    for captured in &state.volumes {
        let call = permission("remove", &captured.snapshot, account);
        match here.client.change_again("ModifySnapshotAttribute", &call) {
            Ok(_) => {}
            Err(failure) if failure.is_missing() => {}
            Err(failure) => {
                let text = format!("{} is still shared with account {account}", captured.snapshot);
                left = Some(left.unwrap_or(Error::from(failure).context(text)));
            }
        }
    }
    left.map_or(Ok(()), Err)
}

fn permission(operation: &str, snapshot: &str, account: &str) -> Parameters {
    Parameters::new()
        .set("SnapshotId", snapshot)
        .set("Attribute", "createVolumePermission")
        .set("OperationType", operation)
        .list("UserId", [account])
}
