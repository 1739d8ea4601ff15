//! Has a manifest and a schema, but exports no strategy.

// The sections' names are the contract's; a component has only its own.
#[allow(unsafe_code)]
mod sections {
    #[cfg_attr(target_arch = "wasm32", used, unsafe(link_section = "bkhost:manifest"))]
    #[allow(dead_code)]
    static MANIFEST: [u8; include_bytes!("../manifests/plain.toml").len()] = *include_bytes!("../manifests/plain.toml");
    #[cfg_attr(target_arch = "wasm32", used, unsafe(link_section = "bkhost:config-schema"))]
    #[allow(dead_code)]
    static SCHEMA: [u8; include_bytes!("../manifests/empty.schema.json").len()] =
        *include_bytes!("../manifests/empty.schema.json");
}
