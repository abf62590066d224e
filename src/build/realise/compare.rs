//! Building again, and comparing with what is there.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::attempt::{Attempt, Made};
use super::failure::Cause;
use super::{Event, Realise, RealiseError, Report, Want, open, realise};
use crate::store::derivation::Library;
use crate::store::locks::TempRoots;
use crate::store::{StorePath, files};

/// Files that are named; how many differ is told of all.
const NAMED_MAX: usize = 20;

/// An output that was built again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The derivation.
    pub derivation: StorePath,
    /// The output.
    pub output: StorePath,
    /// What differs: paths in the output, and how. Empty when nothing does.
    pub differences: Vec<String>,
    /// Where the second result is kept until the next collection, when something differs.
    pub kept: Option<PathBuf>,
}

/// Builds derivations whose outputs are valid again, and compares the results with them. What is valid stays as it is.
///
/// # Errors
/// When an output isn't valid, or a build fails.
pub fn check(
    how: &Realise<'_>,
    derivations: &[StorePath],
    roots: &mut TempRoots,
    report: &dyn Report,
) -> Result<Vec<Checked>, RealiseError> {
    let mut library = Library::new(how.layout);
    let database = open(how.layout)?;
    let mut all = Vec::new();
    for path in derivations {
        let derivation = library.checked(path)?;
        for output in derivation
            .outputs
            .values()
            .filter_map(|output| output.path.as_ref())
        {
            if !database.is_valid(output)? {
                return Err(RealiseError::NotBuilt(output.clone()));
            }
        }
        let inputs: Vec<Want> = derivation
            .input_derivations
            .iter()
            .map(|(path, outputs)| Want {
                derivation: path.clone(),
                outputs: Some(outputs.clone()),
            })
            .collect();
        let _inputs = realise(how, &inputs, roots, report)?;
        if !nix::unistd::geteuid().is_root() {
            return Err(RealiseError::NotRoot(1));
        }
        let started = std::time::Instant::now();
        let attempt = Attempt::new(how, path, &derivation, report)?;
        let _locks = attempt.lock().map_err(|cause| attempt.failed(cause))?;
        let checked = attempt.make(|made, _place| compare_all(how, path, made))?;
        report.tell(Event::Built(path, started.elapsed()));
        all.extend(checked);
    }
    Ok(all)
}

fn compare_all(how: &Realise<'_>, derivation: &StorePath, made: Vec<Made>) -> Result<Vec<Checked>, Cause> {
    made.into_iter()
        .map(|Made { info, tree, .. }| {
            let first = how.layout.physical_path(&info.path);
            let mut differences = Differences::default();
            differences
                .node(&first, &tree, &mut PathBuf::new())
                .map_err(Cause::file(&first))?;
            let differences = differences.named();
            let kept = if differences.is_empty() {
                None
            } else {
                // Where Nix puts it, too.
                let mut kept = first.into_os_string();
                kept.push(".check");
                let kept = PathBuf::from(kept);
                files::remove_tree(&kept)
                    .and_then(|()| fs::rename(&tree, &kept))
                    .map_err(Cause::file(&kept))?;
                Some(kept)
            };
            Ok(Checked {
                derivation: derivation.clone(),
                output: info.path,
                differences,
                kept,
            })
        })
        .collect()
}

#[derive(Debug, Default)]
struct Differences {
    first: Vec<String>,
    more: usize,
}

impl Differences {
    fn named(mut self) -> Vec<String> {
        if self.more > 0 {
            self.first.push(format!("and {} more", self.more));
        }
        self.first
    }

    fn add(&mut self, relative: &Path, how: &str) {
        if self.first.len() == NAMED_MAX {
            self.more += 1;
            return;
        }
        let name = if relative.as_os_str().is_empty() {
            "the output itself".to_owned()
        } else {
            relative.display().to_string()
        };
        self.first.push(format!("{name}: {how}"));
    }

    fn node(&mut self, a: &Path, b: &Path, relative: &mut PathBuf) -> io::Result<()> {
        let (one, two) = (a.symlink_metadata()?, b.symlink_metadata()?);
        if one.file_type() != two.file_type() {
            self.add(relative, "another type");
        } else if one.is_symlink() {
            if fs::read_link(a)? != fs::read_link(b)? {
                self.add(relative, "another target");
            }
        } else if one.is_dir() {
            self.directory(a, b, relative)?;
        } else {
            if one.mode() & 0o100 != two.mode() & 0o100 {
                self.add(relative, "executable in one only");
            }
            if one.len() != two.len() {
                self.add(relative, &format!("{} bytes, then {}", one.len(), two.len()));
            } else if let Some(byte) = first_difference(a, b)? {
                self.add(relative, &format!("other contents from byte {byte} on"));
            }
        }
        Ok(())
    }

    fn directory(&mut self, a: &Path, b: &Path, relative: &mut PathBuf) -> io::Result<()> {
        let names = |path: &Path| -> io::Result<BTreeSet<_>> {
            fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect()
        };
        let (one, two) = (names(a)?, names(b)?);
        for name in one.union(&two) {
            relative.push(name);
            match (one.contains(name), two.contains(name)) {
                (true, true) => self.node(&a.join(name), &b.join(name), relative)?,
                (true, false) => self.add(relative, "only in the first result"),
                _ => self.add(relative, "only in the second result"),
            }
            let _popped = relative.pop();
        }
        Ok(())
    }
}

fn first_difference(a: &Path, b: &Path) -> io::Result<Option<u64>> {
    let (mut a, mut b) = (BufReader::new(File::open(a)?), BufReader::new(File::open(b)?));
    let mut at = 0;
    let (mut one, mut two) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let length = a.read(&mut one)?;
        if length == 0 {
            return Ok(None);
        }
        let (Some(one), Some(two)) = (one.get(..length), two.get_mut(..length)) else {
            return Ok(None);
        };
        b.read_exact(two)?;
        if let Some(place) = one.iter().zip(&*two).position(|(one, two)| one != two) {
            return Ok(Some(at + place as u64));
        }
        at += length as u64;
    }
}
