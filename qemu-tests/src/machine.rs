//! A virtual machine: QEMU with its firmware, disks, serial console and control socket.

use std::ffi::OsString;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::console::{Console, Tap};
use crate::disk::{Bus, Disk};
use crate::process::tied;
use crate::qmp::Qmp;

/// UEFI firmware and its variables, as Debian 12 and 13 name them.
const FIRMWARE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const FIRMWARE_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// Without CMPXCHG16B: QEMU 7.2 now and then comes out of it with wrong flags, and the guest with a double fault. Without AVX
/// and SMAP, which emulation doesn't make faster, and without ERMS, with which the kernel clears and copies pages byte by byte:
/// a boot takes a seventh less of a processor's time.
const PROCESSOR: &str = "max,-cx16,-avx,-avx2,-smap,-smep,-erms";

/// How long QEMU may take to open its sockets.
const START: Duration = Duration::from_mins(1);

/// What starts in the machine.
#[derive(Clone, Debug)]
pub(crate) enum Firmware {
    /// OVMF, which starts the boot loader of a disk. The variables are kept in this file, made when it's missing.
    Uefi {
        /// Boot entries, one-shot choices and so on.
        variables: PathBuf,
    },
    /// The kernel itself, for what needs no boot loader: some seconds less.
    Kernel {
        /// The kernel's image.
        kernel: PathBuf,
        /// The initrd.
        initrd: PathBuf,
        /// The command line.
        command_line: String,
    },
}

/// Who does the work of the processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Threads {
    /// One thread that of all.
    One,
    /// A thread that of each: quicker where nothing else runs, but QEMU 7.2 now and then runs code that the kernel has just
    /// patched ("Oops: int3" early in the boot).
    Several,
}

/// A machine to start.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// What starts in it.
    pub firmware: Firmware,
    /// Added to the kernel's command line, whoever starts the kernel.
    pub extra_parameters: String,
    /// Its disks, in their order.
    pub disks: Vec<Disk>,
    /// Whether sticks can be plugged in while it runs.
    pub usb: bool,
    /// The saved state that it goes on from, instead of starting.
    pub state: Option<PathBuf>,
    /// Whether a reboot starts it again, instead of ending it.
    pub reboots: bool,
    /// Whether root is logged in on the serial console without being asked.
    pub autologin: bool,
    /// Processors.
    pub processors: u32,
    /// QEMU's threads that do their work.
    pub threads: Threads,
    /// Memory, in MiB.
    pub memory_mib: u32,
    /// Where the console's log goes.
    pub directory: PathBuf,
    /// Name of the log, without its ending.
    pub log_name: String,
}

/// A machine that runs. Dropped, its power is cut.
pub(crate) struct Running {
    child: Child,
    /// The first serial port.
    pub console: Console,
    qmp: Qmp,
    sockets: PathBuf,
}

impl Machine {
    /// Starts it.
    pub(crate) fn start(&self) -> Result<Running> {
        self.start_with(None)
    }

    /// Starts it, with a copy of everything that the console says.
    pub(crate) fn start_with(&self, tap: Option<Tap>) -> Result<Running> {
        let sockets = socket_directory()?;
        let started = Instant::now();
        let console = Socket::bind(&sockets, "console")?;
        let control = Socket::bind(&sockets, "qmp")?;
        let log = self.directory.join(format!("{}.qemu.log", self.log_name));
        let errors = fs::File::create(&log).with_context(|| format!("{} can't be made", log.display()))?;
        let child = tied("qemu-system-x86_64".as_ref())
            .args(self.arguments(&console.path, &control.path)?)
            .stdin(Stdio::null())
            .stdout(errors.try_clone().context("a log can't be shared")?)
            .stderr(errors)
            .spawn()
            .context("QEMU can't be started")?;
        let mut child = Killed(Some(child));
        let said = || fs::read_to_string(&log).unwrap_or_default();
        let console = console
            .accept()
            .with_context(|| format!("QEMU doesn't start: {}", said()))?;
        let control = control
            .accept()
            .with_context(|| format!("QEMU doesn't start: {}", said()))?;
        let console = Console::new(
            console,
            &self.directory.join(format!("{}.log", self.log_name)),
            started,
            tap,
        )?;
        let mut qmp = Qmp::new(control)?;
        if self.state.is_some() {
            qmp.go_on()?;
        }
        let child = child.0.take().context("QEMU is gone")?;
        Ok(Running {
            child,
            console,
            qmp,
            sockets,
        })
    }

