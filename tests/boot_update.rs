//! `keel boot update` on temporary directories, a fake store and small FAT file systems.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unused_results,
    missing_docs
)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use keel::boot::{Action, Esp, Plan, Role};
use keel::cli::boot::{UpdateArgs, exit_code, update};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

const LOADER: &[u8] = b"MZ...#### LoaderInfo: systemd-boot 257 ####";

/// A chroot store and an ESP.
struct Machine {
    root: TempDir,
    esp: PathBuf,
}

impl Machine {
    fn new() -> Machine {
        let root = TempDir::new().unwrap();
        fs::create_dir_all(root.path().join("nix/var/nix/profiles")).unwrap();
        fs::create_dir_all(root.path().join("nix/store")).unwrap();
        let esp = root.path().join("esp");
        fs::create_dir(&esp).unwrap();
        Machine { root, esp }
    }

    fn store(&self, name: &str) -> PathBuf {
        self.root.path().join("nix/store").join(name)
    }

    fn link(&self, number: u64) -> PathBuf {
        self.root
            .path()
            .join(format!("nix/var/nix/profiles/system-{number}-link"))
    }

    fn make_current(&self, number: u64) {
        let current = self.root.path().join("nix/var/nix/profiles/system");
        let _ = fs::remove_file(&current);
        symlink(format!("system-{number}-link"), current).unwrap();
    }

    /// A generation with a kernel and an initrd of these contents, which becomes the current one.
    fn generation(&self, number: u64, kernel: &[u8], initrd: &[u8]) {
        let system = self.store(&format!(
            "s000000000000000000000000000000{number}-keel-system-test"
        ));
        fs::create_dir_all(&system).unwrap();
        let usr = self.store(&format!("r000000000000000000000000000000{number}-usr"));
        fs::create_dir_all(usr.join("lib/systemd/boot/efi")).unwrap();
        fs::write(usr.join("lib/systemd/boot/efi/systemd-bootx64.efi"), LOADER).unwrap();
        symlink(
            format!("/nix/store/r000000000000000000000000000000{number}-usr"),
            system.join("usr"),
        )
        .unwrap();
        fs::write(
            self.store(&format!("k000000000000000000000000000000{number}-linux")),
            kernel,
        )
        .unwrap();
        fs::write(
            self.store(&format!("i000000000000000000000000000000{number}-initrd")),
            initrd,
        )
        .unwrap();
        symlink(
            format!("/nix/store/k000000000000000000000000000000{number}-linux"),
            system.join("kernel"),
        )
        .unwrap();
        let boot = serde_json::json!({
            "org.nixos.bootspec.v1": {
                "system": "x86_64-linux",
                "init": "/usr/lib/systemd/systemd",
                "kernel": format!("/nix/store/k000000000000000000000000000000{number}-linux"),
                "initrd": format!("/nix/store/i000000000000000000000000000000{number}-initrd"),
                "kernelParams": ["root=/dev/vg/root", "quiet"],
                "label": format!("Debian 13, generation {number}"),
                "toplevel": format!("/nix/store/s000000000000000000000000000000{number}-keel-system-test"),
            },
            "io.keel.system.v1": {
                "name": "test",
                "kernelVersion": "6.12.9-amd64",
                "usrImage": "/nix/store/x-usr.cfs",
                "etcImage": "/nix/store/x-etc.cfs",
                "modules": "/nix/store/x-modules",
                "objects": "/nix/var/keel/objects",
            },
        });
        fs::write(system.join("boot.json"), boot.to_string()).unwrap();
        symlink(
            format!("/nix/store/s000000000000000000000000000000{number}-keel-system-test"),
            self.link(number),
        )
        .unwrap();
        self.make_current(number);
    }

    fn args(&self) -> UpdateArgs {
        UpdateArgs {
            esp: self.esp.clone(),
            store: self.root.path().to_owned(),
            profile: "system".into(),
            default: None,
            timeout: 5,
            trial: None,
            systemd_boot: None,
            remove_first: false,
            dry_run: false,
        }
    }

