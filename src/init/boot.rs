//! The state of early boot, and the one place where it waits.

use std::collections::VecDeque;
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use log::{debug, info};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::adjunct::{Agents, Reply};
use super::cmdline::CommandLine;
use super::console::{Consoles, Echo, Line, Prompt};
use super::devices::{self, Devices};
use super::modules::{Loader, Table};
use super::open_luks::Detached;
use super::report::Report;
use super::uevent::{Action, Uevent};
use super::unlock::{Keyring, Progress};
use super::unlock_trial::Trial;
use super::volumes::VolumeGroups;
use super::{InitError, modules};
use crate::block::DeviceNumber;
use crate::block::dm::{Control, DmError};
use crate::sys::uevent::{Received, UeventSocket};

/// Where the image keeps its module table and its modules.
const MODULE_TABLE: &str = "/etc/keel/modules";
const MODULES: &str = "/lib/modules";

/// What any encrypted or logical volume needs, and what any generation's root is made of: asked for by name from the
/// beginning, beside what the hardware asks for.
const UNLOCKING: &[&str] = &["dm_mod", "dm_crypt"];
const IMAGES: &[&str] = &["erofs", "overlay"];

/// Everything that early boot knows.
pub(super) struct Boot {
    pub cmdline: CommandLine,
    pub consoles: Consoles,
    /// Whom passphrases are asked of beside systemd, where the consoles are not ours.
    pub agents: Option<Agents>,
    pub loader: Loader,
    pub report: Report,
    pub devices: Devices,
    /// Devices that appeared and haven't been considered yet.
    pub queue: VecDeque<DeviceNumber>,
    pub keyring: Keyring,
    /// Volumes with detached headers that aren't complete.
    pub detached: Vec<Detached>,
    pub groups: VolumeGroups,
    /// A hibernated system was looked for.
    pub resume_is_settled: bool,
    /// The image's shell, when the kernel's command line allows it.
    pub shell: Option<PathBuf>,
    uevents: UeventSocket,
}

/// Who else is in the initrd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nobody: we are PID 1.
    Alone,
    /// systemd is PID 1; udevd runs.
    BesideSystemd,
}

/// Opens all consoles.
pub(super) fn open_consoles(cmdline: &CommandLine) -> Consoles {
    Consoles::open(Path::new("/dev"), Path::new("/sys"), &cmdline.consoles)
}

/// What happened while waiting.
#[derive(Default)]
pub(super) struct Wake {
    /// A line that somebody typed.
    pub line: Option<Line>,
    /// A passphrase was tried on a volume, or on all of them.
    pub progress: Option<Progress>,
    /// Beside systemd: whoever was asked doesn't want to answer.
    pub cancelled: bool,
    /// The deadline passed, and nothing else happened.
    pub timed_out: bool,
}

impl Boot {
    /// Opens consoles, starts loading modules, and takes in the devices that are already there.
    pub(super) fn start(cmdline: CommandLine, report: Report, place: Place) -> Result<Boot, InitError> {
        let (consoles, agents) = match place {
            Place::Alone => (open_consoles(&cmdline), None),
            Place::BesideSystemd => (Consoles::none(), Some(Agents::of_machine())),
        };
        let text = fs::read(MODULE_TABLE).map_err(|source| InitError::Image {
            path: MODULE_TABLE,
            source,
        })?;
        let table = Table::parse(&text)?;
        // Before the coldplug: a device that appears in between is in both, and in neither otherwise.
        let uevents = UeventSocket::open().map_err(InitError::Uevents)?;
        let loader = Loader::start(table, MODULES, &cmdline.modules).map_err(InitError::Loader)?;
        let mut boot = Boot {
            cmdline,
            consoles,
            agents,
            loader,
            report,
            devices: Devices::default(),
            queue: VecDeque::new(),
            keyring: Keyring::default(),
            detached: Vec::new(),
            groups: VolumeGroups::default(),
            resume_is_settled: false,
            shell: None,
            uevents,
        };
        let rest: Vec<&str> = IMAGES
            .iter()
            .copied()
            .chain(boot.cmdline.root_kind.as_deref())
            .collect();
        boot.loader
            .request_at_start(&modules::modaliases(Path::new("/sys")), UNLOCKING, &rest);
        boot.look_at_block_devices();
        boot.load_keymap();
        boot.allow_shell();
        boot.expect_detached_headers();
        Ok(boot)
    }

    /// Looks at all of /sys: at the start, and when the kernel dropped events.
    pub(super) fn look_again(&mut self) {
        for modalias in modules::modaliases(Path::new("/sys")) {
            self.loader.request_alias(&modalias);
        }
        self.look_at_block_devices();
    }

    fn look_at_block_devices(&mut self) {
        for event in devices::in_sysfs(Path::new("/sys")) {
            self.device_event(&event);
        }
    }

