//! What is refused, what is ended, and what differs.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::lab::{Lab, names};
use crate::nix_store::{run, text};

#[test]
fn what_exceeds_its_limits_is_ended() {
    let lab = Lab::new();
    let before = names(&lab.store.path("store")).len();
    let started = Instant::now();
    for (option, limit, script, words) in [
        (
            "--timeout",
            "1",
            "while true; do echo x; sleep 0.1; done",
            "it took longer than 1 s",
        ),
        ("--max-silent-time", "1", "sleep 86400", "it said nothing for 1 s"),
        (
            "--max-log",
            "10K",
            "while true; do echo xxxxxxxxxxxxxxxxxxxx; done",
            "it said more than 10240 bytes",
        ),
        (
            "--max-output",
            "100K",
            "mkdir $out; dd if=/dev/zero of=$out/a bs=1K count=90; cp $out/a $out/b",
            "more than 102400 bytes",
        ),
        (
            "--max-output",
            "100K",
            "dd if=/dev/zero of=$out bs=1K count=101",
            "its builder ended with exit code",
        ),
        (
            "--max-memory",
            "64M",
            "dd if=/dev/zero of=/dev/null bs=100M count=1",
            "its builder ended with exit code",
        ),
    ] {
        let name = format!("limit{}", script.len());
        let derivation = &lab.instantiates(&format!("run \"{name}\" \"{script}\" {{}}"))[0];
        let said = lab.refuses(&[option, limit, derivation]);
        assert!(said.lines().last().unwrap().contains(words), "{option}: {said}");
        lab.store.nix("nix-store", &["--delete", derivation]);
    }
    assert!(started.elapsed() < Duration::from_hours(1));
    assert_eq!(names(&lab.store.path("store")).len(), before);
    lab.store.nix_verifies();
}

#[test]
fn a_builder_gets_no_more_than_whoever_builds_may_have() {
    let lab = Lab::new();
    let derivation = &lab.instantiates("run \"narrow\" \"cat /proc/self/limits >$out\" {}")[0];
    let keel = lab.keel(&["build", derivation]);
    // A small machine allows fewer processes, and nobody in a user namespace may raise that.
    let mut narrow = Command::new("prlimit");
    narrow
        .arg("--nproc=3000:3000")
        .arg(keel.get_program())
        .args(keel.get_args());
    for (name, value) in keel.get_envs() {
        match value {
            Some(value) => narrow.env(name, value),
            None => narrow.env_remove(name),
        };
    }
    let path = text(&run(&mut narrow).stdout);
    let limits = fs::read_to_string(path.trim()).unwrap();
    let processes = limits
        .lines()
        .find(|line| line.starts_with("Max processes"))
        .unwrap();
    assert_eq!(processes.split_whitespace().nth(3), Some("3000"), "{processes}");
}

#[test]
fn outputs_that_a_store_cant_hold_are_refused() {
    let lab = Lab::new();
    for (script, words) in [
        ("true", "made no"),
        (
            "mkdir $out; echo x >$out/s; chmod 4755 $out/s",
            "is setuid or setgid",
        ),
        (
            "mkdir $out; mkfifo $out/pipe",
            "neither a file, a directory nor a symbolic link",
        ),
    ] {
        let name = format!("bad{}", script.len());
        let derivation = &lab.instantiates(&format!("run \"{name}\" \"{script}\" {{}}"))[0];
        let said = lab.refuses(&[derivation]);
        assert!(said.lines().last().unwrap().contains(words), "{script}: {said}");
    }
    // A link to what the host has isn't followed.
    let link = &lab.instantiates("run \"link\" \"ln -s /etc/shadow $out\" {}")[0];
    let path = lab.builds(&[link])[0].clone();
    assert_eq!(fs::read_link(path).unwrap(), Path::new("/etc/shadow"));
    lab.store.nix_verifies();
    lab.store.nothing_half();
}

#[test]
fn what_a_derivation_says_of_its_references_is_heeded() {
    let lab = Lab::new();
    let refers = |more: &str| {
        lab.instantiates(&format!(
            "run \"refers\" \"echo ${{tools}} $out >$out\" {{ {more} }}"
        ))[0]
            .clone()
    };
    for (more, is_fine) in [
        ("allowedReferences = [ tools \"out\" ];", true),
        ("allowedReferences = [ \"out\" ];", false),
        ("allowedReferences = [ ];", false),
        ("disallowedReferences = [ tools ];", false),
        ("allowedRequisites = [ tools ];", true),
        ("disallowedRequisites = [ tools ];", false),
        ("disallowedReferences = [ ];", true),
    ] {
        let derivation = refers(more);
        let expression = lab.expression(&format!(
            "run \"refers\" \"echo ${{tools}} $out >$out\" {{ {more} }}"
        ));
        if is_fine {
            let path = lab.builds(&[&derivation]);
            lab.forgets(&path);
            lab.store.nix("nix-store", &["--realise", &derivation]);
        } else {
            let said = lab.refuses(&[&derivation]);
            assert!(
                said.contains("which its derivation doesn't allow"),
                "{more}: {said}"
            );
            lab.store.nix_refuses(&expression);
        }
    }
}

