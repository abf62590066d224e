//! A file system without room: one clear error, nothing half, and everything works once there is room again.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, unused_results)]

mod nix_store;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix_store::{NixStore, fails, run};

/// A small file system, which only this thread and what it starts see.
struct Small(PathBuf);

impl Small {
    fn new(place: PathBuf, kib: usize) -> Self {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none).unwrap();
        fs::create_dir_all(&place).unwrap();
        let options = format!("size={kib}k");
        mount(
            Some("tmpfs"),
            &place,
            Some("tmpfs"),
            MsFlags::empty(),
            Some(options.as_str()),
        )
        .unwrap();
        Self(place)
    }

    /// Takes all the room but so much.
    fn fill_but(&self, kib: u64) {
        let stat = nix::sys::statvfs::statvfs(&self.0).unwrap();
        let free = stat.blocks_available() * stat.fragment_size();
        let bytes = usize::try_from(free - kib * 1024).unwrap();
        fs::write(self.0.join("filler"), vec![b'x'; bytes]).unwrap();
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        umount2(&self.0, MntFlags::MNT_DETACH).unwrap();
    }
}

/// A tree of so many files of 4 KiB, each of its own.
fn tree(store: &NixStore, name: &str, files: usize) -> String {
    let tree = store.path("scratch").join(name);
    for number in 0..files {
        let directory = tree.join(format!("d{}", number % 7));
        fs::create_dir_all(&directory).unwrap();
        fs::write(
            directory.join(format!("f{number}")),
            format!("{name} {number:04096}"),
        )
        .unwrap();
    }
    tree.to_str().unwrap().to_owned()
}

/// What a command says that ends for want of room.
fn has_no_room(command: &mut Command) {
    let said = fails(command);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(
        said.contains("No space left on device") || said.contains("disk is full"),
        "{said}"
    );
}

fn paths(store: &NixStore) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(store.path("store"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.') && name != "filler")
        .collect();
    names.sort();
    names
}

fn is_sound(store: &NixStore) {
    store.nix_verifies();
    run(&mut store.keel(&["store", "verify"]));
    store.nothing_half();
}

#[test]
fn an_addition_without_room_for_its_files_leaves_nothing() {
    let store = NixStore::new();
    let small = Small::new(store.path("store"), 1024);
    let (large, little) = (tree(&store, "large", 300), tree(&store, "little", 3));
    let there = store.say(&["store", "add", &little]);
    for arguments in [&["store", "add", &large][..], &["store", "add", &little, &large]] {
        let before = paths(&store);
        has_no_room(&mut store.keel(arguments));
        assert_eq!(paths(&store), before);
        is_sound(&store);
    }
    small.fill_but(100);
    assert_eq!(store.say(&["store", "add", &little]), there);
    small.make_room();
    store.say(&["store", "add", &tree(&store, "middle", 100)]);
    is_sound(&store);
}

#[test]
fn an_addition_without_room_for_the_database_is_not_valid_and_a_collection_makes_room() {
    let store = NixStore::new();
    let small = Small::new(store.path("var"), 16 * 1024);
    store.nix("nix-store", &["--init"]);
    let dead: Vec<_> = (0..4)
        .map(|number| store.say(&["store", "add", &tree(&store, &format!("dead-{number}"), 2)]))
        .collect();
    small.fill_but(0);
    let little = tree(&store, "little", 3);
    has_no_room(&mut store.keel(&["store", "add", &little]));
    // The room that Nix keeps back is for this.
    run(&mut store.keel(&["gc"]));
    assert!(dead.iter().all(|path| !Path::new(path.trim()).exists()));
    assert_eq!(paths(&store), Vec::<String>::new());
    small.make_room();
    store.say(&["store", "add", &little]);
    is_sound(&store);
    let reserved = store.path("var/nix/db/reserved");
    run(&mut store.keel(&["gc"]));
    assert_eq!(fs::metadata(reserved).unwrap().len(), 8 << 20);
}

#[test]
fn copies_without_room_leave_nothing_and_go_on_later() {
    let store = NixStore::new();
    let cache = Small::new(store.path("cache"), 1024);
    let url = format!("file://{}", store.path("cache").display());
    let path = store.say(&["store", "add", &tree(&store, "one", 100)]);
    let copy = ["copy", "--compression", "none", "--to", &url, path.trim()];
    cache.fill_but(100);
    has_no_room(&mut store.keel(&copy));
    let told = fs::read_dir(&cache.0).unwrap().filter_map(Result::ok);
    let told: Vec<_> = told
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    assert!(!told.iter().any(|name| name.ends_with(".narinfo")), "{told:?}");
    store.nothing_half();
    cache.make_room();
    store.say(&copy);
    // And back, into a store without room.
    store.say(&["store", "delete", path.trim()]);
    let small = Small::new(store.path("store"), 1024);
    small.fill_but(100);
    let fetch = ["copy", "--no-check-signatures", "--from", &url, path.trim()];
    has_no_room(&mut store.keel(&fetch));
    assert_eq!(paths(&store), Vec::<String>::new());
    store.nothing_half();
    small.make_room();
    store.say(&fetch);
    is_sound(&store);
}

#[test]
fn a_profile_without_room_stays_as_it_is() {
    let store = NixStore::new();
    let (first, second) = (
        store.add("first-1", &[("bin/first", "1")]),
        store.add("second-1", &[("bin/second", "1")]),
    );
    let small = Small::new(store.path("home/small"), 64);
    let profile = store.path("home/small/tools");
    let install =
        |path: &str| store.keel(&["profile", "install", path, "--profile", profile.to_str().unwrap()]);
    run(&mut install(&first));
    let lists = || {
        store.nix(
            "nix",
            &["profile", "list", "--profile", profile.to_str().unwrap()],
        )
    };
    let before = lists();
    // Links take no room in a tmpfs of their own, but what names them does: no more names than there are now.
    let options = Some("size=64k,nr_inodes=4");
    mount(
        Some("tmpfs"),
        &small.0,
        Some("tmpfs"),
        MsFlags::MS_REMOUNT,
        options,
    )
    .unwrap();
    has_no_room(&mut install(&second));
    assert_eq!(lists(), before);
    store.nothing_half();
    mount(
        Some("tmpfs"),
        &small.0,
        Some("tmpfs"),
        MsFlags::MS_REMOUNT,
        Some("size=64k,nr_inodes=100"),
    )
    .unwrap();
    run(&mut install(&second));
    assert!(lists().contains(&second), "{}", lists());
    is_sound(&store);
}
