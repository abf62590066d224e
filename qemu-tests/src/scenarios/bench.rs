//! What every scenario works with: its directory, disks to write to, machines, and the checks that it made.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::disk::Disk;
use crate::guest::Shell;
use crate::layout::{Layout, PASSPHRASE};
use crate::machine::{Firmware, Machine, Running, Threads};
use crate::made::Made;
use crate::process::Tool;
use crate::report::BootReport;
use crate::rootfs;
use crate::tables::{SCRIPT, Tables};
use crate::texts;

/// How long the emulated machine may take to a prompt of early boot.
pub(crate) const TO_PROMPT: Duration = Duration::from_mins(5);
/// How long from the passphrase to a shell.
pub(crate) const TO_SHELL: Duration = Duration::from_mins(8);
/// How long to switch off.
pub(crate) const TO_OFF: Duration = Duration::from_mins(4);

/// Starts a shell in systemd's place, where what systemd does isn't looked at: half a minute less.
pub(crate) const SHELL_AS_INIT: &str = "init=/usr/bin/bash";

/// Where the builder's first partition begins.
const ESP_OFFSET: &str = "1M";
/// The name of a scenario's own initrd on the ESP.
const INITRD_ON_ESP: &str = "/EFI/keel/scenario-initrd";

/// Something that was looked at, and what was wrong with it.
pub(crate) struct Check {
    /// As a sentence.
    pub name: String,
    /// What was wrong.
    pub failure: Option<String>,
}

/// What was looked at, in order.
#[derive(Default)]
pub(crate) struct Checks(pub Vec<Check>);

impl Checks {
    /// Notes whether something is as it should be.
    pub(crate) fn check(&mut self, name: &str, look: impl FnOnce() -> Result<()>) {
        let failure = look().err().map(|error| format!("{error:#}"));
        self.0.push(Check {
            name: name.to_owned(),
            failure,
        });
    }

    /// What was looked at by a scenario that came to this end: one that couldn't go on has failed, whatever it had shown
    /// before.
    pub(crate) fn ended(mut self, result: Result<()>) -> Vec<Check> {
        if result.is_err() {
            self.check("runs to its end", || result);
        }
        self.0
    }
}

/// A scenario's surroundings.
pub(crate) struct Bench<'a> {
    /// What all scenarios share.
    pub made: &'a Made,
    /// The scenario's own directory.
    pub directory: PathBuf,
    /// What was looked at so far.
    pub checks: Checks,
}

impl Bench<'_> {
    /// Notes whether something is as it should be; the scenario goes on in any case.
    pub(crate) fn check(&mut self, name: &str, look: impl FnOnce() -> Result<()>) {
        self.checks.check(name, look);
    }

    /// Disks of a layout, to be written to.
    pub(crate) fn disks(&self, layout: Layout) -> Result<Vec<Disk>> {
        self.made
            .disks(layout)?
            .disks()
            .iter()
            .map(|disk| disk.overlay(&self.directory))
            .collect()
    }

    /// The same for disks with blocks of 512 bytes, with a boot menu all of whose entries start another initrd.
    pub(crate) fn disks_with_initrd(&self, layout: Layout, initrd: &Path) -> Result<Vec<Disk>> {
        let mut disks = self.made.disks(layout)?.disks();
        let first = disks.first_mut().context("the layout has no disk")?;
        let path = self.directory.join("with-initrd.raw");
        Tool::new("cp")
            .args(["--reflink=auto", "--sparse=always"])
            .args([&first.path, &path])
            .run()?;
        let esp = format!("{}@@{ESP_OFFSET}", path.display());
        Tool::new("mcopy")
            .args(["-i", &esp])
            .arg(initrd)
            .arg(format!("::{INITRD_ON_ESP}"))
            .run()?;
        let entries = Tool::new("mdir")
            .args(["-b", "-i", &esp, "::/loader/entries"])
            .output()?;
        for entry in entries.lines().filter(|line| line.ends_with(".conf")) {
            let text = Tool::new("mtype").args(["-i", &esp, entry]).output()?;
            let changed: Vec<String> = text
                .lines()
                .map(|line| match line.strip_prefix("initrd ") {
                    Some(_) => format!("initrd {INITRD_ON_ESP}"),
                    None => line.to_owned(),
                })
                .collect();
            let file = self.directory.join("entry.conf");
            rootfs::write(&file, &(changed.join("\n") + "\n"))?;
            Tool::new("mcopy")
                .args(["-o", "-i", &esp])
                .arg(&file)
                .arg(entry)
                .run()?;
        }
        first.path = path;
        disks.iter().map(|disk| disk.overlay(&self.directory)).collect()
    }

    /// A machine that starts from the boot menu of its first disk.
    pub(crate) fn through_menu(&self, disks: &[Disk], log_name: &str) -> Machine {
        self.machine(
            Firmware::Uefi {
                variables: self.directory.join("variables.fd"),
            },
            disks,
            log_name,
        )
    }

    /// A machine that starts the newest generation's kernel without firmware and menu, some seconds quicker. No entry is
    /// involved: the profile says which generation runs.
    pub(crate) fn without_menu(&self, layout: Layout, disks: &[Disk], log_name: &str) -> Result<Machine> {
        let firmware = Firmware::Kernel {
            kernel: self.made.part("kernel")?,
            initrd: self.made.part("initrd")?,
            command_line: layout.parameters().join(" "),
        };
        Ok(self.machine(firmware, disks, log_name))
    }

    fn machine(&self, firmware: Firmware, disks: &[Disk], log_name: &str) -> Machine {
        Machine {
            firmware,
            extra_parameters: String::new(),
            disks: disks.to_vec(),
            usb: false,
            autologin: true,
            state: None,
            reboots: false,
            processors: 2,
            threads: Threads::One,
            memory_mib: 1024,
            directory: self.directory.clone(),
            log_name: log_name.to_owned(),
        }
    }
}

