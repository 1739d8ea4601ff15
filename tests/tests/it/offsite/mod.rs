//! Copies in other regions and accounts: the Amazon strategies against a stand-in with two regions and two accounts.

mod accounts;
mod ebs;
mod example;
mod faults;
mod rds;
mod refusals;

use bkhost_tests::aws::{Aws, Site};
use bkhost_tests::{Bkhost, Outcome, Running, application_none};

use super::ebs::Account;

/// Where copies go.
const THERE: &str = "eu-west-1";

/// An account with volumes, and an instance of bkhost that copies them to the place `dr`.
struct World {
    account: Account,
    bk: Bkhost,
}

impl World {
    fn new(volumes: usize) -> Self {
        Self { account: Account::new(volumes), bk: Bkhost::new() }
    }

    fn aws(&self) -> &Aws {
        &self.account.aws
    }

    /// The place in another region.
    fn there(&self) -> Site<'_> {
        self.aws().region(THERE)
    }

    /// `[[part.offsite]]` there. `keys` are those of the table, `config` those of the plugin's.
    fn place(&self, name: &str, keys: &str, config: &str) -> String {
        format!(
            "[[part.offsite]]\nname = \"{name}\"\n{keys}\n[part.offsite.config]\nregion = \"{THERE}\"\nendpoint = \"{0}\"\n\
             sts-endpoint = \"{0}\"\n{config}\n",
            self.aws().url()
        )
    }

    /// A configuration with one part and these places.
    fn config(&self, places: &str) {
        self.config_of(&self.account.part("home", ""), places, "[retention]\nkeep-last = 9\n");
    }

    fn config_of(&self, part: &str, places: &str, more: &str) {
        self.bk.config(&[&application_none(), part, places, more]);
    }

    fn start(&self, args: &[&str]) -> Running {
        let mut command = self.bk.command(args);
        command.envs(self.aws().environment()).env("EXTERNAL_ID", "the-external-id");
        Running::start(command, false)
    }

    fn run(&self, args: &[&str]) -> Outcome {
        self.start(args).end()
    }

    fn backup(&self) -> String {
        self.run(&["run", "--json"]).ok().json()["id"].as_str().unwrap().to_owned()
    }

    /// The copies that the stores tell of: set, place, whether it is there.
    fn told(&self) -> Vec<(String, String, bool)> {
        let list = self.run(&["list", "--json"]).ok().json();
        let copies = list["stores"][0]["offsite"].as_array().unwrap().clone();
        let text = |copy: &serde_json::Value, key: &str| copy[key].as_str().unwrap().to_owned();
        copies.iter().map(|copy| (text(copy, "set"), text(copy, "place"), copy["ok"].as_bool().unwrap())).collect()
    }

    /// The label of a run.
    fn label(&self, id: &str) -> String {
        format!("bkhost-{}-{id}", self.bk.instance())
    }
}

trait Says {
    /// It says all of this.
    fn says(self, texts: &[&str]) -> Self;
}

impl Says for Outcome {
    #[track_caller]
    fn says(self, texts: &[&str]) -> Self {
        let all = format!("{}{}", self.stdout, self.stderr);
        for text in texts {
            assert!(all.contains(text), "it does not say {text:?}: {self}");
        }
        self
    }
}

/// All snapshots of a site, or those of a run.
fn snapshots(site: &Site<'_>, label: Option<&str>) -> Vec<String> {
    let mut filter = vec![("Owner.1", "self")];
    if let Some(label) = label {
        filter.extend([("Filter.1.Name", "tag:bkhost:run"), ("Filter.1.Value.1", label)]);
    }
    let mut found = site.texts("ec2", "DescribeSnapshots", &filter, "snapshotId");
    found.sort();
    found
}

/// Who may use a snapshot besides its owner.
fn shared(aws: &Aws, snapshot: &str) -> Vec<String> {
    let of = [("SnapshotId", snapshot), ("Attribute", "createVolumePermission")];
    aws.texts("ec2", "DescribeSnapshotAttribute", &of, "userId")
}
