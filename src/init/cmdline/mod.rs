//! The kernel command line, as far as early boot needs it.
//!
//! Names are those of the kernel (`Documentation/admin-guide/kernel-parameters.txt`), of systemd
//! (kernel-command-line(7), systemd-cryptsetup-generator(8)) and of dracut.cmdline(7). Of a parameter that stands for
//! one thing the last usable one counts, those that make lists add up. Nothing here fails: a value that can't be used
//! becomes a [`Warning`], and the machine boots as if it weren't there.

mod device;
mod modules;
#[cfg(test)]
mod tests;
mod volumes;
mod words;

use std::fmt;

pub use device::{DeviceSpec, DeviceSpecError};
pub use modules::{ModuleParameter, module_name};
pub use volumes::{Luks, LvName, Lvm, normal_uuid};
pub use words::Parameter;

/// `fsck.mode=`, systemd-fsck@.service(8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FsckMode {
    /// Check when the file system asks for it.
    #[default]
    Auto,
    /// Check in full.
    Force,
    /// Don't check.
    Skip,
}

/// `fsck.repair=`, systemd-fsck@.service(8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FsckRepair {
    /// Repair what is safe to repair.
    #[default]
    Preen,
    /// Repair everything.
    Yes,
    /// Repair nothing.
    No,
}

/// A parameter whose value can't be used, and was ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The parameter as given: `root=floppy`.
    pub parameter: String,
    /// Why it can't be used.
    pub reason: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Escaped and cut, so that a garbled line can't garble the console.
        let shown: String = self.parameter.chars().take(80).collect();
        write!(
            f,
            "kernel parameter {} ignored: {}",
            shown.escape_debug(),
            self.reason
        )
    }
}

/// The kernel command line, typed.
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line, independent of the others"
)]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// Every parameter in its order, also those that the other fields hold. For what only one place asks for, see
    /// [`CommandLine::value`] and [`CommandLine::flag`].
    pub parameters: Vec<Parameter>,
    /// `root=`.
    pub root: Option<DeviceSpec>,
    /// `rootfstype=`, possibly a list separated by commas. `None` for `auto`.
    pub rootfstype: Option<String>,
    /// `rootflags=`, several joined by commas.
    pub rootflags: Option<String>,
    /// `rw` (true) or `ro` (false), whichever stands last.
    pub root_writable: Option<bool>,
    /// `rd.luks.*`.
    pub luks: Luks,
    /// `rd.lvm.*`.
    pub lvm: Lvm,
    /// `resume=`: where a hibernation image may be.
    pub resume: Option<DeviceSpec>,
    /// `resume_offset=`: of the swap file's header on that device, in pages.
    pub resume_offset: Option<u64>,
    /// `noresume` (or `hibernate=no`, `hibernate=noresume`).
    pub noresume: bool,
    /// `fsck.mode=`.
    pub fsck_mode: FsckMode,
    /// `fsck.repair=`.
    pub fsck_repair: FsckRepair,
    /// `keel.system=`: store path of the system to boot. Absolute; nothing else is checked here.
    pub keel_system: Option<String>,
    /// `keel.menu`: open the picker.
    pub keel_menu: bool,
    /// `init=`: absolute path of the program to execute in the real root.
    pub init: Option<String>,
    /// Device names of every `console=`, without their options, each once, in order. The last is `/dev/console`.
    pub consoles: Vec<String>,
    /// `systemd.machine_id=`: 32 hexadecimal digits in lower case.
    pub machine_id: Option<String>,
    /// `quiet`.
    pub quiet: bool,
    /// `keel.debug` or `rd.debug`: say everything.
    pub debug: bool,
    /// The console's log level that `loglevel=`, `quiet` (4) or `debug` (10) ask for; the last one counts.
    pub loglevel: Option<u8>,
    /// `panic=`: seconds until a panic reboots; 0 waits for ever, negative reboots at once.
    pub panic: Option<i32>,
    /// `MODULE.NAME=VALUE`, in order.
    pub module_parameters: Vec<ModuleParameter>,
    /// `module_blacklist=`, `modprobe.blacklist=`, `rd.driver.blacklist=`: modules, with `_` for `-`.
    pub module_blacklist: Vec<String>,
    /// `modules_load=`, `rd.modules_load=`, `rd.driver.pre=`: modules to load, with `_` for `-`.
    pub modules_load: Vec<String>,
}

