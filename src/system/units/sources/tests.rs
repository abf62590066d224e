#![allow(clippy::unwrap_used, clippy::indexing_slicing, unused_results)]
use super::*;
use crate::store::verity;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn read(sources: &dyn Sources, path: &str) -> Option<String> {
    let resolved = resolve(sources, path).unwrap()?;
    let bytes = sources.read(&resolved.path, 1000).ok()?;
    Some(String::from_utf8(bytes).unwrap())
}

#[test]
fn links_lead_from_one_tree_into_another_and_never_in_circles() {
    let dir = tempfile::tempdir().unwrap();
    let (usr, etc) = (dir.path().join("u"), dir.path().join("e"));
    write(&usr.join("lib/systemd/system/a.service"), "a");
    fs::create_dir_all(etc.join("systemd/system")).unwrap();
    symlink(
        "/lib/systemd/system/a.service",
        etc.join("systemd/system/b.service"),
    )
    .unwrap();
    symlink(
        "../../../lib/systemd/system/a.service",
        etc.join("systemd/system/c.service"),
    )
    .unwrap();
    symlink("/dev/null", etc.join("systemd/system/masked.service")).unwrap();
    symlink("loop", etc.join("loop")).unwrap();
    symlink("a.service/x", etc.join("systemd/system/through.service")).unwrap();
    let (usr, etc) = (InDirectory::open(&usr).unwrap(), InDirectory::open(&etc).unwrap());
    let root = Mounted::new().with("usr", &usr).with("etc", &etc);
    for name in ["b", "c"] {
        assert_eq!(
            read(&root, &format!("/etc/systemd/system/{name}.service")).as_deref(),
            Some("a")
        );
    }
    let masked = resolve(&root, "/etc/systemd/system/masked.service")
        .unwrap()
        .unwrap();
    assert!(is_null(&masked.path) && masked.found == Found::Other);
    for nothing in [
        "/etc/loop",
        "/etc/systemd/system/through.service",
        "/var/x",
        "/bin/no",
    ] {
        assert_eq!(resolve(&root, nothing).unwrap(), None, "{nothing}");
    }
    assert_eq!(
        resolve(&root, "/../etc/./systemd//..").unwrap().unwrap().path,
        "/etc"
    );
    let mut names = root.list("/").unwrap();
    names.sort();
    assert_eq!(names, ["bin", "etc", "lib", "lib64", "sbin", "usr"]);
    assert_eq!(
        root.digest("/usr/lib/systemd/system/a.service").unwrap(),
        verity::digest(b"a")
    );
    assert!(root.read("/usr/lib/systemd/system/a.service", 0).is_err());
}

// Whiteouts and the attributes need root, and a file system that has `trusted.` attributes.
#[test]
fn the_upper_layer_hides_what_it_replaces_or_removes() {
    let dir = tempfile::tempdir().unwrap();
    let (upper, lower) = (dir.path().join("upper"), dir.path().join("lower"));
    for name in ["kept", "changed", "removed", "d/old", "replaced/x"] {
        write(&lower.join(name), "lower");
    }
    write(&upper.join("changed"), "upper");
    write(&upper.join("new"), "upper");
    write(&upper.join("d/new"), "upper");
    write(&upper.join("replaced"), "now a file");
    let whiteout = nix::sys::stat::mknod(
        &upper.join("removed"),
        nix::sys::stat::SFlag::S_IFCHR,
        nix::sys::stat::Mode::empty(),
        0,
    );
    let lower = InDirectory::open(&lower).unwrap();
    let layered = Layered::new(InDirectory::open(&upper).unwrap(), lower);
    let text = |path: &str| read(&layered, path);
    assert_eq!(text("/kept").as_deref(), Some("lower"));
    assert_eq!(text("/changed").as_deref(), Some("upper"));
    assert_eq!(text("/new").as_deref(), Some("upper"));
    assert_eq!((text("/d/old").is_some(), text("/d/new").is_some()), (true, true));
    assert_eq!(text("/replaced/x"), None);
    if whiteout.is_ok() {
        assert_eq!(text("/removed"), None);
        assert_eq!(
            layered.list("/").unwrap(),
            ["changed", "d", "kept", "new", "replaced"]
        );
    }
    assert_eq!(layered.digest("/kept").unwrap(), verity::digest(b"lower"));
    assert_eq!(layered.digest("/changed").unwrap(), verity::digest(b"upper"));
    let opaque = std::process::Command::new("setfattr")
        .args(["-n", "trusted.overlay.opaque", "-v", "y"])
        .arg(upper.join("d"))
        .status();
    if opaque.is_ok_and(|status| status.success()) {
        assert_eq!((text("/d/old"), text("/d/new").as_deref()), (None, Some("upper")));
        assert_eq!(layered.list("/d").unwrap(), ["new"]);
    }
}
