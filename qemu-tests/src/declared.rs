//! The machine of one file: `system.toml`, resolved by `keel update` and built by `keel build`, on an encrypted disk.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::archive;
use crate::builder::{self, Contents, Disks};
use crate::image_cache::{Cache, Key};
use crate::keel::Keel;
use crate::layout::{EMULATED, Layout, VOLUMES};
use crate::made;
use crate::process::Tool;
use crate::repository;
use crate::rootfs::{RootFileSystems, write};

/// How its disks are laid out.
const LAYOUT: Layout = Layout::Main;
/// Room that the root file system has beside what is in it, in MiB.
const FREE_MIB: u64 = 1500;
/// The machine's person, who may become root.
pub(crate) const USER: &str = "kirans";
/// The password that they begin with.
pub(crate) const PASSWORD: &str = "first words";
/// Where the configuration lies on the machine, below its `/etc`.
const CONFIGURATION: &str = "var/lib/keel/etc/upper/keel";
/// The file's name.
pub(crate) const FILE: &str = "system.toml";
/// What an edit of it changes: lines as they were, and as they are afterwards.
pub(crate) const EDIT: [(&str, &str); 2] = [
    (r#"hostname = "nixie""#, r#"hostname = "pixie""#),
    (r#"KEEL_WORD = "declared""#, r#"KEEL_WORD = "edited""#),
];

/// The file, as far as it's the same on every machine: the founding example, without its two packages of some hundred megabytes
/// each (gcc, firefox-esr).
fn system_toml() -> String {
    format!(
        r#"state_version = "1"
imports = ["hardware.toml"]

[system]
hostname = "nixie"
time_zone = "Asia/Kolkata"
locale = "en_US.UTF-8"
keymap = "us"

[boot]
loader = "systemd-boot"
can_touch_efi_variables = true
generations = 10
timeout = 4
kernel_params = ["console=tty0", "console=ttyS0,115200", "quiet", {emulated}]

[packages]
suite = "{suite}"
components = ["main", "non-free-firmware"]
install = ["vim", "wget", "tree", "git", "starship", "fastfetch"]
exclude = [
    "/usr/share/man/*",
    "/usr/share/doc/*",
    "/usr/share/locale/*",
    "/usr/lib/modules/*/kernel/drivers/gpu/*",
    "/usr/lib/modules/*/kernel/drivers/iio/*",
    "/usr/lib/modules/*/kernel/drivers/media/*",
    "/usr/lib/modules/*/kernel/drivers/net/ethernet/*",
    "/usr/lib/modules/*/kernel/drivers/net/wireless/*",
    "/usr/lib/modules/*/kernel/sound/*",
]

[users.kirans]
normal = true
groups = ["wheel"]

[services.openssh]
enable = true

[networking]
firewall.allowed_tcp_ports = [22]
networkmanager.enable = true

[programs.starship]
enable = true
settings.add_newline = false

[programs.bash]
interactive_shell_init = "fastfetch --logo debian"

[units."hello.service"]
text = """
[Service]
ExecStart=/usr/bin/sleep infinity
Environment=WORD=one
[Install]
WantedBy=multi-user.target
"""

[sysctl]
"vm.swappiness" = "17"

[environment]
KEEL_WORD = "declared"
"#,
        suite = archive::SUITE,
        emulated = EMULATED.map(|parameter| format!("{parameter:?}")).join(", "),
    )
}

/// The same after the edit.
pub(crate) fn edited_toml() -> String {
    EDIT.iter()
        .fold(system_toml(), |text, (from, to)| text.replace(from, to))
}

fn hardware_toml() -> String {
    let [(volume, name), _] = VOLUMES;
    format!(
        r#"[boot.luks.{name}]
device = "/dev/disk/by-uuid/{volume}"
allow_discards = true

[filesystems."/"]
device = "{root}"
type = "ext4"

[filesystems."/boot"]
device = "/dev/disk/by-label/ESP"
type = "vfat"
options = ["umask=0077"]

[[swap]]
device = "/dev/vg/swap"
"#,
        root = LAYOUT.root()
    )
}

/// The machine's root, and beside it the contents of its ESP.
#[derive(Clone, Debug)]
pub(crate) struct Declared {
    directory: PathBuf,
    key: Key,
}

impl Declared {
    fn in_directory(directory: &Path, key: &Key) -> Declared {
        Declared {
            directory: directory.to_owned(),
            key: key.clone(),
        }
    }

    /// The machine with one generation; made, or taken from the cache.
    pub(crate) fn make(cache: &Cache, keel: &Keel) -> Result<Declared> {
        let recipe = [
            include_str!("declared.rs"),
            include_str!("layout.rs"),
            include_str!("keel.rs"),
            include_str!("made.rs"),
            include_str!("repository.rs"),
        ]
        .concat();
        let key = Key::of([keel.key()?.as_ref(), recipe.as_bytes()]);
        let directory = cache.get("declared-root", &key, |directory| {
            let made = Declared::in_directory(directory, &key);
            let configuration = made.configuration();
            fs::create_dir_all(&configuration).context("the root can't be made")?;
            write(&configuration.join(FILE), &system_toml())?;
            write(&configuration.join("hardware.toml"), &hardware_toml())?;
            first_password(&made.root())?;
            keel.update(&configuration.join(FILE), &made.root())?;
            repository::make(&made.root())?;
            made.build(keel)
        })?;
        Ok(Declared::in_directory(&directory, &key))
    }

    /// The root file system.
    pub(crate) fn root(&self) -> PathBuf {
        self.directory.join("root")
    }

    /// The store path of its first generation.
    pub(crate) fn system(&self) -> Result<String> {
        let link = self.root().join("nix/var/nix/profiles/system-1-link");
        let system = fs::read_link(&link).with_context(|| format!("{} isn't there", link.display()))?;
        Ok(system.to_string_lossy().into_owned())
    }

    /// Where its configuration lies.
    pub(crate) fn configuration(&self) -> PathBuf {
        self.root().join(CONFIGURATION)
    }

    fn esp(&self) -> PathBuf {
        self.directory.join("esp.tar")
    }

    /// Builds the file, and makes the boot menu.
    fn build(&self, keel: &Keel) -> Result<()> {
        let root = self.root();
        let _system = keel.build_machine(&self.configuration().join(FILE), &root, &[])?;
        made::esp(keel, &root, &self.esp())
    }

    /// The disks of the machine; made, or taken from the cache.
    pub(crate) fn disks(&self, cache: &Cache, systems: &RootFileSystems, notes: &Path) -> Result<Disks> {
        let directory = cache.get("declared", &self.disks_key(systems), |directory| {
            self.onto_disks(systems, directory, notes)
        })?;
        Ok(Disks::in_directory(directory, LAYOUT))
    }

    /// The same with a second generation, which is built after an edit of the file.
    pub(crate) fn edited_disks(
        &self,
        cache: &Cache,
        keel: &Keel,
        systems: &RootFileSystems,
        notes: &Path,
    ) -> Result<Disks> {
        let directory = cache.get("declared-edited", &self.disks_key(systems), |directory| {
            let made = Declared::in_directory(directory, &self.key);
            Tool::new("cp")
                .args(["--archive", "--reflink=auto"])
                .args([self.root(), made.root()])
                .run()?;
            write(&made.configuration().join(FILE), &edited_toml())?;
            made.build(keel)?;
            made.onto_disks(systems, directory, notes)?;
            fs::remove_dir_all(made.root()).context("the copy can't be removed")
        })?;
        Ok(Disks::in_directory(directory, LAYOUT))
    }

    /// Puts root and ESP onto disks in `directory`.
    fn onto_disks(&self, systems: &RootFileSystems, directory: &Path, notes: &Path) -> Result<()> {
        let contents = Contents {
            root: directory.join("root.ext4"),
            esp: self.esp(),
        };
        let _mib = made::image(&self.root(), &contents.root, FREE_MIB)?;
        let _disks = builder::build(LAYOUT, &contents, systems, directory, notes)?;
        fs::remove_file(&contents.root).context("the image can't be removed")
    }

    /// Names the disks of it.
    fn disks_key(&self, systems: &RootFileSystems) -> Key {
        let recipe = include_str!("builder.rs");
        Key::of([self.key.as_ref(), systems.key.as_ref(), recipe.as_bytes()])
    }
}

/// What `keel passwd` would leave: the machine's secret, which no store holds.
fn first_password(root: &Path) -> Result<()> {
    write(
        &root.join("var/lib/keel/passwords").join(USER),
        &format!("{}\n", made::hashed(PASSWORD)?),
    )
}