impl Machine {
    /// The same machine with more parameters for its kernel.
    pub(crate) fn with(self, parameters: &str) -> Machine {
        let extra_parameters = format!("{} {parameters}", self.extra_parameters)
            .trim()
            .to_owned();
        Machine {
            extra_parameters,
            ..self
        }
    }

    /// Another initrd, where no boot loader brings one.
    pub(crate) fn set_initrd(&mut self, initrd: &Path) {
        if let Firmware::Kernel { initrd: given, .. } = &mut self.firmware {
            initrd.clone_into(given);
        }
    }

    /// Starts it; a panic ends every wait.
    pub(crate) fn boot(&self) -> Result<Running> {
        let mut running = self.start()?;
        running.console.set_fatal(&[texts::PANIC]);
        Ok(running)
    }
}

impl Running {
    /// Waits for the prompt and types the right passphrase.
    pub(crate) fn unlock(&mut self) -> Result<()> {
        self.console
            .set_fatal(&[texts::PANIC, texts::TROUBLE, texts::ROOT_ABSENT]);
        let _ = self.console.expect(texts::PASSPHRASE_PROMPT, TO_PROMPT)?;
        self.console.set_fatal(&[texts::PANIC]);
        self.console.send_line(PASSPHRASE)
    }

    /// Waits for root's shell. What early boot can't go on with ends the wait.
    pub(crate) fn shell(&mut self) -> Result<Shell<'_>> {
        self.console
            .set_fatal(&[texts::PANIC, texts::TROUBLE, texts::ROOT_ABSENT]);
        Shell::take_over(&self.console, TO_SHELL)
    }
}

impl Shell<'_> {
    /// What early boot reported.
    pub(crate) fn boot_report(&mut self) -> Result<BootReport> {
        let text = self.run("cat /run/keel/boot.json")?;
        serde_json::from_str(&text).with_context(|| format!("the report of early boot reads {text}"))
    }

    /// What is mapped.
    pub(crate) fn tables(&mut self) -> Result<Tables> {
        let script = SCRIPT.trim_end();
        Ok(Tables::parse(&self.run(script)?))
    }

    /// Switches off a machine whose shell runs in systemd's place, with the file system in order.
    pub(crate) fn switch_off_kernel(&mut self) -> Result<()> {
        self.send("sync; echo u >/proc/sysrq-trigger; echo o >/proc/sysrq-trigger")
    }
}

/// Fails unless both are the same.
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(what: &str, is: &T, should: &T) -> Result<()> {
    if is != should {
        bail!("{what} is {is:?} instead of {should:?}");
    }
    Ok(())
}

/// Fails unless `text` contains `part`.
pub(crate) fn says(text: &str, part: &str) -> Result<()> {
    if !text.contains(part) {
        bail!("{part:?} isn't said in {text:?}");
    }
    Ok(())
}

/// Makes the directory of a scenario, empty.
pub(crate) fn empty_directory(path: &Path) -> Result<()> {
    let _ = std::fs::remove_dir_all(path);
    std::fs::create_dir_all(path).with_context(|| format!("{} can't be made", path.display()))
}
