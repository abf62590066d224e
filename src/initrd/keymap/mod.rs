//! Keymaps for the initrd, compiled when the image is built: by loadkeys(1) from a console keymap, or from an XKB layout
//! that ckbcomp(1) turns into one.

mod compile;
mod mktable;
mod settings;

pub use compile::{CompileError, Places, compile};
pub use settings::{Layout, layout_of_system};
