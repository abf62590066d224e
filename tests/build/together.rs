//! Several builds, several processes, caches and collectors.

use std::fs;
use std::io::Read as _;

use crate::lab::{Caller, Lab, Running, answer, names};
use crate::nix_store::{run, text};

#[test]
fn as_many_run_at_once_as_are_asked_for_and_each_after_what_it_needs() {
    let lab = Lab::new();
    let caller = Caller::new();
    let (one, two) = (caller.derivation("one", ""), caller.derivation("two", ""));
    let derivation = lab.instantiates(&format!("run \"last\" \"cat ${{{one}}} ${{{two}}} >$out\" {{}}"));
    let building = Running::new(&mut lab.keel(&["build", "--jobs", "2", "--timeout", "120", &derivation[0]]));
    // Neither is answered before both have called: they run at the same time.
    let (first, second) = (caller.next(), caller.next());
    let mut called = [first.0, second.0];
    called.sort();
    assert_eq!(called, ["one", "two"]);
    answer(first.1);
    answer(second.1);
    let path = building.ends();
    assert_eq!(fs::read_to_string(path.trim()).unwrap(), "x\nx\n");

    // One after the other: the second calls only when the first is done.
    let (three, four) = (caller.derivation("three", ""), caller.derivation("four", ""));
    let derivations = lab.instantiates(&format!("[ ({three}) ({four}) ]"));
    let building = Running::new(&mut lab.keel(&["build", "--jobs", "1", &derivations[0], &derivations[1]]));
    let (_, stream) = caller.next();
    assert!(caller.is_quiet());
    drop(building);
    drop(stream);
}

#[test]
fn two_processes_and_nix_build_the_same_once() {
    let lab = Lab::new();
    let caller = Caller::new();
    let derivation = &lab.instantiates(&caller.derivation("once", ""))[0];
    let mut first = Running::new(&mut lab.keel(&["build", derivation]));
    let (_, stream) = caller.next();
    first.says("called");
    let mut second = Running::new(&mut lab.keel(&["build", derivation]));
    second.says("waiting for another process");
    let third = Running::new(&mut lab.store.program("nix-store", &["--realise", derivation]));
    answer(stream);
    let paths = [first.ends(), second.ends(), third.ends()];
    assert!(paths.iter().all(|path| *path == paths[0]), "{paths:?}");
    assert!(caller.is_quiet());
    lab.store.nix_verifies();
}

#[test]
fn collectors_leave_what_a_running_build_needs() {
    let lab = Lab::new();
    let caller = Caller::new();
    let input = lab.instantiates("run \"input\" \"echo input >$out\" {}");
    lab.builds(&[&input[0]]);
    let call = caller.derivation("kept", "input = run \"input\" \"echo input >$out\" {};");
    let derivation = &lab.instantiates(&call)[0];
    let mut building = Running::new(&mut lab.keel(&["build", derivation]));
    let (_, stream) = caller.next();
    building.says("called");
    run(&mut lab.keel(&["gc"]));
    lab.store.nix("nix-store", &["--gc"]);
    answer(stream);
    let path = building.ends();
    assert_eq!(fs::read_to_string(path.trim()).unwrap(), "x\n");
    lab.store.nix_verifies();
}

#[test]
fn a_build_that_is_killed_leaves_nothing_that_stays() {
    let lab = Lab::new();
    let caller = Caller::new();
    let derivation = &lab.instantiates(&caller.derivation("killed", ""))[0];
    let store = lab.store.path("store");
    let before = names(&store);
    let mut building = Running::new(&mut lab.keel(&["build", derivation]));
    let (_, mut stream) = caller.next();
    building.says("called");
    building.kill();
    // The builder is gone with it: our connection ends.
    let mut rest = Vec::new();
    let _ended = stream.read_to_end(&mut rest);
    lab.store.nix_verifies();
    let again = Running::new(&mut lab.keel(&["build", derivation]));
    let (_, stream) = caller.next();
    answer(stream);
    let path = again.ends();
    let mut expected = before.clone();
    expected.push(path.trim().rsplit('/').next().unwrap().to_owned());
    expected.sort();
    let left: Vec<String> = names(&store)
        .into_iter()
        .filter(|name| !name.ends_with(".lock"))
        .collect();
    assert_eq!(left, expected);
    lab.store.nothing_half();
}

#[test]
fn a_cache_is_asked_before_anything_is_built() {
    let lab = Lab::new();
    let derivation = &lab.instantiates(
        "let a = run \"needed\" \"echo a >$out\" {}; b = run \"tool\" \"echo b >$out\" {}; \
         in run \"cached\" \"cat ${b} >$out; echo ${a} >>$out\" {}",
    )[0];
    let path = lab.builds(&[derivation])[0].clone();
    let key = lab.store.path("key");
    let public = text(&run(&mut lab.keel(&["key", "generate", "test-1", key.to_str().unwrap()])).stdout);
    let cache = format!("file://{}", lab.store.path("cache").display());
    run(&mut lab.keel(&["copy", "--to", &cache, "--sign", key.to_str().unwrap(), &path]));
    let trusted = format!(
        "[store]\ncaches = [\"{cache}\"]\ntrusted_keys = [\"{}\"]\n",
        public.trim()
    );
    let empty = || {
        lab.store.nix("nix-store", &["--gc"]);
        assert!(!std::path::Path::new(&path).exists());
        // The derivation went with the rest.
        lab.instantiates(
            "let a = run \"needed\" \"echo a >$out\" {}; b = run \"tool\" \"echo b >$out\" {}; \
             in run \"cached\" \"cat ${b} >$out; echo ${a} >>$out\" {}",
        );
    };
    empty();
    fs::write(lab.store.path("settings.toml"), &trusted).unwrap();
    let out = run(&mut lab.keel(&["build", derivation]));
    assert_eq!(text(&out.stdout).trim(), path);
    let said = text(&out.stderr);
    assert!(said.contains("copied") && !said.contains("building"), "{said}");
    // What was needed only to build it wasn't touched.
    let there = names(&lab.store.path("store"));
    assert!(
        there.iter().any(|name| name.ends_with("-needed"))
            && !there.iter().any(|name| name.ends_with("-tool"))
    );

    // Nobody vouches: it's built.
    empty();
    fs::write(
        lab.store.path("settings.toml"),
        format!("[store]\ncaches = [\"{cache}\"]\n"),
    )
    .unwrap();
    let out = run(&mut lab.keel(&["build", derivation]));
    let said = text(&out.stderr);
    assert!(
        said.contains("no signature by a key that is trusted") && said.contains("built"),
        "{said}"
    );

    // The archive is gone: the cache can't deliver, and it's built.
    empty();
    fs::write(lab.store.path("settings.toml"), &trusted).unwrap();
    fs::remove_dir_all(lab.store.path("cache/nar")).unwrap();
    let out = run(&mut lab.keel(&["build", derivation]));
    assert!(text(&out.stderr).contains("building"), "{}", text(&out.stderr));
    // No cache at all.
    empty();
    fs::write(
        lab.store.path("settings.toml"),
        "[store]\ncaches = [\"http://127.0.0.1:9\"]\n",
    )
    .unwrap();
    let out = run(&mut lab.keel(&["build", derivation]));
    assert!(text(&out.stderr).contains("127.0.0.1:9"), "{}", text(&out.stderr));
    let out = run(&mut lab.keel(&["build", "--no-caches", derivation]));
    assert!(!text(&out.stderr).contains("127.0.0.1:9"));
    lab.store.nix_verifies();
}
