//! Tells the crate two things that are only known while it is built: the exact version of its WebAssembly engine, and
//! which plugins were built with it.

use std::error::Error;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    println!("cargo::rustc-env=BKHOST_WASMTIME_VERSION={}", wasmtime_version()?);
    std::fs::write(out.join("shipped-plugins.txt"), shipped_plugins(&out)?)?;
    Ok(())
}

/// No constant of wasmtime's API has the whole version. Compiled code is cached by it, because a fix in the compiler has to
/// invalidate what an older patch level compiled.
fn wasmtime_version() -> Result<String, Box<dyn Error>> {
    let lock = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../Cargo.lock");
    println!("cargo::rerun-if-changed={}", lock.display());
    let text = std::fs::read_to_string(&lock).map_err(|e| format!("{}: {e}", lock.display()))?;
    let version = text
        .split_once("name = \"wasmtime\"\nversion = \"")
        .and_then(|(_, rest)| rest.split_once('"'))
        .map(|(version, _)| version.to_owned())
        .ok_or_else(|| format!("{} names no version of wasmtime", lock.display()))?;
    Ok(version)
}

/// The digest list of the plugins that `make plugins` left, `<sha256>  <name>.wasm` per line. It becomes part of the binary:
/// a plugin that is changed later is a third party's. Without the list, every plugin is.
fn shipped_plugins(out: &Path) -> Result<String, Box<dyn Error>> {
    // OUT_DIR is <target>/release/build/bkhost-<hash>/out.
    let target = out.ancestors().nth(4).ok_or("OUT_DIR is not in a target directory")?;
    let list = target.join("plugins/SHA256SUMS");
    println!("cargo::rerun-if-changed={}", list.display());
    match std::fs::read_to_string(&list) {
        Ok(text) => Ok(text),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            println!("cargo::warning=no plugins were built: `make plugins` first, or every plugin will need a grant");
            Ok(String::new())
        }
        Err(e) => Err(format!("{}: {e}", list.display()).into()),
    }
}
