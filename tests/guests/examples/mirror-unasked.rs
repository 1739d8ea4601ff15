//! Copies although its manifest asks for no directory.

use bkhost_sdk::mirror::{Pass, copy};

bkhost_test_guests::idle_but_for!("manifests/plain.toml", drop(copy("/source/a", "/staging/a", &[], Pass::Live)));
