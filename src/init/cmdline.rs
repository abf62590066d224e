//! The kernel command line, as far as early boot understands it. Names are dracut's and systemd's
//! (dracut.cmdline(7), kernel-command-line(7), systemd-cryptsetup-generator(8)).

use std::collections::{BTreeMap, BTreeSet};

pub use super::device_spec::DeviceSpec;
use super::fsck::Check;
use super::keymap::is_keymap_name;
pub use super::luks_parameters::{LuksParameters, Source, VolumeOptions};
pub use super::shell::ShellPoint;

/// `fsck.mode=`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FsckMode {
    /// Check when the file system asks for it.
    #[default]
    Auto,
    /// Check in any case.
    Force,
    /// Don't check.
    Skip,
}

/// `fsck.repair=`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FsckRepair {
    /// Mend what is safe to mend.
    #[default]
    Preen,
    /// Mend everything.
    Yes,
    /// Mend nothing.
    No,
}

/// What `rd.lvm*` says. With both lists empty, every complete group is activated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LvmParameters {
    /// `rd.lvm=0`: activate nothing.
    pub disabled: bool,
    /// `rd.lvm.lv=VG/LV`
    pub volumes: Vec<String>,
    /// `rd.lvm.vg=VG`
    pub groups: Vec<String>,
}

/// `rd.vconsole.*` (dracut.cmdline(7)), and `vconsole.*` (systemd-vconsole-setup.service(8)), which the real system heeds
/// as well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VconsoleParameters {
    /// `rd.vconsole.keymap=`, else `vconsole.keymap=`
    pub keymap: Option<String>,
    /// `rd.vconsole.font=`
    pub font: Option<String>,
}

/// Parameters that go to kernel modules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleParameters {
    /// `MODULE.PARAMETER[=VALUE]`, by module with `_` for `-`, as it's handed to the kernel.
    pub options: BTreeMap<String, Vec<String>>,
    /// Modules that must not be loaded, with `_` for `-`.
    pub blacklist: Vec<String>,
}

/// The parsed command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// `root=`
    pub root: Option<DeviceSpec>,
    /// `rootfstype=`
    pub root_kind: Option<String>,
    /// `rootflags=`
    pub root_flags: Option<String>,
    /// `rd.luks*`
    pub luks: LuksParameters,
    /// `rd.lvm*`
    pub lvm: LvmParameters,
    /// `resume=`, unless `noresume`.
    pub resume: Option<DeviceSpec>,
    /// `resume_offset=`: where a swap file begins on the device, in pages.
    pub resume_offset: u64,
    /// `noresume`, or `hibernate=` with a value that means it.
    pub no_resume: bool,
    /// `fsck.mode=`, `fsck.repair=` and `rd.skipfsck`
    pub fsck: Check,
    /// `keel.system=`
    pub system: Option<String>,
    /// `keel.menu`
    pub menu: bool,
    /// `keel.debug`
    pub debug: bool,
    /// `keel.shell`: the points at which a root shell is offered beside troubles; nothing without the parameter.
    pub shell: Option<BTreeSet<ShellPoint>>,
    /// `init=`
    pub init: Option<String>,
    /// Every `console=`, without the options behind the comma, in order.
    pub consoles: Vec<String>,
    /// `systemd.machine_id=`
    pub machine_id: Option<String>,
    /// `rd.timeout=`: how long devices are waited for beside systemd, seconds; 0 is forever.
    pub timeout: Option<u32>,
    /// `panic=`, seconds; a negative number reboots at once.
    pub panic: Option<i64>,
    /// The console's keyboard.
    pub vconsole: VconsoleParameters,
    /// For kernel modules.
    pub modules: ModuleParameters,
}

/// A parameter that can't be used as it is. The boot goes on without it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("kernel parameter {parameter} is ignored: {reason}")]
pub struct Warning {
    parameter: String,
    reason: String,
}

impl CommandLine {
    /// Reads a command line. Later parameters win over earlier ones, lists add up.
    pub fn parse(text: &str) -> (CommandLine, Vec<Warning>) {
        let mut line = CommandLine::default();
        let mut warnings = Vec::new();
        let mut system_keymap = None;
        let parameters = split(text);
        for parameter in &parameters {
            // What follows is for init(1), not for us (Linux, Documentation/admin-guide/kernel-parameters.rst).
            if parameter == "--" {
                break;
            }
            let (key, value) = match parameter.split_once('=') {
                Some((key, value)) => (key, Some(value.trim_matches('"'))),
                None => (parameter.as_str(), None),
            };
            // In names, `-` and `_` are one to the kernel (`parameq`) and to systemd (`proc_cmdline_key_streq`).
            let key = &underscored(key);
            if key == "vconsole.keymap" {
                system_keymap = value.filter(|name| !name.is_empty()).map(str::to_owned);
            }
            if let Err(reason) = line.take(key, value) {
                warnings.push(Warning {
                    parameter: parameter.clone(),
                    reason,
                });
            }
        }
        if line.no_resume {
            line.resume = None;
        }
        line.vconsole.keymap = line.vconsole.keymap.or(system_keymap);
        if text.matches('"').count() % 2 == 1 {
            warnings.push(Warning {
                parameter: parameters.last().cloned().unwrap_or_default(),
                reason: "a double quote is never closed, so it holds the rest of the line".to_owned(),
            });
        }
        (line, warnings)
    }

