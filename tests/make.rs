//! `keel build`: a configuration and packages become a system. The packages are a small root file system's, so that nothing
//! is downloaded; the real binary works on stores of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unused_results
)]

mod rootfs;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rootfs::{Rootfs, SECRET, Store, fails, run};

/// The founding example, without the packages that only a mirror has.
const EXAMPLE: &str = r#"
state_version = "1"

[system]
hostname = "nixie"
time_zone = "Asia/Kolkata"
locale = "C.UTF-8"
keymap = "us"

[boot]
loader = "systemd-boot"
can_touch_efi_variables = true
generations = 10
kernel_params = ["quiet"]

[boot.luks.root]
device = "/dev/disk/by-uuid/2b6c2f3e-0000-4000-8000-000000000001"
allow_discards = true

[filesystems."/"]
device = "/dev/vg/root"
type = "ext4"

[[swap]]
device = "/dev/vg/swap"

[packages]
suite = "trixie"

[users.kirans]
normal = true
groups = ["dialers"]

[services.openssh]
enable = true

[networking]
firewall.allowed_tcp_ports = [22]
networkmanager.enable = true

[programs.starship]
enable = true
settings.add_newline = false

[programs.bash]
interactive_shell_init = "fastfetch --logo debian"
"#;

/// Something that keel's own path brings, in its place below `/usr`.
const PAGE: &str = "share/man/man1/keel.1";

/// A configuration beside its lock, a store, packages.
struct Machine {
    store: Store,
    place: tempfile::TempDir,
    archive: PathBuf,
}

impl Machine {
    fn new(rootfs: &Rootfs, text: &str) -> Self {
        let store = Store::new();
        let place = tempfile::tempdir().unwrap();
        let archive = place.path().join("packages.tar");
        rootfs.tar(&archive, &[]);
        // keel itself is large in a debug build: another program stands for it in the lock.
        let program = place.path().join("program");
        fs::create_dir_all(program.join("bin")).unwrap();
        fs::copy("/bin/true", program.join("bin/keel")).unwrap();
        fs::create_dir_all(program.join("share/man/man1")).unwrap();
        fs::write(program.join(PAGE), "a page\n").unwrap();
        let program = program.to_str().unwrap().to_owned();
        let added = run(&mut store.keel(&["store", "add", &program, "--name", "keel-1"]));
        let added = String::from_utf8(added.stdout).unwrap();
        let lock = format!(
            "version = 1\n[request]\nsuite = \"trixie\"\ncomponents = [\"main\"]\ninstall = []\ndate = 1700000000\n\
             [programs]\nkeel = \"{}\"\n[ids.users]\n[ids.groups]\n",
            added.trim()
        );
        let machine = Self {
            store,
            place,
            archive,
        };
        fs::write(machine.file("keel.lock"), lock).unwrap();
        machine.configure(text);
        machine
    }

