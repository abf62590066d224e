//! The corpus of the fuzz targets, and some hundred mutations of each input, through what the targets call: a bug that
//! fuzzing found once stays found. The mutations are the same every time. docs/fuzzing.md tells the rest.
#![cfg(feature = "tools")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::pedantic,
    unreachable_pub,
    unused_results
)]

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

/// Mutated inputs are cut here: longer ones only take longer.
const LENGTH_MAX: usize = 16 << 10;

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
}

/// The names in a directory, in order.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled").
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end.max(1)
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        start..start + self.below((length - start).min(64) + 1)
    }
}

/// One to four changes of `seed`; some take parts of `other`.
fn mutated(seed: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    const ODD: [u64; 8] = [
        0,
        1,
        0x7f,
        0xff,
        0x7fff_ffff,
        0xffff_ffff,
        i64::MAX as u64,
        u64::MAX,
    ];
    const TEXTS: [&[u8]; 10] = [
        b"-1",
        b"18446744073709551615",
        b"",
        b"\"",
        b"{",
        b"}",
        b"\n",
        b"=",
        b"\xff",
        b"\0",
    ];
    let mut data = seed.to_vec();
    for _ in 0..=random.below(4) {
        let range = random.range(data.len());
        match random.below(8) {
            0 | 1 => {
                if let Some(byte) = data.get_mut(range.start) {
                    *byte ^= 1 << random.below(8);
                }
            }
            2 => {
                // A number of one to eight bytes, at either end first.
                let width = 1 << random.below(4);
                let number = ODD[random.below(ODD.len())];
                let bytes = if random.below(2) == 0 {
                    number.to_le_bytes()
                } else {
                    number.to_be_bytes()
                };
                let bytes = if random.below(2) == 0 {
                    &bytes[..width]
                } else {
                    &bytes[8 - width..]
                };
                if let Some(place) = data.get_mut(range.start..range.start + width) {
                    place.copy_from_slice(bytes);
                }
            }
            3 => drop(data.drain(range)),
            4 => {
                let copy = data[range].to_vec();
                let at = random.below(data.len() + 1);
                data.splice(at..at, copy);
            }
            5 => {
                let part = random.range(other.len());
                data.splice(range, other[part].iter().copied());
            }
            6 => {
                let text = TEXTS[random.below(TEXTS.len())];
                data.splice(range.start..range.start, text.iter().copied());
            }
            _ => data.truncate(range.end),
        }
    }
    data.truncate(LENGTH_MAX);
    data
}

/// Runs the corpus of a target, and `rounds` mutations of each of its inputs.
fn replay(target: &str, rounds: usize) {
    let corpus = directory("corpus").join(target);
    let inputs: Vec<(String, Vec<u8>)> = names(&corpus)
        .into_iter()
        .map(|name| (name.clone(), fs::read(corpus.join(&name)).unwrap()))
        .collect();
    assert!(!inputs.is_empty(), "{target} has no corpus");
    for (name, seed) in &inputs {
        assert!(
            catch_unwind(|| fuzz::run(target, seed)).is_ok(),
            "{target}: corpus/{target}/{name}"
        );
    }
    let mut random = Random(0x6b65_656c);
    for (name, seed) in &inputs {
        for round in 0..rounds {
            let (_, other) = &inputs[random.below(inputs.len())];
            let data = mutated(seed, other, &mut random);
            if catch_unwind(|| fuzz::run(target, &data)).is_err() {
                let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{target}-finding"));
                fs::write(&kept, &data).unwrap();
                panic!("{target}: mutation {round} of {name}, kept as {}", kept.display());
            }
        }
    }
}

macro_rules! replays {
    ($($target:ident $rounds:literal,)*) => {
        $(#[test]
        fn $target() {
            replay(stringify!($target), $rounds);
        })*
        const REPLAYED: &[&str] = &[$(stringify!($target)),*];
    };
}

replays! {
    accounts 300,
    aterm 300,
    boot_json 300,
    cmdline 300,
    deb 100,
    deb822 200,
    elf 300,
    generations 300,
    journal 300,
    luks1 100,
    luks2_header 60,
    luks2_json 60,
    lvm_label 100,
    lvm_metadata 300,
    modules 300,
    mountinfo 300,
    nar 200,
    narinfo 300,
    newc 300,
    probe 100,
    system_toml 300,
    unit_files 200,
    unit_tree 300,
    units_json 100,
}

#[test]
fn every_target_is_built_replayed_and_has_its_seeds_explained() {
    let known: BTreeSet<&str> = fuzz::TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(known, REPLAYED.iter().copied().collect());
    let sources = names(&directory("fuzz_targets"));
    assert_eq!(
        known,
        sources
            .iter()
            .filter_map(|name| name.strip_suffix(".rs"))
            .collect()
    );
    for target in known {
        let explained = fs::read_to_string(directory("corpus").join(format!("{target}.seeds"))).unwrap();
        for name in names(&directory("corpus").join(target)) {
            let told = explained
                .lines()
                .any(|line| line.starts_with(&format!("{name}: ")));
            assert!(
                told || name.starts_with("found-"),
                "{target}.seeds doesn't tell of {name}"
            );
        }
    }
}
