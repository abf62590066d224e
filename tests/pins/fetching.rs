use std::fs;
use std::process::Command;

use super::repository::{Repository, readable, sha256};
use super::web::{Manners, Server};
use super::{Machine, serve};

/// More than one piece of a download.
fn large() -> String {
    let mut state = 1u32;
    let noise: String = (0..40_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b'a' + (state >> 24) as u8 % 26)
        })
        .collect();
    format!("Description: large\n {noise}")
}

fn in_store(machine: &Machine) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(machine.path("root/nix/store"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".deb"))
        .collect();
    names.sort();
    names
}

#[test]
fn packages_come_into_the_store_as_nix_would_put_them_there() {
    let repository = Repository::new();
    repository.add("vim", "2:9.1+dfsg~rc1-2", "");
    repository.publish();
    let server = serve(&repository);
    let machine = Machine::of(&repository, &server);
    machine.install(&["vim"]);
    machine.updated(&["--download"]);
    let lock = machine.lock();
    assert_eq!(in_store(&machine).len(), lock.packages.len());
    let pin = lock.pin("vim").unwrap();
    let path = keel::pins::path_of(pin, "/nix/store").unwrap();
    assert_eq!(path.name(), "vim_2-9.1+dfsg-rc1-2_all.deb");
    assert_eq!(
        sha256(&machine.path("root/nix/store").join(path.base_name())),
        pin.sha256
    );
    let output = Command::new("nix-store")
        .args(["--print-fixed-path", "sha256", &pin.sha256, path.name()])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap().trim(),
        path.absolute("/nix/store")
    );
    let check = Command::new(env!("CARGO_BIN_EXE_keel"))
        .args(["store", "verify", "--store"])
        .arg(machine.path("root"))
        .output()
        .unwrap();
    assert!(
        check.status.success(),
        "{}",
        String::from_utf8_lossy(&check.stderr)
    );

    // Offline, with everything here.
    fs::remove_dir_all(repository.directory()).unwrap();
    let said = machine.update(&["--offline", "--download"]);
    assert_eq!((said.code, said.out.as_str()), (0, ""), "{}", said.err);
    assert!(said.err.contains("0 packages came"), "{}", said.err);
}

#[test]
fn a_download_that_is_cut_is_gone_on_with_and_another_mirror_is_asked() {
    let repository = Repository::new();
    repository.add("large", "1", &large());
    repository.publish();
    // One mirror has the indexes alone, another one the packages, but cuts its answers.
    let server = serve(&repository);
    let other = readable();
    fs::rename(repository.directory().join("pool"), other.path().join("pool")).unwrap();
    let manners = Manners {
        cut: Some(7_000),
        ranges: true,
    };
    let cutting = Server::new(other.path(), manners);
    let mut machine = Machine::of(&repository, &server);
    let first = format!("[signed-by={}] {}", repository.key().display(), server.url());
    machine.packages = format!("mirrors = [\"{first}\", \"{}\"]\n", cutting.url());
    machine.install(&["large"]);
    machine.updated(&["--download"]);
    assert_eq!(in_store(&machine).len(), machine.lock().packages.len());
    let of_large: Vec<String> = cutting
        .requests()
        .into_iter()
        .filter(|request| request.contains("large_1_all.deb"))
        .collect();
    let size = machine.lock().pin("large").unwrap().size;
    assert_eq!(of_large.len() as u64, size.div_ceil(7_000));
    let ranges = of_large
        .iter()
        .filter(|request| request.to_lowercase().contains("range: bytes="))
        .count();
    assert_eq!(ranges, of_large.len() - 1, "only what was missing");
}

