//! Numbers and ranges of numbers that nobody else has.

use super::files::FileName;
use super::merge::{FIRST_ORDINARY, State};
use super::plan::{Kind, What};
use super::table::Table;
use crate::system::declared::{Declared, User};

/// Subordinate numbers: useradd's defaults (login.defs(5), `SUB_UID_MIN`, `SUB_UID_MAX`, `SUB_UID_COUNT`).
const FIRST_SUBORDINATE: u32 = 100_000;
const LAST_SUBORDINATE: u32 = 600_100_000;
const RANGE: u32 = 65_536;
/// Ordinary users end here (`UID_MAX`); beyond are systemd's dynamic users, `nobody`, containers.
const LAST_ORDINARY: u32 = 59_999;

/// The number for a new account: the declared one, unless somebody else on the machine has it. Two accounts of one
/// number would be one person to the kernel; so the new one gets a free number then, with a warning. `None` when there
/// is none.
pub(super) fn number_for(
    state: &mut State,
    kind: Kind,
    (name, wanted): (&str, u32),
    declared: &Declared,
) -> Option<u32> {
    let table = match kind {
        Kind::User => &state.passwd,
        Kind::Group => &state.group,
    };
    let Some(holder) = table.holder(2, wanted) else {
        return Some(wanted);
    };
    let holder = String::from_utf8_lossy(holder.name()).into_owned();
    let declared_so = match kind {
        Kind::User => declared
            .users
            .iter()
            .any(|other| other.name == holder && other.uid == wanted),
        Kind::Group => declared
            .groups
            .iter()
            .any(|other| other.name == holder && other.gid == wanted),
    };
    if declared_so {
        return Some(wanted);
    }
    let free = |number: &u32| {
        // A number that is free on one side only would tempt the next tool to give it to a pair.
        state.passwd.holder(2, *number).is_none()
            && state.group.holder(2, *number).is_none()
            && !declared.users.iter().any(|user| user.uid == *number)
            && !declared.groups.iter().any(|group| group.gid == *number)
    };
    let number = if wanted < FIRST_ORDINARY {
        (100..FIRST_ORDINARY).rev().find(free)
    } else {
        (FIRST_ORDINARY..=LAST_ORDINARY).find(free)
    };
    let reason = match number {
        Some(number) => {
            format!(
                "it gets {number} here; files of this system that belong to it carry {wanted}, and are {holder}'s"
            )
        }
        None => "and no other number is free; it is not added".to_owned(),
    };
    let name = name.to_owned();
    state.step(
        What::NumberTaken {
            kind,
            name,
            declared: wanted,
            holder,
        },
        reason,
    );
    number
}

/// Gives an ordinary user subordinate numbers, the same for users and groups where it has neither.
pub(super) fn ensure_ranges(state: &mut State, user: &User) {
    let uid = state
        .passwd
        .find(user.name.as_bytes())
        .and_then(|record| record.number(2));
    let Some(uid) = uid.filter(|uid| (FIRST_ORDINARY..=LAST_ORDINARY).contains(uid)) else {
        return;
    };
    let lacking: Vec<FileName> = [&state.subuid, &state.subgid]
        .into_iter()
        .filter(|table| !has_range(table, &user.name, uid))
        .map(Table::file)
        .collect();
    if lacking.is_empty() {
        return;
    }
    let Some(start) = free_range(state) else {
        state.step(
            What::NoneFree(format!("{} gets no subordinate numbers", user.name)),
            format!("no {RANGE} in a row are free up to {LAST_SUBORDINATE}"),
        );
        return;
    };
    for file in lacking {
        let table = if file == FileName::Subuid {
            &mut state.subuid
        } else {
            &mut state.subgid
        };
        let fields = [user.name.clone(), start.to_string(), RANGE.to_string()];
        table.add(fields.into_iter().map(String::into_bytes).collect());
        let what = What::AddRange {
            file,
            user: user.name.clone(),
            start,
            count: RANGE,
        };
        state.step(what, "user namespaces need them");
    }
}

fn has_range(table: &Table, name: &str, uid: u32) -> bool {
    table.find(name.as_bytes()).is_some() || table.find(uid.to_string().as_bytes()).is_some()
}

/// First of [`RANGE`] numbers that no range and no account has, in either file.
fn free_range(state: &State) -> Option<u32> {
    let ranges = [&state.subuid, &state.subgid]
        .into_iter()
        .flat_map(Table::records)
        .filter_map(|record| {
            let (start, count) = (u64::from(record.number(1)?), u64::from(record.number(2)?));
            Some((start, start + count))
        });
    let accounts = [&state.passwd, &state.group]
        .into_iter()
        .flat_map(Table::records)
        .filter_map(|record| record.number(2))
        .map(|number| (u64::from(number), u64::from(number) + 1));
    let mut taken: Vec<(u64, u64)> = ranges.chain(accounts).collect();
    taken.sort_unstable();
    let mut start = u64::from(FIRST_SUBORDINATE);
    for (first, end) in taken {
        if first >= start + u64::from(RANGE) {
            break;
        }
        start = start.max(end);
    }
    u32::try_from(start)
        .ok()
        .filter(|start| *start <= LAST_SUBORDINATE - RANGE)
}