    fn file(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn configure(&self, text: &str) {
        fs::write(self.file("system.toml"), text).unwrap();
    }

    fn build(&self, arguments: &[&str]) -> Command {
        let config = self.file("system.toml");
        let mut all = vec![
            "build",
            "--no-initrd",
            "--config",
            config.to_str().unwrap(),
            "--rootfs",
            self.archive.to_str().unwrap(),
        ];
        all.extend(arguments);
        self.store.keel(&all)
    }

    fn built(&self) -> String {
        let out = run(&mut self.build(&[]));
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }

    fn etc(&self, system: &str, path: &str) -> String {
        let etc = self.store.part(system, "etc");
        fs::read_to_string(etc.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

#[test]
fn the_founding_example_becomes_a_system_with_every_line_in_it() {
    let rootfs = Rootfs::new();
    let machine = Machine::new(&rootfs, EXAMPLE);
    let system = machine.built();
    assert!(system.ends_with("-keel-system-nixie"), "{system}");
    let etc = |path: &str| machine.etc(&system, path);
    assert_eq!(etc("hostname"), "nixie\n");
    assert_eq!(etc("timezone"), "Asia/Kolkata\n");
    assert!(etc("fstab").contains("/dev/vg/root / ext4 defaults 0 1\n/dev/vg/swap none swap sw 0 0\n"));
    assert!(etc("nftables.conf").contains("tcp dport { 22 } accept"));
    assert!(etc("starship.toml").contains("add_newline = false"));
    assert!(etc("bash.bashrc.d/70-init.sh").contains("fastfetch --logo debian"));
    assert!(etc("ssh/sshd_config.d/10-keel.conf").contains("Port 22\n"));
    // What packages bring is still there, and so is what keel itself does.
    assert_eq!(etc("app/app.conf"), "A=1\n");
    let page = fs::read_link(machine.store.part(&system, "usr").join(PAGE)).unwrap();
    assert_eq!(machine.store.read(page.to_str().unwrap()), "a page\n");
    let wants = "systemd/system/multi-user.target.wants/NetworkManager.service";
    assert!(machine.store.part(&system, "etc").join(wants).is_symlink());

    let boot = machine.store.json(&format!("{system}/boot.json"));
    let params = boot["org.nixos.bootspec.v1"]["kernelParams"].as_array().unwrap();
    let params: Vec<&str> = params.iter().map(|param| param.as_str().unwrap()).collect();
    assert_eq!(
        params,
        [
            "rd.luks.name=2b6c2f3e-0000-4000-8000-000000000001=root",
            "rd.luks.options=2b6c2f3e-0000-4000-8000-000000000001=discard",
            "root=/dev/vg/root",
            "rootfstype=ext4",
            "quiet"
        ]
    );
    let accounts = machine.store.json(&format!("{system}/accounts.json"));
    let users = accounts["users"].as_array().unwrap();
    let kirans = users.iter().find(|user| user["name"] == "kirans").unwrap();
    assert_eq!(kirans["home"], "/home/kirans");
    let groups = accounts["groups"].as_array().unwrap();
    let dialers = groups.iter().find(|group| group["name"] == "dialers").unwrap();
    assert_eq!(dialers["members"], serde_json::json!(["svc", "kirans"]));
    // The lock knows the new number from now on, and the system brings both texts.
    let lock = fs::read_to_string(machine.file("keel.lock")).unwrap();
    assert!(lock.contains("kirans = 1000"), "{lock}");
    assert_eq!(machine.store.read(&format!("{system}/keel.lock")), lock);
    assert!(
        machine
            .store
            .read(&format!("{system}/system.toml"))
            .contains("hostname = \"nixie\"")
    );
    machine.store.nix_verifies();
    machine.store.nothing_half();
    let found = Command::new("grep")
        .args(["-r", SECRET])
        .arg(machine.store.dir.path())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}

#[test]
fn the_same_configuration_and_lock_give_the_same_path_wherever_they_lie() {
    let rootfs = Rootfs::new();
    let one = Machine::new(&rootfs, EXAMPLE);
    let other = Machine::new(&rootfs, EXAMPLE);
    let system = one.built();
    assert_eq!(other.built(), system);
    // With the numbers that the first build wrote into the lock, and nothing remembered.
    fs::remove_dir_all(one.store.at("/nix/var/keel/made")).unwrap();
    assert_eq!(one.built(), system);
    let lock = fs::read(one.file("keel.lock")).unwrap();
    assert_eq!(lock, fs::read(other.file("keel.lock")).unwrap());
}

#[test]
fn one_option_changes_etc_and_the_system_and_nothing_else() {
    let rootfs = Rootfs::new();
    let machine = Machine::new(&rootfs, EXAMPLE);
    let first = machine.built();
    machine.configure(&EXAMPLE.replace(
        "kernel_params = [\"quiet\"]",
        "kernel_params = [\"quiet\", \"splash\"]",
    ));
    let params = machine.built();
    machine.configure(&EXAMPLE.replace("\"nixie\"", "\"pixie\""));
    let renamed = machine.built();
    let closure = |system: &str| -> Vec<String> {
        let text = machine.store.read(&format!("{system}/closure"));
        text.lines()
            .map(|line| line["/nix/store/".len() + 33..].to_owned() + line)
            .collect()
    };
    assert_ne!(params, first);
    assert_eq!(
        closure(&params),
        closure(&first),
        "kernel parameters are the system's alone"
    );
    let (old, new) = (closure(&first), closure(&renamed));
    let mut differ: Vec<&str> = new
        .iter()
        .filter(|line| !old.contains(line))
        .map(|line| line.split("/nix").next().unwrap())
        .collect();
    // The closure is in the order of hashes.
    differ.sort_unstable();
    assert_eq!(differ, ["etc", "etc.cfs"]);
    // What the generations share is the same inode.
    let inode = |system: &str| {
        let path = machine.store.part(system, "etc").join("app/app.conf");
        fs::metadata(path).unwrap().ino()
    };
    assert_eq!(inode(&first), inode(&renamed));
}

#[test]
fn a_generation_is_added_only_when_it_is_asked_for() {
    let rootfs = Rootfs::new();
    let machine = Machine::new(&rootfs, EXAMPLE);
    let system = machine.built();
    let link = |number: u32| {
        machine
            .store
            .at(&format!("/nix/var/nix/profiles/system-{number}-link"))
    };
    assert!(!link(1).is_symlink());
    run(&mut machine.build(&["--generation"]));
    assert_eq!(fs::read_link(link(1)).unwrap(), Path::new(&system));
    // The same system is the same generation.
    run(&mut machine.build(&["--generation"]));
    assert!(!link(2).is_symlink());
    machine.configure(&EXAMPLE.replace("\"nixie\"", "\"pixie\""));
    run(&mut machine.build(&["--generation"]));
    assert!(link(2).is_symlink());
    // Nothing runs there: what was built last is what boots.
    let profile = machine.store.at("/nix/var/nix/profiles/system");
    assert_eq!(fs::read_link(profile).unwrap(), Path::new("system-2-link"));
}

#[test]
fn a_wrong_configuration_is_told_with_its_place_and_builds_nothing() {
    let rootfs = Rootfs::new();
    let machine = Machine::new(&rootfs, EXAMPLE);
    machine.configure(&EXAMPLE.replace("time_zone", "timezone"));
    let said = fails(&mut machine.build(&[]), 1);
    assert!(
        said.contains("timezone") && said.contains("time_zone") && said.contains("system.toml:"),
        "{said}"
    );
    assert!(!machine.store.at("/nix/var/keel/made").exists());
}

#[test]
fn what_was_built_is_found_and_made_again_when_it_was_collected() {
    let rootfs = Rootfs::new();
    let machine = Machine::new(&rootfs, EXAMPLE);
    let link = machine.file("result");
    let first =
        String::from_utf8(run(&mut machine.build(&["--out-link", link.to_str().unwrap()])).stdout).unwrap();
    run(&mut machine.store.keel(&["gc"]));
    assert!(machine.store.at(first.trim()).exists(), "the link keeps it");
    fs::remove_file(&link).unwrap();
    run(&mut machine.store.keel(&["gc"]));
    assert!(!machine.store.at(first.trim()).exists());
    let lock = fs::read_to_string(machine.file("keel.lock")).unwrap();
    let program = lock.lines().find(|line| line.starts_with("keel = ")).unwrap();
    assert!(!machine.store.at(program.split('"').nth(1).unwrap()).exists());
    // keel's own program went too: it's named, and with it the same system comes back.
    let said = fails(&mut machine.build(&[]), 1);
    assert!(said.contains("keel-1"), "{said}");
    let program = machine.file("program");
    run(&mut machine
        .store
        .keel(&["store", "add", program.to_str().unwrap(), "--name", "keel-1"]));
    assert_eq!(machine.built(), first.trim());
}

#[test]
fn a_unit_that_nothing_can_be_made_of_stops_the_build() {
    let rootfs = Rootfs::new();
    let machine = Machine::new(&rootfs, EXAMPLE);
    for (text, part) in [
        (
            "[units.\"none.service\"]\n",
            "units.\"none.service\": no package brings this unit",
        ),
        (
            "[etc.\"x\"]\nsource = \"missing.txt\"\n",
            "missing.txt can't be read",
        ),
        (
            "[users.two]\nuid = 105\n",
            "users.two.uid: the number 105 belongs to svc",
        ),
        (
            "[etc.\"x\"]\ntext = \"\"\nuser = \"nobody-there\"\n",
            "there is no user nobody-there",
        ),
    ] {
        machine.configure(&format!("{EXAMPLE}{text}"));
        let said = fails(&mut machine.build(&[]), 1);
        assert!(said.contains(part), "{said}");
        assert_eq!(
            said.trim()
                .lines()
                .filter(|line| line.contains("keel: build:"))
                .count(),
            1,
            "{said}"
        );
        machine.store.nothing_half();
    }
}

/// systemd of the generation judges: here that of this machine stands for it.
#[test]
fn a_unit_that_systemd_refuses_stops_the_build_and_names_the_option() {
    let rootfs = Rootfs::new();
    let analyze = Path::new("/usr/bin/systemd-analyze");
    copy_with_libraries(analyze, &rootfs);
    rootfs.settle();
    let machine = Machine::new(&rootfs, EXAMPLE);
    let unit = |text: &str| format!("{EXAMPLE}[units.\"x.service\"]\ntext = '''\n{text}'''\n");
    machine.configure(&unit("[Service]\nExecStart=relative/path\n"));
    let said = fails(&mut machine.build(&[]), 1);
    assert!(
        said.contains("systemd refuses units.\"x.service\"") && said.contains("relative/path"),
        "{said}"
    );
    machine.configure(&unit(
        "[Service]\nExecStart=/usr/bin/su\n[Install]\nWantedBy=multi-user.target\n",
    ));
    let system = machine.built();
    assert!(
        machine
            .etc(&system, "systemd/system/x.service")
            .contains("ExecStart=/usr/bin/su")
    );
}

fn copy_with_libraries(program: &Path, rootfs: &Rootfs) {
    let listed = String::from_utf8(run(Command::new("ldd").arg(program)).stdout).unwrap();
    let libraries = listed
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from);
    for from in libraries.chain([program.to_owned()]) {
        let to = from.strip_prefix("/").unwrap();
        let to = match to.strip_prefix("usr") {
            Ok(below) => Path::new("usr").join(below),
            Err(_) => Path::new("usr").join(to),
        };
        let bytes = fs::read(&from).unwrap();
        rootfs.write(to.to_str().unwrap(), &bytes, 0o755);
    }
    let lib64 = rootfs.path("lib64");
    if !lib64.exists() {
        std::os::unix::fs::symlink("usr/lib64", lib64).unwrap();
    }
}

#[test]
fn without_a_lock_the_way_to_one_is_told() {
    let place = tempfile::tempdir().unwrap();
    let config = place.path().join("system.toml");
    fs::write(&config, EXAMPLE).unwrap();
    let said = fails(
        &mut Store::new().keel(&["build", "--config", config.to_str().unwrap()]),
        1,
    );
    assert!(
        said.contains("keel.lock") && said.contains("keel update"),
        "{said}"
    );
}
