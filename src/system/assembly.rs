//! The system's own store path: boot.json, the links to its parts, and what is written down about it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::bootspec::{self, BootSpec, BootSpecError, Keel, V1};
use crate::store::{AddError, Addition, SmallDirectory, StorePath};

/// systemd of the assembled root.
const INIT: &str = "/usr/lib/systemd/systemd";

/// Why a system can't be put together.
#[derive(Debug, thiserror::Error)]
pub enum AssemblyError {
    /// A kernel parameter can't be used.
    #[error(transparent)]
    BootSpec(#[from] BootSpecError),
    /// The store refused.
    #[error(transparent)]
    Add(#[from] AddError),
}

/// What a system is put together from: store paths that are valid, or are being added.
pub(super) struct Pieces<'a> {
    /// The name that it was given.
    pub name: &'a str,
    /// Kernel parameters, one each.
    pub kernel_params: &'a [String],
    /// As `uname -r` says it.
    pub kernel_version: &'a str,
    /// What the menu shows before the kernel.
    pub os_name: &'a str,
    /// `/usr` without modules.
    pub usr: &'a StorePath,
    /// `/etc`.
    pub etc: &'a StorePath,
    /// The modules' tree.
    pub modules: &'a StorePath,
    /// The kernel.
    pub kernel: &'a StorePath,
    /// The image of `/usr`.
    pub usr_image: &'a StorePath,
    /// The image of `/etc`.
    pub etc_image: &'a StorePath,
    /// The initrd.
    pub initrd: Option<&'a StorePath>,
    /// keel's own programs.
    pub keel: Option<&'a StorePath>,
    /// What its parts were made of, and has to stay with them.
    pub parts: Option<&'a StorePath>,
    /// What else it needs: all that its parts refer to.
    pub further: &'a [StorePath],
    /// Files by their names.
    pub files: Vec<(&'static str, Vec<u8>)>,
}

impl Pieces<'_> {
    // Names of links, and what they lead to.
    fn links(&self) -> impl Iterator<Item = (&'static str, &StorePath)> {
        [
            ("usr", Some(self.usr)),
            ("etc", Some(self.etc)),
            ("modules", Some(self.modules)),
            ("kernel", Some(self.kernel)),
            ("usr.cfs", Some(self.usr_image)),
            ("etc.cfs", Some(self.etc_image)),
            ("initrd", self.initrd),
            ("keel", self.keel),
            ("parts", self.parts),
        ]
        .into_iter()
        .filter_map(|(name, path)| Some((name, path?)))
    }

    /// The name of its store path.
    pub(super) fn store_name(&self) -> String {
        store_name(self.name)
    }
}

/// The name of the store path of a system called `name`.
pub(super) fn store_name(name: &str) -> String {
    format!("keel-system-{name}")
}

/// Adds the system.
pub(super) fn add_system(addition: &mut Addition, pieces: &Pieces<'_>) -> Result<StorePath, AssemblyError> {
    let layout = addition.layout().clone();
    let absolute = |path: &StorePath| path.absolute(layout.store_dir());
    let links: BTreeMap<PathBuf, PathBuf> = pieces
        .links()
        .map(|(name, path)| (name.into(), absolute(path).into()))
        .collect();
    let mut closure: Vec<StorePath> = pieces.links().map(|(_, path)| path.clone()).collect();
    closure.extend_from_slice(pieces.further);
    closure.sort_unstable();
    closure.dedup();
    let spec = |own: &StorePath| BootSpec {
        v1: V1 {
            system: bootspec::SYSTEM.into(),
            init: INIT.into(),
            initrd: pieces.initrd.map(absolute),
            kernel: absolute(pieces.kernel),
            kernel_params: pieces.kernel_params.to_vec(),
            label: format!("{}, Linux {}", pieces.os_name, pieces.kernel_version),
            toplevel: absolute(own),
        },
        keel: Keel {
            name: pieces.name.to_owned(),
            kernel_version: pieces.kernel_version.to_owned(),
            usr_image: absolute(pieces.usr_image),
            etc_image: absolute(pieces.etc_image),
            modules: absolute(pieces.modules),
            objects: layout.objects_dir(),
        },
    };
    spec(pieces.usr).check()?;
    let lines: String = closure.iter().map(|path| absolute(path) + "\n").collect();
    let content = |own: &StorePath| {
        let mut files: BTreeMap<PathBuf, Vec<u8>> = pieces
            .files
            .iter()
            .map(|(name, bytes)| (PathBuf::from(name), bytes.clone()))
            .collect();
        let _new = files.insert("closure".into(), lines.clone().into_bytes());
        let _new = files.insert("boot.json".into(), spec(own).to_json().into_bytes());
        SmallDirectory {
            files,
            links: links.clone(),
            ..SmallDirectory::default()
        }
    };
    Ok(addition.add_referring(&pieces.store_name(), &closure, &content)?)
}

/// JSON for people and programs, with a newline at its end.
pub(super) fn json(value: &impl serde::Serialize) -> Vec<u8> {
    // Only maps with keys that are no strings could fail.
    let mut bytes = serde_json::to_vec_pretty(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}
