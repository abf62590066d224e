//! Superblock probes: what a block device holds.
