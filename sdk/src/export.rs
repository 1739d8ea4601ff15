//! From a type that implements `Strategy` to a component's exports.

use std::cell::RefCell;
use std::thread::LocalKey;

use crate::{Result, Strategy, config};

/// Where the component keeps its one strategy value between calls.
pub type Cell<S> = RefCell<Option<S>>;

/// Call the strategy, which is made from the part's configuration at the first call.
///
/// # Errors
/// What the call, or the making, returns.
pub fn with<S: Strategy, T>(cell: &'static LocalKey<Cell<S>>, call: impl FnOnce(&mut S) -> Result<T>) -> Result<T> {
    cell.with_borrow_mut(|slot| {
        let strategy = match slot {
            Some(strategy) => strategy,
            None => slot.insert(S::new(config::load()?)?),
        };
        call(strategy)
    })
}

/// Make a component of a type that implements [`Strategy`].
///
/// Embeds the crate's `plugin.toml` and `config.schema.json` as the sections from which the host learns, before it runs
/// anything, what the plugin is and what it asks for. Once per component.
///
/// ```ignore
/// bkhost_sdk::export!(Acme);
/// bkhost_sdk::export!(Acme, manifest = "guests/acme.toml", schema = "guests/acme.schema.json"); // relative to the crate
/// bkhost_sdk::export!(Acme: Verify + Drill); // what else it implements: the traits of `optional`
/// ```
#[macro_export]
macro_rules! export {
    ($strategy:ident $(: $optional:ident $(+ $another:ident)*)?) => {
        $crate::export!($strategy $(: $optional $(+ $another)*)?, manifest = "plugin.toml", schema = "config.schema.json");
    };
    ($strategy:ident $(: $optional:ident $(+ $another:ident)*)?, manifest = $manifest:literal, schema = $schema:literal $(,)?) => {
        #[doc(hidden)]
        // The exports of a component and its sections have to have the names that the contract gives them; that the
        // compiler calls unsafe, because another symbol could have the same. These come from one place: here.
        #[allow(unsafe_code, missing_docs, unreachable_pub)]
        pub mod __bkhost_export {
            use super::$strategy;
            use $crate::bindings::exports::bkhost::snapshot::strategy as contract;

            ::std::thread_local! {
                static STRATEGY: $crate::Cell<$strategy> = const { ::std::cell::RefCell::new(None) };
            }

            pub struct Exported;

            impl contract::Guest for Exported {
                fn check() -> $crate::Result<::std::vec::Vec<$crate::Finding>> {
                    $crate::with(&STRATEGY, |s| $crate::Strategy::check(s))
                }
                fn prepare() -> $crate::Result<()> {
                    $crate::with(&STRATEGY, |s| $crate::Strategy::prepare(s))
                }
                fn capture(label: ::std::string::String) -> $crate::Result<$crate::Snapshot> {
                    $crate::with(&STRATEGY, |s| $crate::Strategy::capture(s, &label))
                }
                fn finish(snapshot: $crate::Snapshot) -> $crate::Result<$crate::Snapshot> {
                    $crate::with(&STRATEGY, |s| $crate::Strategy::finish(s, snapshot))
                }
                fn open(snapshot: $crate::Snapshot) -> $crate::Result<::std::vec::Vec<$crate::Source>> {
                    $crate::with(&STRATEGY, |s| $crate::Strategy::open(s, &snapshot))
                }
                fn confirm(snapshot: $crate::Snapshot) -> $crate::Result<()> {
                    $crate::with(&STRATEGY, |s| $crate::Strategy::confirm(s, &snapshot))
                }
                fn close(snapshot: $crate::Snapshot) -> $crate::Result<()> {
                    $crate::with(&STRATEGY, |s| $crate::Strategy::close(s, &snapshot))
                }
                fn restore(
                    snapshot: $crate::Snapshot,
                    archived: ::std::vec::Vec<$crate::Archived>,
                    to: ::std::option::Option<::std::string::String>,
                ) -> $crate::Result<()> {
                    $crate::with(&STRATEGY, |s| $crate::Strategy::restore(s, &snapshot, &archived, to.as_deref()))
                }
                fn list() -> $crate::Result<::std::vec::Vec<$crate::Snapshot>> {
                    $crate::with(&STRATEGY, |s| $crate::Strategy::list(s))
                }
                fn delete(snapshot: $crate::Snapshot) -> $crate::Result<()> {
                    $crate::with(&STRATEGY, |s| $crate::Strategy::delete(s, &snapshot))
                }
                fn discard(label: ::std::string::String) -> $crate::Result<()> {
                    $crate::with(&STRATEGY, |s| $crate::Strategy::discard(s, &label))
                }
            }

            #[cfg(target_arch = "wasm32")]
            $crate::bindings::export_guest!(Exported with_types_in $crate::bindings);

            $($crate::export_optional!($optional $strategy); $($crate::export_optional!($another $strategy);)*)?

            const MANIFEST_TEXT: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $manifest));
            const SCHEMA_TEXT: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $schema));

            #[cfg_attr(target_arch = "wasm32", used)]
            #[cfg_attr(target_arch = "wasm32", unsafe(link_section = "bkhost:manifest"))]
            #[allow(dead_code)]
            static MANIFEST: [u8; MANIFEST_TEXT.len()] = *include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $manifest));

            #[cfg_attr(target_arch = "wasm32", used)]
            #[cfg_attr(target_arch = "wasm32", unsafe(link_section = "bkhost:config-schema"))]
            #[allow(dead_code)]
            static SCHEMA: [u8; SCHEMA_TEXT.len()] = *include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $schema));
        }
    };
}

