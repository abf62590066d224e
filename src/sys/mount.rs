//! The file-descriptor based mount API, and openat2.
