//! Names and UUIDs of LVM's devices (lvm2, lib/misc/lvm-string.c, `build_dm_name` and `build_dm_uuid`).

/// `VG-LV`, with the dashes inside of each name doubled.
pub fn dm_name(group: &str, volume: &str) -> String {
    format!("{}-{}", group.replace('-', "--"), volume.replace('-', "--"))
}

/// `LVM-`, then both UUIDs without dashes.
pub fn dm_uuid(group_id: &str, volume_id: &str) -> String {
    format!("LVM-{group_id}{volume_id}")
}