impl CommandLine {
    /// Reads the text of `/proc/cmdline`.
    pub fn parse(text: &str) -> (Self, Vec<Warning>) {
        let words = words::split(text);
        let mut line = Self::default();
        let mut warnings = Vec::new();
        for parameter in &words.parameters {
            if let Err(reason) = line.apply(parameter) {
                warnings.push(Warning {
                    parameter: shown(parameter),
                    reason,
                });
            }
        }
        if words.unclosed_quote {
            warnings.push(Warning {
                parameter: words.parameters.last().map(shown).unwrap_or_default(),
                reason: "a double quote is never closed, so that it holds the rest of the line".to_owned(),
            });
        }
        line.parameters = words.parameters;
        (line, warnings)
    }

    /// Value of the last parameter `name`; `None` when there is none or it has no value.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .rev()
            .find(|parameter| parameter.is(name))?
            .value
            .as_deref()
    }

    /// Whether the switch `name` is on: given without a value, or with one that means yes.
    pub fn flag(&self, name: &str) -> bool {
        let last = self.parameters.iter().rev().find(|parameter| parameter.is(name));
        last.is_some_and(|parameter| boolean(parameter) == Ok(true))
    }

    /// The arguments for finit_module(2) of `module`, joined by spaces; empty when there are none.
    pub fn module_arguments(&self, module: &str) -> String {
        let module = module_name(module);
        let of_it = self
            .module_parameters
            .iter()
            .filter(|parameter| parameter.module == module);
        of_it
            .map(ModuleParameter::to_argument)
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn apply(&mut self, parameter: &Parameter) -> Result<(), String> {
        let p = parameter;
        // Initrd-only forms (`rd.`) and general ones mean the same here, as to systemd in its own initrd.
        let name = p.name.replace('-', "_");
        match name.as_str() {
            "root" => self.root = Some(device(p)?),
            "rootfstype" => self.rootfstype = Some(text(p)?.to_owned()).filter(|kind| kind != "auto"),
            "rootflags" => {
                let flags = text(p)?;
                let joined = self
                    .rootflags
                    .take()
                    .map_or(flags.to_owned(), |old| format!("{old},{flags}"));
                self.rootflags = Some(joined);
            }
            "ro" if p.value.is_none() => self.root_writable = Some(false),
            "rw" if p.value.is_none() => self.root_writable = Some(true),
            "resume" => self.resume = Some(device(p)?),
            "resume_offset" => self.resume_offset = Some(unsigned(p)?),
            "noresume" => self.noresume = true,
            "hibernate" if matches!(p.value.as_deref(), Some("no" | "noresume")) => self.noresume = true,
            "fsck.mode" => self.fsck_mode = fsck_mode(p)?,
            "fsck.repair" => self.fsck_repair = fsck_repair(p)?,
            "keel.system" => self.keel_system = Some(absolute(p)?),
            "keel.menu" => self.keel_menu = boolean(p)?,
            "init" => self.init = Some(absolute(p)?),
            "console" => self.add_console(p)?,
            "systemd.machine_id" => self.machine_id = Some(machine_id(p)?),
            "panic" => self.panic = Some(signed(p)?),
            _ => return self.apply_rest(&name, p),
        }
        Ok(())
    }

    fn apply_rest(&mut self, name: &str, p: &Parameter) -> Result<(), String> {
        match name {
            "rd.luks" | "luks" => self.luks.enabled = boolean(p)?,
            "rd.luks.name" | "luks.name" => {
                let (uuid, mapping) = volumes::luks_name(text(p)?)?;
                let _previous = self.luks.names.insert(uuid, mapping);
            }
            "rd.luks.uuid" | "luks.uuid" => add(&mut self.luks.uuids, volumes::luks_uuid(text(p)?)?),
            "rd.luks.options" | "luks.options" => match volumes::luks_options(text(p)?) {
                (Some(uuid), options) => {
                    let _previous = self.luks.options.insert(uuid, options);
                }
                (None, options) => self.luks.default_options = options,
            },
            "rd.luks.key" | "luks.key" | "rd.luks.data" | "luks.data" => {
                return Err("keyfiles and detached headers can't be named here".to_owned());
            }
            "rd.lvm" => self.lvm.enabled = boolean(p)?,
            "rd.lvm.lv" => add(&mut self.lvm.lvs, text(p)?.parse()?),
            "rd.lvm.vg" => add(&mut self.lvm.vgs, volumes::lvm_name(text(p)?)?),
            "quiet" if p.value.is_none() => {
                self.quiet = true;
                self.loglevel = Some(4);
            }
            "debug" if p.value.is_none() => self.loglevel = Some(10),
            "loglevel" => {
                self.loglevel = Some(u8::try_from(unsigned(p)?).map_err(|_| "it must be 0 to 255")?);
            }
            "keel.debug" | "rd.debug" => self.debug = boolean(p)?,
            "module_blacklist" | "modprobe.blacklist" | "rd.driver.blacklist" => {
                add_modules(&mut self.module_blacklist, text(p)?);
            }
            "modules_load" | "rd.modules_load" | "rd.driver.pre" => {
                add_modules(&mut self.modules_load, text(p)?);
            }
            _ => self.module_parameters.extend(modules::module_parameter(p)),
        }
        Ok(())
    }

    /// `console=ttyS0,115200n8`. An empty one and `null` ask the kernel for no console at all: not a device.
    fn add_console(&mut self, p: &Parameter) -> Result<(), String> {
        let value = p.value.as_deref().unwrap_or_default();
        let name = value.split(',').next().unwrap_or_default();
        let name = name.strip_prefix("/dev/").unwrap_or(name);
        if name.contains('/') || matches!(name, "." | "..") {
            return Err("it must be the name of a device, such as ttyS0".to_owned());
        }
        if !matches!(name, "" | "null" | "ttynull") {
            // The last mention counts for the order: it is the one that becomes /dev/console.
            self.consoles.retain(|known| known != name);
            self.consoles.push(name.to_owned());
        }
        Ok(())
    }
}

