//! Hashes although its manifest asks for no directory.

use bkhost_sdk::digest::{Algorithm, file};

bkhost_test_guests::idle_but_for!("manifests/plain.toml", drop(file("/source/a", Algorithm::Md5, false)));
