//! Writing the two files: nothing that is there is overwritten without being told.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::store::files;

/// Why a file can't be written.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A file or directory can't be read or written.
    #[error("{path}: {source}")]
    File {
        /// It.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// `hardware.toml` says something else.
    #[error(
        "{path} is there and differs (above: - is there, + is what was found); nothing was written; --force writes it anew \
         and keeps the old one as hardware.toml.old"
    )]
    Differs {
        /// It.
        path: PathBuf,
    },
}

/// What becomes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It's new.
    Written,
    /// It was there with the same text.
    Same,
    /// It was there with another text, which is kept beside it.
    Replaced,
    /// It was there, and is the administrator's.
    Left,
}

/// What is to be written into a directory.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// The directory, such as `/etc/keel`.
    pub directory: &'a Path,
    /// The text of `hardware.toml`.
    pub hardware: &'a str,
    /// The text of `system.toml`.
    pub system: &'a str,
    /// Whether a `hardware.toml` that differs is replaced.
    pub force: bool,
}

impl Plan<'_> {
    /// The lines in which a `hardware.toml` that is there differs: without it, or when it says the same, none.
    pub fn differences(&self) -> Result<Vec<String>, FilesError> {
        Ok(match read(&self.directory.join("hardware.toml"))? {
            Some(old) => differing(&old, self.hardware),
            None => Vec::new(),
        })
    }

    /// Writes the files; returns what became of each.
    pub fn write(&self) -> Result<Vec<(PathBuf, Outcome)>, FilesError> {
        let hardware = self.directory.join("hardware.toml");
        let system = self.directory.join("system.toml");
        let outcome = match read(&hardware)? {
            None => Outcome::Written,
            Some(old) if old == self.hardware => Outcome::Same,
            Some(_) if self.force => Outcome::Replaced,
            Some(_) => return Err(FilesError::Differs { path: hardware }),
        };
        fs::create_dir_all(self.directory).map_err(at(self.directory))?;
        if outcome == Outcome::Replaced {
            let kept = self.directory.join("hardware.toml.old");
            fs::rename(&hardware, &kept).map_err(at(&kept))?;
        }
        if outcome != Outcome::Same {
            files::write_atomically(&hardware, self.hardware.as_bytes(), 0o644).map_err(at(&hardware))?;
        }
        let of_system = if read(&system)?.is_some() {
            Outcome::Left
        } else {
            files::write_atomically(&system, self.system.as_bytes(), 0o644).map_err(at(&system))?;
            Outcome::Written
        };
        Ok(vec![(hardware, outcome), (system, of_system)])
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> FilesError {
    let path = path.to_owned();
    move |source| FilesError::File {
        path: path.clone(),
        source,
    }
}

fn read(path: &Path) -> Result<Option<String>, FilesError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(path)(error)),
    }
}

/// Lines between the first and the last that differ, with `-` and `+`.
fn differing(old: &str, new: &str) -> Vec<String> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let start = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let room = old.len().min(new.len()) - start;
    let backwards = old.iter().rev().zip(new.iter().rev()).take(room);
    let end = backwards.take_while(|(old, new)| old == new).count();
    let middle = |lines: &[&str], sign: char| -> Vec<String> {
        let lines = lines.get(start..lines.len() - end).unwrap_or_default();
        lines.iter().map(|line| format!("{sign} {line}")).collect()
    };
    [middle(&old, '-'), middle(&new, '+')].concat()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn nothing_is_overwritten_without_being_told() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("keel");
        let plan = |hardware: &'static str, force| Plan {
            directory: &directory,
            hardware,
            system: "s\n",
            force,
        };
        let outcomes = |plan: Plan<'_>| -> Vec<Outcome> {
            plan.write()
                .unwrap()
                .into_iter()
                .map(|(_, outcome)| outcome)
                .collect()
        };
        assert_eq!(outcomes(plan("a\nb\nc\n", false)), [Outcome::Written; 2]);
        fs::write(directory.join("system.toml"), "mine").unwrap();
        assert_eq!(outcomes(plan("a\nb\nc\n", false)), [Outcome::Same, Outcome::Left]);
        let other = plan("a\nB\nB2\nc\n", false);
        assert_eq!(other.differences().unwrap(), ["- b", "+ B", "+ B2"]);
        assert!(matches!(other.write(), Err(FilesError::Differs { .. })));
        assert_eq!(
            fs::read_to_string(directory.join("hardware.toml")).unwrap(),
            "a\nb\nc\n"
        );
        assert_eq!(
            outcomes(plan("a\nB\nB2\nc\n", true)),
            [Outcome::Replaced, Outcome::Left]
        );
        assert_eq!(
            fs::read_to_string(directory.join("hardware.toml.old")).unwrap(),
            "a\nb\nc\n"
        );
        assert_eq!(fs::read_to_string(directory.join("system.toml")).unwrap(), "mine");
    }
}
