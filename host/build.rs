//! Tells the crate the exact version of its WebAssembly engine, which no constant of wasmtime's API does: compiled code
//! is cached by it, because a fix in the compiler has to invalidate what an older patch level compiled.

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let lock = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../Cargo.lock");
    println!("cargo::rerun-if-changed={}", lock.display());
    let text = std::fs::read_to_string(&lock).map_err(|e| format!("{}: {e}", lock.display()))?;
    let version = text
        .split_once("name = \"wasmtime\"\nversion = \"")
        .and_then(|(_, rest)| rest.split_once('"'))
        .map(|(version, _)| version)
        .ok_or_else(|| format!("{} names no version of wasmtime", lock.display()))?;
    println!("cargo::rustc-env=BKHOST_WASMTIME_VERSION={version}");
    Ok(())
}
