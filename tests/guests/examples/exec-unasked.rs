//! Runs a command although its manifest asks for none.

bkhost_test_guests::idle_but_for!("manifests/plain.toml", drop(bkhost_sdk::exec::run("id", &[])));
