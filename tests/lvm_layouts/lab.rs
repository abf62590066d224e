//! Disks on loop devices, the real lvm on them, and what it would load into device-mapper.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use keel::block::DeviceNumber;
use keel::block::lvm::{Groups, read_physical_volume};

/// Bytes of a disk; a hole as far as nobody writes to it.
const DISK_BYTES: u64 = 256 << 20;

/// The library that answers lvm in the kernel's place.
fn device_mapper() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("dm-{}.so", std::process::id()));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lvm_layouts/device_mapper.c");
        let arguments = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"];
        let mut compiler = Command::new("cc");
        run(compiler.args(arguments).arg(&library).arg(source));
        library
    })
}

/// A device that lvm makes, or keel would.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mapped {
    pub(crate) name: String,
    pub(crate) uuid: String,
    pub(crate) is_writable: bool,
    /// As `dmsetup table` prints it.
    pub(crate) table: String,
}

/// Image files attached to loop devices, detached when dropped.
pub(crate) struct Lab {
    directory: tempfile::TempDir,
    loops: Vec<String>,
    /// Disks that are unplugged.
    hidden: Vec<usize>,
}

impl Lab {
    /// `blocks` says how many bytes a logical block of each disk has.
    pub(crate) fn new(blocks: &[u32]) -> Lab {
        let directory = tempfile::tempdir().unwrap();
        for name in ["dev/mapper", "lock"] {
            fs::create_dir_all(directory.path().join(name)).unwrap();
        }
        let mut lab = Lab {
            directory,
            loops: Vec::new(),
            hidden: Vec::new(),
        };
        for (index, block) in blocks.iter().enumerate() {
            let image = lab.image(index);
            File::create(&image).unwrap().set_len(DISK_BYTES).unwrap();
            let mut losetup = Command::new("losetup");
            let device = run(losetup
                .args(["-f", "--show", "-b", &block.to_string()])
                .arg(image));
            lab.loops.push(device.trim().to_owned());
        }
        lab
    }

    fn image(&self, index: usize) -> PathBuf {
        self.directory.path().join(format!("disk{index}"))
    }

    fn seen(&self) -> impl Iterator<Item = (usize, &String)> {
        let all = self.loops.iter().enumerate();
        all.filter(|(index, _)| !self.hidden.contains(index))
    }

    /// Takes a step: an lvm command, in which `@0` stands for the first disk, or one of
    ///
    /// - `hide 0 1`: these disks are unplugged, all others plugged in
    /// - `keep 0`, `put 0`: a disk's metadata is kept, and brought back
    /// - `copy 0 1`: the second disk's metadata becomes that of the first
    pub(crate) fn step(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let disk = |at: usize| words[at].parse::<usize>().unwrap();
        let kept = |index| self.directory.path().join(format!("kept{index}"));
        match words[0] {
            "hide" => self.hidden = (1..words.len()).map(disk).collect(),
            "keep" => fs::write(kept(disk(1)), self.head(disk(1))).unwrap(),
            "put" => self.write(disk(1), &fs::read(kept(disk(1))).unwrap()),
            "copy" => self.write(disk(2), &self.head(disk(1))),
            _ => drop(self.lvm(line)),
        }
    }

    /// The part of a disk with label and metadata.
    fn head(&self, index: usize) -> Vec<u8> {
        let mut head = vec![0; 4 << 20];
        let device = File::open(&self.loops[index]).unwrap();
        std::os::unix::fs::FileExt::read_exact_at(&device, &mut head, 0).unwrap();
        head
    }

    fn write(&self, index: usize, content: &[u8]) {
        let device = File::options().write(true).open(&self.loops[index]).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&device, content, 0).unwrap();
        device.sync_all().unwrap();
    }

    fn command(&self, line: &str) -> Command {
        let mut words = line.split(' ');
        let name = words.next().unwrap();
        let mut command = Command::new(name);
        for word in words {
            let disk = word.strip_prefix('@').unwrap_or_default();
            let (index, extents) = disk.split_at(disk.find(':').unwrap_or(disk.len()));
            let _ = match index.parse::<usize>() {
                Ok(index) => command.arg(format!("{}{extents}", self.loops[index])),
                Err(_) => command.arg(word),
            };
        }
        let only: Vec<String> = self.seen().map(|(_, path)| format!("\"a|^{path}$|\",")).collect();
        let only = only.concat();
        let directory = self.directory.path().display();
        let _ = command.arg("--config").arg(format!(
            "backup {{ backup=0 archive=0 }} global {{ event_activation=0 use_lvmpolld=0 locking_dir=\"{directory}/lock\" }} \
             activation {{ udev_sync=0 udev_rules=0 monitoring=0 verify_udev_operations=0 }} \
             devices {{ dir=\"{directory}/dev\" use_devicesfile=0 scan=\"/dev\" filter=[{only}\"r|.*|\"] }}"
        ));
        if !["pvs", "vgs", "lvs"].contains(&name) {
            let _ = command.arg("--yes");
        }
        command
    }

    /// Runs an lvm command that changes metadata alone. Only this lab's disks are seen.
    fn lvm(&self, line: &str) -> String {
        let mut command = self.command(line);
        let _ = command.args(["--driverloaded", "n"]);
        if line.starts_with("lvcreate") {
            let _ = command.args(["-an", "-Zn", "-Wn"]);
        }
        run(&mut command)
    }

    /// Activates everything as Debian does at boot, and says what lvm loads.
    pub(crate) fn loaded_by_lvm(&self) -> Vec<Mapped> {
        let log = self.directory.path().join("log");
        fs::write(&log, "").unwrap();
        let mut command = self.command("vgchange -aay");
        // It complains about what it doesn't activate; what it loads counts.
        let output = command
            .env("LD_PRELOAD", device_mapper())
            .env("DEVICE_MAPPER_LOG", &log)
            .output()
            .unwrap();
        assert!(output.status.code().is_some(), "{output:?}");
        let mut loaded: Vec<Mapped> = Vec::new();
        for line in fs::read_to_string(&log).unwrap().lines() {
            if let Some(device) = line.strip_prefix("device ") {
                let words: Vec<&str> = device.split(' ').collect();
                loaded.push(Mapped {
                    name: words[0].to_owned(),
                    uuid: words[1].to_owned(),
                    is_writable: words[2] == "rw",
                    table: String::new(),
                });
            } else {
                let table = &mut loaded.last_mut().unwrap().table;
                if !table.is_empty() {
                    table.push('\n');
                }
                table.push_str(line);
            }
        }
        loaded.sort();
        loaded
    }

    /// What keel reads from the disks that are there.
    pub(crate) fn groups(&self) -> Groups {
        let mut groups = Groups::default();
        for (_, path) in self.seen() {
            let device = File::open(path).unwrap();
            device.sync_all().unwrap();
            if let Some(volume) = read_physical_volume(&device).unwrap() {
                let minor = path.trim_start_matches("/dev/loop").parse().unwrap();
                groups.add(DeviceNumber { major: 7, minor }, volume);
            }
        }
        groups
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for device in &self.loops {
            let _ = Command::new("losetup").args(["-d", device]).status();
        }
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
