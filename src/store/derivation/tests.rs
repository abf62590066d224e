//! Derivations that Nix made.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, unused_results)]

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use proptest::prelude::*;

use super::*;

const STORE: &str = "/nix/store";

/// Expressions, each a list of derivations.
const EXPRESSIONS: &[&str] = &[
    r#"derivation { name = "plain"; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "echo \"a\\b\" > $out" ]; text = "a\tb\r\n\"c\" é"; }"#,
    r#"derivation { name = "several"; system = "x86_64-linux"; builder = "/bin/sh"; outputs = [ "out" "dev" "lib" ]; requiredSystemFeatures = [ "uid-range" "kvm" ]; }"#,
    r#"derivation { name = "flat.tar.gz"; system = "builtin"; builder = "builtin:fetchurl"; outputHash = "sha256-LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="; outputHashAlgo = "sha256"; outputHashMode = "flat"; url = "http://localhost/x"; }"#,
    r#"derivation { name = "tree"; system = "x86_64-linux"; builder = "/bin/sh"; outputHash = "sha256-LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="; outputHashMode = "recursive"; }"#,
    r#"derivation { name = "long"; system = "x86_64-linux"; builder = "/bin/sh"; outputHashAlgo = "sha512"; outputHashMode = "recursive"; outputHash = "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e"; }"#,
    r#"derivation { name = "old"; system = "x86_64-linux"; builder = "/bin/sh"; outputHashAlgo = "sha1"; outputHashMode = "flat"; outputHash = "da39a3ee5e6b4b0d3255bfef95601890afd80709"; }"#,
    r#"derivation { name = "structured"; system = "x86_64-linux"; builder = "/bin/sh"; __structuredAttrs = true; list = [ 1 "two" { three = null; } ]; outputs = [ "out" "man" ]; }"#,
    r#"let fetched = n: url: derivation { name = "fetched"; system = "x86_64-linux"; builder = "/bin/sh"; outputHash = "sha256-LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="; inherit url; };
           lower = derivation { name = "lower"; system = "x86_64-linux"; builder = "/bin/sh"; outputs = [ "out" "dev" ]; src = fetched 1 "a"; };
       in derivation { name = "upper"; system = "x86_64-linux"; builder = builtins.toFile "builder.sh" "echo"; first = fetched 1 "a"; second = fetched 2 "b"; low = lower.dev; both = "${lower} ${lower.dev}"; }"#,
];

/// All derivations that Nix makes of an expression: paths and texts.
fn instantiated(expression: &str) -> BTreeMap<StorePath, Vec<u8>> {
    let root = tempfile::tempdir().unwrap();
    let output = Command::new("nix-instantiate")
        .arg("--store")
        .arg(root.path())
        .args(["--expr", expression])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    fs::read_dir(root.path().join("nix/store"))
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| entry.file_name().to_string_lossy().ends_with(EXTENSION))
        .map(|entry| {
            let path = StorePath::from_base_name(entry.file_name().to_str().unwrap()).unwrap();
            (path, fs::read(entry.path()).unwrap())
        })
        .collect()
}

fn name_of(path: &StorePath) -> &str {
    path.name().strip_suffix(EXTENSION).unwrap()
}

#[test]
fn texts_paths_and_outputs_are_those_of_nix() {
    for expression in EXPRESSIONS {
        let all = instantiated(expression);
        assert!(!all.is_empty());
        let mut open: Vec<_> = all
            .iter()
            .map(|(path, text)| (path, text, Derivation::parse(STORE, text).unwrap()))
            .collect();
        let mut known = hash::Hashes::new();
        // Those that depend on nothing unknown, until none is left.
        while !open.is_empty() {
            let index = open
                .iter()
                .position(|(_, _, one)| one.input_derivations.keys().all(|path| known.contains_key(path)))
                .unwrap();
            let (path, text, derivation) = open.remove(index);
            assert_eq!(derivation.to_aterm(STORE), *text, "{expression}");
            assert_eq!(derivation.path(STORE, name_of(path)).unwrap(), *path);
            derivation.check(STORE, name_of(path), &known).unwrap();

            let mut anew = derivation.clone();
            for output in anew.outputs.values_mut() {
                output.path = None;
            }
            // With structured attributes the environment doesn't name the outputs.
            if derivation.environment.contains_key(&b"out"[..]) {
                anew.complete(STORE, name_of(path), &known).unwrap();
                assert_eq!(anew, derivation);
            }
            known.insert(path.clone(), derivation.hash_modulo(STORE, &known).unwrap());
        }
    }
}

#[test]
fn an_output_elsewhere_is_refused() {
    let (path, text) = instantiated(EXPRESSIONS[0]).pop_first().unwrap();
    let mut derivation = Derivation::parse(STORE, &text).unwrap();
    let elsewhere = StorePath::from_base_name("mgvzxmm9gsamf9p3rfr8jva7rkfbwmbw-plain").unwrap();
    derivation.outputs.get_mut("out").unwrap().path = Some(elsewhere);
    let error = derivation
        .check(STORE, name_of(&path), &hash::Hashes::new())
        .unwrap_err();
    assert!(matches!(error, DerivationError::WrongPath { .. }), "{error}");
}

#[test]
fn what_nix_would_not_write_is_refused_with_its_place() {
    let good = r#"Derive([("out","/nix/store/mgvzxmm9gsamf9p3rfr8jva7rkfbwmbw-f","","")],[],[],"s","b",[],[("a","1"),("b","2")])"#;
    Derivation::parse(STORE, good.as_bytes()).unwrap();
    for (from, to, says) in [
        ("Derive(", "Derive [", "\"Derive(\" is missing"),
        ("\"s\",", "\"s\", ", "is missing"),
        (r#"("a","1"),("b","2")"#, r#"("b","1"),("a","2")"#, "order"),
        (r#"("a","1"),("b","2")"#, r#"("a","1"),("a","2")"#, "order"),
        ("/nix/store/", "/other/store/", "not in the store"),
        (r#""","")]"#, r#""sha256","00")]"#, "no hash"),
        (
            "/nix/store/mgvzxmm9gsamf9p3rfr8jva7rkfbwmbw-f",
            "",
            "content-addressed",
        ),
        ("\"2\")])", "\"2\")])x", "behind"),
        ("\"2\")])", "\"\\2\")])", "as Nix doesn't write it"),
        ("\"2\")])", "\"\t\")])", "as Nix doesn't write it"),
        ("\"2\")])", "\"2", "without its end"),
    ] {
        let text = good.replace(from, to);
        assert_ne!(text, good);
        let error = Derivation::parse(STORE, text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
}

proptest! {
    #[test]
    fn damaged_texts_never_panic(at in any::<prop::sample::Index>(), byte: u8, cut in 0_usize..400) {
        let mut text = br#"Derive([("out","/nix/store/mgvzxmm9gsamf9p3rfr8jva7rkfbwmbw-f","r:sha256","e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")],[("/nix/store/mgvzxmm9gsamf9p3rfr8jva7rkfbwmbw-f.drv",["out"])],["/nix/store/mgvzxmm9gsamf9p3rfr8jva7rkfbwmbw-f"],"s","b",["a\n"],[("a","1")])"#.to_vec();
        let at = at.index(text.len());
        text[at] = byte;
        text.truncate(cut);
        if let Ok(derivation) = Derivation::parse(STORE, &text) {
            prop_assert_eq!(Derivation::parse(STORE, &derivation.to_aterm(STORE)).unwrap(), derivation);
        }
    }
}
