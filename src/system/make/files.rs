//! `[etc]`, `[sysctl]`, `[tmpfiles]` and `[security.sudo]`: files that are taken as the user writes them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use super::contribution::{Content, Contribution, Entry};
use crate::config::{Config, EtcFile};

/// A file of `[etc]` that can't be made.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file that it's a copy of.
    #[error("etc.{path:?}: {} can't be read: {source}", from.display())]
    Source {
        /// Below `/etc`.
        path: String,
        /// The file.
        from: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// No permissions.
    #[error("etc.{path:?}: mode {mode:?} is no number of three or four octal digits, such as \"0640\"")]
    Mode {
        /// Below `/etc`.
        path: String,
        /// What is given.
        mode: String,
    },
    /// A path that leads elsewhere.
    #[error("etc.{0:?}: a path below /etc is needed, without .. and without a slash at its start")]
    Path(String),
}

/// What these tables add. Sources are relative to `base`, the directory of the configuration.
pub fn contribute(config: &Config, base: &Path, made: &mut Contribution) -> Result<(), FileError> {
    sysctl(&config.sysctl, made);
    if !config.tmpfiles.rules.is_empty() {
        let lines = lines(&config.tmpfiles.rules);
        made.stamped("tmpfiles.d/keel.conf", "tmpfiles.rules", &lines);
    }
    if !config.security.sudo.extra_rules.is_empty() {
        let lines = lines(&config.security.sudo.extra_rules);
        made.stamped_with_mode("sudoers.d/keel", "security.sudo.extra_rules", &lines, 0o440);
    }
    for (path, file) in &config.etc {
        let is_below = !path.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
        if !is_below {
            return Err(FileError::Path(path.clone()));
        }
        made.overrule(path, entry(path, file, base)?);
    }
    Ok(())
}

/// The files whose contents a configuration takes in.
pub fn sources(config: &Config, base: &Path) -> Vec<PathBuf> {
    let sources = config.etc.values().filter_map(|file| file.source.as_ref());
    sources.map(|source| base.join(source)).collect()
}

fn entry(path: &str, file: &EtcFile, base: &Path) -> Result<Entry, FileError> {
    let content = match file {
        EtcFile {
            link: Some(target), ..
        } => Content::Link(target.clone()),
        EtcFile { text: Some(text), .. } => Content::File(text.clone().into_bytes()),
        EtcFile {
            source: Some(source), ..
        } => {
            let from = base.join(source);
            let bytes = std::fs::read(&from).map_err(|source| FileError::Source {
                path: path.to_owned(),
                from: from.clone(),
                source,
            })?;
            Content::File(bytes)
        }
        // Without any of them the file is empty.
        _ => Content::File(Vec::new()),
    };
    let digits = (3..=4).contains(&file.mode.len());
    let mode = u32::from_str_radix(&file.mode, 8).ok().filter(|_| digits);
    let mode = mode.ok_or_else(|| FileError::Mode {
        path: path.to_owned(),
        mode: file.mode.clone(),
    })?;
    Ok(Entry {
        mode: if matches!(content, Content::Link(_)) {
            0o777
        } else {
            mode
        },
        content,
        user: file.user.clone(),
        group: file.group.clone(),
        option: format!("etc.{path:?}"),
    })
}

fn sysctl(settings: &BTreeMap<String, String>, made: &mut Contribution) {
    if settings.is_empty() {
        return;
    }
    let mut text = String::new();
    for (key, value) in settings {
        let _ = writeln!(text, "{key} = {value}");
    }
    made.stamped("sysctl.d/60-keel.conf", "sysctl", &text);
}

fn lines(lines: &[String]) -> String {
    let mut text = String::new();
    for line in lines {
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn made(text: &str, base: &Path) -> Result<Contribution, FileError> {
        let config: Config = toml::from_str(text).unwrap();
        let mut made = Contribution::new();
        contribute(&config, base, &mut made)?;
        Ok(made)
    }

    #[test]
    fn texts_sources_links_modes_and_owners() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("motd.txt"), [0xff, 0x00]).unwrap();
        let made = made(
            "[etc.\"motd\"]\nsource = \"motd.txt\"\nmode = \"0600\"\n[etc.\"app/app.conf\"]\ntext = \"a\\n\"\n\
             user = \"app\"\ngroup = \"adm\"\n[etc.\"app/link\"]\nlink = \"app.conf\"\n",
            place.path(),
        )
        .unwrap();
        assert_eq!(made.etc["motd"].content, Content::File(vec![0xff, 0x00]));
        assert_eq!(made.etc["motd"].mode, 0o600);
        assert_eq!(made.text("app/app.conf"), "a\n");
        assert_eq!(
            (
                made.etc["app/app.conf"].user.as_str(),
                made.etc["app/app.conf"].group.as_str()
            ),
            ("app", "adm")
        );
        assert_eq!(made.text("app/link"), "-> app.conf");
    }

    #[test]
    fn faults_name_the_option() {
        let at = Path::new("/nowhere");
        for (text, part) in [
            (
                "[etc.motd]\nsource = \"x\"\n",
                "etc.\"motd\": /nowhere/x can't be read",
            ),
            ("[etc.motd]\nmode = \"rw\"\n", "mode \"rw\" is no number"),
            (
                "[etc.\"../passwd\"]\ntext = \"\"\n",
                "a path below /etc is needed",
            ),
            ("[etc.\"/passwd\"]\ntext = \"\"\n", "a path below /etc is needed"),
        ] {
            let error = made(text, at).unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn settings_of_the_kernel_temporary_files_and_sudo() {
        let made = made(
            "sysctl.\"vm.swappiness\" = \"10\"\ntmpfiles.rules = [\"d /srv/x 0755 root root\"]\n\
             security.sudo.extra_rules = [\"%adm ALL=(ALL) NOPASSWD: /usr/bin/dmesg\"]\n",
            Path::new("/"),
        )
        .unwrap();
        assert!(
            made.text("sysctl.d/60-keel.conf")
                .ends_with("vm.swappiness = 10\n")
        );
        assert!(
            made.text("tmpfiles.d/keel.conf")
                .ends_with("d /srv/x 0755 root root\n")
        );
        assert!(made.text("sudoers.d/keel").contains("%adm ALL="));
        assert_eq!(made.etc["sudoers.d/keel"].mode, 0o440);
    }
}
