//! What systemd-boot and the system tell each other by EFI variables (Boot Loader Interface,
//! <https://systemd.io/BOOT_LOADER_INTERFACE>).

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use super::declared::MenuSettings;
use crate::sys::immutable::clear_immutable;

/// Where efivarfs is mounted.
const EFIVARFS: &str = "/sys/firmware/efi/efivars";
/// The vendor of the variables.
const VENDOR: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
/// Non-volatile, for boot services and at run time (UEFI specification 2.10, section 8.2).
const ATTRIBUTES: u32 = 7;
/// Bit of `LoaderFeatures`: the loader knows `LoaderEntryOneShot`.
const FEATURE_ONE_SHOT: u64 = 1 << 3;
/// No variable that is read here is longer.
const LENGTH_MAX: u64 = 4096;

/// An EFI variable that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("the EFI variable {name} can't be {verb}: {source}")]
pub struct EfiError {
    /// Its name.
    pub name: &'static str,
    /// `read`, `written`, `removed`
    pub verb: &'static str,
    /// Why.
    pub source: io::Error,
}

/// The variables of this machine, or of a test's directory.
#[derive(Clone, Debug)]
pub struct EfiVariables {
    directory: PathBuf,
    /// Whether the machine's configuration lets keel write them (`boot.can_touch_efi_variables`).
    may_write: bool,
}

/// How a boot loader can be told to start an entry once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialBy {
    /// By a variable.
    Variable,
    /// By the entry's name: the machine has no variables, or they can't be written.
    Counter,
}

impl Default for EfiVariables {
    fn default() -> Self {
        let settings = MenuSettings::of_this_machine();
        Self {
            may_write: settings.can_touch_efi_variables.unwrap_or(true),
            ..Self::in_directory(Path::new(EFIVARFS))
        }
    }
}

impl EfiVariables {
    /// Those in a directory.
    pub fn in_directory(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            may_write: true,
        }
    }

    /// How the boot loader that started this machine can be told to try an entry; nothing when it's another loader than
    /// systemd-boot. A machine without variables doesn't say which loader it has.
    pub fn trial_by(&self) -> Option<TrialBy> {
        let has_any = std::fs::read_dir(&self.directory).is_ok_and(|mut entries| entries.next().is_some());
        let is_writable = || self.may_write && access(&self.directory, AccessFlags::W_OK).is_ok();
        match (has_any, self.knows_one_shot()) {
            (true, true) if is_writable() => Some(TrialBy::Variable),
            (true, true) | (false, _) => Some(TrialBy::Counter),
            (true, false) => None,
        }
    }

    fn knows_one_shot(&self) -> bool {
        self.read("LoaderFeatures")
            .ok()
            .flatten()
            .and_then(|bytes| Some(u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?)))
            .is_some_and(|features| features & FEATURE_ONE_SHOT != 0)
    }

    /// The entry that the boot loader started, such as `keel-system-3.conf`.
    pub fn selected_entry(&self) -> Result<Option<String>, EfiError> {
        self.text("LoaderEntrySelected")
    }

    /// The entry for the next boot only.
    pub fn one_shot(&self) -> Result<Option<String>, EfiError> {
        self.text("LoaderEntryOneShot")
    }

    /// Sets the entry for the next boot only, or takes it back.
    pub fn set_one_shot(&self, entry: Option<&str>) -> Result<(), EfiError> {
        let name = "LoaderEntryOneShot";
        let path = self.path(name);
        let Some(entry) = entry else {
            return match unprotect(&path).and_then(|()| std::fs::remove_file(&path)) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => Err(EfiError {
                    name,
                    verb: "removed",
                    source,
                }),
                _ => Ok(()),
            };
        };
        let mut bytes = ATTRIBUTES.to_le_bytes().to_vec();
        for unit in entry.encode_utf16().chain([0]) {
            bytes.extend(unit.to_le_bytes());
        }
        let written = match unprotect(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            // A variable is set by one write(2) (Linux, Documentation/filesystems/efivarfs.rst).
            _ => OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .and_then(|mut file| file.write_all(&bytes)),
        };
        written.map_err(|source| EfiError {
            name,
            verb: "written",
            source,
        })?;
        // Firmware has been seen to lose variables: what is read back counts.
        match self.one_shot()? {
            Some(found) if found == entry => Ok(()),
            found => Err(EfiError {
                name,
                verb: "written",
                source: io::Error::other(format!("the firmware keeps {found:?} instead of it")),
            }),
        }
    }

    fn text(&self, name: &'static str) -> Result<Option<String>, EfiError> {
        Ok(self.read(name)?.map(|bytes| {
            let units: Vec<u16> = bytes
                .chunks_exact(2)
                .filter_map(|pair| Some(u16::from_le_bytes(pair.try_into().ok()?)))
                .take_while(|unit| *unit != 0)
                .collect();
            String::from_utf16_lossy(&units)
        }))
    }

    /// The value, without its attributes.
    fn read(&self, name: &'static str) -> Result<Option<Vec<u8>>, EfiError> {
        let mut bytes = Vec::new();
        match File::open(self.path(name)).and_then(|file| file.take(LENGTH_MAX).read_to_end(&mut bytes)) {
            Ok(_) => Ok(bytes.get(4..).map(<[u8]>::to_vec)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(EfiError {
                name,
                verb: "read",
                source,
            }),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}-{VENDOR}"))
    }
}

fn unprotect(path: &Path) -> io::Result<()> {
    clear_immutable(&File::open(path)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_entry_is_armed_and_taken_back() {
        let directory = tempfile::tempdir().unwrap();
        let variables = EfiVariables::in_directory(directory.path());
        assert_eq!(variables.trial_by(), Some(TrialBy::Counter));
        assert_eq!(variables.one_shot().unwrap(), None);
        variables.set_one_shot(Some("keel-system-3.conf")).unwrap();
        assert_eq!(
            variables.one_shot().unwrap().as_deref(),
            Some("keel-system-3.conf")
        );
        // As `xxd` shows what bootctl set-oneshot writes: attributes, UTF-16, a terminating zero.
        let bytes = std::fs::read(variables.path("LoaderEntryOneShot")).unwrap();
        assert!(bytes.starts_with(&[7, 0, 0, 0, b'k', 0, b'e', 0]) && bytes.ends_with(&[b'f', 0, 0, 0]));
        variables.set_one_shot(None).unwrap();
        variables.set_one_shot(None).unwrap();
        assert_eq!(variables.one_shot().unwrap(), None);
    }

    #[test]
    fn features_of_the_loader() {
        let directory = tempfile::tempdir().unwrap();
        let variables = EfiVariables::in_directory(directory.path());
        // Some other loader's.
        std::fs::write(variables.path("LoaderInfo"), [6, 0, 0, 0, b'g', 0]).unwrap();
        assert_eq!(variables.trial_by(), None);
        std::fs::write(
            variables.path("LoaderFeatures"),
            [6, 0, 0, 0, 0x08, 0, 0, 0, 0, 0, 0, 0],
        )
        .unwrap();
        assert_eq!(variables.trial_by(), Some(TrialBy::Variable));
        assert_eq!(
            EfiVariables::in_directory(Path::new("/nonexistent")).trial_by(),
            Some(TrialBy::Counter)
        );
    }
}
