#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unused_results
)]
use super::*;
use crate::system::bootspec::{Keel, SYSTEM, V1};
use std::fs;
use std::os::unix::fs::symlink;

struct Machine(tempfile::TempDir);

fn path(name: &str) -> StorePath {
    StorePath::from_base_name(&format!("mgvzxmm9gsamf9p3rfr8jva7rkfbwmbw-{name}")).unwrap()
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "nix/store",
            "nix/var/nix/profiles",
            "nix/var/keel/objects/complete",
            "etc",
        ] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        Self(dir)
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name.trim_start_matches('/'))
    }

    fn store(&self, path: &StorePath) -> std::path::PathBuf {
        self.at("nix/store").join(path.base_name())
    }

    // A system that is intact, with a kernel of its own.
    fn system(&self, name: &str, kernel: &str) -> StorePath {
        let system = path(&format!("keel-system-{name}"));
        let parts = ["kernel", "usr.cfs", "etc.cfs", "modules"].map(|part| path(&format!("{part}-{name}")));
        let absolute = |path: &StorePath| path.absolute("/nix/store");
        fs::create_dir(self.store(&system)).unwrap();
        for part in &parts {
            fs::create_dir(self.store(part)).unwrap();
        }
        fs::create_dir_all(self.store(&parts[3]).join("lib/modules/extra")).unwrap();
        let spec = BootSpec {
            v1: V1 {
                system: SYSTEM.into(),
                init: "/usr/lib/systemd/systemd".into(),
                initrd: None,
                kernel: absolute(&parts[0]),
                kernel_params: Vec::new(),
                label: name.into(),
                toplevel: absolute(&system),
            },
            keel: Keel {
                name: name.into(),
                kernel_version: kernel.into(),
                usr_image: absolute(&parts[1]),
                etc_image: absolute(&parts[2]),
                modules: absolute(&parts[3]),
                objects: "/nix/var/keel/objects".into(),
            },
        };
        fs::write(self.store(&system).join("boot.json"), spec.to_json()).unwrap();
        let closure: String = parts.iter().map(|part| absolute(part) + "\n").collect();
        fs::write(self.store(&system).join("closure"), closure).unwrap();
        fs::write(self.at(&Layout::below("/").stamp(&system)), "").unwrap();
        system
    }

    fn generation(&self, number: u64, target: &str) {
        symlink(
            target,
            self.at(&format!("nix/var/nix/profiles/system-{number}-link")),
        )
        .unwrap();
    }

    fn profile(&self) -> Profile {
        Profile::of_machine(self.0.path()).unwrap()
    }
}

#[test]
fn generations_are_listed_in_order_and_bad_links_are_named() {
    let machine = Machine::new();
    assert_eq!(machine.profile().current().unwrap(), None);
    let system = machine.system("a", "6.12");
    machine.generation(10, &system.absolute("/nix/store"));
    machine.generation(9, "../../../etc/passwd");
    machine.generation(2, "system-2-link");
    machine.generation(1, "/nix/store/x\ny");
    for odd in [
        "system-01-link",
        "system-+1-link",
        "system--link",
        "system-1-link.tmp",
        "other-3-link",
    ] {
        symlink("x", machine.at("nix/var/nix/profiles").join(odd)).unwrap();
    }
    symlink("system-10-link", machine.at("nix/var/nix/profiles/system")).unwrap();
    let profile = machine.profile();
    let all = profile.generations().unwrap();
    assert_eq!(all.iter().map(|g| g.number).collect::<Vec<_>>(), [1, 2, 9, 10]);
    assert_eq!(all[3].system.as_ref().unwrap(), &system);
    for generation in &all[..3] {
        let error = generation.system.as_ref().unwrap_err().to_string();
        assert!(
            error.contains("no store path") && !error.contains('\n'),
            "{error}"
        );
    }
    assert_eq!(profile.current().unwrap(), Some(10));
    fs::remove_file(machine.at("nix/var/nix/profiles/system")).unwrap();
    symlink("/etc/passwd", machine.at("nix/var/nix/profiles/system")).unwrap();
    assert!(
        profile
            .current()
            .unwrap_err()
            .to_string()
            .contains("'/etc/passwd', which is no generation")
    );
}

#[test]
fn each_damage_is_named() {
    let machine = Machine::new();
    let system = machine.system("a", "6.12");
    let own = machine.store(&system);
    let profile = machine.profile();
    profile.intact(&system).unwrap();
    let damaged = |text: &str| {
        let error = profile.intact(&system).unwrap_err().to_string();
        assert!(error.contains(text), "{error}, expected: {text}");
    };
    let usr = machine.store(&path("usr.cfs-a"));
    fs::rename(&usr, usr.with_extension("away")).unwrap();
    damaged("-usr.cfs-a is missing");
    fs::rename(usr.with_extension("away"), &usr).unwrap();

    let closure = fs::read(own.join("closure")).unwrap();
    fs::write(own.join("closure"), "/nix/store/../../etc/shadow\n").unwrap();
    damaged("closure lists what is no store path");
    fs::write(own.join("closure"), "").unwrap();
    damaged("which its closure does not hold");
    fs::write(own.join("closure"), vec![b'x'; 2 << 20]).unwrap();
    damaged("closure can't be read: it is larger than");
    fs::remove_file(own.join("closure")).unwrap();
    damaged("closure is missing");
    symlink("closure", own.join("closure")).unwrap();
    damaged("closure can't be read");
    fs::remove_file(own.join("closure")).unwrap();
    fs::write(own.join("closure"), closure).unwrap();

    let stamp = machine.at(&Layout::below("/").stamp(&system));
    fs::remove_file(&stamp).unwrap();
    damaged("never all linked");
    fs::write(&stamp, "").unwrap();
    fs::write(own.join("boot.json"), "{").unwrap();
    damaged("boot.json doesn't parse");
    fs::remove_dir_all(&own).unwrap();
    damaged("-keel-system-a is missing");
}

#[test]
fn the_newest_intact_one_for_the_kernel_is_found_and_the_others_are_explained() {
    let machine = Machine::new();
    for (number, name, kernel) in [
        (1, "a", "6.12"),
        (2, "b", "6.12"),
        (3, "c", "6.13"),
        (4, "d", "6.12"),
    ] {
        let system = machine.system(name, kernel);
        machine.generation(number, &system.absolute("/nix/store"));
    }
    machine.generation(5, "/nowhere");
    fs::remove_dir_all(machine.store(&path("usr.cfs-d"))).unwrap();
    let profile = machine.profile();
    let mut passed = Vec::new();
    let found = profile
        .newest_intact("6.12", &mut |number, why| passed.push(format!("{number}: {why}")))
        .unwrap();
    assert_eq!(found.unwrap().0, 2);
    assert_eq!(passed.len(), 3);
    for (line, text) in passed
        .iter()
        .zip(["5: the link", "4: /nix/store", "3: it is for the kernel 6.13"])
    {
        assert!(line.starts_with(text), "{line}");
    }
    // Their modules trees hold modules for this one as well.
    assert_eq!(
        profile.newest_intact("extra", &mut |_, _| {}).unwrap().unwrap().0,
        3
    );
    assert!(
        profile
            .newest_intact("../modules", &mut |_, _| {})
            .unwrap()
            .is_none()
    );
}
