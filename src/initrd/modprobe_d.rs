//! modprobe.d(5): what the administrator and the distribution say about modules. depmod's `modules.softdep` and
//! `modules.weakdep` have the same form.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::depmod::underscored;

/// What stands in the files. Names of modules have `_` for `-`; names that are loaded before or after others are as
/// written, because they may be aliases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ModprobeConfig {
    /// Parameters by module, in the order in which they were read.
    pub options: BTreeMap<String, Vec<String>>,
    /// Wished before and after a module.
    pub soft: BTreeMap<String, SoftDependencies>,
    /// Loaded by a module itself when it needs them: they have to be in the image.
    pub weak: BTreeMap<String, Vec<String>>,
    /// Modules that no alias loads.
    pub blacklist: BTreeSet<String>,
    /// Patterns and their modules.
    pub aliases: Vec<(String, String)>,
    /// Commands that stand for loading a module.
    pub install: BTreeMap<String, String>,
}

/// Soft dependencies of one module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SoftDependencies {
    pub before: Vec<String>,
    pub after: Vec<String>,
}

impl ModprobeConfig {
    /// Adds the contents of a file. What isn't understood is passed over, as modprobe does.
    pub(super) fn add(&mut self, text: &str) {
        for line in joined_lines(text) {
            self.add_line(&line);
        }
    }

    fn add_line(&mut self, line: &str) {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words[..] {
            ["softdep", name, ref rest @ ..] => {
                let soft = self.soft.entry(underscored(name)).or_default();
                let mut list = None;
                for word in rest {
                    match *word {
                        "pre:" => list = Some(&mut soft.before),
                        "post:" => list = Some(&mut soft.after),
                        // modprobe ignores what stands before the first of both.
                        word => list.iter_mut().for_each(|list| list.push(word.to_owned())),
                    }
                }
            }
            ["weakdep", name, ref rest @ ..] => {
                self.weak
                    .entry(underscored(name))
                    .or_default()
                    .extend(rest.iter().map(|word| (*word).to_owned()));
            }
            ["options", name, ref rest @ ..] if !rest.is_empty() => {
                self.options
                    .entry(underscored(name))
                    .or_default()
                    .push(rest.join(" "));
            }
            ["alias", pattern, name] => self.aliases.push((pattern.to_owned(), underscored(name))),
            ["blacklist", name] => {
                let _ = self.blacklist.insert(underscored(name));
            }
            ["install", name, ref command @ ..] => {
                let _ = self.install.insert(underscored(name), command.join(" "));
            }
            _ => {}
        }
    }

    /// Adds the `.conf` files of `directories`, in the order of their names. A file hides those of the same name in
    /// directories before its own, as `/etc` does with `/usr/lib` (modprobe.d(5)).
    pub(super) fn read(&mut self, directories: &[PathBuf]) -> Result<(), (PathBuf, io::Error)> {
        let mut files = BTreeMap::new();
        for directory in directories {
            let entries = match fs::read_dir(directory) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err((directory.clone(), error)),
            };
            for entry in entries {
                let path = entry.map_err(|error| (directory.clone(), error))?.path();
                if path.extension().is_some_and(|extension| extension == "conf") {
                    let name = path.file_name().unwrap_or_default().to_owned();
                    let _ = files.insert(name, path);
                }
            }
        }
        for path in files.values() {
            self.add(&read_text(path).map_err(|error| (path.clone(), error))?);
        }
        Ok(())
    }
}

/// The text of a file that may hold other bytes in comments.
pub(super) fn read_text(path: &Path) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned())
}

/// Lines that aren't comments; a backslash at the end of a line joins the next one to it.
fn joined_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        let mut whole = open.take().unwrap_or_default();
        let (part, continues) = line.strip_suffix('\\').map_or((line, false), |part| (part, true));
        whole.push_str(part);
        if continues {
            open = Some(whole);
        } else {
            lines.push(whole);
        }
    }
    lines.extend(open);
    lines.retain(|line| !line.trim_start().starts_with('#'));
    lines
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, unused_results)]
    use super::*;

    #[test]
    fn every_directive_is_read() {
        let mut config = ModprobeConfig::default();
        config.add(
            "# comment\n#continued \\\nblacklist not-this\n  options snd-hda-intel index=1 \\\n  power_save=0\n\
             options snd_hda_intel model=x\nblacklist pcspkr\nalias my-disk nvme\ninstall usb-storage /bin/true\n\
             softdep uhci-hcd ignored pre: ehci-pci post: a b\nweakdep a-b c-d e\nremove x y\nnonsense\nalias one\n",
        );
        assert_eq!(
            config.options["snd_hda_intel"],
            ["index=1 power_save=0", "model=x"]
        );
        assert!(config.blacklist.contains("pcspkr"));
        assert!(!config.blacklist.contains("not_this"));
        assert_eq!(config.aliases, [("my-disk".to_owned(), "nvme".to_owned())]);
        assert_eq!(config.install["usb_storage"], "/bin/true");
        assert_eq!(config.soft["uhci_hcd"].before, ["ehci-pci"]);
        assert_eq!(config.soft["uhci_hcd"].after, ["a", "b"]);
        assert_eq!(config.weak["a_b"], ["c-d", "e"]);
    }

    #[test]
    fn a_file_of_etc_hides_that_of_usr_and_names_decide_the_order() {
        let root = tempfile::tempdir().unwrap();
        let [etc, usr] = ["etc", "usr"].map(|name| root.path().join(name));
        for (directory, name, text) in [
            (&etc, "b.conf", "options a from=etc-b"),
            (&usr, "b.conf", "options a from=usr-b"),
            (&usr, "a.conf", "options a from=usr-a"),
            (&usr, "ignored.txt", "options a from=txt"),
            (&usr, "masked.conf", "blacklist a"),
        ] {
            fs::create_dir_all(directory).unwrap();
            fs::write(directory.join(name), text).unwrap();
        }
        std::os::unix::fs::symlink("/dev/null", etc.join("masked.conf")).unwrap();
        let mut config = ModprobeConfig::default();
        config.read(&[usr, root.path().join("absent"), etc]).unwrap();
        assert_eq!(config.options["a"], ["from=usr-a", "from=etc-b"]);
        assert!(config.blacklist.is_empty());
    }
}
