//! What running processes use of the store: their programs, working directories, open files, mapped files, environments,
//! and the programs that the kernel calls by itself.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::path::StorePath;

/// Files whose content names a program that the kernel starts.
const KERNEL: [&str; 3] = [
    "sys/kernel/modprobe",
    "sys/kernel/fbsplash",
    "sys/kernel/poweroff_cmd",
];
/// More of an environment is not read: the kernel allows it to a program that has a quarter of a stack limit of it.
const ENVIRONMENT_MAX: u64 = 64 << 20;

/// The store paths in use, each with one file of `proc` that says so. Processes that end meanwhile, and those that we may
/// not look at, are passed over, as Nix does.
pub(super) fn used_paths(proc: &Path, store_dir: &str) -> io::Result<BTreeMap<StorePath, PathBuf>> {
    let mut used = Used {
        prefix: format!("{store_dir}/").into_bytes(),
        paths: BTreeMap::new(),
    };
    for entry in std::fs::read_dir(proc)? {
        let entry = entry?;
        if entry.file_name().as_bytes().iter().all(u8::is_ascii_digit) {
            used.process(&entry.path());
        }
    }
    for file in KERNEL {
        used.content(&proc.join(file));
    }
    Ok(used.paths)
}

struct Used {
    prefix: Vec<u8>,
    paths: BTreeMap<StorePath, PathBuf>,
}

impl Used {
    fn process(&mut self, process: &Path) {
        for link in ["exe", "cwd"] {
            self.link(&process.join(link));
        }
        for entry in std::fs::read_dir(process.join("fd"))
            .into_iter()
            .flatten()
            .flatten()
        {
            self.link(&entry.path());
        }
        self.maps(&process.join("maps"));
        self.content(&process.join("environ"));
    }

    fn link(&mut self, link: &Path) {
        if let Ok(target) = std::fs::read_link(link) {
            let target = target.as_os_str().as_bytes();
            // At the start only: a target is one absolute path.
            if target.starts_with(&self.prefix) {
                self.text(target, link);
            }
        }
    }

    fn maps(&mut self, maps: &Path) {
        let Ok(file) = std::fs::File::open(maps) else {
            return;
        };
        let mut lines = BufReader::with_capacity(64 << 10, file);
        let mut line = Vec::new();
        while matches!(lines.read_until(b'\n', &mut line), Ok(1..)) {
            // Addresses, rights, offset, device and inode hold no slash.
            if let Some(start) = line.iter().position(|&byte| byte == b'/')
                && line
                    .get(start..)
                    .is_some_and(|name| name.starts_with(&self.prefix))
            {
                self.text(line.get(start..).unwrap_or_default(), maps);
            }
            line.clear();
        }
    }

    fn content(&mut self, path: &Path) {
        let mut bytes = Vec::new();
        let read =
            std::fs::File::open(path).and_then(|file| file.take(ENVIRONMENT_MAX).read_to_end(&mut bytes));
        if read.is_ok() {
            self.text(&bytes, path);
        }
    }

    fn text(&mut self, bytes: &[u8], from: &Path) {
        for path in paths_in(bytes, &self.prefix) {
            let _first = self.paths.entry(path).or_insert_with(|| from.to_owned());
        }
    }
}

// Every store path that `bytes` name: `prefix`, and as many characters behind it as a store path may have.
fn paths_in<'a>(bytes: &'a [u8], prefix: &'a [u8]) -> impl Iterator<Item = StorePath> + 'a {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        loop {
            let slash = rest.iter().position(|&byte| byte == b'/')?;
            rest = rest.get(slash..)?;
            let Some(behind) = rest.strip_prefix(prefix) else {
                rest = rest.get(1..)?;
                continue;
            };
            let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-._?=".contains(byte);
            let length = behind.iter().take_while(|byte| allowed(byte)).count();
            let base = behind
                .get(..length)
                .and_then(|base| std::str::from_utf8(base).ok());
            rest = behind;
            if let Some(path) = base.and_then(|base| StorePath::from_base_name(base).ok()) {
                return Some(path);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        unused_results
    )]
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn store(letter: char) -> String {
        let hash: String = std::iter::repeat_n(letter, 32).collect();
        format!("/nix/store/{hash}-{letter}")
    }

    #[test]
    fn all_that_a_process_uses_is_found_and_nothing_that_only_looks_so() {
        let proc = tempfile::tempdir().unwrap();
        let process = proc.path().join("42");
        fs::create_dir_all(process.join("fd")).unwrap();
        fs::create_dir_all(proc.path().join("sys/kernel")).unwrap();
        symlink(store('a') + "/bin/a (deleted)", process.join("exe")).unwrap();
        symlink(store('b'), process.join("cwd")).unwrap();
        symlink(store('c') + "/data", process.join("fd/7")).unwrap();
        symlink(format!("/mnt{}", store('z')), process.join("fd/8")).unwrap();
        let maps = format!(
            "7f00-7f01 r-xp 00000000 08:01 123 {}/lib/d.so\n7f02-7f03 rw-p 00000000 00:00 0 [heap]\n\
             7f04-7f05 r--p 00000000 08:01 9 /tmp{}\n",
            store('d'),
            store('z')
        );
        fs::write(process.join("maps"), maps).unwrap();
        let environ = format!(
            "PATH={}/bin:{}/bin\0X=/nix/store/short-x\0",
            store('f'),
            store('g')
        );
        fs::write(process.join("environ"), environ).unwrap();
        fs::write(
            proc.path().join("sys/kernel/modprobe"),
            store('h') + "/bin/modprobe\n",
        )
        .unwrap();
        fs::create_dir_all(proc.path().join("self")).unwrap();
        symlink(store('y'), proc.path().join("self/cwd")).unwrap();
        let used = used_paths(proc.path(), "/nix/store").unwrap();
        let names: String = used.keys().map(StorePath::name).collect();
        assert_eq!(names, "abcdfgh");
    }

    #[test]
    fn a_real_process_is_seen() {
        let scratch = tempfile::tempdir().unwrap();
        let base = store('k').trim_start_matches("/nix/store/").to_owned();
        let held = scratch.path().join(&base);
        let _file = fs::File::create(&held).unwrap();
        let used = used_paths(Path::new("/proc"), scratch.path().to_str().unwrap()).unwrap();
        assert_eq!(used.keys().map(StorePath::base_name).collect::<Vec<_>>(), [base]);
    }
}
