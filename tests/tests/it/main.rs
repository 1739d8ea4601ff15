//! bkhost from outside, against real systems. One module per area; one binary, so that it links once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test that cannot go on has failed"
)]

mod alarm;
mod applications;
mod aws;
mod broken_off;
mod btrfs;
mod busy;
mod cli;
mod conformance;
mod coverage;
mod crash;
mod damage;
mod demo;
mod directory;
mod disks;
mod drill;
mod ebs;
mod elasticsearch;
mod encryption;
mod excluded;
mod export;
mod faults;
mod freeze;
mod fslevel;
mod git_locks;
mod keep;
mod lease;
mod limits;
mod lvm;
mod main_job;
mod mysql;
mod mysql_physical;
mod notify;
mod offsite;
mod p4d;
mod postgresql;
mod postgresql_container;
mod postgresql_servers;
mod proxied;
mod prune;
mod rds;
mod refusals;
mod regressions;
mod rehearsed;
mod restore;
mod rsync;
mod s3;
mod services;
mod several;
mod signals;
mod silent;
mod stores;
mod third_party;
mod zero_downtime;
mod zfs;
