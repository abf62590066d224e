//! Packing a root file system into a tar archive that is the same whenever and wherever its packages were installed: in the order of
//! names, without what belongs to one machine, to one installation or to nobody, and with no time later than the lock's.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Cursor, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::tar_write::{Member, Writer};
use crate::store::tree::Meta;
use crate::sys::xattr;
use crate::system::secrets::{self, Verdict};

/// Longer values are no capabilities.
const CAPABILITY_MAX: usize = 256;
/// Files that are longer are not looked through for private keys.
const KEY_FILE_MAX: u64 = 64 << 10;
/// Seconds of a day, which shadow(5) counts in.
const DAY: i64 = 86_400;
/// dpkg's database.
const DPKG: &str = "var/lib/dpkg/";
/// Where debconf keeps the answers that packages were configured with; it is asked again for what is installed later.
const DEBCONF: &str = "var/cache/debconf/";

/// Why a root file system can't be packed.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub(super) struct PackError {
    path: PathBuf,
    source: io::Error,
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> PackError {
    let path = path.to_owned();
    move |source| PackError { path, source }
}

/// Packs what lies below `root`, other file systems left out; `said` is told what is left out for good.
pub(super) fn pack<W: Write>(
    root: &Path,
    date: i64,
    target: W,
    said: &mut dyn FnMut(&str),
) -> Result<W, PackError> {
    let metadata = root.metadata().map_err(at(root))?;
    let mut packer = Packer {
        root,
        date,
        device: metadata.dev(),
        writer: Writer::new(target),
        names: HashMap::new(),
        said,
    };
    packer
        .writer
        .member(
            b"./",
            &packer.meta(root, &metadata)?,
            Member::Directory,
            &mut io::empty(),
        )
        .map_err(at(root))?;
    packer.directory(Path::new(""))?;
    packer.writer.finish().map_err(at(root))
}

struct Packer<'a, W> {
    root: &'a Path,
    date: i64,
    device: u64,
    writer: Writer<W>,
    // Files of several names: the first one.
    names: HashMap<u64, PathBuf>,
    said: &'a mut dyn FnMut(&str),
}

