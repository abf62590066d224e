//! The initrd of a generation: a store path of its own, built when its inputs are others than before.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::memory::{self, Inputs};
use crate::config::Config;
use crate::initrd::keymap::{CompileError, Layout as Keyboard, Places, compile};
use crate::initrd::{BuildError, ModuleSet, Recipe, SystemFiles, SystemPart, build};
use crate::store::pool::Pool;
use crate::store::tree::Node;
use crate::store::{AddError, Addition, Layout, StorePath};
use crate::system::packages_parts::Parts;

/// zstd's level: early boot reads the image once, building it is rare.
const COMPRESSION: i32 = 19;
/// The keymap that the kernel has anyway.
const KERNELS_OWN: &str = "us";

/// Why there is no initrd.
#[derive(Debug, thiserror::Error)]
pub enum InitrdError {
    /// The set of modules.
    #[error("boot.initrd.set: {0}")]
    Set(String),
    /// The keymap.
    #[error("system.keymap: {0}; with packages.install of console-setup and kbd the generation has them")]
    Keymap(#[from] CompileError),
    /// The image.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// There is no keel-init.
    #[error(
        "keel.lock pins no keel-init (programs.keel-init): `keel update` does, with a keel-init beside keel"
    )]
    NoInit,
    /// A directory for the build.
    #[error("{0}: {1}")]
    File(PathBuf, #[source] std::io::Error),
    /// The store.
    #[error(transparent)]
    Add(#[from] AddError),
    /// The database.
    #[error(transparent)]
    Db(#[from] crate::store::db::DbError),
}

/// What an initrd is built from.
pub struct Input<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The packages' parts, which are valid.
    pub parts: &'a Parts,
    /// The generation's `/etc`.
    pub etc: &'a Node,
    /// The contents of `etc`.
    pub pool: &'a Pool,
    /// Where `etc` lies for now.
    pub etc_place: &'a Path,
}

/// The inputs as a hash: everything that the image depends on.
fn inputs(input: &Input<'_>) -> std::io::Result<Inputs> {
    let Input {
        config, parts, etc, ..
    } = input;
    let mut all = vec![
        parts.usr.base_name().to_owned(),
        parts.modules.base_name().to_owned(),
        parts
            .keel
            .as_ref()
            .map(|keel| keel.base_name().to_owned())
            .unwrap_or_default(),
        serde_json::to_string(&config.boot.initrd).unwrap_or_default(),
        config.system.keymap.clone(),
        root_kind(config).unwrap_or_default().to_owned(),
        COMPRESSION.to_string(),
    ];
    // An initrd with systemd holds files of all of /etc.
    let named = ["modprobe.d", "vconsole.conf", "default/keyboard"];
    let trees: Vec<(&str, Option<&Node>)> = if config.boot.initrd.systemd {
        all.push(groups(parts));
        vec![("", Some(*etc))]
    } else {
        named.map(|name| (name, etc.get(name))).into()
    };
    for (name, node) in trees {
        let Some(node) = node else { continue };
        let mut failure = Ok(());
        node.walk(Path::new(name), &mut |path, node| match node {
            Node::File(_, id) if failure.is_ok() => match input.pool.content(*id) {
                Ok(content) => all.push(format!("{} {:?}", path.display(), content.digest)),
                Err(error) => failure = Err(error),
            },
            Node::Symlink(_, target) => all.push(format!("{} {}", path.display(), target.display())),
            _ => {}
        });
        failure?;
    }
    Ok(Inputs::of("initrd", all))
}

/// Finds or builds the initrd.
pub fn make(addition: &mut Addition, input: &Input<'_>) -> Result<StorePath, InitrdError> {
    let layout = addition.layout().clone();
    let inputs = inputs(input).map_err(|error| InitrdError::File(input.etc_place.to_owned(), error))?;
    if let Some(path) = memory::find(&layout, &inputs)? {
        return Ok(path);
    }
    let recipe = recipe(&layout, input)?;
    let image = build(&recipe)?;
    let path = addition.add_file("initrd", &image.bytes)?;
    // Valid once the addition is committed: until then the link leads to nothing that counts.
    memory::remember(&layout, &inputs, &path)
        .map_err(|error| InitrdError::File(layout.physical(&layout.keel_dir()), error))?;
    Ok(path)
}

fn recipe(layout: &Layout, input: &Input<'_>) -> Result<Recipe, InitrdError> {
    let Input { config, parts, .. } = input;
    let options = &config.boot.initrd;
    let usr = layout.physical_path(&parts.usr);
    let kernel = &parts.kernel_version;
    let keel = parts.keel.as_ref().ok_or(InitrdError::NoInit)?;
    let init = layout.physical_path(keel).join("bin/keel-init");
    if !init.exists() {
        return Err(InitrdError::NoInit);
    }
    let set: ModuleSet = match options.set.as_str() {
        "" => ModuleSet::Common,
        name => name.parse().map_err(InitrdError::Set)?,
    };
    let mut modules = options.modules.clone();
    modules.extend(root_kind(config).map(str::to_owned));
    let there = |path: &str| Some(usr.join(path)).filter(|path| path.exists());
    let firmware = there("lib/firmware");
    let has_microcode = there("lib/firmware/intel-ucode")
        .or_else(|| there("lib/firmware/amd-ucode"))
        .is_some();
    let systemd = options.systemd.then(|| SystemPart {
        files: SystemFiles::Generation {
            usr: usr.clone(),
            etc: input.etc_place.to_owned(),
            groups: groups(parts),
        },
        include: Vec::new(),
    });
    Ok(Recipe {
        kernel: kernel.clone(),
        modules_directory: layout
            .physical_path(&parts.modules)
            .join("lib/modules")
            .join(kernel),
        modprobe_d: vec![usr.join("lib/modprobe.d"), input.etc_place.join("modprobe.d")],
        set,
        modules,
        host: None,
        init,
        e2fsck: there("sbin/e2fsck.static").or_else(|| there("bin/e2fsck.static")),
        lvm: None,
        microcode: firmware.iter().filter(|_| has_microcode).cloned().collect(),
        keymaps: keymap(&config.system.keymap, &usr)?,
        shell: None,
        firmware,
        systemd,
        compression_level: COMPRESSION,
    })
}

/// The groups that packages have, as group(5) has them: udev's rules name some.
fn groups(parts: &Parts) -> String {
    let mut text = String::new();
    for group in &parts.accounts.declared.groups {
        let _ = writeln!(text, "{}:x:{}:", group.name, group.gid);
    }
    text
}

fn keymap(name: &str, usr: &Path) -> Result<Vec<crate::init::keymap::Keymap>, InitrdError> {
    if matches!(name, "" | KERNELS_OWN) {
        return Ok(Vec::new());
    }
    let usrs = [usr];
    Ok(vec![compile(&Keyboard::parse(name), Places { usr: &usrs })?])
}

/// The type of the root file system: its module belongs into the image, whatever the set.
fn root_kind(config: &Config) -> Option<&str> {
    let kind = config.filesystems.get("/")?.kind.as_str();
    (!matches!(kind, "" | "auto")).then_some(kind)
}
