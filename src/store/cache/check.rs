//! Whether what a cache tells may become a valid path.

use super::keys::PublicKey;
use super::narinfo::fingerprint;
use crate::store::base32;
use crate::store::db::PathInfo;
use crate::store::path::{Kind, References, make_store_path};

/// Whose word is taken.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Keys whose signatures count.
    pub keys: Vec<PublicKey>,
    /// Whether paths without any are taken, too: only when somebody asked for that by name.
    pub unsigned: bool,
}

impl Trust {
    /// Whether `info` is signed by a trusted key, or needs no signature since its name follows from its content.
    pub fn accepts(&self, info: &PathInfo, store_dir: &str) -> bool {
        if self.unsigned || is_content_addressed(info, store_dir) {
            return true;
        }
        let text = fingerprint(info, store_dir);
        info.signatures
            .iter()
            .any(|signature| self.keys.iter().any(|key| key.verifies(&text, signature)))
    }
}

/// Whether the path is the one that the hash of its archive and its references give: nobody has to vouch for it then, since
/// the hash is checked before it becomes valid.
fn is_content_addressed(info: &PathInfo, store_dir: &str) -> bool {
    let expected = format!("fixed:r:sha256:{}", base32::encode(&info.nar.sha256));
    // One that refers to itself is named by another hash, which only its content tells.
    if info.ca.as_ref() != Some(&expected) || info.references.contains(&info.path) {
        return false;
    }
    let references = References {
        others: &info.references,
        itself: false,
    };
    make_store_path(
        store_dir,
        Kind::Source(references),
        &info.nar.sha256,
        info.path.name(),
    )
    .is_ok_and(|path| path == info.path)
}
