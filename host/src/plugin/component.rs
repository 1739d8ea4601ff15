//! A component as a file: what it is, before any of it is compiled or run.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};
use wasmparser::component_types::ComponentEntityType;
use wasmparser::{Encoding, Parser, Payload, ValidPayload, Validator, WasmFeatures};
use wasmtime::Engine;

use crate::error::{Error, ErrorKind, Result, ResultExt};

/// The largest component that is read.
const MAX_SIZE: u64 = 64 << 20;
const MAX_SECTION: usize = 1 << 20;
const MANIFEST: &str = "bkhost:manifest";
const SCHEMA: &str = "bkhost:config-schema";

const BUILD_HINT: &str = "a strategy is a component: build it for wasm32-wasip2 with the bkhost SDK";

/// What a component's file says about itself.
pub(super) struct Parsed {
    pub(super) bytes: Vec<u8>,
    /// SHA-256, in lower-case hexadecimal.
    pub(super) digest: String,
    /// The text of `plugin.toml`.
    pub(super) manifest: String,
    /// The JSON Schema of `[part.config]`.
    pub(super) schema: String,
    /// Its imports, each with the functions it takes from it.
    pub(super) imports: BTreeMap<String, Vec<String>>,
    /// The names of its exports.
    pub(super) exports: Vec<String>,
}

/// Reads and takes apart the component at `path`.
pub(super) fn read(path: &Path) -> Result<Parsed> {
    let bytes = read_file(path)?;
    parse(bytes).map_err(|e| e.within(path.display()))
}

fn read_file(path: &Path) -> Result<Vec<u8>> {
    let failed = || format!("cannot read the plugin {}", path.display());
    let file = File::open(path).or_error(ErrorKind::Io, failed)?;
    let metadata = file.metadata().or_error(ErrorKind::Io, failed)?;
    if !metadata.is_file() {
        return Err(Error::new(ErrorKind::Plugin, format!("the plugin {} is no regular file", path.display())));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len().min(MAX_SIZE)).unwrap_or_default());
    file.take(MAX_SIZE + 1).read_to_end(&mut bytes).or_error(ErrorKind::Io, failed)?;
    if bytes.len() as u64 > MAX_SIZE {
        return Err(Error::new(ErrorKind::Plugin, format!("the plugin {} is larger than 64 MiB", path.display()))
            .hint("strip its debug information: `strip = true` in the profile it is built with"));
    }
    Ok(bytes)
}

fn parse(bytes: Vec<u8>) -> Result<Parsed> {
    check_header(&bytes)?;
    let digest = hex(&Sha256::digest(&bytes));
    let mut found = Found { size: bytes.len(), ..Found::default() };
    let mut validator = Validator::new_with_features(WasmFeatures::default());
    for payload in Parser::new(0).parse_all(&bytes) {
        let payload = payload.map_err(|e| malformed(&e))?;
        found.look_at(&payload)?;
        // Function bodies are left to the compiler, which validates them before it compiles.
        if let ValidPayload::End(types) = validator.payload(&payload).map_err(|e| malformed(&e))?
            && found.depth == 0
        {
            let types = types.as_ref();
            for (import, functions) in &mut found.imports {
                if let Some(ComponentEntityType::Instance(id)) =
                    types.component_item_for_import(import).map(|item| item.ty)
                    && let Some(instance) = types.get(id)
                {
                    let exports = instance.exports.iter();
                    functions.extend(
                        exports
                            .filter(|(_, item)| matches!(item.ty, ComponentEntityType::Func(_)))
                            .map(|(name, _)| name.clone()),
                    );
                }
            }
        }
    }
    let manifest = one(found.manifest, MANIFEST)?;
    let schema = one(found.schema, SCHEMA)?;
    Ok(Parsed { bytes, digest, manifest, schema, imports: found.imports, exports: found.exports })
}

#[derive(Default)]
struct Found {
    /// The size of the file.
    size: usize,
    /// How many modules and components are open around the payload.
    depth: usize,
    manifest: Vec<String>,
    schema: Vec<String>,
    imports: BTreeMap<String, Vec<String>>,
    exports: Vec<String>,
}

impl Found {
    fn look_at(&mut self, payload: &Payload<'_>) -> Result<()> {
        match payload {
            Payload::Version { encoding: Encoding::Module, .. } if self.depth == 0 => {
                return Err(
                    Error::new(ErrorKind::Plugin, "it is a core WebAssembly module, not a component").hint(BUILD_HINT)
                );
            }
            Payload::ModuleSection { unchecked_range, .. } | Payload::ComponentSection { unchecked_range, .. } => {
                // The parser takes the end of the file for the end of what is embedded.
                if unchecked_range.end > self.size {
                    return Err(truncated(self.size));
                }
                self.depth += 1;
            }
            Payload::End(_) => self.depth = self.depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if self.depth == 0 => {
                for import in section.clone() {
                    let import = import.map_err(|e| malformed(&e))?;
                    self.imports.insert(import.name.name.to_owned(), Vec::new());
                }
            }
            Payload::ComponentExportSection(section) if self.depth == 0 => {
                for export in section.clone() {
                    self.exports.push(export.map_err(|e| malformed(&e))?.name.name.to_owned());
                }
            }
            Payload::CustomSection(section) if section.name() == MANIFEST => {
                self.manifest.push(section_text(MANIFEST, section.data())?);
            }
            Payload::CustomSection(section) if section.name() == SCHEMA => {
                self.schema.push(section_text(SCHEMA, section.data())?);
            }
            _ => {}
        }
        Ok(())
    }
}

