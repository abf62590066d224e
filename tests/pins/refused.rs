use std::fs;

use super::repository::Repository;
use super::{Machine, serve};

#[test]
fn all_missing_packages_are_named_at_once_with_what_is_near() {
    let repository = Repository::new();
    repository.add("fastfetch", "2", "");
    repository.add("firefox-esr", "140", "");
    repository.add("postfix", "3", "Provides: mail-transport-agent");
    repository.add("exim4", "4", "Provides: mail-transport-agent");
    repository.publish();
    let server = serve(&repository);
    let machine = Machine::of(&repository, &server);
    machine.install(&["neofetch", "firefoks", "mail-transport-agent"]);
    let error = machine.refused(&[]);
    for part in [
        "keel: update: trixie doesn't have ",
        "'firefoks' (packages.install); near: firefox-esr",
        "'neofetch' (packages.install), which bookworm had; near: fastfetch",
        "'mail-transport-agent' (packages.install) is provided by several packages, name one: exim4, postfix",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn packages_that_do_not_go_together_are_told() {
    let repository = Repository::new();
    repository.add("one", "1", "Conflicts: two");
    repository.add("two", "1", "");
    repository.add("broken", "1", "Depends: nothing (>= 3)");
    repository.publish();
    let server = serve(&repository);
    let machine = Machine::of(&repository, &server);
    machine.install(&["one", "two"]);
    let error = machine.refused(&[]);
    assert!(
        error.contains("no way to install these packages together: one : Conflicts: two"),
        "{error}"
    );
    machine.install(&["broken"]);
    let error = machine.refused(&[]);
    assert!(error.contains("broken : Depends: nothing (>= 3)"), "{error}");
}

#[test]
fn only_what_is_signed_by_the_right_key_is_taken() {
    let repository = Repository::new();
    repository.publish();
    let stranger = Repository::new();
    let server = serve(&repository);
    let machine = Machine::new(&format!(
        "[signed-by={}] {}",
        stranger.key().display(),
        server.url()
    ));
    machine.install(&[]);
    let error = machine.refused(&[]);
    assert!(
        error.contains("NO_PUBKEY") || error.contains("Missing key"),
        "{error}"
    );

    let machine = Machine::of(&repository, &server);
    machine.install(&[]);
    machine.updated(&[]);
    // An index that isn't the signed one.
    let index = repository.suite().join("main/binary-amd64/Packages");
    let good = fs::read_to_string(&index).unwrap();
    repository.add("tree", "1", "");
    repository.publish();
    fs::write(&index, good).unwrap();
    let error = machine.refused(&[]);
    assert!(
        error.contains("other bytes than its signed release file says"),
        "{error}"
    );

    let signed = fs::read_to_string(repository.suite().join("InRelease")).unwrap();
    let (_, text) = signed.split_once("\n\n").unwrap();
    let (text, _) = text.split_once("-----BEGIN PGP SIGNATURE").unwrap();
    fs::remove_file(repository.suite().join("InRelease")).unwrap();
    fs::write(repository.suite().join("Release"), text).unwrap();
    let error = machine.refused(&[]);
    assert!(
        error.contains("is no longer signed") && error.contains("[trusted=yes]"),
        "{error}"
    );
}

#[test]
fn a_mirror_that_is_away_or_has_no_such_suite() {
    let repository = Repository::new();
    repository.publish();
    let server = serve(&repository);
    let mut machine = Machine::of(&repository, &server);
    machine.install(&[]);
    let error = machine.refused(&["--offline"]);
    assert!(
        error.contains("have to be fetched once (without --offline)"),
        "{error}"
    );
    fs::rename(repository.suite(), repository.directory().join("dists/sid")).unwrap();
    let error = machine.refused(&[]);
    assert!(
        error.contains("no mirror has the suite 'trixie': http://127.0.0.1:"),
        "{error}"
    );
    // Nobody listens on the discard port.
    machine.packages = "mirrors = [\"http://127.0.0.1:9/debian\"]\n".to_owned();
    machine.install(&[]);
    let error = machine.refused(&[]);
    assert!(
        error.contains("http://127.0.0.1:9/debian: ") && error.contains("refused"),
        "{error}"
    );
}

#[test]
fn names_that_are_updated_alone_are_of_this_machine() {
    let repository = Repository::new();
    repository.add("tree", "1", "");
    repository.publish();
    let server = serve(&repository);
    let machine = Machine::of(&repository, &server);
    machine.install(&[]);
    let error = machine.refused(&["bash"]);
    assert!(
        error.contains("the first `keel update` takes no names"),
        "{error}"
    );
    machine.updated(&[]);
    let error = machine.refused(&["tree"]);
    assert!(error.contains("tree is no part of this machine"), "{error}");
    let text = machine.lock_text();
    fs::write(
        machine.path("keel.lock"),
        text.replace("version = 1\n", "version = 2\n"),
    )
    .unwrap();
    let error = machine.refused(&[]);
    assert!(error.contains("a newer keel wrote it"), "{error}");
}
