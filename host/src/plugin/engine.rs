//! The WebAssembly engine, and the clock that interrupts guests.

use std::time::Duration;

use wasmtime::{Config, Engine, ModuleVersionStrategy};

use crate::error::{ErrorKind, Result, ResultExt};

/// The version of the WebAssembly engine, patch level included.
pub const WASMTIME_VERSION: &str = env!("BKHOST_WASMTIME_VERSION");

/// How often a running guest is interrupted: to let others run, to count its CPU time, and to see a cancellation.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// What a guest's calls may nest.
const WASM_STACK: usize = 1 << 20;
/// The stack of a call: the guest's part, and the host functions it calls.
const CALL_STACK: usize = 4 << 20;

/// A new engine, with its clock running for as long as the engine lives.
pub(super) fn new() -> Result<Engine> {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        // No WIT `async`: calls are two to four times cheaper without.
        .concurrency_support(false)
        .wasm_memory64(false)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(CALL_STACK);
    // By default, code that any patch level of the same major version compiled is taken.
    let version = format!("{WASMTIME_VERSION}+bkhost-{}", env!("CARGO_PKG_VERSION"));
    config
        .module_version(ModuleVersionStrategy::Custom(version))
        .or_error(ErrorKind::Internal, || "cannot configure the WebAssembly engine")?;
    let engine = Engine::new(&config).or_error(ErrorKind::Internal, || "cannot start the WebAssembly engine")?;
    start_clock(&engine)?;
    Ok(engine)
}

fn start_clock(engine: &Engine) -> Result<()> {
    let engine = engine.weak();
    std::thread::Builder::new()
        .name("guest-clock".to_owned())
        .spawn(move || {
            loop {
                std::thread::sleep(TICK);
                match engine.upgrade() {
                    Some(engine) => engine.increment_epoch(),
                    None => return,
                }
            }
        })
        .or_error(ErrorKind::Io, || "cannot start the thread that interrupts plugins")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_a_full_one_and_new_enough() {
        let fields: Vec<u32> = WASMTIME_VERSION.split('.').map(|f| f.parse().unwrap()).collect();
        assert_eq!(fields.len(), 3, "{WASMTIME_VERSION}");
        assert!(fields >= vec![48, 0, 8], "{WASMTIME_VERSION} has known sandbox escapes");
    }

    #[test]
    fn the_clock_ends_with_its_engine() {
        let engine = new().unwrap();
        let weak = engine.weak();
        drop(engine);
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while weak.upgrade().is_some() {
            assert!(std::time::Instant::now() < deadline, "the clock keeps the engine alive");
            std::thread::sleep(TICK);
        }
    }
}
