//! Verbs of `keel` and what they print.

pub mod boot;
