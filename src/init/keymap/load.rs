//! Loading a keymap into the kernel, as loadkeys(1) does.

use std::io;
use std::os::fd::BorrowedFd;

use super::table::{HOLE, KEYS, Keymap};
use crate::sys::vt::{self, KeyboardMode};

/// A keymap that isn't loaded, or not all of it.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {source}")]
pub struct LoadError {
    step: String,
    source: io::Error,
}

fn failed(step: impl Into<String>) -> impl FnOnce(io::Error) -> LoadError {
    let step = step.into();
    move |source| LoadError { step, source }
}

/// Lets the keyboard give UTF-8 on a virtual terminal, unless a graphical program has it.
pub(super) fn set_unicode(terminal: BorrowedFd<'_>) -> Result<(), LoadError> {
    let mode = vt::mode(terminal).map_err(failed("asking for the keyboard's mode"))?;
    if mode == KeyboardMode::EightBit {
        vt::set_unicode(terminal).map_err(failed("turning Unicode mode on"))?;
    }
    Ok(())
}

impl Keymap {
    /// Makes this the keymap of all virtual terminals, of which `terminal` is one in Unicode mode. Keys that the kernel
    /// refuses are passed over: one exotic symbol must not take the other keys away.
    ///
    /// # Errors
    /// The first of the refusals.
    pub fn load(&self, terminal: BorrowedFd<'_>) -> Result<(), LoadError> {
        let mut first = Ok(());
        let mut note = |result: Result<(), LoadError>| {
            if first.is_ok() {
                first = result;
            }
        };
        for number in 0..=u8::MAX {
            // Map 0 can't be taken away, so its empty keys are set like the others.
            if number != 0 {
                note(vt::remove_map(terminal, number).map_err(failed(format!("removing map {number}"))));
            }
            let Some(keys) = self.maps.get(&number) else {
                continue;
            };
            let empty = std::iter::repeat_n(HOLE, KEYS.saturating_sub(keys.len()));
            let keys = keys.iter().copied().chain(empty);
            for (key, value) in (0..=u8::MAX).zip(keys) {
                // Key 0 is none. A map without any other key isn't needed.
                if key != 0 && (number == 0 || value != HOLE) {
                    let set = vt::set_key(terminal, number, key, value);
                    note(set.map_err(failed(format!(
                        "setting key {key} of map {number} to {value:#06x}"
                    ))));
                }
            }
        }
        for (number, text) in &self.strings {
            let set = vt::set_string(terminal, *number, text);
            note(set.map_err(failed(format!("setting the string of function {number}"))));
        }
        if !self.compose.is_empty() {
            note(vt::set_compose(terminal, &self.compose).map_err(failed("setting dead keys")));
        }
        first
    }
}