    fn update(&self) -> Plan {
        update(&self.args()).unwrap()
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.esp.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn has(&self, path: &str) -> bool {
        self.esp.join(path).exists()
    }

    fn write(&self, path: &str, content: &[u8]) {
        let path = self.esp.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

fn linux(content: &[u8]) -> String {
    format!("EFI/keel/{}-linux.efi", hexadecimal(content))
}

fn initrd(content: &[u8]) -> String {
    format!("EFI/keel/{}-initrd", hexadecimal(content))
}

#[allow(clippy::format_collect)]
fn hexadecimal(content: &[u8]) -> String {
    Sha256::digest(content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Inode, time of change in seconds and nanoseconds, content.
type Picture = BTreeMap<PathBuf, (u64, i64, i64, Vec<u8>)>;

/// Every file and directory below a directory.
fn picture(directory: &Path) -> Picture {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::metadata(&path).unwrap();
        if meta.is_dir() {
            found.extend(picture(&path));
        }
        let content = if meta.is_dir() {
            Vec::new()
        } else {
            fs::read(&path).unwrap()
        };
        found.insert(path, (meta.ino(), meta.mtime(), meta.mtime_nsec(), content));
    }
    found
}

/// A small file system, mounted until this goes.
struct Small {
    _image: TempDir,
    mounted: PathBuf,
}

impl Small {
    /// FAT, made by `mkfs.vfat` (dosfstools), or a tmpfs where the kernel has no FAT; nothing when not root.
    fn new(kilobytes: u64, at: &Path) -> Option<Small> {
        let image = TempDir::new().unwrap();
        let file = image.path().join("esp");
        fs::File::create(&file)
            .unwrap()
            .set_len(kilobytes * 1024)
            .unwrap();
        let done = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
        let size = format!("size={kilobytes}k");
        let fat = done(Command::new("mkfs.vfat").arg(&file))
            && done(
                Command::new("mount")
                    .args(["-o", "loop", "-t", "vfat"])
                    .arg(&file)
                    .arg(at),
            );
        let ready = fat
            || done(
                Command::new("mount")
                    .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
                    .arg(at),
            );
        if !ready {
            eprintln!("skipped: no file system can be mounted here");
        }
        ready.then(|| Small {
            _image: image,
            mounted: at.to_owned(),
        })
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.mounted).status();
    }
}

#[test]
fn an_empty_esp_becomes_bootable() {
    let machine = Machine::new();
    machine.generation(1, b"kernel one", b"initrd one");
    machine.generation(2, b"kernel one", b"initrd two");
    machine.update();
    assert_eq!(machine.read(&linux(b"kernel one")), "kernel one");
    assert_eq!(machine.read(&initrd(b"initrd one")), "initrd one");
    assert_eq!(machine.read(&initrd(b"initrd two")), "initrd two");
    assert_eq!(fs::read_dir(machine.esp.join("EFI/keel")).unwrap().count(), 3);
    let expected = format!(
        "title Debian 13, generation 2\nversion 2, Linux 6.12.9-amd64\nsort-key keel\nlinux /{}\ninitrd /{}\n\
         options root=/dev/vg/root quiet keel.system=/nix/store/s0000000000000000000000000000002-keel-system-test\n",
        linux(b"kernel one"),
        initrd(b"initrd two")
    );
    assert_eq!(machine.read("loader/entries/keel-system-2.conf"), expected);
    assert!(machine.has("loader/entries/keel-system-1.conf"));
    assert_eq!(
        machine.read("loader/loader.conf"),
        "timeout 5\ndefault keel-system-2.conf\nconsole-mode keep\neditor no\n"
    );
    assert_eq!(
        fs::read(machine.esp.join("EFI/systemd/systemd-bootx64.efi")).unwrap(),
        LOADER
    );
    assert_eq!(
        fs::read(machine.esp.join("EFI/BOOT/BOOTX64.EFI")).unwrap(),
        LOADER
    );
}

#[test]
fn files_are_written_before_what_refers_to_them() {
    let machine = Machine::new();
    machine.generation(1, b"kernel", b"initrd");
    let roles: Vec<Role> = machine.update().steps.iter().map(|step| step.role).collect();
    assert_eq!(
        roles,
        [
            Role::Content,
            Role::Content,
            Role::Loader,
            Role::Loader,
            Role::Entry,
            Role::Configuration
        ]
    );
}

#[test]
fn a_second_run_writes_nothing() {
    let machine = Machine::new();
    machine.generation(1, b"kernel", b"initrd");
    machine.update();
    let before = picture(&machine.esp);
    let plan = machine.update();
    assert_eq!(plan.steps, []);
    assert_eq!(plan.needed, 0);
    assert_eq!(picture(&machine.esp), before);
}

#[test]
fn a_dry_run_writes_nothing() {
    let machine = Machine::new();
    machine.generation(1, b"kernel", b"initrd");
    let plan = update(&UpdateArgs {
        dry_run: true,
        ..machine.args()
    })
    .unwrap();
    assert_eq!(plan.steps.len(), 6);
    assert_eq!(picture(&machine.esp), BTreeMap::new());
}

#[test]
fn a_damaged_kernel_is_copied_again() {
    let machine = Machine::new();
    machine.generation(1, b"kernel", b"initrd");
    machine.update();
    machine.write(&linux(b"kernel"), b"kernal");
    let plan = machine.update();
    assert_eq!(plan.steps.len(), 1);
    assert!(plan.steps[0].reason.starts_with("damaged"), "{:?}", plan.steps);
    assert_eq!(machine.read(&linux(b"kernel")), "kernel");
}

#[test]
fn a_removed_generation_goes_last_and_shared_files_stay() {
    let machine = Machine::new();
    machine.generation(1, b"kernel", b"initrd one");
    machine.generation(2, b"kernel", b"initrd two");
    machine.update();
    fs::remove_file(machine.link(1)).unwrap();
    machine.generation(3, b"kernel", b"initrd three");
    let plan = machine.update();
    let paths: Vec<&str> = plan.steps.iter().map(|step| step.path.as_str()).collect();
    let (new, old) = (initrd(b"initrd three"), initrd(b"initrd one"));
    let expected = [
        new.as_str(),
        "loader/entries/keel-system-3.conf",
        "loader/loader.conf",
        "loader/entries/keel-system-1.conf",
        old.as_str(),
    ];
    assert_eq!(paths, expected);
    assert!(plan.steps[3..].iter().all(|step| step.action == Action::Remove));
    assert!(machine.has(&linux(b"kernel")) && machine.has(&initrd(b"initrd two")) && !machine.has(&old));
}

#[test]
fn foreign_files_stay() {
    let machine = Machine::new();
    machine.generation(1, b"kernel", b"initrd");
    let used = linux(b"used by an entry that someone wrote");
    let other = linux(b"used by another profile");
    let foreign = [
        (
            "loader/entries/debian.conf",
            format!("title mine\nlinux \\{}\n", used.replace('/', "\\")),
        ),
        ("loader/entries/keel-other-1.conf", format!("linux /{other}\n")),
        ("EFI/keel/notes.txt", "mine".to_owned()),
        ("EFI/debian/shimx64.efi", "MZ".to_owned()),
        (
            "EFI/BOOT/BOOTX64.EFI",
            "MZ and a loader of another system".to_owned(),
        ),
        (used.as_str(), "used by an entry that someone wrote".to_owned()),
        (other.as_str(), "used by another profile".to_owned()),
    ];
    for (path, content) in &foreign {
        machine.write(path, content.as_bytes());
    }
    let plan = machine.update();
    assert!(
        plan.warnings[0].contains("EFI/BOOT/BOOTX64.EFI"),
        "{:?}",
        plan.warnings
    );
    for (path, content) in &foreign {
        assert_eq!(machine.read(path), *content);
    }
}

#[test]
fn an_older_systemd_boot_and_the_remains_of_one_are_replaced() {
    let machine = Machine::new();
    machine.generation(1, b"kernel", b"initrd");
    machine.write(
        "EFI/BOOT/BOOTX64.EFI",
        b"MZ #### LoaderInfo: systemd-boot 252 ####",
    );
    machine.write("EFI/systemd/systemd-bootx64.efi", b"");
    machine.update();
    assert_eq!(
        fs::read(machine.esp.join("EFI/BOOT/BOOTX64.EFI")).unwrap(),
        LOADER
    );
    assert_eq!(
        fs::read(machine.esp.join("EFI/systemd/systemd-bootx64.efi")).unwrap(),
        LOADER
    );
}

#[test]
fn a_broken_generation_keeps_everything() {
    let machine = Machine::new();
    for number in 1..=3 {
        machine.generation(number, b"kernel", format!("initrd {number}").as_bytes());
    }
    machine.update();
    fs::remove_file(machine.store("s0000000000000000000000000000001-keel-system-test/boot.json")).unwrap();
    fs::remove_file(machine.link(2)).unwrap();
    assert_eq!(machine.update().steps, []);
    assert!(machine.has("loader/entries/keel-system-1.conf") && machine.has(&initrd(b"initrd 1")));
    assert!(machine.has("loader/entries/keel-system-2.conf") && machine.has(&initrd(b"initrd 2")));
}

#[test]
fn a_broken_current_generation_is_not_the_default() {
    let machine = Machine::new();
    machine.generation(1, b"kernel", b"initrd");
    machine.generation(2, b"kernel", b"");
    machine.update();
    assert!(
        machine
            .read("loader/loader.conf")
            .contains("default keel-system-1.conf\n")
    );
    assert!(!machine.has("loader/entries/keel-system-2.conf"));
}

#[test]
fn without_a_bootable_generation_nothing_is_touched() {
    let machine = Machine::new();
    machine.write("loader/loader.conf.keel-new", b"x");
    machine.write(&linux(b"old"), b"old");
    let before = picture(&machine.esp);
    let error = update(&machine.args()).unwrap_err();
    assert!(
        error.to_string().contains("no generation that can be booted"),
        "{error}"
    );
    machine.generation(1, b"", b"initrd");
    update(&machine.args()).unwrap_err();
    assert_eq!(picture(&machine.esp), before);
}

#[test]
fn an_unknown_default_is_refused_and_a_known_one_used() {
    let machine = Machine::new();
    machine.generation(1, b"kernel", b"initrd");
    machine.generation(2, b"kernel", b"initrd");
    let error = update(&UpdateArgs {
        default: Some(7),
        ..machine.args()
    })
    .unwrap_err();
    assert!(error.to_string().contains("generation 7"), "{error}");
    assert_eq!(picture(&machine.esp), BTreeMap::new());
    update(&UpdateArgs {
        default: Some(1),
        timeout: 0,
        trial: None,
        ..machine.args()
    })
    .unwrap();
    assert!(
        machine
            .read("loader/loader.conf")
            .starts_with("timeout 0\ndefault keel-system-1.conf\n")
    );
}

#[test]
fn what_an_interrupted_run_left_is_cleaned_up() {
    let machine = Machine::new();
    machine.generation(1, b"kernel", b"initrd");
    machine.update();
    let before = picture(&machine.esp.join("EFI/systemd"));
    let stale = [
        format!("{}.keel-new", linux(b"kernel")),
        "loader/entries/keel-system-9.conf.keel-new".to_owned(),
        "loader/loader.conf.keel-new".to_owned(),
        "EFI/BOOT/BOOTX64.EFI.keel-new".to_owned(),
    ];
    for path in &stale {
        machine.write(path, b"half");
    }
    machine.write("EFI/keel/mine.keel-new", b"not keel's");
    assert_eq!(machine.update().steps.len(), stale.len());
    assert!(stale.iter().all(|path| !machine.has(path)));
    assert!(machine.has("EFI/keel/mine.keel-new"));
    assert_eq!(picture(&machine.esp.join("EFI/systemd")), before);
}

#[test]
fn entries_with_boot_counters_are_ours_and_keep_their_counter() {
    let machine = Machine::new();
    machine.generation(3, b"kernel", b"initrd");
    machine.update();
    let entries = machine.esp.join("loader/entries");
    fs::rename(
        entries.join("keel-system-3.conf"),
        entries.join("keel-system-3+2-1.conf"),
    )
    .unwrap();
    assert_eq!(machine.update().steps, []);
    machine.generation(4, b"kernel", b"initrd");
    fs::remove_file(machine.link(3)).unwrap();
    machine.update();
    assert!(!machine.has("loader/entries/keel-system-3+2-1.conf"));
    assert!(machine.has("loader/entries/keel-system-4.conf"));
}

#[test]
fn two_updates_at_once_are_refused() {
    let machine = Machine::new();
    machine.generation(1, b"kernel", b"initrd");
    let _held = Esp::open(&machine.esp).unwrap();
    let error = update(&machine.args()).unwrap_err();
    assert_eq!(exit_code(&error), 11, "{error}");
}

#[test]
fn without_any_systemd_boot_nothing_is_written() {
    let machine = Machine::new();
    machine.generation(1, b"kernel", b"initrd");
    fs::remove_dir_all(machine.store("r0000000000000000000000000000001-usr")).unwrap();
    let error = update(&machine.args()).unwrap_err();
    assert!(error.to_string().contains("--systemd-boot"), "{error}");
    assert_eq!(picture(&machine.esp), BTreeMap::new());
    let file = machine.store("loader.efi");
    fs::write(&file, LOADER).unwrap();
    update(&UpdateArgs {
        systemd_boot: Some(file),
        ..machine.args()
    })
    .unwrap();
    assert!(machine.has("EFI/BOOT/BOOTX64.EFI"));
    machine.update();
}

#[test]
fn a_full_esp_is_refused_with_numbers_and_what_is_said_to_be_needed_is_enough() {
    let machine = Machine::new();
    let Some(_mount) = Small::new(2048, &machine.esp) else {
        return;
    };
    machine.generation(1, &vec![1; 900_000], b"initrd one");
    machine.update();
    assert_eq!(machine.update().steps, []);
    let before = picture(&machine.esp);

    machine.generation(2, &vec![2; 1_300_000], b"initrd two");
    let error = update(&machine.args()).unwrap_err();
    assert_eq!(exit_code(&error), 6, "{error}");
    let free = Esp::open(&machine.esp).unwrap().scan().unwrap().free;
    let text = error.to_string();
    assert!(text.contains(&format!("{free} are free")), "{text}");
    assert!(
        text.split(' ')
            .filter_map(|word| word.parse::<u64>().ok())
            .any(|bytes| bytes > 1_300_000),
        "{text}"
    );
    assert_eq!(picture(&machine.esp), before);

    fs::remove_file(machine.link(2)).unwrap();
    machine.generation(3, &vec![3; 500_000], b"initrd three");
    let plan = update(&UpdateArgs {
        dry_run: true,
        ..machine.args()
    })
    .unwrap();
    machine.write(
        "filler",
        &vec![0; usize::try_from(plan.free - plan.needed).unwrap()],
    );
    assert_eq!(machine.update().needed, plan.needed);
    assert_eq!(machine.update().steps, []);
}

#[test]
fn deleted_generations_make_room_when_asked_for() {
    let machine = Machine::new();
    let Some(_mount) = Small::new(2048, &machine.esp) else {
        return;
    };
    machine.generation(1, &vec![1; 900_000], b"initrd one");
    machine.generation(2, b"kernel two", b"initrd two");
    machine.update();
    fs::remove_file(machine.link(1)).unwrap();
    let kernel = vec![3; 1_200_000];
    machine.generation(3, &kernel, b"initrd three");
    let error = update(&machine.args()).unwrap_err();
    assert_eq!(exit_code(&error), 6, "{error}");
    assert!(error.to_string().contains("--remove-first"), "{error}");
    let plan = update(&UpdateArgs {
        remove_first: true,
        ..machine.args()
    })
    .unwrap();
    assert_eq!(plan.steps[0].action, Action::Remove);
    assert!(machine.has(&linux(&kernel)) && machine.has("loader/entries/keel-system-2.conf"));
    assert_eq!(machine.update().steps, []);
}

#[test]
fn the_files_hold_only_keys_that_systemd_boot_knows() {
    let machine = Machine::new();
    machine.generation(1, b"kernel", b"initrd");
    machine.update();
    let known = ["title", "version", "sort-key", "linux", "initrd", "options"];
    for line in machine.read("loader/entries/keel-system-1.conf").lines() {
        let (key, value) = line.split_once(' ').unwrap();
        assert!(known.contains(&key) && !value.trim().is_empty(), "{line}");
        if matches!(key, "linux" | "initrd") {
            assert!(machine.has(value.trim_start_matches('/')), "{line}");
        }
    }
    let known = ["timeout", "default", "console-mode", "editor"];
    for line in machine.read("loader/loader.conf").lines() {
        assert!(known.contains(&line.split_once(' ').unwrap().0), "{line}");
    }
}
