//! What a menu looks like: names and texts of its files. No I/O.
//!
//! Entries follow the Boot Loader Specification (UAPI.1), "Type #1 Boot Loader Specification Entries" and
//! "Boot counting"; loader.conf follows loader.conf(5). Paths are relative to the ESP, with `/` between the parts.

use std::fmt::Write as _;
use std::path::PathBuf;

/// Where kernels and initrds are.
pub const CONTENTS: &str = "EFI/keel";
/// Where entries are.
pub const ENTRIES: &str = "loader/entries";
/// Configuration of systemd-boot.
pub const LOADER_CONF: &str = "loader/loader.conf";
/// Where systemd-boot itself is.
pub const SYSTEMD_BOOT: &str = "EFI/systemd/systemd-bootx64.efi";
/// What the firmware starts when it knows of nothing else.
pub const FALLBACK: &str = "EFI/BOOT/BOOTX64.EFI";

const KERNEL_SUFFIX: &str = "-linux.efi";
const INITRD_SUFFIX: &str = "-initrd";

/// A generation as the menu shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MenuEntry {
    /// Number of the generation.
    pub number: u64,
    /// What people call the system.
    pub label: String,
    /// Version of the kernel.
    pub version: String,
    /// Physical path of the kernel.
    pub kernel: PathBuf,
    /// Physical path of the initrd.
    pub initrd: PathBuf,
    /// Kernel parameters, without `keel.system=`.
    pub options: Vec<String>,
    /// Logical store path of the system.
    pub system: String,
}

/// A generation that can't be in the menu.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Number of the generation.
    pub number: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// A file that was read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Physical path.
    pub source: PathBuf,
    /// SHA-256 in lower-case hexadecimal.
    pub digest: String,
    /// Size.
    pub bytes: u64,
}

/// A generation whose kernel and initrd were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootable {
    /// The generation.
    pub entry: MenuEntry,
    /// Its kernel.
    pub kernel: Content,
    /// Its initrd.
    pub initrd: Content,
}

/// The whole menu.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Menu {
    /// Name of the profile; see [`is_profile_name`].
    pub profile: String,
    /// Its generations.
    pub generations: Vec<Bootable>,
    /// Number of the one that starts by itself.
    pub default: u64,
    /// Seconds for which the menu is shown.
    pub timeout: u32,
    /// The generation whose next boot is a trial.
    pub trial: Option<u64>,
    /// What makes the default start by itself.
    pub selection: Selection,
}

/// What the boot loader goes by when nobody chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// The name in loader.conf; a trial is an EFI variable's matter.
    #[default]
    ByName,
    /// The order of the entries, where there are no EFI variables. A trial that is armed comes first until it has been
    /// tried once (UAPI.1, "Boot counting"): a name in loader.conf would defeat the counting.
    ByOrder {
        /// Whether the trial is armed.
        armed: bool,
    },
}

/// Keys by which entries are sorted: the trial, the default, all others.
const SORT_KEYS: [&str; 3] = ["keel-1-trial", "keel-2-default", "keel-3"];

impl Menu {
    fn is_armed(&self, number: u64) -> bool {
        self.trial == Some(number) && self.selection == Selection::ByOrder { armed: true }
    }

    /// The file name of a generation's entry, when this menu decides it: the name holds the tries that are left.
    pub(super) fn decided_name(&self, number: u64) -> Option<String> {
        let plain = entry_name(&self.profile, number);
        match self.selection {
            Selection::ByName => None,
            Selection::ByOrder { .. } if self.is_armed(number) => Some(plain.replace(".conf", "+1.conf")),
            Selection::ByOrder { .. } => Some(plain),
        }
    }

    fn sort_key(&self, number: u64) -> &'static str {
        let [trial, default, other] = SORT_KEYS;
        match self.selection {
            Selection::ByName => "keel",
            Selection::ByOrder { .. } if self.is_armed(number) => trial,
            Selection::ByOrder { .. } if self.default == number => default,
            Selection::ByOrder { .. } => other,
        }
    }
}

/// Whether an entry's text makes it the default of a menu that goes by the order.
pub fn is_default_by_order(entry: &str) -> bool {
    value_of(entry, "sort-key") == Some(SORT_KEYS[1])
}

/// Added to an entry on trial: a panic ends in the old system after ten seconds, a hang as soon as the machine's watchdog
/// (when it has one) notices.
const TRIAL_OPTIONS: [&str; 3] = ["panic=10", "systemd.watchdog_sec=60", "keel.trial"];

/// Whether a profile's name can be a part of an entry's name. `+` would be taken for a boot counter, and
/// systemd-boot ignores entries with other characters than these.
pub fn is_profile_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 100
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// Name of a generation's entry, which is also what `default` in loader.conf calls it.
pub fn entry_name(profile: &str, number: u64) -> String {
    format!("keel-{profile}-{number}.conf")
}

