//! Systems and generations: their formats, and (with the feature `tools`) how they are made.

pub mod accounts;
pub mod bootspec;
pub mod declared;
pub mod generation;
pub mod units;

#[cfg(feature = "tools")]
mod assembly;
#[cfg(feature = "tools")]
pub mod compose;
#[cfg(feature = "tools")]
pub mod factory;
#[cfg(feature = "tools")]
pub mod fstab;
#[cfg(feature = "tools")]
pub mod health;
#[cfg(feature = "tools")]
pub mod ids;
#[cfg(feature = "tools")]
pub mod images;
#[cfg(feature = "tools")]
pub mod import;
#[cfg(feature = "tools")]
mod kernel;
#[cfg(feature = "tools")]
pub mod make;
#[cfg(feature = "tools")]
pub mod notice;
#[cfg(feature = "tools")]
pub mod own;
#[cfg(feature = "tools")]
pub mod packages;
#[cfg(feature = "tools")]
pub mod packages_parts;
#[cfg(feature = "tools")]
pub mod profile;
#[cfg(feature = "tools")]
pub mod rootfs;
#[cfg(feature = "tools")]
pub mod secrets;