#[test]
fn what_this_machine_cant_build_says_why() {
    let lab = Lab::new();
    for (more, words) in [
        (
            "requiredSystemFeatures = [ \"kvm\" ];",
            "requires the feature 'kvm'",
        ),
        (
            "system = \"riscv64-linux\";",
            "it is for riscv64-linux; this machine is",
        ),
        (
            "builder = \"builtin:buildenv\";",
            "a part of Nix that keel doesn't have",
        ),
        ("__noChroot = true;", "outside of a sandbox"),
        ("builder = \"/nix/store/none/bin/sh\";", "can't be executed"),
    ] {
        let derivation = &lab.instantiates(&format!("run \"cant\" \"echo >$out\" {{ {more} }}"))[0];
        let said = lab.refuses(&[derivation]);
        assert!(said.lines().last().unwrap().contains(words), "{more}: {said}");
    }
    // Whoever needs what fails isn't begun.
    let derivation = &lab.instantiates("run \"after\" \"echo ${run \"first\" \"exit 1\" {}} >$out\" {}")[0];
    let said = lab.refuses(&[derivation]);
    assert!(
        said.contains("-first.drv can't be built") && !said.contains("building /nix/store/after"),
        "{said}"
    );
    let said = lab.refuses(&["/nix/store/none.drv"]);
    assert!(said.contains("is no derivation of the store"), "{said}");
}

#[test]
fn a_derivation_that_names_another_ones_output_is_refused() {
    let lab = Lab::new();
    let derivation = &lab.instantiates("run \"victim\" \"echo right >$out\" {}")[0];
    let text = fs::read_to_string(derivation)
        .unwrap()
        .replace("echo right", "echo wrong");
    let forged = lab.store.path("scratch/forged.drv");
    fs::write(&forged, text).unwrap();
    // Nix itself doesn't take it.
    let forged = lab.store.say(&["store", "add", forged.to_str().unwrap()]);
    let said = lab.refuses(&[forged.trim()]);
    assert!(
        said.contains("is said to go to") && said.contains("but belongs to"),
        "{said}"
    );
}

#[test]
fn building_again_finds_what_differs() {
    let lab = Lab::new();
    let same = &lab.instantiates("run \"same\" \"echo same >$out\" {}")[0];
    let paths = lab.builds(&["--check", same]);
    assert_eq!(paths, lab.builds(&[same]));
    let other = &lab.instantiates(
        "run \"other\" \"mkdir -p $out/deep; echo same >$out/same; cat /proc/sys/kernel/random/uuid >$out/deep/uuid\" {}",
    )[0];
    let path = lab.builds(&[other])[0].clone();
    let first = fs::read_to_string(format!("{path}/deep/uuid")).unwrap();
    let said = lab.refuses(&["--check", other]);
    assert!(
        said.contains("deep/uuid: other contents from byte") && !said.contains("same: "),
        "{said}"
    );
    let kept = format!("{path}.check");
    assert_ne!(fs::read_to_string(format!("{kept}/deep/uuid")).unwrap(), first);
    assert_eq!(fs::read_to_string(format!("{path}/deep/uuid")).unwrap(), first);
    lab.store.nix_verifies();
    // The second result goes with the next collection.
    let link = lab.store.path("result");
    run(&mut lab.keel(&["build", "--out-link", link.to_str().unwrap(), other]));
    run(&mut lab.keel(&["gc"]));
    assert!(!Path::new(&kept).exists() && Path::new(&path).exists());
}

#[test]
fn with_uid_range_a_builder_is_root_of_its_own_ids() {
    let lab = Lab::new();
    let script = "id -u >$out; echo x >file; chown 65534:7 file; chown 0:0 file";
    let path = lab.same_by_keel(&format!(
        "run \"ids\" \"{script}\" {{ requiredSystemFeatures = [ \"uid-range\" ]; }}"
    ));
    assert_eq!(fs::read_to_string(path).unwrap(), "0\n");
}

#[test]
fn what_builders_said_is_told_again() {
    let lab = Lab::new();
    let derivation = &lab.instantiates("run \"talks\" \"echo to all; echo x >$out\" {}")[0];
    let path = lab.builds(&[derivation])[0].clone();
    for what in [&path, derivation] {
        assert_eq!(
            text(&run(&mut lab.keel(&["store", "log", what])).stdout),
            "to all\n"
        );
        assert_eq!(lab.store.nix("nix-store", &["--read-log", what]), "to all\n");
    }
    // Nix's own are compressed.
    let other = &lab.instantiates("run \"nixtalks\" \"echo by nix; echo x >$out\" {}")[0];
    lab.store.nix("nix-store", &["--realise", other]);
    assert_eq!(
        text(&run(&mut lab.keel(&["store", "log", other])).stdout),
        "by nix\n"
    );
}
