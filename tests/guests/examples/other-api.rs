//! Says that it speaks a version of the contract that does not exist.

bkhost_test_guests::idle_but_for!("manifests/other-api.toml", std::hint::black_box(()));