/// The generation of `profile` that the entry `file_name` is for, with or without a boot counter
/// (`keel-system-3+2-1.conf`: two tries left, one done).
pub fn generation_of(profile: &str, file_name: &str) -> Option<u64> {
    let name = file_name
        .strip_prefix("keel-")?
        .strip_prefix(profile)?
        .strip_prefix('-')?
        .strip_suffix(".conf")?;
    let (number, counter) = match name.split_once('+') {
        Some((number, counter)) => (number, Some(counter)),
        None => (name, None),
    };
    let counted = counter.is_none_or(|counter| match counter.split_once('-') {
        Some((left, done)) => is_number(left) && is_number(done),
        None => is_number(counter),
    });
    // A leading zero would make two names of one generation.
    let plain = is_number(number) && (number == "0" || !number.starts_with('0'));
    if counted && plain {
        number.parse().ok()
    } else {
        None
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Where a kernel goes.
pub fn kernel_path(content: &Content) -> String {
    format!("{CONTENTS}/{}{KERNEL_SUFFIX}", content.digest)
}

/// Where an initrd goes.
pub fn initrd_path(content: &Content) -> String {
    format!("{CONTENTS}/{}{INITRD_SUFFIX}", content.digest)
}

/// The digest in the path of a kernel or an initrd; nothing when the file isn't keel's.
pub fn digest_in(path: &str) -> Option<&str> {
    let name = path.strip_prefix(CONTENTS)?.strip_prefix('/')?;
    let digest = name
        .strip_suffix(KERNEL_SUFFIX)
        .or_else(|| name.strip_suffix(INITRD_SUFFIX))?;
    let hexadecimal = digest
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (digest.len() == 64 && hexadecimal).then_some(digest)
}

/// Text of a generation's entry.
pub fn entry_text(generation: &Bootable, menu: &Menu) -> String {
    let entry = &generation.entry;
    let on_trial = menu.trial == Some(entry.number);
    let options: Vec<String> = entry
        .options
        .iter()
        .cloned()
        .chain([format!("keel.system={}", entry.system)])
        .chain(
            on_trial
                .then(|| TRIAL_OPTIONS.map(str::to_owned))
                .into_iter()
                .flatten(),
        )
        .map(|option| one_line(&option))
        .collect();
    let lines = [
        ("title", one_line(&entry.label)),
        (
            "version",
            format!("{}, Linux {}", entry.number, one_line(&entry.version)),
        ),
        ("sort-key", menu.sort_key(entry.number).to_owned()),
        ("linux", format!("/{}", kernel_path(&generation.kernel))),
        ("initrd", format!("/{}", initrd_path(&generation.initrd))),
        ("options", options.join(" ")),
    ];
    lines.iter().fold(String::new(), |mut text, (key, value)| {
        let _ = writeln!(text, "{key} {value}");
        text
    })
}

/// Text of loader.conf.
pub fn loader_conf(menu: &Menu) -> String {
    let default = match menu.selection {
        Selection::ByName => format!("default {}\n", entry_name(&menu.profile, menu.default)),
        Selection::ByOrder { .. } => String::new(),
    };
    format!(
        "timeout {}\n{default}console-mode keep\neditor no\n",
        menu.timeout
    )
}

/// Paths of the files that an entry's text refers to. Whoever wrote it may have used `\` or no leading slash.
pub fn references(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines() {
        let Some((key, value)) = line.trim().split_once([' ', '\t']) else {
            continue;
        };
        if matches!(key, "linux" | "initrd" | "efi" | "uki") {
            let path = value.trim().replace('\\', "/");
            let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
            found.push(parts.join("/"));
        }
    }
    found
}

/// Without characters that would begin a new line of an entry.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect::<String>()
        .trim()
        .to_owned()
}

/// The entry that a `loader.conf` starts by itself.
pub fn default_of(loader_conf: &str) -> Option<String> {
    value_of(loader_conf, "default").map(str::to_owned)
}

/// How long a `loader.conf` has the menu shown, in seconds.
pub fn timeout_of(loader_conf: &str) -> Option<u32> {
    value_of(loader_conf, "timeout")?.parse().ok()
}

fn value_of<'a>(loader_conf: &'a str, key: &str) -> Option<&'a str> {
    loader_conf
        .lines()
        .filter_map(|line| line.trim().split_once([' ', '\t']))
        .find_map(|(found, value)| (found == key).then(|| value.trim()))
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        unused_results
    )]

    use super::*;
    use proptest::prelude::*;

    fn menu(selection: Selection) -> Menu {
        Menu {
            profile: "system".into(),
            generations: vec![generation()],
            default: 12,
            timeout: 5,
            trial: None,
            selection,
        }
    }

    fn generation() -> Bootable {
        let content = |digit: &str| Content {
            source: "/x".into(),
            digest: digit.repeat(64),
            bytes: 1,
        };
        Bootable {
            entry: MenuEntry {
                number: 12,
                label: "Debian 13\ntest".into(),
                version: "6.12.9".into(),
                kernel: "/k".into(),
                initrd: "/i".into(),
                options: vec!["root=/dev/vg/root".into(), "quiet".into()],
                system: "/nix/store/abc-keel-system-test".into(),
            },
            kernel: content("a"),
            initrd: content("b"),
        }
    }

    #[test]
    fn an_entry_has_one_line_per_key() {
        let (kernel, initrd) = ("a".repeat(64), "b".repeat(64));
        let expected = format!(
            "title Debian 13 test\nversion 12, Linux 6.12.9\nsort-key keel\nlinux /EFI/keel/{kernel}-linux.efi\n\
             initrd /EFI/keel/{initrd}-initrd\n\
             options root=/dev/vg/root quiet keel.system=/nix/store/abc-keel-system-test\n"
        );
        assert_eq!(entry_text(&generation(), &menu(Selection::ByName)), expected);
        assert_eq!(
            references(&expected),
            [
                format!("EFI/keel/{kernel}-linux.efi"),
                format!("EFI/keel/{initrd}-initrd")
            ]
        );
    }

    #[test]
    fn without_variables_the_order_and_the_name_decide() {
        let by_order = |armed, trial| Menu {
            trial,
            ..menu(Selection::ByOrder { armed })
        };
        for (menu, name, key, on_trial) in [
            (
                by_order(false, None),
                "keel-system-12.conf",
                "keel-2-default",
                false,
            ),
            (
                by_order(false, Some(12)),
                "keel-system-12.conf",
                "keel-2-default",
                true,
            ),
            (
                by_order(true, Some(12)),
                "keel-system-12+1.conf",
                "keel-1-trial",
                true,
            ),
            (
                by_order(true, Some(13)),
                "keel-system-12.conf",
                "keel-2-default",
                false,
            ),
        ] {
            assert_eq!(menu.decided_name(12).as_deref(), Some(name));
            let text = entry_text(&generation(), &menu);
            assert!(text.contains(&format!("\nsort-key {key}\n")), "{text}");
            assert_eq!(text.contains("panic=10"), on_trial);
            assert_eq!(is_default_by_order(&text), key == "keel-2-default");
            assert_eq!(default_of(&loader_conf(&menu)), None);
        }
        assert_eq!(menu(Selection::ByName).decided_name(12), None);
    }

    #[test]
    fn references_are_found_however_they_are_written() {
        assert_eq!(
            references("linux\t \\EFI\\keel\\x\n#linux y\ntitle linux z\n"),
            ["EFI/keel/x"]
        );
    }

    #[test]
    fn names_of_entries() {
        let table = [
            ("keel-system-3.conf", Some(3)),
            ("keel-system-0.conf", Some(0)),
            ("keel-system-3+2.conf", Some(3)),
            ("keel-system-3+2-1.conf", Some(3)),
            ("keel-system-3+.conf", None),
            ("keel-system-3+2-.conf", None),
            ("keel-system-03.conf", None),
            ("keel-system-+3.conf", None),
            ("keel-system-3-4.conf", None),
            ("keel-system-x.conf", None),
            ("keel-other-3.conf", None),
            ("keel-system-3.conf.keel-new", None),
            ("debian.conf", None),
            ("keel-system-99999999999999999999999.conf", None),
        ];
        for (name, number) in table {
            assert_eq!(generation_of("system", name), number, "{name}");
        }
    }

    #[test]
    fn only_exact_names_are_contents_of_keel() {
        let digest = "0".repeat(64);
        assert_eq!(
            digest_in(&format!("EFI/keel/{digest}-initrd")),
            Some(digest.as_str())
        );
        assert_eq!(
            digest_in(&format!("EFI/keel/{digest}-linux.efi")),
            Some(digest.as_str())
        );
        assert_eq!(digest_in(&format!("EFI/keel/{digest}-other")), None);
        assert_eq!(digest_in(&format!("EFI/other/{digest}-initrd")), None);
        assert_eq!(digest_in("EFI/keel/mine-initrd"), None);
    }

    proptest! {
        #[test]
        fn no_label_or_option_makes_a_further_line(label in any::<String>(), option in any::<String>()) {
            let mut generation = generation();
            generation.entry.label = label;
            generation.entry.options = vec![option];
            prop_assert_eq!(entry_text(&generation, &menu(Selection::ByName)).split('\n').count(), 7);
            prop_assert_eq!(references(&entry_text(&generation, &menu(Selection::ByName))).len(), 2);
        }

        #[test]
        fn an_entry_is_recognised_by_its_name(number in any::<u64>(), profile in "[a-z][a-z0-9-]{0,9}") {
            prop_assert_eq!(generation_of(&profile, &entry_name(&profile, number)), Some(number));
        }
    }
}
