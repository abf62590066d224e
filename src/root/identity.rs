//! Who the machine is: its ID, its accounts, and whether its system is another one than last time.

use std::fs;
use std::io;
use std::path::Path;

use crate::sys::open_in_root::RootDir;
use crate::system::accounts;
use crate::system::declared::{Declared, User};

/// The system that was last assembled, below the root.
const LAST_SYSTEM: &str = "var/lib/keel/last-system";
/// The accounts that were declared when accounts were last merged, below the root.
const LAST_ACCOUNTS: &str = "var/lib/keel/accounts.json";
/// Where logind keeps who lingers, below the root. `tmpfiles.d` of the systems puts the declared ones there.
const LINGERING: &str = "var/lib/systemd/linger";
/// A declaration of a million accounts; what is larger isn't read.
const LARGEST_DECLARATION: u64 = 64 << 20;

/// What to settle, and for which system.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The root.
    pub root: &'a Path,
    /// The store path of the system.
    pub system: &'a str,
    /// `systemd.machine_id=`, when given.
    pub machine_id: Option<&'a str>,
}

/// Something that could not be settled. The system starts all the same: what it lacks is better mended in it.
#[derive(Debug, thiserror::Error)]
pub enum IdentityWarning {
    /// The machine's ID.
    #[error("/etc/machine-id can't be written: {0}; systemd uses a passing one")]
    MachineId(io::Error),
    /// The accounts.
    #[error("accounts can't be merged: {0}; those of the last boot stay")]
    Accounts(String),
    /// An account.
    #[error("accounts: {0}")]
    Account(String),
    /// State of keel itself.
    #[error("/{path} can't be written: {source}")]
    State {
        /// Path below the root.
        path: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// Settles everything, and says what could not be.
pub fn settle(identity: &Identity<'_>) -> Vec<IdentityWarning> {
    let mut warnings = Vec::new();
    let root = identity.root;
    if let Err(error) = machine_id(&root.join("etc/machine-id"), identity.machine_id) {
        warnings.push(IdentityWarning::MachineId(error));
    }
    merge_accounts(identity, &mut warnings);
    if let Err(source) = note_system(root, identity.system) {
        warnings.push(IdentityWarning::State {
            path: LAST_SYSTEM,
            source,
        });
    }
    warnings
}

/// Writes the machine's ID when it has none: without one systemd takes the boot for the first one and presets all units.
fn machine_id(path: &Path, given: Option<&str>) -> io::Result<()> {
    let present = fs::read_to_string(path).is_ok_and(|text| is_machine_id(text.trim()));
    if present {
        return Ok(());
    }
    let id = match given.filter(|id| is_machine_id(id)) {
        Some(id) => id.to_owned(),
        // A UUID of version 4 is what systemd makes itself (machine-id(5)).
        None => fs::read_to_string("/proc/sys/kernel/random/uuid")?
            .trim()
            .replace('-', ""),
    };
    replace(path, format!("{id}\n").as_bytes())?;
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o444))
}

fn is_machine_id(text: &str) -> bool {
    text.len() == 32
        && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        && text.bytes().any(|byte| byte != b'0')
}

fn merge_accounts(identity: &Identity<'_>, warnings: &mut Vec<IdentityWarning>) {
    let declared = match declared_accounts(identity) {
        Ok(declared) => declared,
        Err(reason) => return warnings.push(IdentityWarning::Accounts(reason)),
    };
    let record = identity.root.join(LAST_ACCOUNTS);
    let previous: Option<Declared> = fs::read(&record)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok());
    match accounts::apply(&identity.root.join("etc"), &declared, previous.as_ref()) {
        Ok(applied) => {
            for step in &applied.steps {
                log::info!("accounts: {} ({})", step.what, step.reason);
            }
            warnings.extend(applied.warnings.into_iter().map(IdentityWarning::Account));
        }
        // The record stays as well: the next boot merges from the same state.
        Err(error) => return warnings.push(IdentityWarning::Accounts(error.to_string())),
    }
    if let Some(previous) = &previous {
        end_lingering(&identity.root.join(LINGERING), previous, &declared, warnings);
    }
    if previous.as_ref() != Some(&declared) {
        let written = serde_json::to_vec(&declared)
            .map_err(io::Error::other)
            .and_then(|text| replace(&record, &text));
        if let Err(source) = written {
            warnings.push(IdentityWarning::State {
                path: LAST_ACCOUNTS,
                source,
            });
        }
    }
}

