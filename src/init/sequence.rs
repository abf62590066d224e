//! The steps of early boot in their order.

use std::convert::Infallible;
use std::fs;
use std::path::Path;

use ::log::{LevelFilter, error, info, warn};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::getpid;

use super::boot::{Boot, Place};
use super::cmdline::{CommandLine, Warning};
use super::devices::BlockDevice;
use super::fsck::{self, Outcome};
use super::handoff::{self, Started};
use super::report::{self, Report, RootReport, monotonic_usec, realtime_usec};
use super::shell::ShellPoint;
use super::trouble::Trouble;
use super::{InitError, early, log, power};
use crate::root::{Request, assemble_root, modules_for_running_kernel};
use crate::sys::{keyring, memory};

/// Where the root file system is mounted before it becomes the root.
pub(super) const SYSROOT: &str = "/sysroot";
/// Where images are mounted in passing.
const SCRATCH: &str = "/run/keel/images";

/// Early boot, from the first instruction to systemd. Returns only when it can't go on at all.
pub fn run() -> Result<Infallible, InitError> {
    let started = Started {
        realtime_usec: realtime_usec(),
        monotonic_usec: monotonic_usec(),
    };
    if getpid().as_raw() != 1 || !Path::new("/etc/initrd-release").exists() {
        return Err(InitError::NotInitrd);
    }
    early::mount_api_file_systems()?;
    start(Place::Alone)?.until_systemd(started)
}

/// Reads the command line, starts the log, opens consoles and starts loading modules. The API file systems are mounted.
pub(super) fn start(place: Place) -> Result<Boot, InitError> {
    let mut report = Report::new();
    report.reach("init");
    let (cmdline, warnings) = command_line()?;
    let level = if cmdline.debug {
        LevelFilter::Debug
    } else {
        LevelFilter::Info
    };
    // Without a kernel log there is still the console.
    let _ = log::to_kernel_log(Path::new("/dev/kmsg"), level);
    if let Err(error) = memory::lock_memory() {
        report.warn(format!(
            "memory can't be locked, secrets could reach a swap device: {error}"
        ));
    }
    let mut boot = Boot::start(cmdline, report, place)?;
    for warning in warnings {
        boot.warn(&warning.to_string());
    }
    Ok(boot)
}

/// The kernel's command line, and what in it can't be used.
pub(super) fn command_line() -> Result<(CommandLine, Vec<Warning>), InitError> {
    let text = std::fs::read_to_string("/proc/cmdline").map_err(|source| InitError::Image {
        path: "/proc/cmdline",
        source,
    })?;
    Ok(CommandLine::parse(&text))
}

impl Boot {
    /// Tries until systemd runs. Each failure is shown with what can be done about it.
    fn until_systemd(&mut self, started: Started) -> Result<Infallible, InitError> {
        loop {
            let trouble = match self.attempt(started) {
                Ok(never) => match never {},
                Err(Stop::Fatal(error)) => return Err(*error),
                Err(Stop::Trouble(trouble)) => trouble,
            };
            error!("{trouble}");
            unmount_root();
            let answer = self.offer(&trouble)?;
            self.heed(answer);
        }
    }

    /// One attempt at the whole way.
    fn attempt(&mut self, started: Started) -> Result<Infallible, Stop> {
        let init = self.prepare()?;
        // From here on there is no way back: a failure is the end of this boot.
        handoff::switch_root(Path::new(SYSROOT), &init, started)
            .map_err(|error| InitError::HandOff(error).into())
    }

    /// Finds the root, chooses a generation and assembles it. Returns the program that is to be executed in it.
    pub(super) fn prepare(&mut self) -> Result<String, Stop> {
        let spec = self.cmdline.root.clone().ok_or(Trouble::NoRoot)?;
        self.shell_at(ShellPoint::Start)?;
        let root = self.find_root(&spec)?;
        self.report.reach("root-found");
        self.resume()?;
        self.check_and_mount(&root)?;
        self.shell_at(ShellPoint::Root)?;
        let generation = self.choose()?.map_err(Trouble::NoGeneration)?;
        self.assemble(&generation.system)?;
        let init = self
            .cmdline
            .init
            .clone()
            .unwrap_or_else(|| handoff::SYSTEMD.to_owned());
        handoff::check_init(Path::new(SYSROOT), &init).map_err(Trouble::HandOff)?;
        link_systems(&generation.system);
        if let Err(error) = early::mount_locks(Path::new(SYSROOT)) {
            self.warn(&error.to_string());
        }
        self.shell_at(ShellPoint::HandOff)?;
        self.report.generation = Some(generation);
        self.leave_passphrases();
        self.consoles.close();
        self.report.reach("hand-off");
        if let Err(error) = self.report.write(Path::new(report::PATH)) {
            warn!("the report can't be written: {error}");
        }
        Ok(init)
    }

