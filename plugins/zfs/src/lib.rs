//! Strategy zfs.
