#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unused_results
)]
use std::fs;
use std::os::unix::net::UnixListener;
use std::sync::mpsc;

use super::*;
use crate::store::StorePath;

fn path(letter: char) -> StorePath {
    let hash: String = std::iter::repeat_n(letter, 32).collect();
    StorePath::from_base_name(&format!("{hash}-{letter}")).unwrap()
}

#[test]
fn one_process_at_a_time_holds_a_path_and_nothing_of_the_lock_stays() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("target");
    let held = PathLock::try_take(&target).unwrap().unwrap();
    assert!(dir.path().join("target.lock").exists());
    assert!(PathLock::try_take(&target).unwrap().is_none());
    let (waits, is_waiting) = mpsc::channel();
    let waiter = std::thread::spawn({
        let target = target.clone();
        move || PathLock::take(&target, &mut |path| waits.send(path.to_owned()).unwrap()).map(drop)
    });
    // It has opened the file that is removed now: it must notice, and take the lock on a new one.
    assert_eq!(is_waiting.recv().unwrap(), dir.path().join("target.lock"));
    drop(held);
    waiter.join().unwrap().unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_lock_file_that_was_removed_is_marked_for_those_who_wait() {
    let dir = tempfile::tempdir().unwrap();
    let lock = PathLock::try_take(&dir.path().join("p")).unwrap().unwrap();
    let kept = dir.path().join("kept");
    fs::hard_link(dir.path().join("p.lock"), &kept).unwrap();
    drop(lock);
    assert_eq!(fs::read(&kept).unwrap(), b"d");
    // A file that is marked guards nothing, even when it can be locked.
    fs::rename(&kept, dir.path().join("q")).unwrap();
    assert!(is_removed_at(&dir.path().join("q")));
}

fn is_removed_at(path: &Path) -> bool {
    super::path_lock::is_removed(&File::open(path).unwrap()).unwrap()
}

#[test]
fn temporary_roots_are_seen_while_their_process_runs() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::below(dir.path());
    assert_eq!(read_temp_roots(&layout).unwrap(), []);
    let mut one = TempRoots::new(&layout).unwrap();
    let mut two = TempRoots::new(&layout).unwrap();
    one.add(&path('a')).unwrap();
    two.add_all(&[path('b'), path('c')]).unwrap();
    let directory = dir.path().join("nix/var/nix/temproots");
    // Left by a process that was killed, one of them in the middle of a name.
    fs::write(directory.join("99999999"), "/nix/store/x\0/nix").unwrap();
    fs::write(directory.join(".keep"), "").unwrap();
    let found = read_temp_roots(&layout).unwrap();
    let mut paths: Vec<_> = found.into_iter().flat_map(|process| process.paths).collect();
    paths.sort();
    let expected = ['a', 'b', 'c'].map(|letter| path(letter).absolute("/nix/store"));
    assert_eq!(paths, expected);
    assert!(!directory.join("99999999").exists());
    drop(one);
    drop(two);
    assert_eq!(read_temp_roots(&layout).unwrap(), []);
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
}

#[test]
fn a_running_collector_is_told_of_each_root_before_it_counts() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::below(dir.path());
    let collector = take_gc_lock(&layout, Access::Exclusive, &mut |_| {}).unwrap();
    let (directory, name) = collector_socket(&layout);
    fs::create_dir_all(&directory).unwrap();
    let listener = UnixListener::bind(directory.join(name)).unwrap();
    let server = std::thread::spawn(move || {
        use std::io::{BufRead, BufReader, Write};
        let (stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let mut seen = Vec::new();
        for _ in 0..2 {
            seen.push(lines.next().unwrap().unwrap());
            (&stream).write_all(b"1").unwrap();
        }
        seen
    });
    let mut roots = TempRoots::new(&layout).unwrap();
    roots.add_all(&[path('a'), path('b')]).unwrap();
    let expected = ['a', 'b'].map(|letter| path(letter).absolute("/nix/store"));
    assert_eq!(server.join().unwrap(), expected);
    // The collector has ended, its socket is dead: the next one is noted under the lock.
    drop(collector);
    roots.add(&path('c')).unwrap();
    let all = read_temp_roots(&layout).unwrap();
    assert_eq!(all[0].paths.len(), 3);
}