impl<W: Write> Packer<'_, W> {
    fn directory(&mut self, below: &Path) -> Result<(), PackError> {
        let full = self.root.join(below);
        let mut names = fs::read_dir(&full)
            .and_then(|entries| {
                entries
                    .map(|entry| entry.map(|e| e.file_name()))
                    .collect::<io::Result<Vec<_>>>()
            })
            .map_err(at(&full))?;
        names.sort_unstable();
        for name in names {
            let path = below.join(name);
            let full = self.root.join(&path);
            let metadata = full.symlink_metadata().map_err(at(&full))?;
            if path.to_str().is_some_and(secrets::forget_below) || metadata.dev() != self.device {
                continue;
            }
            self.entry(&path, &full, &metadata)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, full: &Path, metadata: &Metadata) -> Result<(), PackError> {
        let kind = metadata.file_type();
        let name = path.as_os_str().as_bytes();
        if kind.is_dir() {
            let meta = self.meta(full, metadata)?;
            let name = [name, b"/"].concat();
            self.writer
                .member(&name, &meta, Member::Directory, &mut io::empty())
                .map_err(at(full))?;
            return self.directory(path);
        }
        if !self.wanted(path) {
            return Ok(());
        }
        if kind.is_symlink() {
            let target = fs::read_link(full).map_err(at(full))?;
            // The hash links of a certificate that is left out would lead nowhere.
            if path.starts_with("etc/ssl/certs") && target == Path::new("ssl-cert-snakeoil.pem") {
                return Ok(());
            }
            let meta = self.meta(full, metadata)?;
            let member = Member::Symlink(target.as_os_str().as_bytes());
            return self
                .writer
                .member(name, &meta, member, &mut io::empty())
                .map_err(at(full));
        }
        if !kind.is_file() {
            let what = if kind.is_socket() {
                "a socket"
            } else {
                "a device node or fifo"
            };
            (self.said)(&format!("left out: /{} ({what})", path.display()));
            return Ok(());
        }
        self.file(path, full, metadata)
    }

    fn file(&mut self, path: &Path, full: &Path, metadata: &Metadata) -> Result<(), PackError> {
        let name = path.as_os_str().as_bytes();
        if let Some(first) = self.names.get(&metadata.ino()) {
            let member = Member::HardLink(first.as_os_str().as_bytes());
            let meta = self.meta(full, metadata)?;
            return self
                .writer
                .member(name, &meta, member, &mut io::empty())
                .map_err(at(full));
        }
        let meta = self.meta(full, metadata)?;
        let mut file = File::open(full).map_err(at(full))?;
        let text = path.to_str().unwrap_or_default();
        let whole = is_account_file(text)
            || is_bytecode(path)
            || (metadata.size() <= KEY_FILE_MAX && secrets::may_hold_keys(text));
        if whole {
            let mut bytes = Vec::new();
            let _length = file.read_to_end(&mut bytes).map_err(at(full))?;
            if secrets::may_hold_keys(text) && secrets::holds_private_key(&bytes) {
                (self.said)(&format!("left out: /{text} ({})", secrets::PRIVATE_KEY));
                return Ok(());
            }
            self.normalise(path, &mut bytes);
            self.remember(path, metadata);
            let size = bytes.len() as u64;
            return self
                .writer
                .member(name, &meta, Member::File(size), &mut Cursor::new(bytes))
                .map_err(at(full));
        }
        self.remember(path, metadata);
        self.writer
            .member(name, &meta, Member::File(metadata.size()), &mut file)
            .map_err(at(full))
    }

    fn remember(&mut self, path: &Path, metadata: &Metadata) {
        if metadata.nlink() > 1 {
            let _first = self.names.insert(metadata.ino(), path.to_owned());
        }
    }

    fn wanted(&mut self, path: &Path) -> bool {
        let Some(text) = path.to_str() else { return true };
        if let Some(name) = text.strip_prefix(DPKG) {
            // Locks, and copies of what was there before.
            return !matches!(name, "lock" | "lock-frontend" | "triggers/Lock" | "available")
                && !name.ends_with("-old");
        }
        if let Some(name) = text.strip_prefix(DEBCONF) {
            return name != "passwords.dat" && !name.ends_with("-old");
        }
        match secrets::judge(text) {
            _ if is_account_file(text) => true,
            _ if text.starts_with("var/cache/") => false,
            Verdict::Keep | Verdict::Account => true,
            Verdict::Forget => false,
            Verdict::LeaveOut(why) => {
                (self.said)(&format!("left out: /{text} ({why})"));
                false
            }
        }
    }

    fn normalise(&self, path: &Path, bytes: &mut Vec<u8>) {
        match path.to_str() {
            Some("etc/shadow") => *bytes = without_passwords(bytes, Some(self.date / DAY)),
            Some("etc/gshadow") => *bytes = without_passwords(bytes, None),
            _ => {}
        }
        if let Some(source) = source_of(path)
            && let Ok(metadata) = self.root.join(source).metadata()
        {
            follow_source(bytes, metadata.mtime(), metadata.mtime().min(self.date));
        }
    }

    fn meta(&self, full: &Path, metadata: &Metadata) -> Result<Meta, PackError> {
        let capability = if metadata.is_file() {
            xattr::get(full, "security.capability", CAPABILITY_MAX).map_err(at(full))?
        } else {
            None
        };
        Ok(Meta {
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            mtime: metadata.mtime().min(self.date),
            capability: capability.map(Into::into),
        })
    }
}

// What the next layer's scripts need of the accounts. No system is made of them: it takes over names and numbers alone.
fn is_account_file(path: &str) -> bool {
    matches!(
        path,
        "etc/passwd" | "etc/group" | "etc/shadow" | "etc/gshadow" | "etc/subuid" | "etc/subgid"
    )
}

// Every password becomes one that nothing opens; the day of its last change is the lock's.
fn without_passwords(bytes: &[u8], changed: Option<i64>) -> Vec<u8> {
    let mut text = String::new();
    for line in String::from_utf8_lossy(bytes).lines() {
        let mut fields: Vec<String> = line.split(':').map(str::to_owned).collect();
        if let Some(password) = fields.get_mut(1)
            && !password.starts_with(['!', '*'])
        {
            "!".clone_into(password);
        }
        if let (Some(day), Some(field)) = (changed, fields.get_mut(2)) {
            *field = day.to_string();
        }
        text.push_str(&fields.join(":"));
        text.push('\n');
    }
    text.into_bytes()
}

fn is_bytecode(path: &Path) -> bool {
    path.extension() == Some("pyc".as_ref())
}

// `a/__pycache__/b.cpython-313.pyc` is compiled from `a/b.py`.
fn source_of(path: &Path) -> Option<PathBuf> {
    let directory = path.parent()?;
    if !is_bytecode(path) || directory.file_name()? != "__pycache__" {
        return None;
    }
    let name = path.file_name()?.to_str()?.split('.').next()?;
    Some(directory.parent()?.join(format!("{name}.py")))
}

