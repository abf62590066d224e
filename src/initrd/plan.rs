//! What goes into an image, and why: everything is read and checked before a byte is written.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::cpio::{Archive, CpioError};
use super::elf::{self, ElfError};
use super::resolve::{Origin, Resolved, Wish};
use super::sets::{ModuleSet, wishes_of_lvm};
use super::tree::{ModuleTree, ResolveError, decompressed};
use super::{lvm, microcode, modinfo};

/// Why an image can't be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Modules.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// A program that goes into the image.
    #[error("{path} can't go into an initrd: {source}")]
    Program {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ElfError,
    },
    /// A file.
    #[error("{path} can't be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// lvm.
    #[error(transparent)]
    Lvm(#[from] lvm::LvmToolsError),
    /// The archive.
    #[error(transparent)]
    Archive(#[from] CpioError),
    /// Compression.
    #[error("the image can't be compressed: {0}")]
    Compress(io::Error),
}

/// What an image is made of.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Version of the kernel, such as `6.12.57+deb13-amd64`.
    pub kernel: String,
    /// The kernel's module directory, `…/lib/modules/VERSION`.
    pub modules_directory: PathBuf,
    /// Directories with modprobe.d files whose options, soft dependencies and aliases count. A file hides those of the
    /// same name in earlier directories.
    pub modprobe_d: Vec<PathBuf>,
    /// The set of modules.
    pub set: ModuleSet,
    /// Modules beside the set.
    pub modules: Vec<String>,
    /// The static keel-init.
    pub init: PathBuf,
    /// The static e2fsck; without it ext file systems aren't checked.
    pub e2fsck: Option<PathBuf>,
    /// The `/usr` whose lvm goes in, with its libraries and modules; `None` when the root doesn't need it.
    pub lvm: Option<PathBuf>,
    /// Microcode that goes before the image: files, and directories such as `/usr/lib/firmware`.
    pub microcode: Vec<PathBuf>,
    /// A directory (`/usr/lib/firmware`) with the firmware that the modules name.
    pub firmware: Option<PathBuf>,
    /// zstd's level, 1 to 22.
    pub compression_level: i32,
}

/// An image that can be written.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is in it, in order: first the microcode, then the rest.
    pub entries: Vec<PlanEntry>,
    /// What was left out although a set or a module names it, a sentence each.
    pub notes: Vec<String>,
    pub(super) early: Archive,
    pub(super) archive: Archive,
}

/// One entry of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanEntry {
    /// Where it is, without a leading slash.
    pub path: String,
    /// Before compression.
    pub bytes: usize,
    /// Why it is there.
    pub reason: String,
}

impl PlanEntry {
    /// Whether it is a kernel module.
    pub fn is_module(&self) -> bool {
        self.path.starts_with("lib/modules/")
            && Path::new(&self.path).extension().is_some_and(|end| end == "ko")
    }
}

/// Reads all that an image is made of. Nothing is written.
pub fn plan(recipe: &Recipe) -> Result<Plan, BuildError> {
    let tree = ModuleTree::read(&recipe.modules_directory, &recipe.kernel, &recipe.modprobe_d)?;
    let named = recipe.modules.iter().map(|name| Wish {
        name: name.clone(),
        optional: false,
        origin: Origin::Named,
    });
    let wishes: Vec<Wish> = named
        .chain(recipe.set.wishes())
        .chain(recipe.lvm.iter().flat_map(|_| wishes_of_lvm()))
        .collect();
    let resolved = tree.resolve(&wishes)?;

    let mut parts = Parts::default();
    for directory in ["dev", "proc", "run", "sys", "sysroot", "tmp"] {
        parts.archive.directory(directory, 0o755)?;
        parts.because(directory, "a mount point");
    }
    parts.archive.character_device("dev/console", 0o600, 5, 1)?;
    parts.because(
        "dev/console",
        "the kernel opens it for PID 1 before devtmpfs is mounted",
    );
    parts.file("init", 0o755, program(&recipe.init)?, "PID 1 of the initrd")?;
    if let Some(e2fsck) = &recipe.e2fsck {
        parts.file(
            "usr/sbin/e2fsck",
            0o755,
            program(e2fsck)?,
            "checks ext file systems before they are mounted",
        )?;
    }
    if let Some(usr) = &recipe.lvm {
        parts.lvm(usr)?;
    }
    parts.file(
        "etc/keel/modules",
        0o644,
        resolved.table.to_bytes(),
        "the table of the modules",
    )?;
    parts.file(
        "etc/initrd-release",
        0o644,
        release().into_bytes(),
        "says that this is an initrd, and whose",
    )?;
    parts.modules(&tree, &resolved, recipe.firmware.as_deref())?;

    let mut notes: Vec<String> = resolved
        .left_out
        .iter()
        .map(|(module, line)| format!("module {module} is left out: modprobe.d says `{line}`"))
        .collect();
    notes.append(&mut parts.notes);
    let early =
        microcode::archive(&recipe.microcode).map_err(|(path, source)| BuildError::Read { path, source })?;
    if !recipe.microcode.is_empty() && early.list().next().is_none() {
        notes.push("no microcode was found where it was looked for".to_owned());
    }
    let entry = |(path, bytes): (&str, usize)| {
        let reason = parts.reasons.get(path).cloned().unwrap_or_default();
        PlanEntry {
            path: path.to_owned(),
            bytes,
            reason,
        }
    };
    let mut entries: Vec<PlanEntry> = early.list().map(entry).collect();
    entries
        .iter_mut()
        .filter(|entry| entry.bytes > 0)
        .for_each(|entry| "CPU microcode".clone_into(&mut entry.reason));
    entries.extend(parts.archive.list().map(entry));
    Ok(Plan {
        entries,
        notes,
        early,
        archive: parts.archive,
    })
}

