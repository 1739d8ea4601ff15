//! Everything stays with its vendor, it restores to a name, and nobody can rehearse that.

use bkhost_sdk::{Archived, Finding, Result, Snapshot, Source, Strategy};
use bkhost_test_guests::NoConfig;

struct Holder;

impl Strategy for Holder {
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<Self> {
        Ok(Self)
    }

    fn check(&mut self) -> Result<Vec<Finding>> {
        Ok(Vec::new())
    }

    fn capture(&mut self, label: &str) -> Result<Snapshot> {
        Snapshot::copied(label, &serde_json::json!({}))
    }

    fn open(&mut self, snapshot: &Snapshot) -> Result<Vec<Source>> {
        Ok(vec![Source::Held(snapshot.id.clone())])
    }

    fn restore(&mut self, _: &Snapshot, _: &[Archived], _: Option<&str>) -> Result<()> {
        Ok(())
    }

    fn delete(&mut self, _: &Snapshot) -> Result<()> {
        Ok(())
    }

    fn discard(&mut self, _: &str) -> Result<()> {
        Ok(())
    }
}

bkhost_sdk::export!(Holder, manifest = "manifests/plain.toml", schema = "manifests/empty.schema.json");
