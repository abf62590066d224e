//! What goes into an image, and why: everything is read and checked before a byte is written.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::cpio::{Archive, CpioError};
use super::elf::{self, ElfError};
use super::host::Host;
use super::resolve::{Origin, Resolved, Wish};
use super::sets::{ModuleSet, wishes_of_lvm};
use super::system_tree::SystemTree;
use super::tree::{ModuleTree, ResolveError};
use super::{beside_systemd, firmware, kmod_index, lvm, microcode, modinfo};
use crate::init::keymap::Keymap;
use crate::init::modules::Table;
use crate::system::units::sources::{InDirectory, Mounted};

/// Why an image can't be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Modules.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// An index of kmod's.
    #[error("{0} can't be written: the image holds more modules than it can name")]
    Index(&'static str),
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
    /// The system's tree lacks something that systemd can't do without in an initrd.
    #[error(
        "{tree} has no {path}, which an initrd with systemd needs; Debian's packages systemd, udev, kmod and dmsetup have it"
    )]
    Lacks {
        /// What is missing.
        path: String,
        /// Where it was looked for.
        tree: PathBuf,
    },
    /// A library that a program asks for.
    #[error(
        "{program} asks for {library}, which isn't in its system; is the package that it belongs to complete?"
    )]
    Library {
        /// The program, or a library of it.
        program: PathBuf,
        /// The name of the library.
        library: String,
    },
    /// lvm.
    #[error(transparent)]
    Lvm(#[from] lvm::LvmToolsError),
    /// The archive.
    #[error(transparent)]
    Archive(#[from] CpioError),
    /// An image for one machine that wouldn't boot it.
    #[error(
        "an initrd with the modules of this machine only wouldn't boot it: {0}; the set generic (without --host) has more, \
         and --module adds one"
    )]
    Host(String),
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
    /// The machine that the image is for, when it's for one only.
    pub host: Option<Host>,
    /// The static keel-init.
    pub init: PathBuf,
    /// The static e2fsck; without it ext file systems aren't checked.
    pub e2fsck: Option<PathBuf>,
    /// The `/usr` whose lvm goes in, with its libraries and modules; `None` when the root doesn't need it.
    pub lvm: Option<PathBuf>,
    /// Microcode that goes before the image: files, and directories such as `/usr/lib/firmware`.
    pub microcode: Vec<PathBuf>,
    /// Keymaps of the console; the first one is the default. Without any the kernel's own stays.
    pub keymaps: Vec<Keymap>,
    /// A static shell, which `keel.shell` starts; busybox for its commands.
    pub shell: Option<PathBuf>,
    /// A directory (`/usr/lib/firmware`) with the firmware that the modules name.
    pub firmware: Option<PathBuf>,
    /// With systemd as PID 1; without it, keel-init is.
    pub systemd: Option<SystemPart>,
    /// zstd's level, 1 to 22.
    pub compression_level: i32,
}

/// What a system gives to an initrd whose PID 1 is systemd.
#[derive(Clone, Debug)]
pub struct SystemPart {
    /// The system.
    pub files: SystemFiles,
    /// Files and directories of it beside those that are needed.
    pub include: Vec<String>,
}

/// Where a system's files are.
#[derive(Clone, Debug)]
pub enum SystemFiles {
    /// Below a directory, its root.
    Root(PathBuf),
    /// In a generation's trees, which lie side by side.
    Generation {
        /// Its `/usr`.
        usr: PathBuf,
        /// Its `/etc`, which has no accounts.
        etc: PathBuf,
        /// Its groups, as group(5) has them.
        groups: String,
    },
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
    /// Whether it is a file of firmware.
    pub fn is_firmware(&self) -> bool {
        let path = self.path.strip_prefix("usr/").unwrap_or(&self.path);
        self.bytes > 0 && path.starts_with("lib/firmware/")
    }

    /// Whether it is a kernel module. Those lie flat in the kernel's directory; what is below it are links to them.
    pub fn is_module(&self) -> bool {
        let path = self.path.strip_prefix("usr/").unwrap_or(&self.path);
        path.strip_prefix("lib/modules/")
            .and_then(|path| path.split_once('/'))
            .is_some_and(|(_, name)| !name.contains('/') && name.ends_with(".ko"))
    }
}

