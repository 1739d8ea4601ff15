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

/// What a plugin may export besides: its deep check of what was archived.
pub(super) mod verifying {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "verifying",
        imports: { default: async | trappable },
        exports: { default: async },
        with: { "bkhost:snapshot/types": crate::plugin::bindings::bkhost::snapshot::types },
    });
}

/// What a plugin may export besides: the identifier of its system.
pub(super) mod identifying {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "identifying",
        imports: { default: async | trappable },
        exports: { default: async },
        with: { "bkhost:snapshot/types": crate::plugin::bindings::bkhost::snapshot::types },
    });
}

/// What a plugin may export besides: which of its volumes holds a place.
pub(super) mod covering {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "covering",
        imports: { default: async | trappable },
        exports: { default: async },
        with: { "bkhost:snapshot/types": crate::plugin::bindings::bkhost::snapshot::types },
    });
}

/// What a plugin may export besides: the removal of what a restore that died has left.
pub(super) mod abandoning {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "abandoning",
        imports: { default: async | trappable },
        exports: { default: async },
        with: { "bkhost:snapshot/types": crate::plugin::bindings::bkhost::snapshot::types },
    });
}

/// What a plugin may export besides: its rehearsal of a restore.
pub(super) mod rehearsing {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "rehearsing",
        imports: { default: async | trappable },
        exports: { default: async },
        with: { "bkhost:snapshot/types": crate::plugin::bindings::bkhost::snapshot::types },
    });
}

/// What a plugin may export besides: copies at other places.
pub(super) mod copying {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "copying",
        imports: { default: async | trappable },
        exports: { default: async },
        with: { "bkhost:snapshot/types": crate::plugin::bindings::bkhost::snapshot::types },
    });
}
