//! The machine whose configuration sets every option to something that can be seen: `qemu-tests/options`. It has four
//! generations: a spare one, one that isn't healthy, the second one, and the one that boots.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::archive;
use crate::builder::{self, Contents, Disks};
use crate::image_cache::{Cache, Key};
use crate::keel::Keel;
use crate::layout::{Layout, STICK, VOLUMES};
use crate::made;
use crate::process::Tool;
use crate::rootfs::{RootFileSystems, set_mode, write};
use crate::signed_archive::{self, Package};

/// Where it lies.
const LAYOUT: Layout = Layout::Vault;
/// Room that the root file system has beside what is in it, in MiB.
const FREE_MIB: u64 = 500;
/// The password that ada begins with.
const PASSWORD: &str = "first words";
/// Where the configuration lies on the machine, below its `/etc`.
const CONFIGURATION: &str = "var/lib/keel/etc/upper/keel";
/// The files of the configuration. The first one is the machine's.
const FILES: [(&str, &str); 7] = [
    ("system.toml", include_str!("../options/system.toml")),
    ("common.toml", include_str!("../options/common.toml")),
    ("disks.toml", include_str!("../options/disks.toml")),
    ("second.toml", include_str!("../options/second.toml")),
    ("failing.toml", include_str!("../options/failing.toml")),
    ("files/source.txt", include_str!("../options/files/source.txt")),
    ("files/recipe.toml", include_str!("../options/files/recipe.toml")),
];
/// What the machine's own archive has. The second one only comes because the first one recommends it.
const PACKAGES: [Package<'_>; 2] = [
    Package {
        name: "keel-words",
        version: "1",
        field: "Recommends: keel-more",
        text: "of the archive\n",
    },
    Package {
        name: "keel-more",
        version: "1",
        field: "",
        text: "recommended\n",
    },
];
/// What takes the first one's place.
const REPLACEMENT: Package<'_> = Package {
    name: "keel-words",
    version: "2",
    field: "Recommends: keel-more",
    text: "of the overlay\n",
};

/// The disks of the machine; made, or taken from the cache.
pub(crate) fn disks(cache: &Cache, keel: &Keel, systems: &RootFileSystems, notes: &Path) -> Result<Disks> {
    let files = FILES.map(|(_, text)| text).concat();
    let recipe = [
        files.as_str(),
        include_str!("options_machine.rs"),
        include_str!("signed_archive.rs"),
        include_str!("keel.rs"),
        include_str!("made.rs"),
    ]
    .concat();
    let key = Key::of([keel.key()?.as_ref(), recipe.as_bytes()]);
    let contents = cache.get("options-root", &key, |directory| make(keel, directory))?;
    let contents = Contents {
        root: contents.join("root.ext4"),
        esp: contents.join("esp.tar"),
    };
    let recipe = [include_str!("builder.rs"), include_str!("layout.rs")].concat();
    let key = Key::of([key.as_ref(), systems.key.as_ref(), recipe.as_bytes()]);
    let directory = cache.get("options", &key, |directory| {
        builder::build(LAYOUT, &contents, systems, directory, notes).map(drop)
    })?;
    Ok(Disks::in_directory(directory, LAYOUT))
}

/// Makes the root file system with its generations, and what the ESP holds.
fn make(keel: &Keel, directory: &Path) -> Result<()> {
    let directory = std::path::absolute(directory).context("the working directory is gone")?;
    let root = directory.join("root");
    let configuration = root.join(CONFIGURATION);
    let archive = directory.join("archive");
    let key = signed_archive::make(&archive, &PACKAGES)?;
    let _deb = REPLACEMENT.build(&configuration.join("files"))?;
    let [_, (vault, _)] = VOLUMES;
    let words = [
        ("@VAULT@", vault.to_owned()),
        ("@STICK@", STICK.to_owned()),
        ("@SUITE@", archive::SUITE.to_owned()),
        ("@MIRROR@", archive::mirror()?),
        ("@REPOSITORY@", archive.display().to_string()),
        ("@KEY@", key.display().to_string()),
        ("@SSH_KEY@", ssh_key(&root)?),
        ("@TOOLS@", tools(keel, &directory, &root)?),
        ("@PATH@", words_of_a_path(keel, &directory, &root)?),
    ];
    for (name, text) in FILES {
        let text = words
            .iter()
            .fold(text.to_owned(), |text, (word, value)| text.replace(word, value));
        write(&configuration.join(name), &text)?;
    }
    write(
        &root.join("var/lib/secrets/ada"),
        &format!("{}\n", made::hashed(PASSWORD)?),
    )?;

    let main = configuration.join("system.toml");
    keel.update(&main, &root)?;
    let _spare = keel.build_machine(&main, &root, &["system.hostname=\"spare\""])?;
    let _failing = keel.build_machine(&configuration.join("failing.toml"), &root, &[])?;
    let _second = keel.build_machine(&configuration.join("second.toml"), &root, &[])?;
    // What is built last is what boots.
    let _booted = keel.build_machine(&main, &root, &[])?;
    made::esp(keel, &root, &directory.join("esp.tar"))?;
    let _mib = made::image(&root, &directory.join("root.ext4"), FREE_MIB)?;
    // The image is what counts from now on.
    fs::remove_dir_all(&root).context("the root can't be removed")
}

/// Makes a key that root logs in with, in its home; returns the line for those who let it in (RFC 8709, section 4).
fn ssh_key(root: &Path) -> Result<String> {
    let key = root.join("root/ada.pem");
    write(
        &key,
        &Tool::new("openssl")
            .args(["genpkey", "-algorithm", "ed25519"])
            .output()?,
    )?;
    set_mode(&key, 0o600)?;
    let public = Tool::new("openssl")
        .args(["pkey", "-pubout", "-outform", "DER", "-in"])
        .arg(&key)
        .finish()?
        .stdout;
    // What precedes the key in its DER form has 12 bytes (RFC 8410, section 4).
    let Some(point) = public.get(12..).filter(|point| point.len() == 32) else {
        bail!("openssl gives {} bytes for a public key", public.len());
    };
    let name = b"ssh-ed25519";
    let blob = [&[0, 0, 0, 11][..], name, &[0, 0, 0, 32], point].concat();
    let text = Tool::new("openssl").args(["base64", "-A"]).input(blob).output()?;
    Ok(format!("ssh-ed25519 {} root@vessel", text.trim()))
}

/// A shell for the recipe, as a path of the machine's store: the machine has no busybox that could be taken instead.
fn tools(keel: &Keel, directory: &Path, root: &Path) -> Result<String> {
    let tree = directory.join("tools");
    let bin = tree.join("bin");
    fs::create_dir_all(&bin).context("the tools can't be made")?;
    for name in ["sh", "mkdir"] {
        let _ = fs::copy("/usr/bin/busybox", bin.join(name))
            .context("there is no /usr/bin/busybox (package busybox-static)")?;
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).context("chmod")?;
    }
    keel.store_add(&tree, root)
}

/// What one of the overlays lays over `/usr`.
fn words_of_a_path(keel: &Keel, directory: &Path, root: &Path) -> Result<String> {
    let tree: PathBuf = directory.join("of-a-path");
    write(&tree.join("share/of-a-path"), "laid over\n")?;
    keel.store_add(&tree, root)
}
