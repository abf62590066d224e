//! Objects: the contents that images refer to, named by fs-verity digest. Hard links to files of the store's trees, so
//! that they take no space of their own.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::Layout;
use super::files;
use super::lock::{self, Access};
use super::path::StorePath;
use super::pool::{Pool, object_name};
use super::roots;
use super::tree::Node;
use super::verity::Digest;

/// Contents up to this many bytes lie in the image itself, as composefs does it.
pub const INLINE_MAX: u64 = 64;

/// Characters of an object's name behind its directory of two.
const OBJECT_REST: usize = 62;

/// Why objects can't be linked.
#[derive(Debug, thiserror::Error)]
#[error("linking the object {}: {source}", path.display())]
pub struct ObjectError {
    path: PathBuf,
    source: io::Error,
}

/// Links every content of `trees` (each with the store path that holds it) that is longer than [`INLINE_MAX`] into the
/// objects directory, writes that to the disk, and only then sets the stamp of `system`: whoever sees the stamp finds
/// all objects.
pub fn link_all(
    layout: &Layout,
    pool: &Pool,
    trees: &[(&StorePath, &Node)],
    system: &StorePath,
) -> Result<usize, ObjectError> {
    let objects = layout.physical(&layout.objects_dir());
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| ObjectError { path, source }
    };
    let stamp = layout.physical(&layout.stamp(system));
    let complete = stamp.parent().unwrap_or(&objects);
    std::fs::create_dir_all(complete).map_err(at(complete))?;

    // Two imports, or an import and a collection, must not meet at one object.
    let lock = objects.with_extension("lock");
    let _lock = lock::take(&lock, Access::Exclusive, &mut |_| {}).map_err(at(&lock))?;
    let mut wanted: HashMap<Digest, (PathBuf, u64)> = HashMap::new();
    for (path, tree) in trees {
        let base = layout.physical_path(path);
        let mut failure = None;
        tree.walk(&base, &mut |path, node| {
            if let Node::File(_, id) = node {
                match pool.content(*id) {
                    Ok(content) if content.size > INLINE_MAX => {
                        let _first = wanted
                            .entry(content.digest)
                            .or_insert_with(|| (path.to_owned(), content.size));
                    }
                    Ok(_) => {}
                    Err(error) => failure = Some(at(path)(error)),
                }
            }
        });
        failure.map_or(Ok(()), Err)?;
    }
    for prefix in 0..=255u8 {
        let directory = objects.join(format!("{prefix:02x}"));
        std::fs::create_dir_all(&directory).map_err(at(&directory))?;
    }
    let mut new = 0;
    for (digest, (source, size)) in &wanted {
        let path = objects.join(object_name(digest));
        if intact(&path, *size) {
            continue;
        }
        // Either absent or damaged: an overlay would serve the damaged one for ever.
        files::remove_file_if_there(&path).map_err(at(&path))?;
        link(source, &path).map_err(at(&path))?;
        new += 1;
    }
    sync(&objects).map_err(at(&objects))?;
    files::write_atomically(&stamp, b"", 0o444).map_err(at(&stamp))?;
    Ok(new)
}

fn link(source: &Path, path: &Path) -> io::Result<()> {
    match std::fs::hard_link(source, path) {
        // The file system's limit of links is reached: the object is a file of its own then.
        Err(error) if error.raw_os_error() == Some(libc::EMLINK) => {
            let executable = source.metadata()?.permissions().mode() & 0o111 != 0;
            let mut copy = std::fs::File::options().write(true).create_new(true).open(path)?;
            let _bytes = io::copy(&mut std::fs::File::open(source)?, &mut copy)?;
            files::canonicalise_file(&copy, executable)
        }
        other => other,
    }
}

fn intact(path: &Path, size: u64) -> bool {
    path.symlink_metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.size() == size)
}

fn sync(path: &Path) -> io::Result<()> {
    Ok(nix::unistd::syncfs(&std::fs::File::open(path)?)?)
}

/// The systems whose objects have all been linked, valid or not any more.
pub(super) fn stamped(layout: &Layout) -> io::Result<Vec<StorePath>> {
    let complete = layout.physical(&layout.objects_dir()).join("complete");
    let entries = match std::fs::read_dir(&complete) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut systems = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        systems.extend(
            name.to_str()
                .and_then(|base| StorePath::from_base_name(base).ok()),
        );
    }
    systems.sort_unstable();
    Ok(systems)
}

/// The images that `system` links to. Without them nobody knows what it needs, so that's an error; it comes with its place.
pub(super) fn images(layout: &Layout, system: &StorePath) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
    linked(layout, system, &["usr.cfs", "etc.cfs"])
}

/// The trees that hold the contents of its objects.
pub(super) fn trees(layout: &Layout, system: &StorePath) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
    linked(layout, system, &["usr", "etc"])
}

fn linked(layout: &Layout, system: &StorePath, names: &[&str]) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
    names
        .iter()
        .map(|name| {
            let link = layout.physical_path(system).join(name);
            let target = match std::fs::read_link(&link) {
                Ok(target) => target,
                Err(error) => return Err((link, error)),
            };
            roots::in_store(layout, &target)
                .map(|path| layout.physical_path(&path))
                .ok_or_else(|| (link, io::Error::other("it leads out of the store")))
        })
        .collect()
}

/// The objects that an image names, `ab/cdef…`: it holds them as text, each behind a slash. What only looks like a name
/// keeps an object more.
pub(super) fn names_in(image: &[u8]) -> impl Iterator<Item = String> {
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    image
        .windows(1 + 2 + 1 + OBJECT_REST)
        .filter_map(move |window| match window {
            [b'/', a, b, b'/', rest @ ..] if is_digit(a) && is_digit(b) && rest.iter().all(is_digit) => {
                String::from_utf8(window.get(1..)?.to_vec()).ok()
            }
            _ => None,
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
    use super::*;

    #[test]
    fn an_image_names_objects_by_digests_behind_slashes() {
        let object = format!("ab/{}", "c".repeat(OBJECT_REST));
        let image = format!("\0\x01/{object}\0trusted/ab/short/AB/{}", "c".repeat(OBJECT_REST));
        assert_eq!(names_in(image.as_bytes()).collect::<Vec<_>>(), [object]);
        assert_eq!(names_in(b"/ab/").count(), 0);
    }
}
