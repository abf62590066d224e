//! Ranges of subordinate numbers for rootless containers: subuid(5), subgid(5).

use super::files::{Entry, Table};

/// Numbers in a range (`SUB_UID_COUNT` of login.defs(5)).
const COUNT: u64 = 65536;
/// `SUB_UID_MIN`.
const FIRST: u64 = 100_000;
/// One more than `SUB_UID_MAX`.
const END: u64 = 600_100_001;

/// Whether the file gives the user a range, by name or by number.
pub(super) fn has_range(table: &Table, name: &[u8], uid: u32) -> bool {
    table
        .entries()
        .any(|entry| entry.name() == name || entry.name() == uid.to_string().as_bytes())
}

/// The lowest start of a range that none of the `tables` uses for a range and none of the `numbers` lies in.
pub(super) fn free_start(tables: &[&Table], numbers: impl Iterator<Item = u32>) -> Option<u64> {
    let ranges = tables
        .iter()
        .flat_map(|table| table.entries())
        .filter_map(|entry| Some((u64::from(entry.number(1)?), u64::from(entry.number(2)?))));
    let mut used: Vec<(u64, u64)> = ranges
        .chain(numbers.map(|number| (u64::from(number), 1)))
        .filter(|(_, count)| *count > 0)
        .collect();
    used.sort_unstable();
    let mut start = FIRST;
    for (first, count) in used {
        if first >= start + COUNT {
            break;
        }
        start = start.max(first + count);
    }
    (start + COUNT <= END).then_some(start)
}

/// The line that gives `name` the range at `start`.
pub(super) fn line(name: &str, start: u64) -> Entry {
    Entry::new(&[name, &start.to_string(), &COUNT.to_string()])
}
