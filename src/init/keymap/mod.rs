//! The console's keymap: passphrases are typed on the keyboard that stands there.

mod choose;
mod load;
mod table;

pub use choose::{Choice, choose};
pub use load::LoadError;
pub use table::{Keymap, KeymapError, KeymapProblem, is_keymap_name};