/// One of the optional interfaces, inside the module that [`export!`] makes.
#[doc(hidden)]
#[macro_export]
macro_rules! export_optional {
    (Verify $strategy:ident) => {
        impl $crate::bindings_verify::exports::bkhost::snapshot::verify::Guest for Exported {
            fn verify(
                snapshot: $crate::Snapshot,
                archived: ::std::vec::Vec<$crate::Archived>,
            ) -> $crate::Result<::std::vec::Vec<$crate::Finding>> {
                $crate::with(&STRATEGY, |s: &mut $strategy| $crate::Verify::verify(s, &snapshot, &archived))
            }
        }

        #[cfg(target_arch = "wasm32")]
        $crate::bindings_verify::export_guest_verify!(Exported with_types_in $crate::bindings_verify);
    };
    (Identity $strategy:ident) => {
        impl $crate::bindings_identity::exports::bkhost::snapshot::identity::Guest for Exported {
            fn identity() -> $crate::Result<::std::option::Option<::std::string::String>> {
                $crate::with(&STRATEGY, |s: &mut $strategy| $crate::Identity::identity(s))
            }
        }

        #[cfg(target_arch = "wasm32")]
        $crate::bindings_identity::export_guest_identity!(Exported with_types_in $crate::bindings_identity);
    };
    (Covers $strategy:ident) => {
        impl $crate::bindings_covers::exports::bkhost::snapshot::covers::Guest for Exported {
            fn volume_of(place: $crate::Place) -> $crate::Result<::std::option::Option<$crate::Volume>> {
                $crate::with(&STRATEGY, |s: &mut $strategy| $crate::Covers::volume_of(s, &place))
            }
        }

        #[cfg(target_arch = "wasm32")]
        $crate::bindings_covers::export_guest_covers!(Exported with_types_in $crate::bindings_covers);
    };
    (Unfinished $strategy:ident) => {
        impl $crate::bindings_unfinished::exports::bkhost::snapshot::unfinished::Guest for Exported {
            fn abandon(
                label: ::std::string::String,
                to: ::std::option::Option<::std::string::String>,
            ) -> $crate::Result<bool> {
                $crate::with(&STRATEGY, |s: &mut $strategy| $crate::Unfinished::abandon(s, &label, to.as_deref()))
            }
        }

        #[cfg(target_arch = "wasm32")]
        $crate::bindings_unfinished::export_guest_unfinished!(Exported with_types_in $crate::bindings_unfinished);
    };
    (Drill $strategy:ident) => {
        impl $crate::bindings_drill::exports::bkhost::snapshot::drill::Guest for Exported {
            fn rehearse(
                snapshot: $crate::Snapshot,
                archived: ::std::vec::Vec<$crate::Archived>,
            ) -> $crate::Result<::std::vec::Vec<$crate::Finding>> {
                $crate::with(&STRATEGY, |s: &mut $strategy| $crate::Drill::rehearse(s, &snapshot, &archived))
            }
            fn clear() -> $crate::Result<()> {
                $crate::with(&STRATEGY, |s: &mut $strategy| $crate::Drill::clear(s))
            }
        }

        #[cfg(target_arch = "wasm32")]
        $crate::bindings_drill::export_guest_drill!(Exported with_types_in $crate::bindings_drill);
    };
    (Offsite $strategy:ident) => {
        impl $crate::bindings_offsite::exports::bkhost::snapshot::offsite::Guest for Exported {
            fn copy(snapshot: $crate::Snapshot) -> $crate::Result<$crate::Snapshot> {
                $crate::with(&STRATEGY, |s: &mut $strategy| $crate::Offsite::copy(s, &snapshot))
            }
            fn undo(snapshot: $crate::Snapshot) -> $crate::Result<()> {
                $crate::with(&STRATEGY, |s: &mut $strategy| $crate::Offsite::undo(s, &snapshot))
            }
            fn find(label: ::std::string::String) -> $crate::Result<::std::option::Option<$crate::Snapshot>> {
                $crate::with(&STRATEGY, |s: &mut $strategy| $crate::Offsite::find(s, &label))
            }
        }

        #[cfg(target_arch = "wasm32")]
        $crate::bindings_offsite::export_guest_offsite!(Exported with_types_in $crate::bindings_offsite);
    };
}