    fn take(&mut self, key: &str, value: Option<&str>) -> Result<(), String> {
        let text = value.unwrap_or_default();
        match key {
            "root" => self.root = Some(device(text)?),
            "resume" => self.resume = Some(device(text)?),
            "resume_offset" => {
                self.resume_offset = text
                    .parse()
                    .map_err(|_| "it takes a number of pages".to_owned())?;
            }
            "noresume" => self.no_resume = true,
            // Linux, Documentation/admin-guide/kernel-parameters.txt
            "hibernate" if matches!(text, "noresume" | "no") => self.no_resume = true,
            "rootfstype" => {
                self.root_kind = Some(text.to_owned()).filter(|kind| !matches!(kind.as_str(), "" | "auto"));
            }
            // As systemd's: several add up.
            "rootflags" => match &mut self.root_flags {
                Some(flags) => flags.extend([",", text]),
                None => self.root_flags = Some(text.to_owned()),
            },
            "init" => {
                if !text.starts_with('/') {
                    return Err("it takes an absolute path".to_owned());
                }
                self.init = Some(text.to_owned());
            }
            "console" => self.take_console(text),
            "panic" => {
                self.panic = Some(
                    text.parse()
                        .map_err(|_| "it takes a number of seconds".to_owned())?,
                );
            }
            "rd.timeout" => {
                self.timeout = Some(
                    text.parse()
                        .map_err(|_| "it takes a number of seconds".to_owned())?,
                );
            }
            "systemd.machine_id" => self.machine_id = Some(machine_id(text)?),
            "fsck.mode" => self.fsck.mode = fsck_mode(text)?,
            "fsck.repair" => self.fsck.repair = fsck_repair(text)?,
            // dracut.cmdline(7)
            "rd.skipfsck" => self.fsck.skips_root = truth(value)?,
            "keel.system" => self.system = Some(system(text)?),
            "keel.menu" => self.menu = truth(value)?,
            "keel.shell" => {
                let points = ShellPoint::parse_list(text)?;
                self.shell.get_or_insert_default().extend(points);
            }
            "keel.debug" => self.debug = truth(value)?,
            "rd.vconsole.keymap" => self.vconsole.keymap = Some(keymap(text)?),
            "rd.vconsole.font" => self.vconsole.font = Some(text.to_owned()).filter(|font| !font.is_empty()),
            "rd.lvm" => self.lvm.disabled = !truth(value)?,
            "rd.lvm.lv" => {
                if text.split('/').filter(|part| !part.is_empty()).count() != 2 {
                    return Err("it takes VG/LV".to_owned());
                }
                self.lvm.volumes.push(text.to_owned());
            }
            "rd.lvm.vg" => self.lvm.groups.push(text.to_owned()),
            "module_blacklist" | "modprobe.blacklist" | "rd.driver.blacklist" => {
                self.modules
                    .blacklist
                    .extend(text.split(',').filter(|name| !name.is_empty()).map(underscored));
            }
            _ => {
                let luks = key.strip_prefix("rd.").unwrap_or(key);
                if luks == "luks" || luks.starts_with("luks.") {
                    return self.luks.take(luks, value);
                }
                self.take_module_parameter(key, value);
            }
        }
        Ok(())
    }

    fn take_console(&mut self, text: &str) {
        let name = text.split(',').next().unwrap_or_default();
        if !name.is_empty() && name != "null" && !self.consoles.iter().any(|known| known == name) {
            self.consoles.push(name.to_owned());
        }
    }

    fn take_module_parameter(&mut self, key: &str, value: Option<&str>) {
        const NOT_MODULES: [&str; 7] = ["rd", "keel", "systemd", "luks", "fsck", "udev", "vconsole"];
        let Some((module, parameter)) = key.split_once('.') else {
            return;
        };
        if module.is_empty() || parameter.is_empty() || NOT_MODULES.contains(&module) {
            return;
        }
        let option = match value {
            None => parameter.to_owned(),
            // The kernel splits what it is handed as it splits the command line.
            Some(value) if value.contains(char::is_whitespace) => format!("{parameter}=\"{value}\""),
            Some(value) => format!("{parameter}={value}"),
        };
        self.modules
            .options
            .entry(underscored(module))
            .or_default()
            .push(option);
    }

