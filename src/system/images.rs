//! composefs images: an EROFS file system that holds names, owners, modes, capabilities and times, and names contents by
//! their fs-verity digest. Mounted as the lower layer of an overlay whose data layer is the objects directory.

use std::ffi::{OsStr, OsString};
use std::io;

use composefs::erofs::format::FormatVersion;
use composefs::erofs::writer::{ValidatedFileSystem, mkfs_erofs_versioned};
use composefs::fsverity::Sha256HashValue;
use composefs::generic_tree::{Inode, LeafContent, LeafId, Stat};
use composefs::tree::{Directory, FileSystem, RegularFile};

use crate::store::objects::INLINE_MAX;
use crate::store::pool::Pool;
use crate::store::tree::{Entries, Meta, Node};

/// Why an image can't be made.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A content can't be read.
    #[error("making an image: {0}")]
    Content(#[from] io::Error),
    /// The composefs library refused the tree.
    #[error("making an image: {0}")]
    Refused(String),
}

/// The image of `tree`: its directory becomes the root. Equal trees give equal bytes.
pub fn compose(tree: &Node, pool: &Pool) -> Result<Box<[u8]>, ImageError> {
    let mut image = FileSystem::new(stat(tree.meta()));
    let mut root = Directory::new(stat(tree.meta()));
    if let Some(entries) = tree.entries() {
        fill(&mut root, entries, pool, &mut |stat, content| {
            image.push_leaf(stat, content)
        })?;
    }
    image.root = root;
    let valid = ValidatedFileSystem::new(image).map_err(|error| ImageError::Refused(format!("{error:#}")))?;
    Ok(mkfs_erofs_versioned(&valid, FormatVersion::V1))
}

type Leaf = LeafContent<RegularFile<Sha256HashValue>>;

fn fill(
    directory: &mut Directory<Sha256HashValue>,
    entries: &Entries,
    pool: &Pool,
    push: &mut dyn FnMut(Stat, Leaf) -> LeafId,
) -> Result<(), ImageError> {
    for (name, node) in entries {
        let stat = stat(node.meta());
        let inode = match node {
            Node::Directory(_, entries) => {
                let mut child = Directory::new(stat);
                fill(&mut child, entries, pool, push)?;
                Inode::Directory(Box::new(child))
            }
            Node::Symlink(_, target) => Inode::leaf(push(stat, LeafContent::Symlink(target.clone().into()))),
            Node::File(_, id) => {
                let content = pool.content(*id)?;
                let file = if content.size <= INLINE_MAX {
                    RegularFile::Inline(pool.read(*id, INLINE_MAX)?.into())
                } else {
                    RegularFile::External(content.digest.into(), content.size)
                };
                Inode::leaf(push(stat, LeafContent::Regular(file)))
            }
        };
        let _new = directory.insert(OsStr::new(name), inode);
    }
    Ok(())
}

fn stat(meta: &Meta) -> Stat {
    let xattrs = meta
        .capability
        .iter()
        .map(|value| {
            (
                OsString::from("security.capability").into_boxed_os_str(),
                value.clone(),
            )
        })
        .collect();
    Stat {
        st_mode: meta.mode,
        st_uid: meta.uid,
        st_gid: meta.gid,
        st_mtim_sec: meta.mtime,
        // Archives mostly carry whole seconds: the same root file system gives the same image, however it comes.
        st_mtim_nsec: 0,
        xattrs,
    }
}