    fn arguments(&self, console: &Path, control: &Path) -> Result<Vec<OsString>> {
        let accelerator = match self.threads {
            Threads::One => "tcg,thread=single",
            Threads::Several => "tcg,thread=multi",
        };
        let mut arguments: Vec<OsString> = [
            "-accel",
            accelerator,
            "-cpu",
            PROCESSOR,
            "-machine",
            "q35",
            "-display",
            "none",
            "-nic",
            "none",
            "-nodefaults",
            "-vga",
            "std",
            "-m",
        ]
        .map(OsString::from)
        .into();
        let mut add = |words: &[&str]| arguments.extend(words.iter().map(OsString::from));
        add(&[&self.memory_mib.to_string(), "-smp", &self.processors.to_string()]);
        if !self.reboots {
            add(&["-no-reboot"]);
        }
        if let Some(state) = &self.state {
            add(&["-incoming", &format!("exec:cat '{}'", state.display())]);
        }
        add(&[
            "-chardev",
            &format!("socket,id=console,path={}", console.display()),
            "-serial",
            "chardev:console",
        ]);
        add(&[
            "-chardev",
            &format!("socket,id=qmp,path={}", control.display()),
            "-mon",
            "chardev=qmp,mode=control",
        ]);
        // A root shell on the serial console, by systemd's credentials (systemd.exec(5), agetty(8)): the generations
        // themselves are as on any machine.
        if self.autologin {
            for credential in ["agetty.autologin=root", "login.noauth=yes"] {
                add(&[
                    "-smbios",
                    &format!("type=11,value=io.systemd.credential:tty.serial.ttyS0.{credential}"),
                ]);
            }
        }
        match &self.firmware {
            Firmware::Uefi { variables } => {
                if !variables.exists() {
                    let _ = fs::copy(FIRMWARE_VARIABLES, variables)
                        .with_context(|| format!("{FIRMWARE_VARIABLES} can't be copied (package ovmf)"))?;
                }
                add(&[
                    "-drive",
                    &format!("if=pflash,unit=0,format=raw,readonly=on,file={FIRMWARE}"),
                ]);
                add(&[
                    "-drive",
                    &format!("if=pflash,unit=1,format=raw,file={}", variables.display()),
                ]);
                if !self.extra_parameters.is_empty() {
                    // systemd-boot adds it to the entry that it starts (smbios-type-11(7)). QEMU's commas are doubled.
                    let value = self.extra_parameters.replace(',', ",,");
                    add(&[
                        "-smbios",
                        &format!("type=11,value=io.systemd.boot.kernel-cmdline-extra={value}"),
                    ]);
                }
            }
            Firmware::Kernel {
                kernel,
                initrd,
                command_line,
            } => {
                add(&[
                    "-kernel",
                    &kernel.to_string_lossy(),
                    "-initrd",
                    &initrd.to_string_lossy(),
                ]);
                add(&["-append", &format!("{command_line} {}", self.extra_parameters)]);
            }
        }
        if self.usb || self.disks.iter().any(|disk| disk.bus == Bus::Usb) {
            add(&["-device", "qemu-xhci"]);
        }
        for (index, disk) in self.disks.iter().enumerate() {
            // Caching is safe from the guest's power cuts: what QEMU was given stays in the host's page cache.
            add(&[
                "-drive",
                &format!(
                    "id=disk{index},if=none,cache=unsafe,discard=unmap,format={},file={}{}",
                    disk.format.name(),
                    disk.path.display(),
                    if disk.read_only { ",readonly=on" } else { "" },
                ),
            ]);
            let serial = &disk.serial;
            add(&[
                "-device",
                &match disk.bus {
                    Bus::Nvme { block_bytes } => format!(
                        "nvme,drive=disk{index},serial={serial},logical_block_size={block_bytes},physical_block_size={block_bytes}"
                    ),
                    Bus::Virtio { block_bytes } => format!(
                        "virtio-blk-pci,drive=disk{index},serial={serial},logical_block_size={block_bytes},physical_block_size={block_bytes}"
                    ),
                    Bus::Usb => format!("usb-storage,drive=disk{index},serial={serial},removable=on"),
                },
            ]);
        }
        Ok(arguments)
    }
}

impl Running {
    /// Stops it for good, and keeps its state in a file. Its disks can be gone on from as well.
    pub(crate) fn save(mut self, path: &Path) -> Result<()> {
        self.qmp.save(path)
    }

    /// How often the guest's memory holds `needle`. `scratch` is a file that is made meanwhile.
    pub(crate) fn count_in_memory(&mut self, needle: &[u8], scratch: &Path) -> Result<usize> {
        self.qmp.dump_memory(scratch)?;
        let found = fs::File::open(scratch)
            .and_then(|file| count(file, needle))
            .with_context(|| format!("{} can't be searched", scratch.display()));
        fs::remove_file(scratch).context("the dump can't be removed")?;
        found
    }

