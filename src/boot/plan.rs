//! What to do so that an ESP holds a menu. No I/O.
//!
//! The order makes every moment bootable: contents, systemd-boot, entries, loader.conf, and what nothing needs last.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::menu::{self, Content, ENTRIES, FALLBACK, LOADER_CONF, Menu, SYSTEMD_BOOT};

/// End of the name of a file that is being written. Such a name is no entry to systemd-boot.
pub const TEMPORARY: &str = ".keel-new";

/// A file on the ESP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Present {
    /// Size.
    pub bytes: u64,
    /// SHA-256 in lower-case hexadecimal; nothing when the file can't be read.
    pub digest: Option<String>,
    /// A boot loader other than systemd-boot.
    pub foreign_loader: bool,
    /// Paths that an entry refers to.
    pub references: Vec<String>,
}

/// What is on the ESP, as far as it matters: paths relative to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OnEsp {
    /// Contents of keel, every entry, loader.conf, the two copies of systemd-boot, temporaries.
    pub files: BTreeMap<String, Present>,
    /// Directories among those that keel writes to.
    pub directories: BTreeSet<String>,
    /// Free bytes.
    pub free: u64,
    /// Bytes in which space is given out (a cluster).
    pub block: u64,
}

/// What should be on the ESP.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The menu.
    pub menu: &'a Menu,
    /// systemd-boot; nothing leaves what is there.
    pub loader: Option<&'a Content>,
    /// Remove nothing but temporaries: a generation can't be read, and its files may still be needed.
    pub keep_everything: bool,
    /// Remove what nothing needs before writing, when there is no room otherwise.
    pub remove_first: bool,
}

/// Kinds of files, in the order in which they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// What an interrupted run left.
    Temporary,
    /// A kernel or an initrd.
    Content,
    /// systemd-boot.
    Loader,
    /// An entry.
    Entry,
    /// loader.conf
    Configuration,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Copies a file, which must still have the digest.
    Copy {
        /// Physical path.
        from: PathBuf,
        /// SHA-256 in lower-case hexadecimal.
        digest: String,
    },
    /// Writes a text.
    Write(String),
    /// Removes the file.
    Remove,
}

/// One change of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What is done.
    pub action: Action,
    /// Path relative to the ESP.
    pub path: String,
    /// Size of what is written or removed.
    pub bytes: u64,
    /// Why.
    pub reason: &'static str,
    /// Kind of the file.
    pub role: Role,
}

/// Everything to do, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The steps; none when the ESP holds the menu already.
    pub steps: Vec<Step>,
    /// Bytes of free space that the steps take at their peak.
    pub needed: u64,
    /// Bytes of free space.
    pub free: u64,
    /// What the administrator should know.
    pub warnings: Vec<String>,
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Exit code 6.
    #[error(
        "the ESP is too small for the menu: {needed} bytes are needed at the peak, {free} are free \
         ({reclaimable} are taken by files that no generation needs); nothing was changed; \
         delete generations and use --remove-first, or make the ESP larger"
    )]
    NoSpace {
        /// Bytes needed at the peak.
        needed: u64,
        /// Bytes free.
        free: u64,
        /// Bytes of files that would be removed last.
        reclaimable: u64,
    },
    /// There is no generation to boot.
    #[error(
        "profile {profile} has no generation that can be booted; nothing was changed; build a system first"
    )]
    NothingBootable {
        /// Name of the profile.
        profile: String,
    },
    /// The default isn't in the menu.
    #[error(
        "generation {number} can't be the default: profile {profile} has no such bootable generation; nothing was changed"
    )]
    NoSuchDefault {
        /// Name of the profile.
        profile: String,
        /// Number of the generation.
        number: u64,
    },
    /// The profile's name can't be a part of an entry's name.
    #[error(
        "a boot entry can't be named after profile {0:?}: only letters, digits, '-', '_' and '.' can be used"
    )]
    ProfileName(String),
    /// Nothing would start the menu.
    #[error(
        "there is no systemd-boot on the ESP, and none in the default generation \
         (usr/lib/systemd/boot/efi/systemd-bootx64.efi); nothing was changed; --systemd-boot says where one is"
    )]
    NoLoader,
}