// Python holds what it compiled to be valid as long as the source has the time that stands in it (PEP 552: flags 0, then the time).
fn follow_source(bytes: &mut [u8], is: i64, will_be: i64) {
    let low = |time: i64| (time & 0xffff_ffff).to_le_bytes();
    let same = |field: &[u8], time: i64| low(time).starts_with(field);
    if let Some([0, 0, 0, 0, time @ ..]) = bytes.get_mut(4..12)
        && same(time, is)
    {
        for (byte, new) in time.iter_mut().zip(low(will_be)) {
            *byte = new;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, unused_results)]
    use super::*;

    #[test]
    fn passwords_and_the_day_of_installation_do_not_stay() {
        let shadow = b"root:*:20300:0:99999:7:::\nx:$y$secret:20300:0:99999:7:::\nopen::1::::::\nlocked:!:20300::::::\n";
        assert_eq!(
            String::from_utf8(without_passwords(shadow, Some(20_000))).unwrap(),
            "root:*:20000:0:99999:7:::\nx:!:20000:0:99999:7:::\nopen:!:20000::::::\nlocked:!:20000::::::\n"
        );
        assert_eq!(without_passwords(b"adm:$y$x:a:b\n", None), b"adm:!:a:b\n");
    }

    #[test]
    fn bytecode_follows_the_time_of_its_source() {
        let compiled = |time: u32, flags: u32| {
            let mut bytes = b"\xf3\x0d\r\n".to_vec();
            bytes.extend(flags.to_le_bytes());
            bytes.extend(time.to_le_bytes());
            bytes.extend(b"size");
            bytes
        };
        let mut bytes = compiled(1000, 0);
        follow_source(&mut bytes, 1000, 500);
        assert_eq!(bytes, compiled(500, 0));
        // Of another source, or valid by a hash.
        for (time, flags) in [(999, 0), (1000, 1)] {
            let mut bytes = compiled(time, flags);
            follow_source(&mut bytes, 1000, 500);
            assert_eq!(bytes, compiled(time, flags));
        }
        assert_eq!(
            source_of(Path::new("usr/lib/python3/__pycache__/a.cpython-313.pyc")),
            Some("usr/lib/python3/a.py".into())
        );
        assert_eq!(source_of(Path::new("usr/lib/python3/a.pyc")), None);
    }

    #[test]
    fn equal_trees_give_equal_archives_without_secrets_caches_and_late_times() {
        let pack_once = |extra: bool| {
            let directory = tempfile::tempdir().unwrap();
            let root = directory.path();
            let write = |path: &str, text: &str| {
                fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
                fs::write(root.join(path), text).unwrap();
            };
            write("usr/bin/a", "a");
            fs::hard_link(root.join("usr/bin/a"), root.join("usr/bin/b")).unwrap();
            for kept in [
                "var/log",
                "tmp",
                "run",
                "var/cache/debconf",
                "var/lib/dpkg",
                "etc/ssh",
                "etc/app",
            ] {
                fs::create_dir_all(root.join(kept)).unwrap();
            }
            write("var/lib/dpkg/status", "status");
            if extra {
                for path in [
                    "etc/ssh/ssh_host_rsa_key",
                    "var/log/dpkg.log",
                    "tmp/x",
                    "run/y",
                    "var/lib/dpkg/lock",
                    "var/lib/dpkg/status-old",
                    "var/cache/debconf/config.dat-old",
                    "etc/machine-id",
                ] {
                    write(path, "of one installation");
                }
                write("etc/app/key", "-----BEGIN PRIVATE KEY-----\n");
            }
            let mut said = Vec::new();
            let bytes = pack(root, 1000, Vec::new(), &mut |text| said.push(text.to_owned())).unwrap();
            (bytes, said)
        };
        let (plain, _) = pack_once(false);
        let (stripped, said) = pack_once(true);
        assert_eq!(plain, stripped);
        assert_eq!(said.len(), 3, "{said:?}");
        let directory = tempfile::tempdir().unwrap();
        super::super::unpack::unpack(&mut plain.as_slice(), directory.path(), &|_| false).unwrap();
        let metadata = directory.path().join("usr/bin/b").metadata().unwrap();
        assert_eq!((metadata.mtime(), metadata.nlink()), (1000, 2));
    }
}
