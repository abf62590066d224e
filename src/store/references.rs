//! Which store paths a stream of bytes names, and hashes of content that names its own path.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use super::base32;
use super::path::{HASH_LEN, StorePath};

/// Looks for the hash parts of many candidates in one pass.
#[derive(Debug)]
pub struct ReferenceScanner<'a> {
    candidates: std::collections::HashMap<&'a [u8], &'a StorePath>,
    found: BTreeSet<&'a StorePath>,
    // The last bytes of what came before: a hash part may lie across two buffers.
    tail: Vec<u8>,
}

impl<'a> ReferenceScanner<'a> {
    /// Looks for `candidates`.
    pub fn new(candidates: impl IntoIterator<Item = &'a StorePath>) -> Self {
        Self {
            candidates: candidates
                .into_iter()
                .map(|path| (path.hash_part().as_bytes(), path))
                .collect(),
            found: BTreeSet::new(),
            tail: Vec::with_capacity(2 * HASH_LEN),
        }
    }

    /// Looks through the next bytes of the stream.
    pub fn update(&mut self, bytes: &[u8]) {
        let head = bytes.get(..bytes.len().min(HASH_LEN - 1)).unwrap_or_default();
        let mut border = std::mem::take(&mut self.tail);
        border.extend_from_slice(head);
        self.search(&border);
        self.search(bytes);
        let end = if bytes.len() < HASH_LEN { &border } else { bytes };
        self.tail.extend_from_slice(
            end.get(end.len().saturating_sub(HASH_LEN - 1)..)
                .unwrap_or_default(),
        );
    }

    /// The candidates seen so far, in order.
    pub fn found(&self) -> Vec<StorePath> {
        self.found.iter().map(|&path| path.clone()).collect()
    }

    fn search(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while let Some(window) = bytes.get(at..at + HASH_LEN) {
            // Nothing can start before the last byte that is no base-32.
            if let Some(stop) = window.iter().rposition(|&byte| !base32::is_digit(byte)) {
                at += stop;
            } else if let Some(&path) = self.candidates.get(window) {
                let _new = self.found.insert(path);
            }
            at += 1;
        }
    }
}

/// SHA-256 of `bytes` with every `own` replaced by NUL bytes, followed by `|offset` for each place: how Nix hashes
/// content that names its own path, whose hash can't be known before.
pub fn hash_modulo(bytes: &[u8], own: &[u8]) -> [u8; 32] {
    let places = occurrences(bytes, own);
    let zeroes = vec![0; own.len()];
    let mut sha256 = Sha256::new();
    let mut from = 0;
    for &place in &places {
        sha256.update(bytes.get(from..place).unwrap_or_default());
        sha256.update(&zeroes);
        from = place + own.len();
    }
    sha256.update(bytes.get(from..).unwrap_or_default());
    for place in places {
        sha256.update(format!("|{place}").as_bytes());
    }
    sha256.finalize().into()
}

fn occurrences(bytes: &[u8], needle: &[u8]) -> Vec<usize> {
    let mut places = Vec::new();
    let mut at = 0;
    while let Some(window) = bytes.get(at..at + needle.len()).filter(|_| !needle.is_empty()) {
        if window == needle {
            places.push(at);
            at += needle.len();
        } else {
            at += 1;
        }
    }
    places
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
    use proptest::prelude::*;

    fn path(n: usize) -> StorePath {
        let mut hash = "mgvzxmm9gsamf9p3rfr8jva7rkfbwmbw".to_owned();
        hash.replace_range(0..2, &format!("{n:02}"));
        StorePath::from_base_name(&format!("{hash}-p{n}")).unwrap()
    }

    proptest! {
        #[test]
        fn finds_exactly_what_is_there_however_the_stream_is_cut(
            present in proptest::collection::vec((0usize..6, "[ /a-z0-9]{0,40}"), 0..5),
            cuts in proptest::collection::vec(0usize..400, 0..12),
        ) {
            let all: Vec<_> = (0..6).map(path).collect();
            let mut text = String::from("start ");
            for (n, filler) in &present {
                text.push_str(all[*n].hash_part());
                text.push_str(filler);
            }
            let mut cuts: Vec<_> = cuts.into_iter().map(|c| c.min(text.len())).collect();
            cuts.sort_unstable();
            let mut scanner = ReferenceScanner::new(&all);
            let mut from = 0;
            for cut in cuts.into_iter().chain([text.len()]) {
                scanner.update(&text.as_bytes()[from..cut]);
                from = cut;
            }
            let expected: Vec<_> = all.iter().filter(|p| text.contains(p.hash_part())).cloned().collect();
            prop_assert_eq!(scanner.found(), expected);
        }
    }

    #[test]
    fn the_modulo_hash_does_not_depend_on_the_own_hash_but_on_its_places() {
        let hashed =
            |own: &str, gap: &str| hash_modulo(format!("a{own}{gap}{own}b").as_bytes(), own.as_bytes());
        assert_eq!(hashed("xxxx", "-"), hashed("yyyy", "-"));
        assert_ne!(hashed("xxxx", "-"), hashed("xxxx", "--"));
        assert_eq!(
            hash_modulo(b"plain", b"none"),
            <[u8; 32]>::from(Sha256::digest(b"plain"))
        );
    }
}
