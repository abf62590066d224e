//! Store paths: hash, name, and how they are computed.
