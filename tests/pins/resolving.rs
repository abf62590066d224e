use std::fs;
use std::os::unix::fs::MetadataExt;

use super::repository::{Repository, sha256};
use super::{Machine, serve};

#[test]
fn a_configuration_becomes_a_lock_and_stays_it() {
    let repository = Repository::new();
    repository.add(
        "vim",
        "2:9.1-2",
        "Depends: vim-common (= 2:9.1-2)\nRecommends: extra",
    );
    repository.add("vim-common", "2:9.1-2", "");
    repository.add("extra", "1", "");
    repository.publish();
    let server = serve(&repository);
    let machine = Machine::of(&repository, &server);
    machine.install(&["vim"]);
    let said = machine.update(&["--check"]);
    assert!(
        said.code == 1 && said.err.contains("there is none"),
        "{}",
        said.err
    );

    let printed = machine.updated(&[]);
    assert!(
        printed
            .lines()
            .any(|line| line.split_whitespace().eq(["+", "vim", "2:9.1-2"])),
        "{printed}"
    );
    assert_eq!(
        machine.above_base(),
        "1:e2fsck-static=1 1:e2fsprogs=1 1:systemd-boot-efi=1 1:vim=2:9.1-2 1:vim-common=2:9.1-2"
    );
    let lock = machine.lock();
    // The kernel, without what makes initrds: keel does that.
    assert!(lock.pin("linux-image-6.12").is_some_and(|pin| pin.layer == 0));
    assert!(lock.pin("initramfs-tools").is_none() && lock.pin("keel-initramfs").is_none());
    assert!(lock.pin("bash").is_some_and(|pin| pin.layer == 0), "essential");
    assert!(lock.pin("extra").is_none(), "only recommended");
    let vim = lock.pin("vim").unwrap();
    let file = repository.deb("vim");
    assert_eq!(vim.sha256, sha256(&file));
    assert_eq!(vim.size, file.metadata().unwrap().len());
    assert_eq!(vim.place, "pool/vim_29.1-2_all.deb");
    let keel = machine
        .path("root")
        .join(lock.programs["keel"].trim_start_matches('/'));
    assert_eq!(
        fs::read(keel.join("bin/keel")).unwrap(),
        fs::read(machine.path("keel")).unwrap()
    );

    // Nothing changed: the file isn't touched, though the indexes are newer.
    let before = machine.path("keel.lock").metadata().unwrap();
    repository.publish();
    assert_eq!(machine.updated(&[]), "");
    let after = machine.path("keel.lock").metadata().unwrap();
    assert_eq!(
        (before.ino(), before.mtime_nsec()),
        (after.ino(), after.mtime_nsec())
    );
    assert_eq!(machine.update(&["--check"]).code, 0);

    // The same configuration on another machine: the same lock, but for when the indexes were made.
    let other = Machine::of(&repository, &server);
    other.install(&["vim"]);
    other.updated(&[]);
    let mut theirs = other.lock();
    theirs.request.date = machine.lock().request.date;
    assert_eq!(theirs.text().unwrap(), machine.lock_text());

    machine.install(&["vim", "extra"]);
    let said = machine.update(&["--check"]);
    assert!(
        said.code == 1 && said.err.contains("it lacks extra"),
        "{}",
        said.err
    );
}

#[test]
fn additions_are_a_layer_and_changes_collapse_what_is_above_them() {
    let repository = Repository::new();
    repository.add("vim", "1", "Depends: vim-common (= 1)");
    repository.add("vim-common", "1", "");
    repository.add("tree", "1", "");
    repository.add("git", "1", "");
    repository.publish();
    let server = serve(&repository);
    let machine = Machine::of(&repository, &server);
    let fixed = "1:e2fsck-static=1 1:e2fsprogs=1";
    machine.install(&["vim"]);
    machine.updated(&[]);
    let first = machine.lock();
    machine.install(&["vim", "tree"]);
    assert_eq!(machine.updated(&[]), "+ tree  1\n");
    assert_eq!(
        machine.above_base(),
        format!("{fixed} 1:systemd-boot-efi=1 1:vim=1 1:vim-common=1 2:tree=1")
    );
    assert!(
        first
            .packages
            .iter()
            .all(|pin| machine.lock().packages.contains(pin)),
        "nothing below is built again"
    );
    machine.install(&["vim", "tree", "git"]);
    machine.updated(&[]);
    assert!(machine.above_base().ends_with("2:tree=1 3:git=1"));

    // New versions of everything; one package is updated, with what it needs.
    repository.add("vim", "2", "Depends: vim-common (= 2)");
    repository.add("vim-common", "2", "");
    repository.add("git", "2", "");
    repository.add("bash", "6", "Essential: yes");
    repository.publish();
    let printed = machine.updated(&["git"]);
    assert_eq!(printed, "~ git  1 -> 2\n");
    assert!(machine.above_base().ends_with("2:tree=1 3:git=2"));
    let printed = machine.updated(&["vim"]);
    assert_eq!(printed, "~ vim         1 -> 2\n~ vim-common  1 -> 2\n");
    assert_eq!(
        machine.above_base(),
        format!("{fixed} 1:git=2 1:systemd-boot-efi=1 1:tree=1 1:vim=2 1:vim-common=2")
    );
    assert_eq!(machine.lock().pin("bash").unwrap().version, "5");

    // All of it: the base changes, and there are two layers again.
    assert_eq!(machine.updated(&[]), "~ bash  5 -> 6\n");
    assert_eq!(machine.lock().layers(), 2);
    assert!(machine.lock().pin("bash").is_some_and(|pin| pin.layer == 0));

    // What isn't asked for any more goes with what only it needed, by either way.
    machine.install(&["tree", "git"]);
    machine.updated(&["tree"]);
    assert_eq!(
        machine.above_base(),
        format!("{fixed} 1:git=2 1:systemd-boot-efi=1 1:tree=1")
    );
    let by_names = machine.lock();
    machine.updated(&[]);
    assert_eq!(machine.lock(), by_names);
}