    /// Plugs a stick in.
    pub(crate) fn plug_in(&mut self, stick: &Disk) -> Result<()> {
        self.qmp
            .plug_in(&stick.path, stick.format.name(), &stick.serial, stick.read_only)
    }

    /// Where its processors are, for a failure that the console doesn't explain.
    pub(crate) fn processors(&mut self) -> String {
        self.qmp.registers().unwrap_or_else(|error| format!("{error:#}"))
    }

    /// Takes a picture of the screen.
    pub(crate) fn screenshot(&mut self, path: &Path) -> Result<()> {
        self.qmp.screenshot(path)
    }

    /// Presses keys of its keyboard together, by QEMU's names.
    pub(crate) fn press(&mut self, keys: &[&str]) -> Result<()> {
        self.qmp.press(keys)
    }

    /// Presses the power button.
    pub(crate) fn press_power_button(&mut self) -> Result<()> {
        self.qmp.press_power_button()
    }

    /// Waits until the guest has switched itself off, or restarts (which ends the machine too).
    pub(crate) fn wait_until_off(mut self, within: Duration) -> Result<()> {
        self.console.expect_end(within)?;
        let status = self.child.wait().context("QEMU can't be waited for")?;
        if !status.success() {
            bail!("QEMU ended with {status}");
        }
        Ok(())
    }

    /// Waits until the machine ends, or `other` is closed.
    pub(crate) fn wait_for_end_or(&self, other: BorrowedFd<'_>) -> Result<()> {
        let ended = self.console.end()?;
        let mut fds = [
            PollFd::new(other, PollFlags::POLLIN),
            PollFd::new(ended.as_fd(), PollFlags::POLLIN),
        ];
        let _ = poll(&mut fds, PollTimeout::NONE).context("poll")?;
        Ok(())
    }

    /// Cuts the power: the guest has no chance to write anything more.
    pub(crate) fn cut_power(self) {
        drop(self);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.sockets);
    }
}

/// How often `needle` is in what `reader` gives.
fn count(mut reader: impl std::io::Read, needle: &[u8]) -> std::io::Result<usize> {
    const PIECE: usize = 1 << 20;
    let mut found = 0;
    // What may be the beginning of a needle stays in front of the next piece.
    let mut buffer = Vec::new();
    loop {
        let kept = buffer.len();
        buffer.resize(kept + PIECE, 0);
        let read = reader.read(buffer.get_mut(kept..).unwrap_or_default())?;
        buffer.truncate(kept + read);
        if read == 0 {
            return Ok(found);
        }
        found += buffer
            .windows(needle.len())
            .filter(|window| *window == needle)
            .count();
        let keep = buffer.len().min(needle.len().saturating_sub(1));
        let _ = buffer.drain(..buffer.len() - keep);
    }
}

/// A child that is killed unless it's taken out.
struct Killed(Option<Child>);

impl Drop for Killed {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A socket that QEMU connects to: it's there before QEMU is, so nothing has to be waited for by trying.
struct Socket {
    path: PathBuf,
    listener: UnixListener,
}

impl Socket {
    fn bind(directory: &Path, name: &str) -> Result<Socket> {
        let path = directory.join(name);
        let listener =
            UnixListener::bind(&path).with_context(|| format!("{} can't be made", path.display()))?;
        Ok(Socket { path, listener })
    }

    fn accept(&self) -> Result<UnixStream> {
        let timeout = PollTimeout::try_from(START).context("deadline")?;
        let ready = poll(
            &mut [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)],
            timeout,
        )
        .context("poll")?;
        if ready == 0 {
            bail!("it doesn't connect to {}", self.path.display());
        }
        let (stream, _) = self.listener.accept().context("accept")?;
        Ok(stream)
    }
}

/// A new directory for sockets. In /tmp, because the path of a socket is at most 107 bytes long.
fn socket_directory() -> Result<PathBuf> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = Path::new("/tmp").join(format!("keel-qemu-{}-{number}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir(&path).with_context(|| format!("{} can't be made", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn what_lies_on_a_border_is_counted_once() {
        /// Gives three bytes at a time.
        struct Slow<'a>(&'a [u8]);
        impl std::io::Read for Slow<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                let length = self.0.len().min(3);
                let (now, later) = self.0.split_at(length);
                buffer[..length].copy_from_slice(now);
                self.0 = later;
                Ok(length)
            }
        }
        let text = b"needle..needle.needneedle";
        assert_eq!(count(&text[..], b"needle").unwrap(), 3);
        assert_eq!(count(Slow(text), b"needle").unwrap(), 3);
        assert_eq!(count(Slow(text), b"noodle").unwrap(), 0);
    }
}
