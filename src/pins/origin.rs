//! Which sources a configuration means: a suite at mirrors, its updates and security updates where they're served, and what is
//! named beside them.

use std::path::{Path, PathBuf};

use super::mirror::{Mirror, MirrorError};
use super::sources::{Source, mirrors, of_machine, options_before};
use crate::config::Packages;

/// Files that may hold the keys of Debian's archive: their ending changed in Debian 13.
const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.pgp",
    "/usr/share/keyrings/debian-archive-keyring.gpg",
];
/// Where this machine's apt is configured.
const APT_DIRECTORY: &str = "/etc/apt";

/// What the suite's updates are called behind its name.
const UPDATES: &str = "-updates";
/// And its security updates.
const SECURITY: &str = "-security";

/// Why there are no sources.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// No mirror is known.
    #[error(
        "no mirror of Debian is known: this machine's apt has none; name one in the configuration ([packages] mirrors = [\"http://…\"])"
    )]
    NoMirror,
    /// No mirror has the suite.
    #[error("no mirror has the suite '{suite}': {tried}")]
    NoSuite {
        /// Its name.
        suite: String,
        /// What each mirror answered.
        tried: String,
    },
    /// A mirror that can't be asked.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    /// A line that is none.
    #[error("packages.sources: '{0}' is no line of sources.list(5) (deb [OPTIONS] URI SUITE COMPONENT…)")]
    Line(String),
}

/// The sources, the suite's own mirrors first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Origin {
    /// All of them.
    pub(super) sources: Vec<Source>,
    /// How many are mirrors.
    pub(super) mirrors: usize,
}

/// The mirrors that are meant, each as `[OPTIONS] URI`: those of the configuration, else those that the lock was made from, else
/// those of this machine's apt.
pub(super) fn mirrors_of(packages: &Packages, locked: &[String]) -> Vec<String> {
    if !packages.mirrors.is_empty() {
        return packages.mirrors.clone();
    }
    if !locked.is_empty() {
        return locked.to_vec();
    }
    mirrors(&of_machine(Path::new(APT_DIRECTORY)))
}

/// The lines of `packages.sources`.
///
/// # Errors
/// [`OriginError::Line`].
pub(super) fn further(packages: &Packages) -> Result<Vec<Source>, OriginError> {
    packages
        .sources
        .iter()
        .map(|line| Source::from_line(line).ok_or_else(|| OriginError::Line(line.clone())))
        .collect()
}

/// The suite, and those beside it that are wanted, too.
pub(super) fn pockets(packages: &Packages) -> Vec<String> {
    let suite = &packages.suite;
    let mut all = vec![suite.clone()];
    for (name, wanted) in [(UPDATES, packages.updates), (SECURITY, packages.security)] {
        if wanted {
            all.push(format!("{suite}{name}"));
        }
    }
    all
}

/// Asks the mirrors what they have.
///
/// # Errors
/// When no mirror has the suite itself.
pub(super) fn find(packages: &Packages, named: &[String]) -> Result<Origin, OriginError> {
    if named.is_empty() {
        return Err(OriginError::NoMirror);
    }
    let suite = &packages.suite;
    let mut origin = Origin::default();
    let mut tried = Vec::new();
    for pocket in pockets(packages) {
        let is_security = pocket.ends_with(SECURITY);
        for (options, uri) in places(named, is_security) {
            let answer = serves(&Mirror::open(&uri)?, &pocket);
            if let Err(why) = &answer
                && pocket == *suite
            {
                tried.push(format!("{uri}: {why}"));
            }
            if answer.is_ok() {
                origin.sources.push(Source {
                    options: with_keyring(&options),
                    uri,
                    suite: pocket.clone(),
                    components: packages.components.clone(),
                });
                break;
            }
        }
        if origin.sources.is_empty() {
            return Err(OriginError::NoSuite {
                suite: suite.clone(),
                tried: tried.join("; "),
            });
        }
    }
    origin.mirrors = origin.sources.len();
    origin.sources.extend(further(packages)?);
    Ok(origin)
}