#[test]
fn one_package_of_the_base_is_updated_with_the_base_whole() {
    let repository = Repository::new();
    repository.add("tool", "1", "Depends: kmod");
    repository.publish();
    let server = serve(&repository);
    let machine = Machine::of(&repository, &server);
    machine.install(&["tool"]);
    machine.updated(&[]);
    // The tool's new version needs a newer package of the base, which needs one that is new there.
    repository.add("tool", "2", "Depends: kmod (>= 2)");
    repository.add("kmod", "2", "Depends: libkmod");
    repository.add("libkmod", "2", "");
    repository.publish();
    machine.updated(&["tool"]);
    let lock = machine.lock();
    for (name, layer) in [("kmod", 0), ("libkmod", 0), ("tool", 1)] {
        let pin = lock.pin(name).unwrap();
        assert_eq!((pin.version.as_str(), pin.layer), ("2", layer), "{name}");
    }
}

#[test]
fn what_a_mirror_has_forgotten_is_known_still() {
    let repository = Repository::new();
    repository.add("vim", "1", "Depends: vim-common (= 1)");
    repository.add("vim-common", "1", "");
    repository.add("tree", "1", "");
    repository.publish();
    let server = serve(&repository);
    let machine = Machine::of(&repository, &server);
    machine.install(&["vim", "tree"]);
    machine.updated(&[]);
    // As after a point release: only the newest versions are listed.
    for name in ["vim", "vim-common", "tree"] {
        fs::remove_file(repository.deb(name)).unwrap();
        let depends = if name == "vim" {
            "Depends: vim-common (= 2)"
        } else {
            ""
        };
        repository.add(name, "2", depends);
    }
    repository.publish();
    assert_eq!(machine.updated(&["tree"]), "~ tree  1 -> 2\n");
    assert_eq!(machine.lock().pin("vim").unwrap().version, "1");
}

#[test]
fn the_ids_of_a_lock_are_kept() {
    let repository = Repository::new();
    repository.add("tree", "1", "");
    repository.publish();
    let server = serve(&repository);
    let machine = Machine::of(&repository, &server);
    machine.install(&[]);
    machine.updated(&[]);
    let mut lock = machine.lock();
    lock.ids.users.insert("kirans".to_owned(), 1000);
    lock.write(&machine.path("keel.lock")).unwrap();
    machine.install(&["tree"]);
    machine.updated(&[]);
    assert_eq!(machine.lock().ids, lock.ids);
}

#[test]
fn further_sources_and_files_are_sources_too() {
    let repository = Repository::new();
    repository.publish();
    let further = Repository::new();
    further.add("tool", "1", "");
    further.publish();
    let mut machine = Machine::new(&format!(
        "[trusted=yes] file://{}",
        repository.directory().display()
    ));
    machine.packages += &format!(
        "sources = [\"deb [signed-by={}] file:{} trixie main\"]\n",
        further.key().display(),
        further.directory().display()
    );
    machine.install(&["tool"]);
    machine.updated(&["--download"]);
    let place = machine.lock().pin("tool").unwrap().place.clone();
    assert!(
        place.starts_with("file:") && place.ends_with("/pool/tool_1_all.deb"),
        "{place}"
    );
    assert!(machine.lock().pin("apt").unwrap().place.starts_with("pool/"));
}

#[test]
fn packages_are_searched() {
    let repository = Repository::new();
    repository.add("vim", "9", "Description: Vi IMproved");
    repository.add("neovim", "1", "Description: heavily refactored vim");
    repository.publish();
    let server = serve(&repository);
    let machine = Machine::of(&repository, &server);
    machine.install(&[]);
    // The indexes are fetched when there are none.
    let said = machine.keel("search", &["VIM"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(
        said.out,
        "  vim     9  Vi IMproved\n  neovim  1  heavily refactored vim\n"
    );
    let requests = server.requests().len();
    let said = machine.keel("search", &["improved", "--json"]);
    let hits: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(hits[0]["name"], "vim");
    assert_eq!(hits.as_array().unwrap().len(), 1);
    assert_eq!(server.requests().len(), requests, "only then");
    assert_eq!(machine.keel("search", &["nothing-like-it"]).code, 1);
}
