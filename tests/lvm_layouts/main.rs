//! Volume groups of every kind that the installed lvm writes without device-mapper: keel gives the tables, names, UUIDs and
//! modes that lvm itself loads. A preloaded library takes the kernel's place for lvm (`device_mapper.c`). Needs root, loop
//! devices, lvm2 and a C compiler.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unused_results
)]

mod lab;
mod refused;
mod whole;

use keel::block::lvm::{Groups, dm_name, dm_uuid};
use lab::{Lab, Mapped};

/// What keel would make of everything that is to be activated by itself, and why it wouldn't make the rest.
fn of_keel(groups: &Groups) -> (Vec<Mapped>, Vec<String>) {
    let (mut mapped, mut refused) = (Vec::new(), Vec::new());
    for group in groups.groups() {
        if let Some(refusal) = group.refusal() {
            refused.push(refusal.to_string());
            continue;
        }
        let metadata = group.metadata();
        let wanted = metadata
            .logical_volumes
            .iter()
            .filter(|volume| volume.is_visible() && volume.is_activated_by_itself())
            .filter(|_| metadata.is_activated_by_itself());
        for volume in wanted {
            match group.table(volume) {
                Ok(table) => mapped.push(Mapped {
                    name: dm_name(&metadata.name, &volume.name),
                    uuid: dm_uuid(&metadata.id, &volume.id),
                    is_writable: volume.is_writable(),
                    table: table.to_string(),
                }),
                Err(error) => refused.push(error.to_string()),
            }
        }
    }
    mapped.sort();
    (mapped, refused)
}
