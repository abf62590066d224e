//! Device-mapper: names, tables and activation.