/// What vfat asks for when it's mounted; no dependency says so. Which of them depends on the kernel's configuration.
const CHARACTER_SETS: &[&str] = &["nls_cp437", "nls_ascii", "nls_iso8859-1", "nls_utf8"];

/// Reads all that an image is made of. Nothing is written.
pub fn plan(recipe: &Recipe) -> Result<Plan, BuildError> {
    let tree = ModuleTree::read(&recipe.modules_directory, &recipe.kernel, &recipe.modprobe_d)?;
    let named = recipe.modules.iter().map(|name| Wish {
        name: name.clone(),
        optional: false,
        origin: Origin::Named,
    });
    let asked_at_mount = recipe
        .modules
        .iter()
        .any(|name| name == "vfat")
        .then_some(CHARACTER_SETS)
        .into_iter()
        .flatten()
        .map(|name| Wish {
            name: (*name).to_owned(),
            optional: true,
            origin: Origin::Named,
        });
    let host = recipe.host.as_ref().map(|host| tree.wishes_of(host));
    let wishes: Vec<Wish> = named
        .chain(asked_at_mount)
        .chain(recipe.set.wishes())
        .chain(recipe.lvm.iter().flat_map(|_| wishes_of_lvm()))
        .chain(host.iter().flatten().cloned())
        .collect();
    let resolved = tree.resolve(&wishes)?;
    if let Some(host) = &recipe.host {
        let problems = tree.lacking(host, &resolved);
        if !problems.is_empty() {
            return Err(BuildError::Host(problems.join("; ")));
        }
    }

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
    if let Some(part) = &recipe.systemd {
        parts.library = "usr/lib";
        parts.file(
            "usr/bin/keel-init",
            0o755,
            program(&recipe.init)?,
            "prepares the root",
        )?;
        add_systemd(&mut parts, part)?;
        parts.indexes(&tree, &resolved.table)?;
    } else {
        parts.file("init", 0o755, program(&recipe.init)?, "PID 1 of the initrd")?;
    }
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
    parts.keymaps(&recipe.keymaps)?;
    parts.shell(recipe.shell.as_deref())?;
    parts.modules(&tree, &resolved, recipe.firmware.as_deref())?;

    let mut notes: Vec<String> = resolved
        .left_out
        .iter()
        .map(|(module, line)| format!("module {module} is left out: modprobe.d says `{line}`"))
        .collect();
    notes.append(&mut parts.notes);
    notes.extend(recipe.host.iter().flat_map(|host| host.notes.clone()));
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

/// Files of a kernel's module directory that modprobe(8) and udevd read, beside the indexes of the modules in the image.
const INDEXES: [&str; 6] = [
    "modules.builtin.alias.bin",
    "modules.builtin.bin",
    "modules.builtin.modinfo",
    "modules.devname",
    "modules.softdep",
    "modules.weakdep",
];

/// What has been put together.
pub(super) struct Parts {
    archive: Archive,
    /// Where modules and firmware lie: `lib`, or `usr/lib` where that is a link.
    library: &'static str,
    reasons: BTreeMap<String, String>,
    notes: Vec<String>,
}

impl Default for Parts {
    fn default() -> Self {
        Parts {
            archive: Archive::default(),
            library: "lib",
            reasons: BTreeMap::new(),
            notes: Vec::new(),
        }
    }
}

impl Parts {
    fn because(&mut self, path: &str, reason: &str) {
        let _ = self.reasons.insert(path.to_owned(), reason.to_owned());
    }

    /// Notes what somebody should know of the image, as a sentence.
    pub(super) fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    /// Whether something is at `path`.
    pub(super) fn has(&self, path: &str) -> bool {
        self.reasons.contains_key(path)
    }

    /// Everything that was put in, sorted.
    #[cfg(test)]
    pub(super) fn paths(&self) -> Vec<String> {
        self.reasons.keys().cloned().collect()
    }

    pub(super) fn link(&mut self, path: &str, target: &str, reason: &str) -> Result<(), CpioError> {
        self.because(path, reason);
        self.archive.link(path, target)
    }

    /// Indexes for other programs that load modules.
    fn indexes(&mut self, tree: &ModuleTree, table: &Table) -> Result<(), BuildError> {
        let directory = format!("{}/modules/{}", self.library, tree.kernel());
        for (name, content) in [
            ("modules.dep.bin", kmod_index::of_dependencies(table)),
            ("modules.alias.bin", kmod_index::of_aliases(table)),
        ] {
            let content = content.ok_or(BuildError::Index(name))?;
            self.file(
                &format!("{directory}/{name}"),
                0o644,
                content,
                "the modules in the image, for udevd",
            )?;
        }
        for name in INDEXES {
            let path = tree.directory().join(name);
            match fs::read(&path) {
                Ok(content) => {
                    self.file(
                        &format!("{directory}/{name}"),
                        0o644,
                        content,
                        "what modprobe and udevd find modules by",
                    )?;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(BuildError::Read { path, source }),
            }
        }
        Ok(())
    }

    pub(super) fn file(
        &mut self,
        path: &str,
        mode: u32,
        content: Vec<u8>,
        reason: &str,
    ) -> Result<(), CpioError> {
        self.because(path, reason);
        self.archive.file(path, mode, content)
    }

    fn keymaps(&mut self, keymaps: &[Keymap]) -> Result<(), CpioError> {
        if keymaps.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = keymaps.iter().map(|keymap| keymap.name.as_str()).collect();
        let text: String = keymaps.iter().map(Keymap::to_text).collect();
        let reason = format!("keymaps of the console: {}", names.join(", "));
        self.file("etc/keel/keymaps", 0o644, text.into_bytes(), &reason)
    }

    fn shell(&mut self, shell: Option<&Path>) -> Result<(), BuildError> {
        let Some(path) = shell else { return Ok(()) };
        let program = program(path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // busybox acts by what it's called.
        let place = if name.starts_with("busybox") {
            "usr/bin/busybox".to_owned()
        } else {
            format!("usr/bin/{name}")
        };
        self.file(&place, 0o755, program, "the shell that keel.shell starts")?;
        let record = format!("/{place}\n").into_bytes();
        self.file("etc/keel/shell", 0o644, record, "says that keel.shell is allowed")?;
        Ok(())
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
        let mut named: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for ((module, file), reason) in resolved
            .table
            .modules
            .iter()
            .zip(&resolved.files)
            .zip(&resolved.reasons)
        {
            let content = tree.content(file)?;
            for name in modinfo::firmware(&content) {
                named.entry(name).or_default().push(&module.name);
            }
            let path = format!("{}/modules/{}/{}", self.library, tree.kernel(), module.file);
            self.file(&path, 0o644, content, &reason.to_string())?;
        }
        for (name, modules) in named {
            let by = modules.join(", ");
            match firmware::read(firmware, tree.kernel(), &name)? {
                Some(content) => self.file(
                    &format!("{}/firmware/{name}", self.library),
                    0o644,
                    content,
                    &format!("firmware of {by}"),
                )?,
                None => self.notes.push(format!(
                    "firmware {name} of {by} isn't in the image: it isn't installed"
                )),
            }
        }
        Ok(())
    }
}

fn add_systemd(parts: &mut Parts, part: &SystemPart) -> Result<(), BuildError> {
    let open = |path: &Path| {
        InDirectory::open(path).map_err(|source| BuildError::Read {
            path: path.to_owned(),
            source,
        })
    };
    match &part.files {
        SystemFiles::Root(root) => {
            let files = open(root)?;
            let mut tree = SystemTree::new(&files, root);
            let groups = tree.text("etc/group")?;
            beside_systemd::add(parts, &mut tree, &part.include, &groups)
        }
        SystemFiles::Generation { usr, etc, groups } => {
            let (usr_files, etc_files) = (open(usr)?, open(etc)?);
            let files = Mounted::new().with("usr", &usr_files).with("etc", &etc_files);
            beside_systemd::add(parts, &mut SystemTree::new(&files, usr), &part.include, groups)
        }
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