#[derive(Default)]
struct Parts {
    archive: Archive,
    reasons: BTreeMap<String, String>,
    notes: Vec<String>,
}

impl Parts {
    fn because(&mut self, path: &str, reason: &str) {
        let _ = self.reasons.insert(path.to_owned(), reason.to_owned());
    }

    fn file(&mut self, path: &str, mode: u32, content: Vec<u8>, reason: &str) -> Result<(), CpioError> {
        self.because(path, reason);
        self.archive.file(path, mode, content)
    }

    fn lvm(&mut self, usr: &Path) -> Result<(), BuildError> {
        let (files, notes) = lvm::files(usr)?;
        for (path, (content, mode, reason)) in files {
            self.file(&path, mode, content, &reason)?;
        }
        self.notes.extend(notes);
        Ok(())
    }

    fn modules(
        &mut self,
        tree: &ModuleTree,
        resolved: &Resolved,
        firmware: Option<&Path>,
    ) -> Result<(), BuildError> {
        for ((module, file), reason) in resolved
            .table
            .modules
            .iter()
            .zip(&resolved.files)
            .zip(&resolved.reasons)
        {
            let content = tree.content(file)?;
            let mut missing = Vec::new();
            for name in modinfo::firmware(&content) {
                if !self.firmware(firmware, &name, &module.name)? {
                    missing.push(name);
                }
            }
            if !missing.is_empty() {
                let name = &module.name;
                self.notes.push(format!(
                    "firmware of {name} isn't in the image: {}",
                    missing.join(", ")
                ));
            }
            let path = format!("lib/modules/{}/{}", tree.kernel(), module.file);
            self.file(&path, 0o644, content, &reason.to_string())?;
        }
        Ok(())
    }

    /// Puts in a file of firmware; `false` when there is none.
    fn firmware(&mut self, directory: Option<&Path>, name: &str, module: &str) -> Result<bool, BuildError> {
        let Some(directory) = directory else {
            return Ok(false);
        };
        for suffix in ["", ".xz", ".zst"] {
            let path = directory.join(format!("{name}{suffix}"));
            match decompressed(&path) {
                Ok(content) => {
                    self.file(
                        &format!("lib/firmware/{name}"),
                        0o644,
                        content,
                        &format!("firmware of {module}"),
                    )?;
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(BuildError::Read { path, source }),
            }
        }
        Ok(false)
    }
}

fn program(path: &Path) -> Result<Vec<u8>, BuildError> {
    let bytes = fs::read(path).map_err(|source| BuildError::Read {
        path: path.to_owned(),
        source,
    })?;
    elf::check_static(&bytes).map_err(|source| BuildError::Program {
        path: path.to_owned(),
        source,
    })?;
    Ok(bytes)
}

/// os-release(5), for programs that ask whether they run in an initrd.
fn release() -> String {
    format!(
        "NAME=\"keel initrd\"\nID=keel-initrd\nVERSION_ID={}\n",
        env!("CARGO_PKG_VERSION")
    )
}