    /// Whether a LUKS volume is to be unlocked, and the name that its mapping gets when one is given. Without any
    /// `rd.luks.uuid=` or `rd.luks.name=` every volume is.
    pub fn luks_name(&self, uuid: &str) -> Option<Option<&str>> {
        if self.luks.disabled {
            return None;
        }
        if self.luks.volumes.is_empty() {
            return Some(None);
        }
        self.luks
            .volumes
            .get(&uuid.to_ascii_lowercase())
            .map(Option::as_deref)
    }
}

/// Splits at white space outside of double quotes, as the kernel does (lib/cmdline.c, `next_arg`). Quotes around a whole
/// parameter go; those around a value stay for the caller.
fn split(text: &str) -> Vec<String> {
    let mut parameters = Vec::new();
    let mut current = String::new();
    let mut quoted = false;
    for character in text.chars() {
        match character {
            '"' => {
                quoted = !quoted;
                current.push(character);
            }
            space if space.is_ascii_whitespace() && !quoted => {
                if !current.is_empty() {
                    parameters.push(std::mem::take(&mut current));
                }
            }
            other => current.push(other),
        }
    }
    if !current.is_empty() {
        parameters.push(current);
    }
    for parameter in &mut parameters {
        if let Some(inner) = parameter.strip_prefix('"') {
            *parameter = inner.trim_end_matches('"').to_owned();
        }
    }
    parameters
}

fn device(text: &str) -> Result<DeviceSpec, String> {
    DeviceSpec::parse(text).map_err(|refusal| refusal.to_string())
}

fn system(text: &str) -> Result<String, String> {
    let name = text.rsplit('/').next().unwrap_or_default();
    let valid = text.starts_with('/') && !name.starts_with('.') && !text.contains("/../");
    if valid {
        Ok(text.to_owned())
    } else {
        Err("it takes the store path of a system".to_owned())
    }
}

pub(super) fn truth(value: Option<&str>) -> Result<bool, String> {
    match value {
        None | Some("1" | "yes" | "true" | "on") => Ok(true),
        Some("0" | "no" | "false" | "off") => Ok(false),
        Some(_) => Err("it takes yes or no".to_owned()),
    }
}

fn keymap(text: &str) -> Result<String, String> {
    if is_keymap_name(text) {
        Ok(text.to_owned())
    } else {
        Err("it takes the name of a keymap, such as de or de-latin1".to_owned())
    }
}

fn fsck_mode(text: &str) -> Result<FsckMode, String> {
    match text {
        "auto" => Ok(FsckMode::Auto),
        "force" => Ok(FsckMode::Force),
        "skip" => Ok(FsckMode::Skip),
        _ => Err("it takes auto, force or skip".to_owned()),
    }
}

fn fsck_repair(text: &str) -> Result<FsckRepair, String> {
    match text {
        "preen" => Ok(FsckRepair::Preen),
        "yes" => Ok(FsckRepair::Yes),
        "no" => Ok(FsckRepair::No),
        _ => Err("it takes preen, yes or no".to_owned()),
    }
}

/// 32 hexadecimal digits, with or without the hyphens of a UUID, not all of them 0 (machine-id(5)).
fn machine_id(text: &str) -> Result<String, String> {
    let hyphens: Vec<usize> = text.match_indices('-').map(|(at, _)| at).collect();
    let digits = text.replace('-', "").to_ascii_lowercase();
    let shaped = matches!(hyphens.as_slice(), [] | [8, 13, 18, 23]) && digits.len() == 32;
    let valid = shaped
        && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        && digits.bytes().any(|byte| byte != b'0');
    if valid {
        Ok(digits)
    } else {
        Err("it takes 32 hexadecimal digits, not all of them 0".to_owned())
    }
}

