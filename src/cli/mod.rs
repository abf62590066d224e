//! Verbs of `keel` and what they print.
