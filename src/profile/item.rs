//! What may be installed: store paths and recipes. A Debian package belongs into the system's configuration.

use std::io;
use std::path::Path;

use crate::store::path::PathError;
use crate::store::{Layout, StorePath};

/// As many links lead to a store path at most.
const LINKS_MAX: usize = 40;

/// Something to be installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A path of the store.
    Path(StorePath),
    /// A recipe to be built, by its absolute path.
    Recipe(String),
    /// The name of a Debian package.
    Debian(String),
}

/// Why a word is nothing that can be installed.
#[derive(Debug, thiserror::Error)]
pub enum ItemError {
    /// It leads to no store path.
    #[error("{0} is no path of the store in {1}, no link to one, and no recipe (….toml)")]
    NotInStore(String, String),
    /// It can't be looked at.
    #[error("{0}: {1}")]
    Read(String, #[source] io::Error),
    /// It lies in the store, and is no store path.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A derivation.
    #[error(
        "{0} is a derivation, not what it builds: `keel build` it, and install the path that this prints"
    )]
    Derivation(StorePath),
    /// No path, and no name that Debian gives a package.
    #[error("'{0}' is no path of the store, no recipe (….toml), and can't be the name of a Debian package")]
    Unknown(String),
}

impl Item {
    /// What `word` means. Links are followed until they lead into the store, as with `nix profile install ./result`.
    pub fn parse(word: &str, layout: &Layout) -> Result<Self, ItemError> {
        if Path::new(word)
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            let path = std::path::absolute(word).map_err(|error| ItemError::Read(word.to_owned(), error))?;
            // The manifest is text.
            let path = path.into_os_string().into_string();
            return path
                .map(Self::Recipe)
                .map_err(|_| ItemError::Unknown(word.to_owned()));
        }
        if !word.contains('/') {
            return if is_debian_name(word) && StorePath::from_base_name(word).is_err() {
                Ok(Self::Debian(word.to_owned()))
            } else {
                Err(ItemError::Unknown(word.chars().take(200).collect()))
            };
        }
        let path = follow(word, layout)?;
        if path.name().ends_with(".drv") {
            return Err(ItemError::Derivation(path));
        }
        Ok(Self::Path(path))
    }
}

fn follow(word: &str, layout: &Layout) -> Result<StorePath, ItemError> {
    let failed = |error| ItemError::Read(word.to_owned(), error);
    let outside = || ItemError::NotInStore(word.to_owned(), layout.store_dir().to_owned());
    let mut path = std::path::absolute(word).map_err(failed)?;
    let physical = layout.physical(layout.store_dir());
    for _ in 0..LINKS_MAX {
        // Links and users name either the logical or the physical place.
        let below = path
            .strip_prefix(layout.store_dir())
            .or_else(|_| path.strip_prefix(&physical));
        if let Ok(below) = below {
            // A path within a package means the package.
            let top = below.components().next().ok_or_else(outside)?;
            return Ok(StorePath::from_base_name(&top.as_os_str().to_string_lossy())?);
        }
        let metadata = path.symlink_metadata().map_err(failed)?;
        if !metadata.is_symlink() {
            // A directory above may be a link.
            let real = path.canonicalize().map_err(failed)?;
            if real == path {
                return Err(outside());
            }
            path = real;
            continue;
        }
        let target = std::fs::read_link(&path).map_err(failed)?;
        path = path.parent().unwrap_or(Path::new("/")).join(target);
    }
    Err(outside())
}

/// Debian Policy, 5.6.1: lower-case letters, digits and `+ - .`, at least two characters, first a letter or digit.
pub fn is_debian_name(word: &str) -> bool {
    word.len() >= 2
        && word.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && word
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte))
}

/// What to do about Debian packages that were to be installed into a profile: the lines for the configuration.
pub fn debian_answer(names: &[String], user: Option<&str>) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    let list = quoted.join(", ");
    let (are, them) = match names {
        [_] => (" is a Debian package", "it"),
        _ => (" are Debian packages", "them"),
    };
    let user = user.unwrap_or("YOU");
    let bare = user
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    let key = if bare {
        user.to_owned()
    } else {
        format!("\"{user}\"")
    };
    format!(
        "{}{are}, and a profile takes paths of the store: put {them} into /etc/keel/system.toml, for everybody as \
         `[packages] install = [{list}]` or for one user as `[users.{key}] packages = [{list}]`",
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn words_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::below(dir.path());
        let parse = |word: &str| Item::parse(word, &layout);
        let base = "mgvzxmm9gsamf9p3rfr8jva7rkfbwmbw-hello-2.10";
        let path = Item::Path(StorePath::from_base_name(base).unwrap());
        assert_eq!(parse(&format!("/nix/store/{base}")).unwrap(), path);
        assert_eq!(parse(&format!("/nix/store/{base}/bin/hello")).unwrap(), path);
        let physical = dir.path().join("nix/store").join(base);
        assert_eq!(parse(physical.to_str().unwrap()).unwrap(), path);
        let link = dir.path().join("result");
        std::os::unix::fs::symlink(format!("/nix/store/{base}"), &link).unwrap();
        assert_eq!(parse(link.to_str().unwrap()).unwrap(), path);
        let second = dir.path().join("second");
        std::os::unix::fs::symlink("result", &second).unwrap();
        assert_eq!(parse(second.to_str().unwrap()).unwrap(), path);
        assert_eq!(parse("curl").unwrap(), Item::Debian("curl".into()));
        assert_eq!(parse("g++").unwrap(), Item::Debian("g++".into()));
        assert_eq!(parse("/r/x.toml").unwrap(), Item::Recipe("/r/x.toml".into()));
    }

    #[test]
    fn what_is_nothing_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::below(dir.path());
        std::os::unix::fs::symlink("loop", dir.path().join("loop")).unwrap();
        let circle = dir.path().join("loop").display().to_string();
        for bad in [
            "",
            "x",
            "Curl",
            "a b",
            "-x",
            "/etc",
            "/nix/store",
            "/nix/store/x",
            "/nonexistent/x",
            &circle,
        ] {
            assert!(Item::parse(bad, &layout).is_err(), "{bad}");
        }
        let derivation = "/nix/store/mgvzxmm9gsamf9p3rfr8jva7rkfbwmbw-hello.drv";
        assert!(matches!(
            Item::parse(derivation, &layout),
            Err(ItemError::Derivation(_))
        ));
    }

    #[test]
    fn the_answer_holds_the_lines() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let one = debian_answer(&names(&["curl"]), Some("anna"));
        assert!(one.starts_with("curl is a Debian package"), "{one}");
        assert!(one.contains("`[packages] install = [\"curl\"]`"), "{one}");
        assert!(one.contains("`[users.anna] packages = [\"curl\"]`"), "{one}");
        let two = debian_answer(&names(&["curl", "git"]), Some("a.b"));
        assert!(
            two.contains("`[users.\"a.b\"] packages = [\"curl\", \"git\"]`"),
            "{two}"
        );
    }
}
