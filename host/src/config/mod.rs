//! `bkhost.toml`: typed, documented, and strict.