fn check_header(bytes: &[u8]) -> Result<()> {
    if Engine::detect_precompiled(bytes).is_some() {
        return Err(Error::new(ErrorKind::Plugin, "it is compiled code, not a WebAssembly component").hint(
            "compiled code runs outside of the sandbox and is never taken from a file: use the .wasm it was made from",
        ));
    }
    let error = match bytes {
        [] => "it is empty",
        [b'\0', b'a', b's', b'm', _, _, _, _, ..] => return Ok(()),
        bytes if b"\0asm".starts_with(bytes) || bytes.starts_with(b"\0asm") => "it is truncated",
        _ => "it is not WebAssembly",
    };
    Err(Error::new(ErrorKind::Plugin, error).hint(BUILD_HINT))
}

fn malformed(e: &wasmparser::BinaryReaderError) -> Error {
    let text = e.message();
    if text.contains("unexpected end") || text.contains("unexpected-eof") {
        truncated(e.offset())
    } else {
        Error::new(ErrorKind::Plugin, format!("it is no valid component: {text} (at byte {})", e.offset()))
            .hint(BUILD_HINT)
    }
}

fn truncated(offset: usize) -> Error {
    Error::new(ErrorKind::Plugin, format!("it is truncated at byte {offset}"))
        .hint("copy it again, and compare its SHA-256 with its publisher's")
}

fn section_text(name: &str, data: &[u8]) -> Result<String> {
    if data.len() > MAX_SECTION {
        return Err(Error::new(ErrorKind::Plugin, format!("its section `{name}` is larger than 1 MiB")));
    }
    String::from_utf8(data.to_vec()).or_error(ErrorKind::Plugin, || format!("its section `{name}` is not UTF-8"))
}

fn one(mut sections: Vec<String>, name: &str) -> Result<String> {
    match (sections.pop(), sections.len()) {
        (Some(text), 0) => Ok(text),
        (None, _) => Err(Error::new(ErrorKind::Plugin, format!("it has no section `{name}`"))
            .hint("it is not a bkhost plugin, or was built without the SDK's export macro")),
        (Some(_), more) => Err(Error::new(ErrorKind::Plugin, format!("it has {} sections `{name}`", more + 1))
            .hint("there must be exactly one: call the SDK's export macro once")),
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
    const MODULE: &[u8] = b"\0asm\x01\0\0\0";

    fn section(id: u8, content: &[u8]) -> Vec<u8> {
        let mut length = content.len();
        let mut out = vec![id];
        loop {
            let low = u8::try_from(length & 0x7f).unwrap();
            length >>= 7;
            out.push(if length == 0 { low } else { low | 0x80 });
            if length == 0 {
                break;
            }
        }
        out.extend(content);
        out
    }

    fn custom(name: &str, data: &[u8]) -> Vec<u8> {
        section(0, &[&[u8::try_from(name.len()).unwrap()], name.as_bytes(), data].concat())
    }

    fn refused(bytes: &[u8]) -> Error {
        let error = parse(bytes.to_vec()).err().expect("it must be refused");
        assert_eq!(error.kind(), ErrorKind::Plugin, "{error:?}");
        assert!(error.hint_text().is_some(), "{error:?}");
        error
    }

    #[test]
    fn sections_are_found_in_the_embedded_module() {
        let module = [MODULE, &custom(MANIFEST, b"m"), &custom("other", b"x")].concat();
        let bytes = [COMPONENT, &section(1, &module), &custom(SCHEMA, b"{}")].concat();
        let parsed = parse(bytes).unwrap();
        assert_eq!((parsed.manifest.as_str(), parsed.schema.as_str()), ("m", "{}"));
        assert_eq!(parsed.digest.len(), 64);
    }

    #[test]
    fn what_is_no_component_is_told_apart() {
        for (bytes, expected) in [
            (&b""[..], "empty"),
            (b"#!/bin/sh\nexit 0\n", "not WebAssembly"),
            (b"\0as", "truncated"),
            (b"\0asm\x0d\0", "truncated"),
            (MODULE, "core WebAssembly module"),
            (COMPONENT, "no section `bkhost:manifest`"),
        ] {
            let error = refused(bytes);
            assert!(error.message().contains(expected), "{bytes:?}: {error}");
        }
    }

    #[test]
    fn compiled_code_is_refused() {
        let engine = super::super::engine::new().unwrap();
        let error = refused(&engine.precompile_component(COMPONENT).unwrap());
        assert!(error.message().contains("compiled code"), "{error}");
    }

    #[test]
    fn every_truncation_is_refused() {
        let module = [MODULE, &custom(MANIFEST, b"manifest"), &custom(SCHEMA, b"{}")].concat();
        let whole = [COMPONENT, &section(1, &module)].concat();
        parse(whole.clone()).unwrap();
        for length in 9..whole.len() {
            let error = refused(&whole[..length]);
            assert!(error.message().contains("truncated"), "{length}: {error}");
        }
    }

    #[test]
    fn a_section_that_is_there_twice_is_refused() {
        let module = [MODULE, &custom(MANIFEST, b"a"), &custom(SCHEMA, b"{}")].concat();
        let bytes = [COMPONENT, &section(1, &module), &custom(MANIFEST, b"b")].concat();
        assert!(refused(&bytes).message().contains("2 sections `bkhost:manifest`"));
    }

    #[test]
    fn a_file_that_is_too_large_is_refused_before_it_is_parsed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(MAX_SIZE + 1).unwrap();
        let error = read(file.path()).err().unwrap();
        assert!(error.message().contains("64 MiB"), "{error}");
        assert!(read(Path::new("/")).is_err());
    }
}