    fn check_and_mount(&mut self, root: &BlockDevice) -> Result<(), Stop> {
        let device = root.display_name();
        let probed = root
            .superblock
            .as_ref()
            .filter(|found| found.kind.is_file_system())
            .map(|found| found.kind.name().to_owned());
        let kind = self
            .cmdline
            .root_kind
            .clone()
            .or(probed)
            .ok_or_else(|| Trouble::Mount {
                device: device.clone(),
                kind: "a file system".to_owned(),
                reason: "none is recognised on it; is root= the right device? rootfstype= names the type"
                    .to_owned(),
            })?;
        if let Some(reason) = unfit_for_root(&kind) {
            let reason = reason.to_owned();
            return Err(Trouble::Mount { device, kind, reason }.into());
        }
        self.loader.request_name(&kind);
        let check = self.check(root, &kind)?;
        self.report.reach("root-checked");
        self.loader.wait_for([kind.as_str(), "erofs", "overlay"]);
        mount_root(&root.path, &kind, self.cmdline.root_flags.as_deref()).map_err(|reason| {
            Trouble::Mount {
                device: device.clone(),
                kind: kind.clone(),
                reason,
            }
        })?;
        self.report.reach("root-mounted");
        self.report.root = Some(RootReport { device, kind, check });
        Ok(())
    }

    fn check(&mut self, root: &BlockDevice, kind: &str) -> Result<String, Stop> {
        let device = root.display_name();
        let check = self.cmdline.fsck;
        let outcome = fsck::check(&root.path, kind, check, |line| {
            info!("e2fsck: {line}");
            self.print(line);
        });
        match outcome {
            Outcome::Clean { summary } => {
                // systemd-fsck-root.service is skipped when this exists.
                let _ = fs::create_dir_all("/run/initramfs")
                    .and_then(|()| fs::write("/run/initramfs/fsck-root", ""));
                Ok(summary)
            }
            Outcome::Skipped { reason } => Ok(format!("not checked: {reason}")),
            Outcome::RebootNeeded => {
                self.say("e2fsck corrected errors and asks for a restart of the machine.");
                power::reboot()
            }
            Outcome::ErrorsLeft { output } => Err(Trouble::RootDamaged { device, output }.into()),
            Outcome::Failed { reason } => Err(Trouble::CheckFailed { device, reason }.into()),
        }
    }

    fn assemble(&mut self, system: &str) -> Result<(), Stop> {
        let kernel_modules = modules_for_running_kernel(Path::new(SYSROOT), system);
        let request = Request {
            root: Path::new(SYSROOT),
            system,
            scratch: Path::new(SCRATCH),
            kernel_modules: kernel_modules.as_deref(),
            machine_id: self.cmdline.machine_id.as_deref(),
        };
        let assembled = assemble_root(&request).map_err(|source| Trouble::Assemble {
            system: system.to_owned(),
            source,
        })?;
        for warning in assembled.warnings {
            self.warn(&warning.to_string());
        }
        self.report.reach("assembled");
        Ok(())
    }

    /// Leaves the passphrases that proved themselves where systemd-cryptsetup looks first, for a short time: only when
    /// the chosen system has volumes for it to open.
    fn leave_passphrases(&mut self) {
        let proven = self.keyring.take_proven();
        let crypttab = fs::read_to_string(Path::new(SYSROOT).join("etc/crypttab")).unwrap_or_default();
        if proven.is_empty() || !names_volumes(&crypttab) {
            return;
        }
        let passphrases: Vec<&[u8]> = proven.iter().map(|passphrase| passphrase.as_slice()).collect();
        if let Err(error) = keyring::cache_passphrases(&passphrases) {
            info!("passphrases can't be left for systemd-cryptsetup: {error}");
        }
    }
}

/// Why an attempt ended.
#[derive(Debug)]
pub(super) enum Stop {
    /// Nothing can be offered any more.
    Fatal(Box<InitError>),
    /// Something can be done.
    Trouble(Box<Trouble>),
}

