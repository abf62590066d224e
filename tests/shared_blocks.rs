//! Adding on file systems whose files can share blocks: what is added takes no second room.
#![allow(clippy::unwrap_used, unused_results)]

mod nix_store;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix_store::{NixStore, run};

/// Bytes of the file system, of which XFS needs so many.
const SIZE: u64 = 400 << 20;
/// Bytes of the file that is added.
const FILE: usize = 48 << 20;
/// Bytes that its second copy may take: its own node, the directory, the journal.
const BESIDE: u64 = 8 << 20;

/// A file system in a file, which only this thread and what it starts see.
struct Mounted(PathBuf);

impl Mounted {
    fn new(kind: &str, image: &Path, place: &Path) -> Self {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none).unwrap();
        File::create(image).unwrap().set_len(SIZE).unwrap();
        run(Command::new(format!("mkfs.{kind}")).arg("-q").arg(image));
        fs::create_dir_all(place).unwrap();
        run(Command::new("mount").args(["-o", "loop"]).args([image, place]));
        Self(place.to_owned())
    }

    /// Bytes that are taken, once everything is on the disk.
    fn used(&self) -> u64 {
        nix::unistd::syncfs(File::open(&self.0).unwrap()).unwrap();
        let stat = nix::sys::statvfs::statvfs(&self.0).unwrap();
        (stat.blocks() - stat.blocks_free()) * stat.fragment_size()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        umount2(&self.0, MntFlags::MNT_DETACH).unwrap();
    }
}

fn added_files_share_blocks(kind: &str) {
    let store = NixStore::new();
    let place = store.path("store");
    let mounted = Mounted::new(kind, &store.path("image"), &place);
    // Blocks are shared within one file system.
    let source = place.join(".source");
    fs::create_dir(&source).unwrap();
    let random = run(Command::new("head").args(["-c", &FILE.to_string(), "/dev/urandom"])).stdout;
    fs::write(source.join("large"), &random).unwrap();
    let before = mounted.used();
    let path = store.say(&["store", "add", source.to_str().unwrap(), "--name", "shared"]);
    let taken = mounted.used().saturating_sub(before);
    assert!(taken < BESIDE, "{kind}: {taken} bytes");
    // A copy of its own all the same: what is written to the source doesn't reach it.
    fs::write(source.join("large"), "another").unwrap();
    let copy = place.join(Path::new(path.trim()).file_name().unwrap());
    assert!(fs::read(copy.join("large")).unwrap() == random);
    run(&mut store.keel(&["store", "verify"]));
    store.nix_verifies();
}

#[test]
fn on_btrfs() {
    added_files_share_blocks("btrfs");
}

#[test]
fn on_xfs() {
    added_files_share_blocks("xfs");
}