fn shown(parameter: &Parameter) -> String {
    match &parameter.value {
        Some(value) => format!("{}={value}", parameter.name),
        None => parameter.name.clone(),
    }
}

fn add<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

fn add_modules(list: &mut Vec<String>, names: &str) {
    for name in names.split(',').filter(|name| !name.is_empty()) {
        add(list, module_name(name));
    }
}

fn text(p: &Parameter) -> Result<&str, String> {
    p.value
        .as_deref()
        .filter(|value| !value.is_empty())
        .ok_or_else(|| "it has no value".to_owned())
}

fn device(p: &Parameter) -> Result<DeviceSpec, String> {
    text(p)?
        .parse()
        .map_err(|error: DeviceSpecError| error.to_string())
}

fn absolute(p: &Parameter) -> Result<String, String> {
    let path = text(p)?;
    if path.starts_with('/') && !path.split('/').any(|part| part == "..") {
        Ok(path.to_owned())
    } else {
        Err("it must be an absolute path without ..".to_owned())
    }
}

/// systemd's parse_boolean; a switch without a value is on.
fn boolean(p: &Parameter) -> Result<bool, String> {
    match p.value.as_deref().map(str::to_ascii_lowercase).as_deref() {
        None | Some("1" | "yes" | "y" | "true" | "t" | "on") => Ok(true),
        Some("0" | "no" | "n" | "false" | "f" | "off") => Ok(false),
        Some(_) => Err("it must be yes or no".to_owned()),
    }
}

fn fsck_mode(p: &Parameter) -> Result<FsckMode, String> {
    match text(p)? {
        "auto" => Ok(FsckMode::Auto),
        "force" => Ok(FsckMode::Force),
        "skip" => Ok(FsckMode::Skip),
        _ => Err("it must be auto, force or skip".to_owned()),
    }
}

fn fsck_repair(p: &Parameter) -> Result<FsckRepair, String> {
    match (text(p)?, boolean(p)) {
        ("preen", _) => Ok(FsckRepair::Preen),
        (_, Ok(true)) => Ok(FsckRepair::Yes),
        (_, Ok(false)) => Ok(FsckRepair::No),
        _ => Err("it must be preen, yes or no".to_owned()),
    }
}

/// A number as the kernel's `simple_strtoull` with base 0 takes it, as a whole: decimal, `0x…` or octal `0…`.
fn unsigned(p: &Parameter) -> Result<u64, String> {
    let digits = text(p)?;
    let parsed = if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        u64::from_str_radix(hex, 16)
    } else if digits.len() > 1 && digits.starts_with('0') {
        u64::from_str_radix(digits, 8)
    } else {
        digits.parse()
    };
    parsed.map_err(|_| "it must be a number".to_owned())
}

fn signed(p: &Parameter) -> Result<i32, String> {
    text(p)?
        .parse()
        .map_err(|_| "it must be a number of seconds".to_owned())
}

/// 32 hexadecimal digits, with or without the hyphens of a UUID, not all zero (machine-id(5)).
fn machine_id(p: &Parameter) -> Result<String, String> {
    let value = text(p)?;
    let hyphens: Vec<usize> = value.match_indices('-').map(|(at, _)| at).collect();
    let digits = value.replace('-', "").to_ascii_lowercase();
    let right_form = matches!(hyphens.as_slice(), [] | [8, 13, 18, 23]) && digits.len() == 32;
    if !right_form || !digits.bytes().all(|b| b.is_ascii_hexdigit()) || digits.bytes().all(|b| b == b'0') {
        return Err("it must be 32 hexadecimal digits, not all zero".to_owned());
    }
    Ok(digits)
}
