use std::path::Path;

use super::Machine;
use super::repository::readable;

/// The packages of the project's founding example, from this machine's own mirror of Debian.
#[test]
fn the_founding_example_is_resolved_from_debian_itself() {
    let machine = Machine {
        top: readable(),
        packages: "components = [\"main\", \"non-free-firmware\"]\n".to_owned(),
    };
    std::fs::write(machine.path("keel"), "keel's program, for a test").unwrap();
    machine.install(&[
        "vim",
        "wget",
        "tree",
        "git",
        "starship",
        "gcc",
        "fastfetch",
        "firefox-esr",
    ]);
    machine.updated(&[]);
    let lock = machine.lock();
    for name in [
        "vim",
        "wget",
        "tree",
        "git",
        "starship",
        "gcc",
        "fastfetch",
        "firefox-esr",
    ] {
        assert!(lock.pin(name).is_some_and(|pin| pin.layer == 1), "{name}");
    }
    for name in ["systemd", "dpkg", "linux-image-amd64", "libc6", "perl-base"] {
        assert!(lock.pin(name).is_some_and(|pin| pin.layer == 0), "{name}");
    }
    assert!(lock.pin("initramfs-tools").is_none() && lock.pin("dracut").is_none());
    assert_eq!(lock.layers(), 2);
    assert!(lock.packages.iter().all(|pin| pin.place.starts_with("pool/")));

    // The same configuration gives the same text, and what Debian dropped is told with what is near.
    let text = machine.lock_text();
    std::fs::remove_file(machine.path("keel.lock")).unwrap();
    machine.updated(&["--offline"]);
    assert_eq!(machine.lock_text(), text);
    machine.install(&["neofetch"]);
    let error = machine.refused(&["--offline"]);
    assert!(
        error.contains("'neofetch' (packages.install), which bookworm had; near: fastfetch"),
        "{error}"
    );
    assert!(
        Path::new("/etc/apt").exists(),
        "the mirror is that of this machine's apt"
    );
}
