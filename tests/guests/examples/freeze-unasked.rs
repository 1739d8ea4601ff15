//! Freezes although its manifest asks for no directory that may be frozen.

bkhost_test_guests::idle_but_for!("manifests/plain.toml", drop(bkhost_sdk::freeze(&["/source/a"])));
