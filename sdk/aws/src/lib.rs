//! The AWS query protocol (EC2, RDS, IAM, STS) for strategies. The host signs the requests and holds the keys.
//!
//! A [`Client`] repeats what was refused because of too many calls, and, where that is safe, what nobody knows the outcome
//! of; a [`Failure`] says which of the two it was. Answers are [`Element`]s.
//!
//! ```no_run
//! use bkhost_sdk_aws::{Client, Parameters};
//!
//! # fn main() -> bkhost_sdk::Result<()> {
//! let ec2 = Client::ec2("eu-central-1", None);
//! for snapshot in ec2.list("DescribeSnapshots", &Parameters::new().list("Owner", ["self"]), "snapshotSet")? {
//!     bkhost_sdk::info!("{} is {}", snapshot.text("snapshotId"), snapshot.text("status"));
//! }
//! # Ok(())
//! # }
//! ```

mod backoff;
mod client;
mod failure;
mod parameters;
mod time;
mod xml;

pub use backoff::{Backoff, Deadline};
pub use client::{Client, Presigned};
pub use failure::Failure;
pub use parameters::Parameters;
pub use time::{milliseconds, rfc3339};
pub use xml::Element;
