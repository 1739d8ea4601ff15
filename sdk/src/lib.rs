//! Write a bkhost strategy.
