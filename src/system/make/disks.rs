//! `[filesystems]`, `[[swap]]` and `[boot]`: fstab(5), crypttab(5), and the kernel parameters by which early boot finds the
//! root.

use std::fmt::Write as _;

use super::contribution::Contribution;
use crate::config::{Config, FileSystem, Luks, Swap};
use crate::init::cmdline::Source;

/// What the disks add.
pub fn contribute(config: &Config, made: &mut Contribution) {
    made.kernel_params.extend(kernel_params(config));
    warn_of_names(config, made);
    made.stamped("fstab", "filesystems", &fstab(config));
    if !config.boot.luks.is_empty() {
        let lines: String = config.boot.luks.iter().map(crypttab_line).collect();
        made.stamped("crypttab", "boot.luks", &lines);
    }
}

/// The parameters for early boot, and then the user's own.
fn kernel_params(config: &Config) -> Vec<String> {
    let mut params = Vec::new();
    for (name, volume) in &config.boot.luks {
        params.extend(luks_params(name, volume));
    }
    if let Some(root) = config.filesystems.get("/") {
        params.push(format!("root={}", root.device));
        if !matches!(root.kind.as_str(), "" | "auto") {
            params.push(format!("rootfstype={}", root.kind));
        }
        let flags: Vec<&str> = root
            .options
            .iter()
            .map(String::as_str)
            .filter(|option| is_early(option))
            .collect();
        if !flags.is_empty() {
            params.push(format!("rootflags={}", flags.join(",")));
        }
        if !root.check {
            // dracut.cmdline(7): of fsck.mode=skip systemd would conclude that nothing is to be checked.
            params.push("rd.skipfsck".to_owned());
        }
    }
    let resume = config.swap.iter().find(|swap| swap.resume);
    params.extend(resume.map(|swap| format!("resume={}", swap.device)));
    params.extend(config.boot.kernel_params.iter().cloned());
    params
}

// Options that the file system itself takes, and that early boot must know: systemd mounts no root again.
fn is_early(option: &str) -> bool {
    let systemds = option.starts_with("x-") || option.starts_with("comment=");
    let of_fstab = matches!(
        option,
        "" | "defaults"
            | "auto"
            | "noauto"
            | "nofail"
            | "_netdev"
            | "user"
            | "users"
            | "rw"
            | "ro"
            | "errors=remount-ro"
    );
    !systemds && !of_fstab
}

/// Volumes are named by UUID on the command line; by another name of the device early boot is left to find all of them.
fn luks_params(name: &str, volume: &Luks) -> Vec<String> {
    let Some(uuid) = volume.volume_uuid() else {
        return Vec::new();
    };
    let mut params = vec![format!("rd.luks.name={uuid}={name}")];
    let mut options: Vec<String> = volume.options.clone();
    if volume.allow_discards && !options.iter().any(|option| option == "discard") {
        options.push("discard".to_owned());
    }
    if let Some(header) = &volume.header {
        options.push(format!("header={header}"));
    }
    if !options.is_empty() {
        params.push(format!("rd.luks.options={uuid}={}", options.join(",")));
    }
    if volume.header.is_some() {
        params.push(format!("rd.luks.data={uuid}={}", volume.device));
    }
    if let Some(key) = &volume.key_file {
        params.push(format!("rd.luks.key={uuid}={key}"));
    }
    params
}

// As soon as one volume is named on the command line, early boot opens the named ones alone.
fn warn_of_names(config: &Config, made: &mut Contribution) {
    let is_named = |volume: &Luks| volume.volume_uuid().is_some();
    if config.boot.luks.values().any(is_named) {
        for (name, volume) in config.boot.luks.iter().filter(|(_, volume)| !is_named(volume)) {
            made.notes.push(format!(
                "boot.luks.{name}: {} isn't named by its UUID (/dev/disk/by-uuid/…), and no uuid says it: it's opened after \
                 early boot, by systemd-cryptsetup",
                volume.device
            ));
        }
    }
}

fn crypttab_line((name, volume): (&String, &Luks)) -> String {
    let mut options = vec!["luks".to_owned()];
    options.extend(volume.options.iter().cloned());
    if volume.allow_discards {
        options.push("discard".to_owned());
    }
    // Opened by early boot, and open until the very end: a stick with its header or key may be pulled out by now.
    let is_early = volume.volume_uuid().is_some();
    let needed = |text: &&String| {
        let is_elsewhere = matches!(
            Source::parse(text),
            Some(Source::OnDevice(..) | Source::Device(_))
        );
        !(is_early && is_elsewhere)
    };
    if let Some(header) = volume.header.as_ref().filter(needed) {
        options.push(format!("header={header}"));
    }
    if is_early {
        options.push("x-initrd.attach".to_owned());
    }
    options.dedup();
    let device = match volume.device.strip_prefix("/dev/disk/by-uuid/") {
        Some(uuid) => format!("UUID={uuid}"),
        None => volume.device.clone(),
    };
    let key = volume
        .key_file
        .as_ref()
        .filter(needed)
        .map_or("none", String::as_str);
    format!("{name} {device} {key} {}\n", options.join(","))
}

fn fstab(config: &Config) -> String {
    let mut text = String::new();
    for (path, system) in &config.filesystems {
        text.push_str(&mount_line(path, system));
    }
    for swap in &config.swap {
        text.push_str(&swap_line(swap));
    }
    text
}