/// The options and URIs of mirrors. Debian keeps security updates in an archive of its own, beside the other.
fn places(named: &[String], is_security: bool) -> Vec<(String, String)> {
    let given = named.iter().map(|text| {
        let (options, uri) = options_before(text);
        (options, uri.trim().trim_end_matches('/').to_owned())
    });
    if !is_security {
        return given.collect();
    }
    let (beside, same): (Vec<_>, Vec<_>) = given
        .flat_map(|(options, uri)| {
            let beside = (options.clone(), format!("{uri}-security"));
            [beside, (options, uri)]
        })
        .partition(|(_, uri)| uri.ends_with("-security"));
    let mut all = Vec::new();
    for one in beside.into_iter().chain(same) {
        if !one.1.ends_with("-security-security") && !all.contains(&one) {
            all.push(one);
        }
    }
    all
}

fn serves(mirror: &Mirror, suite: &str) -> Result<(), String> {
    for name in ["InRelease", "Release"] {
        match mirror.has(&format!("dists/{suite}/{name}")) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Err("it doesn't have it".to_owned())
}

/// Debian's keys, unless the mirror says who signs it.
fn with_keyring(options: &str) -> String {
    let says = |name: &str| options.split_whitespace().any(|option| option.starts_with(name));
    if says("signed-by=") || says("trusted=") {
        return options.to_owned();
    }
    let keyring = KEYRINGS.iter().map(PathBuf::from).find(|path| path.exists());
    let signed = keyring.map(|path| format!("signed-by={}", path.display()));
    let words: Vec<&str> = [options, signed.as_deref().unwrap_or_default()]
        .into_iter()
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn mirror(suites: &[&str], at: &Path) -> String {
        for suite in suites {
            let directory = at.join("dists").join(suite);
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join("InRelease"), "Suite: x\n").unwrap();
        }
        format!("[trusted=yes] file://{}", at.display())
    }

    #[test]
    fn what_mirrors_serve_is_used() {
        let top = tempfile::tempdir().unwrap();
        let main = mirror(&["trixie", "trixie-updates"], &top.path().join("debian"));
        let _security = mirror(&["trixie-security"], &top.path().join("debian-security"));
        let packages = Packages {
            sources: vec!["deb [trusted=yes] file:/srv ./".to_owned()],
            ..Packages::default()
        };
        let origin = find(&packages, &[main]).unwrap();
        let seen: Vec<_> = origin
            .sources
            .iter()
            .map(|source| (source.suite.as_str(), source.uri.rsplit('/').next().unwrap()))
            .collect();
        assert_eq!(
            seen,
            [
                ("trixie", "debian"),
                ("trixie-updates", "debian"),
                ("trixie-security", "debian-security"),
                ("./", "srv")
            ]
        );
        assert_eq!(origin.mirrors, 3);
    }

    #[test]
    fn updates_and_security_updates_can_be_left_out() {
        let top = tempfile::tempdir().unwrap();
        let main = mirror(&["trixie", "trixie-updates"], &top.path().join("debian"));
        let _security = mirror(&["trixie-security"], &top.path().join("debian-security"));
        for (updates, security, expected) in [
            (true, true, vec!["trixie", "trixie-updates", "trixie-security"]),
            (false, true, vec!["trixie", "trixie-security"]),
            (true, false, vec!["trixie", "trixie-updates"]),
            (false, false, vec!["trixie"]),
        ] {
            let packages = Packages {
                updates,
                security,
                ..Packages::default()
            };
            let origin = find(&packages, std::slice::from_ref(&main)).unwrap();
            let suites: Vec<_> = origin.sources.iter().map(|source| &source.suite).collect();
            assert_eq!(suites, expected.iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_suite_that_nobody_has_is_named() {
        let top = tempfile::tempdir().unwrap();
        let main = mirror(&["bookworm"], &top.path().join("debian"));
        let said = find(&Packages::default(), &[main]).unwrap_err().to_string();
        assert!(
            said.starts_with("no mirror has the suite 'trixie': file:///")
                && said.ends_with("it doesn't have it"),
            "{said}"
        );
        assert!(matches!(
            find(&Packages::default(), &[]),
            Err(OriginError::NoMirror)
        ));
    }
}
