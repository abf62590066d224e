//! A line in `shadow` for every user, a line in `gshadow` for every group.

use std::collections::BTreeSet;

use super::FIRST_ORDINARY;
use super::files::{Entry, Table};
use super::merge::{Step, text};

/// What the password field of `passwd` and `group` says when the password is in the other file.
pub(super) const ELSEWHERE: &[u8] = b"x";

/// The password of a line of `passwd` or `group`, wherever it is. None: `x`, and no line in the other file.
pub(super) fn password<'a>(entry: &'a Entry, shadow: &'a Table) -> Option<&'a [u8]> {
    if entry.get(1) != ELSEWHERE {
        return Some(entry.get(1));
    }
    shadow.find(entry.name()).map(|line| line.get(1))
}

/// Whether nobody can log in with the password.
pub(super) fn is_locked(password: Option<&[u8]>) -> bool {
    password.is_none_or(|password| password.starts_with(b"!") || password.starts_with(b"*"))
}

/// A password that opens nothing. `!*` and not `!` for the system's own: `passwd -u` must not open them by mistake.
fn locked(number: u32) -> &'static [u8] {
    match number {
        0 => b"*",
        1..FIRST_ORDINARY => b"!*",
        _ => b"!",
    }
}

/// Adds the missing lines of `shadow` (for `passwd`, nine fields) or `gshadow` (for `group`, four).
///
/// A password that `passwd` or `group` hold themselves moves, as pwconv(8) does it; it stays the same password.
pub(super) fn complete(main: &mut Table, shadow: &mut Table, is_group: bool) -> Vec<Step> {
    let mut present: BTreeSet<Vec<u8>> = shadow.entries().map(|entry| entry.name().to_vec()).collect();
    let (from, to) = if is_group {
        ("group", "gshadow")
    } else {
        ("passwd", "shadow")
    };
    let mut steps = Vec::new();
    for entry in main.entries_mut() {
        if !present.insert(entry.name().to_vec()) {
            continue;
        }
        let name = text(entry.name());
        let own = entry.get(1).to_vec();
        let moves = own != ELSEWHERE;
        let secret = if moves {
            own
        } else {
            locked(entry.number(2).unwrap_or(0)).to_vec()
        };
        let mut line = if is_group {
            Entry::new(&["", "", "", ""])
        } else {
            Entry::new(&["", "", "", "", "", "", "", "", ""])
        };
        line.set(0, entry.name());
        line.set(1, &secret);
        if is_group {
            line.set(3, entry.get(3));
        }
        shadow.add(line);
        if moves {
            entry.set(1, ELSEWHERE);
            steps.push(Step {
                what: format!("move the password of {name} from {from} to {to}"),
                reason: format!("{from} can be read by everybody"),
            });
        } else {
            steps.push(Step {
                what: format!("add {name} to {to}"),
                reason: format!("{from} has it, {to} had not"),
            });
        }
    }
    steps
}
