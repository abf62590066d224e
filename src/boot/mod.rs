//! The boot menu on the EFI system partition (ESP): one Type 1 entry per generation
//! (UAPI.1 Boot Loader Specification), kernels and initrds named by their content.
//!
//! [`menu`] and [`plan`] are pure; [`esp`] reads and writes.

pub mod declared;
pub mod efi;
pub mod esp;
pub mod menu;
pub mod plan;
pub mod record;
mod update;

pub use efi::{EfiError, EfiVariables, TrialBy};
pub use esp::{Esp, EspError, bootable, read_content};
pub use menu::{Bootable, Broken, Content, Menu, MenuEntry, Selection};
pub use plan::{Action, OnEsp, Plan, PlanError, Present, Role, Step, Wanted, plan};
pub use update::{Update, UpdateError, update};
