//! The record of a system's units (`units.json`) without reading all of `/usr` again: its digests were written down when the
//! packages' parts were made.

use std::fs::File;
use std::io;

use crate::store::pool::Pool;
use crate::store::tree::Node;
use crate::store::verity::Digest;
use crate::system::units::sources::{Found, InDirectory, InTree, Mounted, Sources};
use crate::system::units::{self, CollectError, UnitsRecord};

/// `/usr` as it lies in the store, and what is known of it.
struct KnownUsr<'a> {
    usr: InDirectory,
    known: &'a UnitsRecord<'a>,
}

impl Sources for KnownUsr<'_> {
    fn look(&self, path: &str) -> io::Result<Option<Found>> {
        self.usr.look(path)
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        self.usr.list(path)
    }

    fn open(&self, path: &str) -> io::Result<File> {
        self.usr.open(path)
    }

    fn digest(&self, path: &str) -> io::Result<Digest> {
        let known = self.known.files.get(format!("/usr{path}").as_str());
        match known.and_then(|digest| unhex(digest)) {
            Some(digest) => Ok(digest),
            None => self.usr.digest(path),
        }
    }
}

/// Makes the record for the `/usr` at `usr`, of which `known` tells, and `etc`.
pub fn collect(
    usr: InDirectory,
    known: &UnitsRecord<'_>,
    (etc, pool): (&Node, &Pool),
) -> Result<UnitsRecord<'static>, CollectError> {
    let usr = KnownUsr { usr, known };
    let etc = InTree::new(etc, pool);
    units::collect(&Mounted::new().with("usr", &usr).with("etc", &etc))
}

fn unhex(text: &str) -> Option<Digest> {
    let mut digest = Digest::default();
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() || pairs.len() != digest.len() {
        return None;
    }
    for (byte, [high, low]) in digest.iter_mut().zip(pairs) {
        let digit = |c: u8| char::from(c).to_digit(16);
        *byte = u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::store::path::hex;

    #[test]
    fn digests_are_read_as_they_are_written() {
        let digest: Digest = std::array::from_fn(|at| u8::try_from(at * 7 % 256).unwrap());
        assert_eq!(unhex(&hex(&digest)), Some(digest));
        assert_eq!(unhex("00"), None);
        assert_eq!(unhex(&"zz".repeat(32)), None);
    }

    #[test]
    fn what_is_known_isnt_read_again() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("a"), "changed since").unwrap();
        let mut known = UnitsRecord::empty();
        let _new = known.files.insert("/usr/a".into(), "01".repeat(32).into());
        let usr = KnownUsr {
            usr: InDirectory::open(place.path()).unwrap(),
            known: &known,
        };
        assert_eq!(usr.digest("/a").unwrap(), [1; 32]);
    }
}
