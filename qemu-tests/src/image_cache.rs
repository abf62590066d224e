//! Things that take long to make, kept under the hash of what they're made from.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// Where everything of the suite is kept, unless `KEEL_TEST_CACHE` says otherwise.
const DEFAULT: &str = "target/qemu-tests/cache";

/// How many versions of one thing are kept.
const KEPT: usize = 2;

/// A directory of made things.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    directory: PathBuf,
}

/// What something is made from, as a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key(String);

impl Key {
    /// The key of something made from these parts.
    pub(crate) fn of<T: AsRef<[u8]>>(parts: impl IntoIterator<Item = T>) -> Key {
        let mut hash = Sha256::new();
        for part in parts {
            let part = part.as_ref();
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        Key(hash
            .finalize()
            .iter()
            .take(10)
            .fold(String::new(), |text, byte| text + &format!("{byte:02x}")))
    }

    /// The key of a file's contents.
    pub(crate) fn of_file(path: &Path) -> Result<Key> {
        Ok(Key::of([
            fs::read(path).with_context(|| format!("{} can't be read", path.display()))?
        ]))
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Cache {
    /// The cache of this checkout.
    pub(crate) fn open() -> Result<Cache> {
        let directory =
            std::env::var_os("KEEL_TEST_CACHE").map_or_else(|| PathBuf::from(DEFAULT), PathBuf::from);
        let directory = std::path::absolute(directory).context("the working directory is gone")?;
        fs::create_dir_all(&directory).with_context(|| format!("{} can't be made", directory.display()))?;
        Ok(Cache { directory })
    }

    /// The directory with the thing `name` of this key; `make` fills an empty one when it isn't there yet. It appears
    /// under its name when it's complete.
    pub(crate) fn get(
        &self,
        name: &str,
        key: &Key,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let path = self.directory.join(format!("{name}-{}", key.0));
        if path.exists() {
            return Ok(path);
        }
        let partial = self
            .directory
            .join(format!(".{name}-{}-{}", key.0, std::process::id()));
        let _ = fs::remove_dir_all(&partial);
        fs::create_dir(&partial).with_context(|| format!("{} can't be made", partial.display()))?;
        if let Err(error) = make(&partial) {
            let _ = fs::remove_dir_all(&partial);
            return Err(error.context(format!("{name} can't be made")));
        }
        if let Err(error) = fs::rename(&partial, &path) {
            let _ = fs::remove_dir_all(&partial);
            // Another run may have made the same meanwhile.
            if !path.exists() {
                return Err(error).with_context(|| format!("{} can't be put in place", path.display()));
            }
        }
        self.forget_old(name, &path);
        Ok(path)
    }

    /// Removes older versions of `name`: each is hundreds of megabytes.
    fn forget_old(&self, name: &str, newest: &Path) {
        let Ok(entries) = fs::read_dir(&self.directory) else {
            return;
        };
        let prefix = format!("{name}-");
        let mut versions: Vec<_> = entries
            .flatten()
            .filter(|entry| {
                let file_name = entry.file_name().to_string_lossy().into_owned();
                let key = file_name.strip_prefix(&prefix);
                key.is_some_and(|key| key.len() == 20 && key.bytes().all(|byte| byte.is_ascii_hexdigit()))
            })
            .filter(|entry| entry.path() != newest)
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        versions.sort();
        for (_, path) in versions.iter().rev().skip(KEPT - 1) {
            let _ = fs::remove_dir_all(path);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn cache(name: &str) -> Cache {
        let directory = std::env::temp_dir().join(format!("keel-cache-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        Cache { directory }
    }

    #[test]
    fn a_thing_is_made_once() {
        let cache = cache("once");
        let key = Key::of(["recipe"]);
        let path = cache
            .get("thing", &key, |path| Ok(fs::write(path.join("file"), "made")?))
            .unwrap();
        let again = cache.get("thing", &key, |_| anyhow::bail!("made twice")).unwrap();
        assert_eq!(path, again);
        assert_eq!(fs::read_to_string(path.join("file")).unwrap(), "made");
        fs::remove_dir_all(&cache.directory).unwrap();
    }

    #[test]
    fn a_failure_leaves_nothing() {
        let cache = cache("failure");
        let _ = cache
            .get("thing", &Key::of(["recipe"]), |_| anyhow::bail!("no"))
            .unwrap_err();
        assert_eq!(fs::read_dir(&cache.directory).unwrap().count(), 0);
        fs::remove_dir_all(&cache.directory).unwrap();
    }

    #[test]
    fn keys_tell_parts_apart() {
        assert_ne!(Key::of(["ab", "c"]), Key::of(["a", "bc"]));
    }
}