fn mount_line(path: &str, system: &FileSystem) -> String {
    let options = if system.options.is_empty() {
        "defaults".to_owned()
    } else {
        system.options.join(",")
    };
    let kind = if system.kind.is_empty() {
        "auto"
    } else {
        &system.kind
    };
    let pass = match (system.check, path) {
        (false, _) => 0,
        (true, "/") => 1,
        (true, _) => 2,
    };
    format!(
        "{} {} {kind} {} 0 {pass}\n",
        escape(&system.device),
        escape(path),
        escape(&options)
    )
}

fn swap_line(swap: &Swap) -> String {
    let mut options = swap.options.clone();
    options.extend(swap.priority.map(|priority| format!("pri={priority}")));
    if options.is_empty() {
        options.push("sw".to_owned());
    }
    format!("{} none swap {} 0 0\n", escape(&swap.device), options.join(","))
}

// fstab(5): blanks and backslashes as three octal digits.
fn escape(field: &str) -> String {
    let mut escaped = String::new();
    for c in field.chars() {
        if matches!(c, ' ' | '\t' | '\n' | '\\') {
            let _ = write!(escaped, "\\{:03o}", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::fstab::parse;

    const UUID: &str = "2b6c2f3e-0000-4000-8000-000000000001";

    fn founding() -> Config {
        let mut config = Config::default();
        let _new = config.boot.luks.insert(
            "root".into(),
            Luks {
                device: format!("/dev/disk/by-uuid/{UUID}"),
                allow_discards: true,
                ..Luks::default()
            },
        );
        let _new = config.filesystems.insert(
            "/".into(),
            FileSystem {
                device: "/dev/vg/root".into(),
                kind: "ext4".into(),
                check: true,
                ..FileSystem::default()
            },
        );
        config.swap.push(Swap {
            device: "/dev/vg/swap".into(),
            ..Swap::default()
        });
        config.boot.kernel_params.push("quiet".into());
        config
    }

    #[test]
    fn the_founding_example() {
        let mut made = Contribution::new();
        contribute(&founding(), &mut made);
        assert_eq!(
            made.kernel_params,
            [
                &format!("rd.luks.name={UUID}=root"),
                &format!("rd.luks.options={UUID}=discard"),
                "root=/dev/vg/root",
                "rootfstype=ext4",
                "quiet"
            ]
        );
        assert!(
            made.text("fstab")
                .ends_with("/dev/vg/root / ext4 defaults 0 1\n/dev/vg/swap none swap sw 0 0\n")
        );
        assert!(
            made.text("crypttab")
                .ends_with(&format!("root UUID={UUID} none luks,discard,x-initrd.attach\n"))
        );
    }

    #[test]
    fn early_boot_hears_what_it_must_and_no_more() {
        let mut config = founding();
        if let Some(root) = config.filesystems.get_mut("/") {
            root.kind = "btrfs".into();
            root.check = false;
            root.options = ["subvol=@", "x-systemd.growfs", "noatime", "rw"]
                .map(str::to_owned)
                .into();
        }
        config.swap.push(Swap {
            device: "UUID=aa".into(),
            resume: true,
            priority: Some(3),
            ..Swap::default()
        });
        config.boot.luks.entry("data".into()).or_default().device = "/dev/sda2".into();
        if let Some(root) = config.boot.luks.get_mut("root") {
            root.device = "/dev/disk/by-partlabel/data".into();
            root.uuid = Some(UUID.into());
            root.key_file = Some("/root.key:LABEL=stick".into());
            root.header = Some("/root.hdr".into());
        }
        let mut made = Contribution::new();
        contribute(&config, &mut made);
        let params = made.kernel_params.join(" ");
        assert!(
            params.contains("rootflags=subvol=@,noatime rd.skipfsck "),
            "{params}"
        );
        assert!(params.contains("resume=UUID=aa"), "{params}");
        assert!(
            params.contains(&format!("rd.luks.options={UUID}=discard,header=/root.hdr")),
            "{params}"
        );
        assert!(
            params.contains(&format!("rd.luks.data={UUID}=/dev/disk/by-partlabel/data")),
            "{params}"
        );
        assert!(
            params.contains(&format!("rd.luks.key={UUID}=/root.key:LABEL=stick")),
            "{params}"
        );
        // Systemd isn't to wait for a stick that opened the volume long ago.
        assert!(made.text("crypttab").contains(
            "root /dev/disk/by-partlabel/data none luks,discard,header=/root.hdr,x-initrd.attach\n"
        ));
        assert!(!params.contains("sda2"), "{params}");
        // A device that is the key, or has the header, is such a stick as well; early boot opens only what has a UUID.
        let line = |uuid: Option<&str>| {
            let volume = Luks {
                device: "/dev/sdb".into(),
                uuid: uuid.map(str::to_owned),
                key_file: Some("/dev/sdc".into()),
                header: Some("/dev/sdd".into()),
                ..Luks::default()
            };
            crypttab_line((&"data".to_owned(), &volume))
        };
        assert_eq!(line(Some(UUID)), "data /dev/sdb none luks,x-initrd.attach\n");
        assert_eq!(line(None), "data /dev/sdb /dev/sdc luks,header=/dev/sdd\n");
        assert!(made.text("fstab").contains("UUID=aa none swap pri=3 0 0\n"));
    }

    #[test]
    fn what_is_written_is_read_as_it_was_meant() {
        let system = FileSystem {
            device: "LABEL=my data".into(),
            kind: "vfat".into(),
            ..FileSystem::default()
        };
        let lines = parse(&mount_line("/srv/my data", &system));
        let line = lines
            .first()
            .map(|line| (line.what.as_str(), line.mount_point.as_deref()));
        assert_eq!(
            line,
            Some(("/dev/disk/by-label/my\\x20data", Some("/srv/my data")))
        );
    }
}
