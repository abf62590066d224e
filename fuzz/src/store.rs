//! What comes from caches, and what builds are told by.

use std::path::Path;

use keel::store::cache::keys::PublicKey;
use keel::store::cache::narinfo::{NarInfo, fingerprint};
use keel::store::derivation::Derivation;
use keel::store::nar::read::{Item, Reader};
use keel::store::nar::{self, UnpackError};
use sha2::{Digest, Sha256};

use super::input::check_line;

const STORE: &str = "/nix/store";
/// The public half of the key that signed the seeds.
const KEY: &str = "keel-fuzz-1:t5OUWArdUnh82yN3kcnB/1ntzNZdf1xfT3Xh1wWL3YI=";

/// An archive: what is read is what was written, and what is unpacked is archived as the same bytes, in one place.
pub(crate) fn nar(data: &[u8]) {
    let read = items(data);
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let place = directory.path().join("out");
    let mut seen = Vec::new();
    let unpacked = nar::unpack(&mut &*data, &place, u64::MAX, &mut |bytes| {
        seen.extend_from_slice(bytes)
    });
    let names: Vec<_> = std::fs::read_dir(directory.path())
        .expect("the directory")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert!(names.iter().all(|name| name == "out"), "also {names:?}");
    match (unpacked, read) {
        (Ok(hash), Ok(written)) => {
            assert_eq!(written, data);
            assert_eq!(seen, data);
            assert_eq!(
                (hash.size, hash.sha256),
                (data.len() as u64, Sha256::digest(data).into())
            );
            let mut again = Vec::new();
            nar::write(&place, &mut again).expect("what was unpacked");
            assert!(again == data, "another archive");
            assert_eq!(nar::hash(&place, &mut |_| {}).expect("the same"), hash);
            let most = hash.size - 1;
            let other = directory.path().join("shorter");
            let error = nar::unpack(&mut &*data, &other, most, &mut |_| {}).expect_err("a byte too many");
            assert!(matches!(error, UnpackError::Oversize(_)), "{error}");
        }
        (Err(error), Err(_)) => check_line(&error),
        (unpacked, read) => panic!(
            "unpacked: {unpacked:?}, read: {:?}",
            read.map(|bytes| bytes.len())
        ),
    }
    check_modes(&place);
}

/// What was made is either whole and read only, or on its way and the owner's alone to change.
fn check_modes(place: &Path) {
    use std::os::unix::fs::PermissionsExt;
    if let Ok(metadata) = place.symlink_metadata()
        && !metadata.is_symlink()
    {
        assert_eq!(metadata.permissions().mode() & 0o022, 0);
    }
}

/// Reads an archive, and writes what was read: a writer that owes nothing to keel's own.
fn items(data: &[u8]) -> Result<Vec<u8>, String> {
    let mut reader = Reader::new(data);
    let mut out = string(b"nix-archive-1");
    let mut depth = 0usize;
    loop {
        let item = reader.item().map_err(|error| {
            check_line(&error);
            error.to_string()
        })?;
        let Some(item) = item else { break };
        let words = |words: &[&[u8]]| words.iter().flat_map(|word| string(word)).collect::<Vec<u8>>();
        match item {
            Item::Directory => {
                out.extend(words(&[b"(", b"type", b"directory"]));
                depth += 1;
                continue;
            }
            Item::Entry(name) => {
                assert!(!name.is_empty() && name != b"." && name != b".." && !name.contains(&b'/'));
                out.extend(words(&[b"entry", b"(", b"name", &name, b"node"]));
                continue;
            }
            Item::File { executable, size } => {
                out.extend(words(&[b"(", b"type", b"regular"]));
                if executable {
                    out.extend(words(&[b"executable", b""]));
                }
                let mut contents = Vec::new();
                reader
                    .contents(&mut |bytes| {
                        contents.extend_from_slice(bytes);
                        Ok(())
                    })
                    .map_err(|error| error.to_string())?;
                assert_eq!(contents.len() as u64, size);
                out.extend(words(&[b"contents", &contents]));
            }
            Item::Symlink(target) => {
                out.extend(words(&[b"(", b"type", b"symlink", b"target", &target]));
            }
            Item::Leave => depth -= 1,
        }
        out.extend(words(&[b")"]));
        if depth > 0 {
            out.extend(words(&[b")"]));
        }
    }
    if reader.position() == data.len() as u64 {
        Ok(out)
    } else {
        Err("it goes on".to_owned())
    }
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let mut out = (bytes.len() as u64).to_le_bytes().to_vec();
    out.extend(bytes);
    out.resize(out.len().next_multiple_of(8), 0);
    out
}

/// What a cache tells about a path: read, written and read again it is the same, and its archive lies in the cache.
pub(crate) fn narinfo(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let info = match NarInfo::parse(text, STORE) {
        Ok(info) => info,
        Err(error) => return check_line(&error),
    };
    let again = NarInfo::parse(&info.print(STORE), STORE).expect("what was written");
    assert_eq!(again, info);
    assert!(!info.url.starts_with('/') && !info.url.split('/').any(|part| part == ".."));
    assert!(info.info.references.is_sorted_by(|one, other| one < other));
    let signed = fingerprint(&info.info, STORE);
    check_line(&signed);
    let key: PublicKey = KEY.parse().expect("a key");
    for signature in &info.info.signatures {
        if key.verifies(&signed, signature) {
            // A signature is over these words and no others.
            assert!(!key.verifies(&format!("{signed}0"), signature));
        }
    }
}

/// A derivation: what is read was written in the one way that there is.
pub(crate) fn aterm(data: &[u8]) {
    match Derivation::parse(STORE, data) {
        Ok(derivation) => {
            assert_eq!(derivation.to_aterm(STORE), data);
            let _features = derivation.required_features().count();
        }
        Err(error) => check_line(&error),
    }
}
