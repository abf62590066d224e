//! LVM2: labels, metadata, volume groups, read only.