/// Forgets who lingered only because the system before said so; who asked for it by hand goes on.
fn end_lingering(
    place: &Path,
    previous: &Declared,
    declared: &Declared,
    warnings: &mut Vec<IdentityWarning>,
) {
    let lingers = |user: &User| {
        declared
            .users
            .iter()
            .any(|now| now.linger && now.name == user.name)
    };
    let ended = previous.users.iter().filter(|user| user.linger && !lingers(user));
    for user in ended.filter(|user| !user.name.contains('/')) {
        match fs::remove_file(place.join(&user.name)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                warnings.push(IdentityWarning::State {
                    path: LINGERING,
                    source,
                });
            }
            _ => {}
        }
    }
}

fn declared_accounts(identity: &Identity<'_>) -> Result<Declared, String> {
    let path = format!("{}/accounts.json", identity.system);
    let bytes = RootDir::open(identity.root).and_then(|root| root.read(&path, LARGEST_DECLARATION));
    let bytes = bytes.map_err(|error| format!("{path}: {error}"))?;
    serde_json::from_slice(&bytes).map_err(|error| format!("{path}: {error}"))
}

/// Notes which system runs. When it's another than last time, systemd's update services have to run
/// (systemd.unit(5), `ConditionNeedsUpdate=`).
fn note_system(root: &Path, system: &str) -> io::Result<()> {
    let record = root.join(LAST_SYSTEM);
    if fs::read_to_string(&record).is_ok_and(|last| last.trim() == system) {
        return Ok(());
    }
    for stamp in ["etc/.updated", "var/.updated"] {
        match fs::remove_file(root.join(stamp)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    replace(&record, format!("{system}\n").as_bytes())
}

/// Writes a file so that a power cut leaves the old content or the new one.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    use std::io::Write;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let written = (|| {
        let mut file = fs::File::create(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::system::declared::Group;

    #[test]
    fn a_machine_without_an_id_gets_one_and_keeps_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("machine-id");
        for unusable in ["", "uninitialized\n", "00000000000000000000000000000000\n"] {
            fs::write(&path, unusable).unwrap();
            machine_id(&path, None).unwrap();
            let id = fs::read_to_string(&path).unwrap();
            assert!(is_machine_id(id.trim()));
            machine_id(&path, Some("0123456789abcdef0123456789abcdef")).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), id);
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn lingering_ends_with_its_declaration_and_not_what_was_asked_for_by_hand() {
        let root = tempfile::tempdir().unwrap();
        let system = "sys";
        for directory in ["etc", "var/lib/keel", LINGERING, system] {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        let settle = |lingering: [bool; 2]| {
            let users = [("ada", 1001), ("max", 1002)].into_iter().zip(lingering);
            let declared = Declared {
                users: users
                    .map(|((name, uid), linger)| User {
                        name: name.to_owned(),
                        uid,
                        linger,
                        ..User::default()
                    })
                    .collect(),
                groups: vec![Group {
                    name: "root".to_owned(),
                    gid: 0,
                    members: Vec::new(),
                }],
            };
            let text = serde_json::to_vec(&declared).unwrap();
            fs::write(root.path().join(system).join("accounts.json"), text).unwrap();
            let mut warnings = Vec::new();
            let identity = Identity {
                root: root.path(),
                system: "/sys",
                machine_id: None,
            };
            merge_accounts(&identity, &mut warnings);
            assert!(warnings.is_empty(), "{warnings:?}");
        };
        let lingering = root.path().join(LINGERING);
        for name in ["ada", "max", "by-hand"] {
            fs::write(lingering.join(name), "").unwrap();
        }
        settle([true, true]);
        settle([true, false]);
        let left = |name: &str| lingering.join(name).exists();
        assert_eq!(["ada", "max", "by-hand"].map(left), [true, false, true]);
        // By hand, after that: it stays.
        fs::write(lingering.join("max"), "").unwrap();
        settle([true, false]);
        assert!(left("max"));
    }

    #[test]
    fn stamps_go_only_when_the_system_is_another() {
        let root = tempfile::tempdir().unwrap();
        for directory in ["etc", "var/lib/keel"] {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        let stamp = root.path().join("etc/.updated");
        fs::write(&stamp, "").unwrap();
        note_system(root.path(), "/nix/store/a").unwrap();
        assert!(!stamp.exists());
        fs::write(&stamp, "").unwrap();
        note_system(root.path(), "/nix/store/a").unwrap();
        assert!(stamp.exists());
        note_system(root.path(), "/nix/store/b").unwrap();
        assert!(!stamp.exists());
    }
}