#[test]
fn a_mirror_that_serves_other_bytes_is_told_and_nothing_of_it_is_added() {
    let repository = Repository::new();
    repository.add("tree", "1", "");
    repository.add("vim", "1", "");
    repository.publish();
    let server = serve(&repository);
    let machine = Machine::of(&repository, &server);
    machine.install(&["tree", "vim"]);
    machine.updated(&[]);
    let debs = machine.path("debs");
    fs::create_dir(&debs).unwrap();
    for (name, more) in [("tree", 0), ("vim", 100)] {
        let file = repository.deb(name);
        fs::copy(&file, debs.join(format!("{name}_1_all.deb"))).unwrap();
        let mut bytes = fs::read(&file).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        bytes.extend(std::iter::repeat_n(0, more));
        fs::write(file, bytes).unwrap();
    }
    let said = machine.update(&["--offline", "--download"]);
    assert_eq!(said.code, 1);
    let error = said.err.lines().last().unwrap();
    assert!(
        error.contains("2 of 24 packages can't be fetched: ") || error.contains("2 of "),
        "{error}"
    );
    for name in [
        "tree 1: http://127.0.0.1:",
        "vim 1: http://127.0.0.1:",
        "it serves other bytes",
    ] {
        assert!(error.contains(name), "{error}");
    }
    let names = in_store(&machine);
    assert_eq!(names.len(), machine.lock().packages.len() - 2, "the rest came");
    assert!(
        !names
            .iter()
            .any(|name| name.contains("-tree_") || name.contains("-vim_"))
    );

    // A directory of packages does instead; a wrong file in another one is passed over.
    fs::remove_dir_all(repository.directory().join("dists")).unwrap();
    let wrong = repository.directory().join("pool");
    let directories = [wrong.to_str().unwrap(), debs.to_str().unwrap()];
    machine.updated(&[
        "--offline",
        "--download",
        "--deb-dir",
        directories[0],
        "--deb-dir",
        directories[1],
    ]);
    assert_eq!(in_store(&machine).len(), machine.lock().packages.len());
}

#[test]
fn a_package_that_is_gone_from_the_mirror_is_named() {
    let repository = Repository::new();
    repository.add("tree", "1", "");
    repository.publish();
    let server = serve(&repository);
    let machine = Machine::of(&repository, &server);
    machine.install(&["tree"]);
    machine.updated(&[]);
    fs::remove_file(repository.deb("tree")).unwrap();
    let said = machine.update(&["--offline", "--download"]);
    let error = said.err.lines().last().unwrap();
    assert!(
        error.contains("tree 1: http://127.0.0.1:") && error.contains("doesn't have it (any more)"),
        "{error}"
    );
}

#[test]
fn the_programs_of_a_lock_from_elsewhere_come_from_a_cache_or_are_asked_for() {
    let repository = Repository::new();
    repository.publish();
    let server = serve(&repository);
    let machine = Machine::of(&repository, &server);
    machine.install(&[]);
    machine.updated(&["--download"]);
    let keel = machine.lock().programs["keel"].clone();
    // On another machine, whose keel is another program.
    let store = machine.path("root");
    let old = machine.path("old");
    fs::rename(&store, &old).unwrap();
    let said = machine.keel("build", &["--no-initrd"]);
    let error = said.err.lines().last().unwrap();
    assert_eq!(said.code, 1);
    assert!(
        error.contains(&format!("pins keel's own programs as {keel}, which is neither")),
        "{error}"
    );

    let cache = machine.path("cache");
    let status = Command::new(env!("CARGO_BIN_EXE_keel"))
        .args([
            "copy",
            "--to",
            &format!("file://{}", cache.display()),
            &keel,
            "--store",
        ])
        .arg(&old)
        .status()
        .unwrap();
    assert!(status.success());
    fs::write(
        machine.path("settings.toml"),
        format!("[store]\ncaches = [\"file://{}\"]\n", cache.display()),
    )
    .unwrap();
    let said = machine.keel("build", &["--no-initrd"]);
    assert!(!said.err.contains("own programs"), "{}", said.err);
    assert!(
        store.join(keel.trim_start_matches('/')).join("bin/keel").exists(),
        "{}",
        said.err
    );
}