impl From<InitError> for Stop {
    fn from(error: InitError) -> Self {
        Stop::Fatal(Box::new(error))
    }
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        Stop::Trouble(Box::new(trouble))
    }
}

/// Mounts the root file system writable: the upper directory of `/etc` is on it.
fn mount_root(device: &Path, kind: &str, flags: Option<&str>) -> Result<(), String> {
    fs::create_dir_all(SYSROOT).map_err(|error| error.to_string())?;
    let (flags, data) = mount_options(flags.unwrap_or_default());
    mount(Some(device), SYSROOT, Some(kind), flags, Some(data.as_str())).map_err(|errno| match errno {
        Errno::ENODEV => format!("this kernel has no file system {kind}; the initrd needs its module"),
        Errno::EINVAL => format!("{errno}; rootflags={data} may be wrong, or the file system is damaged"),
        Errno::ENOENT if data.contains("subvol") => {
            format!("rootflags={data} names a subvolume that isn't on it; `btrfs subvolume list` shows them")
        }
        _ => errno.to_string(),
    })
}

/// Why a file system can't hold a root, for those that keep files but not what a root needs.
fn unfit_for_root(kind: &str) -> Option<&'static str> {
    match kind {
        "vfat" | "msdos" | "exfat" => Some(
            "it keeps neither owners nor links, so no system runs from it; root= has to name the ext4, xfs or btrfs that holds \
             /nix (this one may be the EFI system partition)",
        ),
        "erofs" | "squashfs" | "iso9660" => Some(
            "it can only be read, and a machine's state is written to its root; root= has to name the one that holds /nix",
        ),
        _ => None,
    }
}

/// Splits mount options into the flags of mount(2) and what goes to the file system.
fn mount_options(options: &str) -> (MsFlags, String) {
    let mut flags = MsFlags::empty();
    let mut data = Vec::new();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            // The root is always mounted writable; `ro` in an fstab line is systemd's to apply.
            "rw" | "ro" | "defaults" => {}
            "noatime" => flags |= MsFlags::MS_NOATIME,
            "nodiratime" => flags |= MsFlags::MS_NODIRATIME,
            "relatime" => flags |= MsFlags::MS_RELATIME,
            "strictatime" => flags |= MsFlags::MS_STRICTATIME,
            "lazytime" => flags |= MsFlags::MS_LAZYTIME,
            "sync" => flags |= MsFlags::MS_SYNCHRONOUS,
            "nodev" => flags |= MsFlags::MS_NODEV,
            other => data.push(other),
        }
    }
    (flags, data.join(","))
}

/// Whether a crypttab(5) has a line.
fn names_volumes(crypttab: &str) -> bool {
    crypttab
        .lines()
        .map(str::trim)
        .any(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The links that say which system runs, as on NixOS.
fn link_systems(system: &str) {
    for name in ["/run/booted-system", "/run/current-system"] {
        let _ = fs::remove_file(name);
        if let Err(error) = std::os::unix::fs::symlink(system, name) {
            warn!("{name} can't be made: {error}");
        }
    }
}

/// Unmounts what an attempt left mounted, so that the next one starts clean.
pub(super) fn unmount_root() {
    for mount_point in ["etc", "usr", ""] {
        let _ = umount2(&Path::new(SYSROOT).join(mount_point), MntFlags::empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passphrases_are_left_for_the_volumes_of_a_crypttab_only() {
        assert!(!names_volumes(""));
        assert!(!names_volumes(
            "# <target name> <source device> <key file> <options>\n\n"
        ));
        assert!(names_volumes("# comment\ndata UUID=1 none luks\n"));
    }

    #[test]
    fn file_systems_without_owners_are_no_roots() {
        assert!(unfit_for_root("vfat").is_some_and(|reason| reason.contains("owners")));
        assert!(unfit_for_root("squashfs").is_some());
        for kind in ["ext4", "xfs", "btrfs", "f2fs"] {
            assert_eq!(unfit_for_root(kind), None);
        }
    }

    #[test]
    fn options_of_every_file_system_become_flags() {
        let (flags, data) = mount_options("noatime,ro,commit=30,,data=ordered");
        assert_eq!(flags, MsFlags::MS_NOATIME);
        assert_eq!(data, "commit=30,data=ordered");
        assert_eq!(
            mount_options("subvol=@,rw,compress=zstd:1").1,
            "subvol=@,compress=zstd:1"
        );
    }
}
