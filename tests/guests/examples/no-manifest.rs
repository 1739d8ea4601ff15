//! A strategy that says nothing of itself: without the SDK's macro, there are no sections.

#[cfg(target_arch = "wasm32")]
use bkhost_sdk::bindings;
use bkhost_sdk::bindings::exports::bkhost::snapshot::strategy::Guest;
use bkhost_sdk::{Archived, Finding, Result, Snapshot, Source, Strategy};
use bkhost_test_guests::Idle;

#[cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]
struct Silent;

#[cfg(target_arch = "wasm32")]
bindings::export_guest!(Silent with_types_in bindings);

impl Guest for Silent {
    fn check() -> Result<Vec<Finding>> {
        Idle.check()
    }
    fn prepare() -> Result<()> {
        Idle.prepare()
    }
    fn capture(label: String) -> Result<Snapshot> {
        Idle.capture(&label)
    }
    fn finish(snapshot: Snapshot) -> Result<Snapshot> {
        Idle.finish(snapshot)
    }
    fn open(snapshot: Snapshot) -> Result<Vec<Source>> {
        Idle.open(&snapshot)
    }
    fn confirm(snapshot: Snapshot) -> Result<()> {
        Idle.confirm(&snapshot)
    }
    fn close(snapshot: Snapshot) -> Result<()> {
        Idle.close(&snapshot)
    }
    fn restore(snapshot: Snapshot, archived: Vec<Archived>, to: Option<String>) -> Result<()> {
        Idle.restore(&snapshot, &archived, to.as_deref())
    }
    fn list() -> Result<Vec<Snapshot>> {
        Idle.list()
    }
    fn delete(snapshot: Snapshot) -> Result<()> {
        Idle.delete(&snapshot)
    }
    fn discard(label: String) -> Result<()> {
        Idle.discard(&label)
    }
}