fn underscored(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const UUID: &str = "2b6c2f3e-0000-4000-8000-000000000001";

    fn parse(text: &str) -> CommandLine {
        let (line, warnings) = CommandLine::parse(text);
        assert_eq!(warnings, []);
        line
    }

    #[test]
    fn luks_volumes_are_all_wanted_unless_some_are_named() {
        assert_eq!(parse("quiet").luks_name(UUID), Some(None));
        let line = parse(&format!(
            "rd.luks.name={}=crypt rd.luks.options=discard",
            UUID.to_uppercase()
        ));
        assert_eq!(line.luks_name(UUID), Some(Some("crypt")));
        assert!(line.luks.options_of(UUID).0.crypt.allow_discards);
        assert_eq!(line.luks_name("00000000-0000-4000-8000-000000000002"), None);
        assert_eq!(
            parse(&format!("rd.luks.uuid=luks-{UUID}")).luks_name(UUID),
            Some(None)
        );
        assert_eq!(parse("rd.luks=no").luks_name(UUID), None);
    }

    #[test]
    fn quotes_keep_spaces_together() {
        let line = parse("root=\"LABEL=my root\" \"rootflags=a b\" quiet");
        assert_eq!(line.root, Some(DeviceSpec::Label("my root".into())));
        assert_eq!(line.root_flags.as_deref(), Some("a b"));
    }

    #[test]
    fn the_last_scalar_wins_and_lists_add_up() {
        let line = parse("root=/dev/a root=/dev/b console=tty0 console=ttyS0,115200 rd.lvm.vg=a rd.lvm.vg=b");
        assert_eq!(line.root, Some(DeviceSpec::Path("/dev/b".into())));
        assert_eq!(line.consoles, ["tty0", "ttyS0"]);
        assert_eq!(line.lvm.groups, ["a", "b"]);
    }

    #[test]
    fn flags_of_the_root_add_up_and_auto_is_no_type() {
        let line = parse("rootflags=noatime rootfstype=auto rootflags=commit=30");
        assert_eq!(line.root_flags.as_deref(), Some("noatime,commit=30"));
        assert_eq!(line.root_kind, None);
    }

    #[test]
    fn hyphen_and_underscore_are_equal_in_names_only() {
        let line = parse("systemd.machine-id=01234567-89AB-cdef-0123-456789abcdef root=LABEL=a-b");
        assert_eq!(
            line.machine_id.as_deref(),
            Some("0123456789abcdef0123456789abcdef")
        );
        assert_eq!(line.root, Some(DeviceSpec::Label("a-b".into())));
    }

    #[test]
    fn noresume_wins_wherever_it_stands() {
        assert_eq!(parse("noresume resume=/dev/vg/swap").resume, None);
    }

    #[test]
    fn unusable_values_are_named_and_ignored() {
        let (line, warnings) =
            CommandLine::parse("root=nonsense fsck.mode=maybe rd.luks.name=x=y keel.system=rel");
        assert_eq!(line, CommandLine::default());
        let texts: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 4);
        assert!(
            texts
                .first()
                .unwrap()
                .starts_with("kernel parameter root=nonsense is ignored")
        );
        for text in [
            "init=sh",
            "init=",
            "rd.luks.key=k",
            "systemd.machine_id=firmware",
            "systemd.machine_id=00000000000000000000000000000000",
            "x=\"a b",
        ] {
            let (line, warnings) = CommandLine::parse(text);
            assert_eq!((line, warnings.len()), (CommandLine::default(), 1), "{text}");
        }
    }

    #[test]
    fn parameters_of_modules_are_kept_for_them() {
        let line =
            parse("nvme-core.io_timeout=5 usbhid.mousepoll=2 systemd.unit=x module_blacklist=floppy,pc-spkr");
        assert_eq!(line.modules.options.get("nvme_core").unwrap(), &["io_timeout=5"]);
        assert_eq!(line.modules.options.len(), 2);
        assert_eq!(line.modules.blacklist, ["floppy", "pc_spkr"]);
        let line = parse("mod.param=\"two words\" mod.switch mod.dyndbg=+p");
        assert_eq!(
            line.modules.options.get("mod").unwrap(),
            &["param=\"two words\"", "switch", "dyndbg=+p"]
        );
    }

    #[test]
    fn the_keymap_of_the_initrd_wins_over_that_of_the_system() {
        let line = parse("rd.vconsole.keymap=de vconsole.keymap=fr rd.vconsole.font=ter-v32n");
        assert_eq!(line.vconsole.keymap.as_deref(), Some("de"));
        assert_eq!(line.vconsole.font.as_deref(), Some("ter-v32n"));
        assert_eq!(parse("vconsole.keymap=fr").vconsole.keymap.as_deref(), Some("fr"));
        assert!(parse("vconsole.keymap=fr").modules.options.is_empty());
        let (line, warnings) = CommandLine::parse("rd.vconsole.keymap=../x rd.vconsole.keymap=");
        assert_eq!((line, warnings.len()), (CommandLine::default(), 2));
    }

    #[test]
    fn a_shell_is_asked_for_by_name_only() {
        assert_eq!(parse("quiet").shell, None);
        assert_eq!(parse("keel.shell").shell, Some(BTreeSet::new()));
        assert_eq!(
            parse("keel.shell=root keel.shell=start").shell,
            Some([ShellPoint::Start, ShellPoint::Root].into())
        );
        let (line, warnings) = CommandLine::parse("keel.shell=yes");
        assert_eq!((line.shell, warnings.len()), (None, 1));
    }

    #[test]
    fn what_follows_two_dashes_is_for_init() {
        assert_eq!(parse("quiet -- root=/dev/sda"), CommandLine::default());
    }

    proptest! {
        #[test]
        fn any_command_line_is_parsed(text: String) {
            let _ = CommandLine::parse(&text);
        }
    }
}
