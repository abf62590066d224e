//! The two files: what was seen in, text out.

use std::fmt::Write as _;

use super::machine::Machine;

/// A comment is wrapped before this column.
const WIDTH: usize = 100;

/// `hardware.toml`: what the machine is made of.
pub fn hardware(machine: &Machine) -> String {
    let mut text = Text::default();
    text.comment("Written by keel generate-config from what this machine is. system.toml imports it.");
    text.comment(
        "After a change of disks: `keel generate-config --force` writes it anew; what is yours belongs into system.toml.",
    );
    if let Some(processor) = &machine.processor {
        let place = if machine.is_virtual {
            ", a virtual machine"
        } else {
            ""
        };
        text.comment(&format!("Processor: {processor}{place}."));
    }
    for note in &machine.notes {
        text.comment(&format!("Note: {note}"));
    }
    if !machine.modules.is_empty() {
        text.table("[boot.initrd]");
        text.comment("Drivers of the disks that the root lies on.");
        text.list("modules", &machine.modules);
    }
    for luks in &machine.luks {
        text.table(&format!("[boot.luks.{}]", key(&luks.name)));
        text.string("device", &luks.device);
        if luks.allow_discards {
            text.line("allow_discards = true");
        }
    }
    for system in &machine.file_systems {
        text.table(&format!("[filesystems.{}]", quoted(&system.mount_point)));
        text.string("device", &system.device);
        text.string("type", &system.kind);
        if !system.options.is_empty() {
            text.list("options", &system.options);
        }
        if system.check {
            text.line("check = true");
        }
    }
    for swap in &machine.swap {
        text.table("[[swap]]");
        text.string("device", &swap.device);
        if let Some(priority) = swap.priority {
            text.line(&format!("priority = {priority}"));
        }
        if swap.resume {
            text.line("resume = true");
        }
    }
    if !machine.packages.is_empty() {
        text.table("[packages]");
        text.comment("Microcode and firmware; these need the component non-free-firmware.");
        text.list("install", &machine.packages);
    }
    text.0
}

/// `system.toml`: a beginning, with comments.
pub fn system(machine: &Machine) -> String {
    let mut text = Text::default();
    text.comment(
        "This file describes the machine. `keel options` lists every key, keel-system.toml(5) explains them.",
    );
    text.comment("`keel update` looks for packages, `keel switch` makes the machine what this file says.");
    text.line("state_version = \"1\"");
    text.line("imports = [\"hardware.toml\"]");
    text.table("[system]");
    let known = |value: &Option<String>, default: &str| value.clone().unwrap_or_else(|| default.to_owned());
    text.string("hostname", &known(&machine.hostname, "debian"));
    text.string("time_zone", &known(&machine.time_zone, "Etc/UTC"));
    text.string("locale", &known(&machine.locale, "C.UTF-8"));
    text.string("keymap", &known(&machine.keymap, "us"));
    text.table("[boot]");
    text.line("loader = \"systemd-boot\"");
    text.line(&format!("can_touch_efi_variables = {}", machine.efi));
    text.comment("So many generations are in the boot menu.");
    text.line("generations = 10");
    text.line("kernel_params = [\"quiet\"]");
    text.table("[packages]");
    text.string("suite", &known(&machine.suite, "trixie"));
    text.list("components", &["main".to_owned(), "non-free-firmware".to_owned()]);
    text.comment("Packages for everybody; `keel search WORD` finds them.");
    text.list("install", &["vim".to_owned(), "less".to_owned()]);
    for account in &machine.accounts {
        text.table(&format!("[users.{}]", key(&account.name)));
        text.line("normal = true");
        text.line(&format!("uid = {}", account.uid));
        if account.is_administrator {
            text.list("groups", &["sudo".to_owned()]);
        }
    }
    if machine.accounts.is_empty() {
        text.line("");
        text.comment("A person who may use sudo; `keel passwd alice` sets the password.");
        text.comment("[users.alice]");
        text.comment("normal = true");
        text.comment("groups = [\"sudo\"]");
    }
    text.line("");
    text.comment("Let people log in over the network, and open its port.");
    text.comment("[services.openssh]");
    text.comment("enable = true");
    text.line("");
    text.comment("[networking]");
    text.comment("firewall.allowed_tcp_ports = [22]");
    text.comment("networkmanager.enable = true");
    text.0
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn table(&mut self, header: &str) {
        self.0.push('\n');
        self.line(header);
    }

    fn string(&mut self, name: &str, value: &str) {
        self.line(&format!("{name} = {}", quoted(value)));
    }

    fn list(&mut self, name: &str, values: &[String]) {
        let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
        self.line(&format!("{name} = [{}]", values.join(", ")));
    }

    fn comment(&mut self, text: &str) {
        let mut line = String::new();
        for word in text.split_whitespace() {
            if !line.is_empty() && line.len() + word.len() + 3 > WIDTH {
                self.line(&format!("# {line}"));
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.line(&format!("# {line}"));
    }
}

/// A key of a table: as it is when TOML takes it so.
fn key(name: &str) -> String {
    let is_bare = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if is_bare { name.to_owned() } else { quoted(name) }
}

/// A basic string (TOML 1.0, "String").
fn quoted(value: &str) -> String {
    let mut text = String::from("\"");
    for c in value.chars() {
        match c {
            '"' | '\\' => {
                text.push('\\');
                text.push(c);
            }
            c if c.is_control() => {
                // Writing to a string can't fail.
                let _ = write!(text, "\\u{:04X}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    use crate::generate::{FileSystem, Luks};

    proptest! {
        #[test]
        fn whatever_names_are_found_the_file_is_toml(name in "\\PC{0,12}|[a-z\\t\"\\\\ .]{1,8}", device in "(?s).{0,12}") {
            let machine = Machine {
                file_systems: vec![FileSystem {
                    mount_point: format!("/{name}"),
                    device: device.clone(),
                    kind: "ext4".to_owned(),
                    ..FileSystem::default()
                }],
                luks: vec![Luks { name: name.clone(), device: device.clone(), allow_discards: true }],
                hostname: Some(name.clone()),
                ..Machine::default()
            };
            let written: toml::Table = toml::from_str(&hardware(&machine)).unwrap();
            let system_of = &written["filesystems"][format!("/{name}")];
            prop_assert_eq!(system_of["device"].as_str().unwrap(), device.as_str());
            prop_assert_eq!(written["boot"]["luks"][&name]["device"].as_str().unwrap(), device.as_str());
            let written: toml::Table = toml::from_str(&system(&machine)).unwrap();
            prop_assert_eq!(written["system"]["hostname"].as_str().unwrap(), name.as_str());
        }
    }
}