/// Plans.
pub fn plan(wanted: &Wanted, esp: &OnEsp) -> Result<Plan, PlanError> {
    check(wanted, esp)?;
    let mut warnings = Vec::new();
    let files = wanted_files(wanted, esp, &mut warnings);
    let mut writes: Vec<Step> = files.iter().filter_map(|file| file.step(esp)).collect();
    writes.sort_by_key(|step| step.role);
    let temporaries: Vec<Step> = esp
        .files
        .iter()
        .filter(|(path, _)| path.ends_with(TEMPORARY))
        .map(|(path, present)| removal(path, present, "left by an interrupted run", Role::Temporary))
        .collect();
    let removals = if wanted.keep_everything {
        Vec::new()
    } else {
        unneeded(wanted.menu, &files, esp)
    };
    let reclaimable = removals.iter().map(|step| blocks(step.bytes, esp.block)).sum();

    let last = [temporaries.clone(), writes.clone(), removals.clone()].concat();
    let needed = peak(&last, esp);
    let free = esp.free;
    if needed <= free {
        return Ok(Plan {
            steps: last,
            needed,
            free,
            warnings,
        });
    }
    if wanted.remove_first && something_stays_bootable(wanted.menu, &writes, esp) {
        let first = [temporaries, removals, writes].concat();
        let needed = peak(&first, esp);
        if needed <= free {
            return Ok(Plan {
                steps: first,
                needed,
                free,
                warnings,
            });
        }
        return Err(PlanError::NoSpace {
            needed,
            free,
            reclaimable: 0,
        });
    }
    Err(PlanError::NoSpace {
        needed,
        free,
        reclaimable,
    })
}

fn check(wanted: &Wanted, esp: &OnEsp) -> Result<(), PlanError> {
    let menu = wanted.menu;
    let profile = menu.profile.clone();
    if !menu::is_profile_name(&profile) {
        return Err(PlanError::ProfileName(profile));
    }
    if menu.generations.is_empty() {
        return Err(PlanError::NothingBootable { profile });
    }
    if !menu
        .generations
        .iter()
        .any(|generation| generation.entry.number == menu.default)
    {
        return Err(PlanError::NoSuchDefault {
            profile,
            number: menu.default,
        });
    }
    if wanted.loader.is_none()
        && ![SYSTEMD_BOOT, FALLBACK]
            .iter()
            .any(|path| esp.files.contains_key(*path))
    {
        return Err(PlanError::NoLoader);
    }
    Ok(())
}

/// A file that should be there.
struct WantedFile {
    path: String,
    digest: String,
    bytes: u64,
    role: Role,
    action: Action,
}

impl WantedFile {
    fn copy(path: String, content: &Content, role: Role) -> WantedFile {
        let action = Action::Copy {
            from: content.source.clone(),
            digest: content.digest.clone(),
        };
        WantedFile {
            path,
            digest: content.digest.clone(),
            bytes: content.bytes,
            role,
            action,
        }
    }

    fn text(path: String, text: String, role: Role) -> WantedFile {
        let digest = format!("{:x}", HexDigest(&Sha256::digest(text.as_bytes())));
        WantedFile {
            path,
            digest,
            bytes: text.len() as u64,
            role,
            action: Action::Write(text),
        }
    }

    /// What makes the file what it should be; nothing when it is.
    fn step(&self, esp: &OnEsp) -> Option<Step> {
        let reason = match esp.files.get(&self.path) {
            None => "new",
            Some(present) if present.digest.as_deref() == Some(self.digest.as_str()) => return None,
            Some(_) if self.role == Role::Content => "damaged: its content isn't what its name says",
            Some(_) => "changed",
        };
        let (action, path) = (self.action.clone(), self.path.clone());
        Some(Step {
            action,
            path,
            bytes: self.bytes,
            reason,
            role: self.role,
        })
    }
}

/// Lower-case hexadecimal of a digest.
struct HexDigest<'a>(&'a [u8]);

impl std::fmt::LowerHex for HexDigest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Lower-case hexadecimal of a SHA-256 digest.
pub(super) fn hexadecimal(digest: &[u8]) -> String {
    format!("{:x}", HexDigest(digest))
}

fn wanted_files(wanted: &Wanted, esp: &OnEsp, warnings: &mut Vec<String>) -> Vec<WantedFile> {
    let menu = wanted.menu;
    let mut contents = BTreeMap::new();
    let mut entries = Vec::new();
    for generation in &menu.generations {
        for (path, content) in [
            (menu::kernel_path(&generation.kernel), &generation.kernel),
            (menu::initrd_path(&generation.initrd), &generation.initrd),
        ] {
            let _ = contents.entry(path).or_insert(content);
        }
        let path = entry_path(menu, generation.entry.number, esp);
        entries.push(WantedFile::text(
            path,
            menu::entry_text(generation, menu),
            Role::Entry,
        ));
    }
    let contents = contents
        .into_iter()
        .map(|(path, content)| WantedFile::copy(path, content, Role::Content));
    let mut files: Vec<WantedFile> = contents.collect();
    for path in [SYSTEMD_BOOT, FALLBACK] {
        let Some(loader) = wanted.loader else { continue };
        // Another system's loader may be what the firmware starts; taking its place would make that unbootable.
        if path == FALLBACK && esp.files.get(path).is_some_and(|present| present.foreign_loader) {
            warnings.push(format!("{path} is another boot loader and was left as it is"));
            continue;
        }
        files.push(WantedFile::copy(path.to_owned(), loader, Role::Loader));
    }
    files.extend(entries);
    files.push(WantedFile::text(
        LOADER_CONF.to_owned(),
        menu::loader_conf(menu),
        Role::Configuration,
    ));
    files
}

