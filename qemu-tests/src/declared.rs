//! The machine of one file: `system.toml`, resolved by `keel update` and built by `keel build`, on an encrypted disk.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::archive;
use crate::builder::{self, Contents, Disks};
use crate::image_cache::{Cache, Key};
use crate::keel::Keel;
use crate::layout::{Layout, PATIENCE, VOLUMES};
use crate::made;
use crate::process::Tool;
use crate::repository;
use crate::rootfs::{RootFileSystems, write};

/// Room that the root file system has beside what is in it, in MiB.
const FREE_MIB: u64 = 1500;
/// The password that the user begins with.
pub(crate) const PASSWORD: &str = "first words";
/// Where the configuration lies on the machine, below its `/etc`.
const CONFIGURATION: &str = "var/lib/keel/etc/upper/keel";

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
kernel_params = ["console=tty0", "console=ttyS0,115200", "quiet", {patience}]

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
        patience = PATIENCE.map(|parameter| format!("{parameter:?}")).join(", "),
    )
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
        root = Layout::Main.root()
    )
}

/// The disks of the machine; made, or taken from the cache.
pub(crate) fn disks(cache: &Cache, keel: &Keel, systems: &RootFileSystems, notes: &Path) -> Result<Disks> {
    let recipe = [
        include_str!("declared.rs"),
        include_str!("builder.rs"),
        include_str!("layout.rs"),
        include_str!("keel.rs"),
        include_str!("repository.rs"),
    ]
    .concat();
    let key = Key::of([keel.key()?.as_ref(), systems.key.as_ref(), recipe.as_bytes()]);
    let directory = cache.get("declared", &key, |directory| {
        let contents = make(keel, directory)?;
        let _disks = builder::build(Layout::Main, &contents, systems, directory, notes)?;
        fs::remove_file(&contents.root).context("the image can't be removed")
    })?;
    Ok(Disks::in_directory(directory, Layout::Main))
}

fn make(keel: &Keel, directory: &Path) -> Result<Contents> {
    let root = std::path::absolute(directory.join("root")).context("the working directory is gone")?;
    let configuration = root.join(CONFIGURATION);
    fs::create_dir_all(&configuration).context("the root can't be made")?;
    let main = configuration.join("system.toml");
    write(&main, &system_toml())?;
    write(&configuration.join("hardware.toml"), &hardware_toml())?;
    first_password(&root)?;
    keel.update(&main, &root)?;
    let _system = keel.build_machine(&main, &root)?;
    repository::make(&root)?;
    let esp = directory.join("esp");
    fs::create_dir(&esp).context("the ESP can't be made")?;
    keel.boot_update(&root, &esp)?;
    let archive = directory.join("esp.tar");
    Tool::new("tar")
        .arg("-cf")
        .arg(&archive)
        .arg("-C")
        .arg(&esp)
        .arg(".")
        .run()?;
    let image = directory.join("root.ext4");
    let _mib = made::image(&root, &image, FREE_MIB)?;
    Ok(Contents {
        root: image,
        esp: archive,
    })
}

/// What `keel passwd` would leave: the machine's secret, which no store holds.
fn first_password(root: &Path) -> Result<()> {
    let hash = Tool::new("openssl")
        .args(["passwd", "-6", "-salt", "keel", PASSWORD])
        .output()?;
    write(
        &root.join("var/lib/keel/passwords/kirans"),
        &format!("{}\n", hash.trim()),
    )
}
