//! The contract in Rust, generated from `wit/`.
#![allow(missing_docs, clippy::all, clippy::indexing_slicing, clippy::unwrap_used)]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "plugin",
    imports: { default: async | trappable },
    exports: { default: async },
    with: {
        "bkhost:snapshot/exec.process": crate::capability::Process,
        "bkhost:snapshot/freeze.frozen": crate::capability::Frozen,
    },
});