/// Where a generation's entry is. One with a boot counter keeps its name, or its tries would begin anew.
fn entry_path(menu: &Menu, number: u64, esp: &OnEsp) -> String {
    if let Some(name) = menu.decided_name(number) {
        return format!("{ENTRIES}/{name}");
    }
    let plain = format!("{ENTRIES}/{}", menu::entry_name(&menu.profile, number));
    if esp.files.contains_key(&plain) {
        return plain;
    }
    esp.files
        .keys()
        .find(|path| entry_number(menu, path) == Some(number))
        .cloned()
        .unwrap_or(plain)
}

fn entry_number(menu: &Menu, path: &str) -> Option<u64> {
    menu::generation_of(&menu.profile, path.strip_prefix(ENTRIES)?.strip_prefix('/')?)
}

/// Files of keel that no entry needs: entries first, so that none points to a file that is gone.
fn unneeded(menu: &Menu, files: &[WantedFile], esp: &OnEsp) -> Vec<Step> {
    let mut needed: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let mut steps = Vec::new();
    for (path, present) in &esp.files {
        if entry_number(menu, path).is_none() {
            // Entries of other profiles, and those that people wrote.
            needed.extend(present.references.iter().map(String::as_str));
        } else if !needed.contains(path.as_str()) {
            let is_shown = |number| {
                menu.generations
                    .iter()
                    .any(|shown| Some(shown.entry.number) == number)
            };
            let reason = if is_shown(entry_number(menu, path)) {
                "its generation has another entry"
            } else {
                "its generation is gone"
            };
            steps.push(removal(path, present, reason, Role::Entry));
        }
    }
    for (path, present) in &esp.files {
        // FAT doesn't tell upper from lower case, and an entry that someone wrote needn't either.
        let is_needed = || needed.iter().any(|needed| needed.eq_ignore_ascii_case(path));
        if menu::digest_in(path).is_some() && !is_needed() {
            steps.push(removal(path, present, "no entry needs it", Role::Content));
        }
    }
    steps
}

fn removal(path: &str, present: &Present, reason: &'static str, role: Role) -> Step {
    Step {
        action: Action::Remove,
        path: path.to_owned(),
        bytes: present.bytes,
        reason,
        role,
    }
}

/// Whether an entry of the menu is complete already, so that a run that ends between removals and writes still
/// leaves something to boot.
fn something_stays_bootable(menu: &Menu, writes: &[Step], esp: &OnEsp) -> bool {
    let written: BTreeSet<&str> = writes.iter().map(|step| step.path.as_str()).collect();
    menu.generations.iter().any(|generation| {
        let entry = entry_path(menu, generation.entry.number, esp);
        let paths = [
            entry,
            menu::kernel_path(&generation.kernel),
            menu::initrd_path(&generation.initrd),
        ];
        !paths.iter().any(|path| written.contains(path.as_str()))
    })
}

/// Most bytes that the steps take beyond what is taken now. A file that is replaced is there twice until its new
/// content is on the disk.
fn peak(steps: &[Step], esp: &OnEsp) -> u64 {
    let (mut peak, mut taken) = (0_i128, i128::from(directories(steps, esp)));
    for step in steps {
        let bytes = i128::from(blocks(step.bytes, esp.block));
        if step.action == Action::Remove {
            taken -= bytes;
            continue;
        }
        taken += bytes;
        peak = peak.max(taken);
        if let Some(present) = esp.files.get(&step.path) {
            taken -= i128::from(blocks(present.bytes, esp.block));
        }
    }
    u64::try_from(peak).unwrap_or(u64::MAX)
}

/// Bytes that directories may grow by: a new one takes a block, and each file in it, with its temporary name beside,
/// some records of 32 bytes (FAT: one, and one for every 13 characters of a long name).
fn directories(steps: &[Step], esp: &OnEsp) -> u64 {
    let mut records: BTreeMap<&str, u64> = BTreeMap::new();
    let mut new = BTreeSet::new();
    for step in steps.iter().filter(|step| step.action != Action::Remove) {
        let Some((directory, name)) = step.path.rsplit_once('/') else {
            continue;
        };
        let names = name.len() as u64 * 2 + TEMPORARY.len() as u64;
        *records.entry(directory).or_default() += 32 * (names.div_ceil(13) + 4);
        for parent in ancestors(directory) {
            if !esp.directories.contains(parent) {
                let _ = new.insert(parent);
            }
        }
    }
    let grown: u64 = records.values().map(|bytes| blocks(*bytes, esp.block)).sum();
    grown + new.len() as u64 * esp.block
}

/// `a/b/c` is below `a/b`, which is below `a`.
fn ancestors(directory: &str) -> impl Iterator<Item = &str> {
    directory
        .match_indices('/')
        .filter_map(|(end, _)| directory.get(..end))
        .chain([directory])
}

fn blocks(bytes: u64, block: u64) -> u64 {
    let block = block.max(1);
    bytes.div_ceil(block).saturating_mul(block)
}
