//! Guests for the tests of the gate: `examples/` holds one component per file, `manifests/` what they say of themselves.
//!
//! `hostile` does, in the phase that its configuration names, the one thing that its configuration names. The list of
//! these behaviours is the `enum` in `manifests/hostile.schema.json`; the host's tests fail while one of them has no
//! test.

use bkhost_sdk::{Archived, Finding, Result, Snapshot, Source, Strategy};

/// A strategy that does nothing: what the components that must never start are made of.
#[derive(Debug)]
pub struct Idle;

/// No configuration.
#[derive(Debug, serde::Deserialize)]
pub struct NoConfig {}

impl Strategy for Idle {
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

    fn open(&mut self, _: &Snapshot) -> Result<Vec<Source>> {
        Ok(Vec::new())
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

/// Makes a component of a strategy that is [`Idle`] but for what its `check` does.
#[macro_export]
macro_rules! idle_but_for {
    ($manifest:literal, $check:expr) => {
        use bkhost_sdk::Strategy as _;

        struct Guest($crate::Idle);

        impl bkhost_sdk::Strategy for Guest {
            type Config = $crate::NoConfig;

            fn new(config: $crate::NoConfig) -> bkhost_sdk::Result<Self> {
                $crate::Idle::new(config).map(Self)
            }
            fn check(&mut self) -> bkhost_sdk::Result<Vec<bkhost_sdk::Finding>> {
                $check;
                self.0.check()
            }
            fn capture(&mut self, label: &str) -> bkhost_sdk::Result<bkhost_sdk::Snapshot> {
                self.0.capture(label)
            }
            fn open(&mut self, snapshot: &bkhost_sdk::Snapshot) -> bkhost_sdk::Result<Vec<bkhost_sdk::Source>> {
                self.0.open(snapshot)
            }
            fn restore(
                &mut self,
                snapshot: &bkhost_sdk::Snapshot,
                archived: &[bkhost_sdk::Archived],
                to: Option<&str>,
            ) -> bkhost_sdk::Result<()> {
                self.0.restore(snapshot, archived, to)
            }
            fn delete(&mut self, snapshot: &bkhost_sdk::Snapshot) -> bkhost_sdk::Result<()> {
                self.0.delete(snapshot)
            }
            fn discard(&mut self, label: &str) -> bkhost_sdk::Result<()> {
                self.0.discard(label)
            }
        }

        bkhost_sdk::export!(Guest, manifest = $manifest, schema = "manifests/empty.schema.json");
    };
}