    /// Waits for the next thing to happen: an event of the kernel, a module, a key, a tried passphrase, the deadline.
    /// Sleeps in poll(2) until then.
    pub(super) fn wait(&mut self, deadline: Option<Instant>) -> Result<Wake, InitError> {
        let (uevent_ready, loader_ready, trial_ready, agents_ready, timed_out) = {
            let uevent = self.uevents.as_fd();
            let loader = self.loader.poll_fd();
            let trial = self.keyring.trial.as_ref().map(Trial::poll_fd);
            let mut fds = vec![
                PollFd::new(uevent, PollFlags::POLLIN),
                PollFd::new(loader, PollFlags::POLLIN),
            ];
            fds.extend(trial.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
            let with_trial = trial.is_some();
            let agents = self.agents.as_ref().and_then(Agents::poll_fd);
            let agents_at = fds.len();
            fds.extend(agents.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
            let with_agents = agents.is_some();
            let console_fds = self.consoles.poll_fds();
            fds.extend(console_fds);
            let timeout = deadline.map_or(PollTimeout::NONE, |deadline| {
                let left = deadline
                    .saturating_duration_since(Instant::now())
                    .as_millis()
                    .saturating_add(1);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            });
            let count = match poll(&mut fds, timeout) {
                Ok(count) => count,
                Err(Errno::EINTR) => return Ok(Wake::default()),
                Err(errno) => return Err(InitError::Wait(errno)),
            };
            let ready = |index: usize| fds.get(index).and_then(PollFd::any).unwrap_or(false);
            (
                ready(0),
                ready(1),
                with_trial && ready(2),
                with_agents && ready(agents_at),
                count == 0,
            )
        };
        let mut wake = Wake {
            timed_out,
            ..Wake::default()
        };
        if uevent_ready {
            self.take_uevents()?;
        }
        if loader_ready {
            self.loader.acknowledge();
        }
        if trial_ready {
            wake.progress = self.keyring.progress();
        }
        wake.line = self.consoles.handle_ready();
        if agents_ready {
            self.take_reply(&mut wake);
        }
        Ok(wake)
    }

    fn take_reply(&mut self, wake: &mut Wake) {
        match self.agents.as_mut().and_then(Agents::reply) {
            Some(Reply::Passphrase(bytes)) => {
                wake.line = Some(Line {
                    bytes,
                    console: "a password agent".to_owned(),
                });
            }
            Some(Reply::Cancelled) => wake.cancelled = true,
            None => {}
        }
    }

    /// Whether systemd is PID 1 of this initrd.
    pub(super) fn is_beside_systemd(&self) -> bool {
        self.agents.is_some()
    }

    /// Opens device-mapper.
    pub(super) fn device_mapper(&self) -> Result<Control, DmError> {
        let control = Control::open()?;
        Ok(if self.is_beside_systemd() {
            control.beside_udevd()
        } else {
            control
        })
    }

    /// Asks for a passphrase.
    pub(super) fn ask_passphrase(&mut self, text: String) {
        let Some(agents) = &mut self.agents else {
            return self.consoles.set_prompt(Prompt {
                text,
                echo: Echo::Stars,
            });
        };
        if let Err(error) = agents.ask(&text) {
            self.warn(&format!("no password agent can be asked: {error}"));
        }
    }

    /// Takes back what was asked.
    pub(super) fn stop_asking(&mut self) {
        self.consoles.clear_prompt();
        if let Some(agents) = &mut self.agents {
            agents.withdraw();
        }
    }

    fn take_uevents(&mut self) -> Result<(), InitError> {
        loop {
            match self.uevents.receive().map_err(InitError::Uevents)? {
                Received::Nothing => return Ok(()),
                Received::Lost => {
                    debug!("uevents were lost; looking at /sys again");
                    self.look_again();
                }
                Received::Event(datagram) => {
                    if let Some(event) = Uevent::parse(&datagram) {
                        self.device_event(&event);
                    }
                }
            }
        }
    }

    fn device_event(&mut self, event: &Uevent) {
        if let (Action::Add, Some(modalias)) = (event.action, &event.modalias) {
            self.loader.request_alias(modalias);
        }
        if event.subsystem != "block" {
            return;
        }
        match event.action {
            Action::Add | Action::Change => self.block_device_appears(event),
            Action::Remove => {
                if let Some(number) = event.number {
                    self.block_device_goes(number);
                }
            }
            Action::Other => {}
        }
    }

    fn block_device_appears(&mut self, event: &Uevent) {
        if self.is_beside_systemd() && event.name.as_deref().is_some_and(|name| name.starts_with("dm-")) {
            return self.mapping_of_another_appears(event);
        }
        // Coldplug and events overlap; only a change makes a known device worth another look.
        let known = event.number.and_then(|number| self.devices.get(number));
        if known.is_some_and(|device| event.action == Action::Add || device.superblock.is_some()) {
            return;
        }
        let Some((number, probed)) = self.devices.appear(event) else {
            return;
        };
        match probed {
            Ok(()) => self.queue.push_back(number),
            // A card reader without a card is no news; a disk that can't be read is.
            Err(error) if error.raw_os_error() == Some(libc::ENOMEDIUM) => {}
            Err(error) => {
                let name = event.name.as_deref().unwrap_or("?");
                self.report.warn(format!("/dev/{name} can't be read: {error}"));
            }
        }
    }

    fn block_device_goes(&mut self, number: DeviceNumber) {
        if let Some(device) = self.devices.remove(number) {
            info!("{} is gone", device.display_name());
        }
        self.queue.retain(|queued| *queued != number);
        self.keyring.forget(number);
        self.groups.remove(number);
    }

    /// Says something to the person, on every console, and to the kernel log at a level that no console shows.
    pub(super) fn say(&mut self, text: &str) {
        debug!("{text}");
        self.print(text);
    }

    /// Shows a line. Beside systemd it goes where systemd lets it: to the journal and `/dev/console`.
    pub(super) fn print(&mut self, text: &str) {
        if self.is_beside_systemd() {
            eprintln!("{text}");
        }
        self.consoles.print(text);
    }

    /// Says something that went wrong but doesn't stop the boot, and keeps it for the report.
    pub(super) fn warn(&mut self, text: &str) {
        self.print(&format!("Warning: {text}"));
        self.report.warnings.push(text.to_owned());
        // The console has shown it already.
        debug!("warning: {text}");
    }
}
