#![allow(clippy::unwrap_used)]
use super::*;
use std::fs;
use std::os::unix::fs::symlink;

use crate::system::units::sources::{InDirectory, Mounted};

fn write(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// The links and files that copying `path` puts in.
fn copied(root: &Path, path: &str) -> Result<Vec<String>, BuildError> {
    let mut parts = Parts::default();
    let files = InDirectory::open(root).unwrap();
    SystemTree::new(&files, root).copy(&mut parts, path, "a test", Presence::Required)?;
    Ok(parts.paths())
}

#[test]
fn links_are_copied_and_what_they_lead_to() {
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| root.path().join(path);
    write(&at("usr/bin/kmod"), b"program");
    fs::create_dir_all(at("usr/sbin")).unwrap();
    symlink("usr/sbin", at("sbin")).unwrap();
    symlink("/usr/bin/kmod", at("usr/bin/second")).unwrap();
    symlink("../bin/second", at("usr/sbin/modprobe")).unwrap();
    symlink("nowhere", at("usr/bin/dangling")).unwrap();
    symlink("circle", at("usr/bin/circle")).unwrap();
    assert_eq!(
        copied(root.path(), "sbin/modprobe").unwrap(),
        ["usr/bin/kmod", "usr/bin/second", "usr/sbin/modprobe"]
    );
    assert_eq!(
        copied(root.path(), "usr/bin").unwrap(),
        [
            "usr/bin/circle",
            "usr/bin/dangling",
            "usr/bin/kmod",
            "usr/bin/second"
        ]
    );
    for absent in ["usr/bin/none", "usr/bin/dangling", "usr/bin/circle"] {
        let error = copied(root.path(), absent).unwrap_err();
        assert!(matches!(error, BuildError::Lacks { .. }), "{error}");
    }
}

#[test]
fn trees_of_a_generation_are_a_system_though_no_root_holds_them() {
    let store = tempfile::tempdir().unwrap();
    let (usr, etc) = (store.path().join("1-usr"), store.path().join("2-etc"));
    write(&usr.join("bin/tool"), b"program");
    write(&etc.join("tool.conf"), b"configuration");
    let (usr_files, etc_files) = (InDirectory::open(&usr).unwrap(), InDirectory::open(&etc).unwrap());
    let files = Mounted::new().with("usr", &usr_files).with("etc", &etc_files);
    let mut tree = SystemTree::new(&files, &usr);
    let mut parts = Parts::default();
    for path in ["bin/tool", "etc/tool.conf"] {
        tree.copy(&mut parts, path, "a test", Presence::Required).unwrap();
    }
    assert_eq!(parts.paths(), ["etc/tool.conf", "usr/bin/tool"]);
}

#[test]
fn programs_bring_their_libraries() {
    let root = tempfile::tempdir().unwrap();
    write(&root.path().join("usr/bin/sh"), &fs::read("/bin/sh").unwrap());
    let error = copied(root.path(), "usr/bin/sh").unwrap_err();
    assert!(
        error.to_string().contains("asks for libc.so.6"),
        "a missing library is named: {error}"
    );
    let found = copied(Path::new("/"), "bin/sh").unwrap();
    for library in ["/libc.so.6", "/ld-linux-x86-64.so.2"] {
        assert!(
            found.iter().any(|path| path.ends_with(library)),
            "{library}: {found:?}"
        );
    }
}
