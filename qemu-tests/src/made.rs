//! What is made once and shared by all scenarios: programs, root file systems, the store with two generations, disks.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result, anyhow};

use crate::builder::{self, Contents, Disks};
use crate::declared::Declared;
use crate::image_cache::{Cache, Key};
use crate::keel::Keel;
use crate::layout::{Layout, ROOT_PASSWORD, ROOT_UUID};
use crate::options_machine;
use crate::peers::Peers;
use crate::process::Tool;
use crate::report::Figures;
use crate::rootfs::{RootFileSystems, root_file_systems};
use crate::switching::Switching;

/// Room that the root file system has beside what is in it, in MiB.
const FREE_MIB: u64 = 160;
/// Group `shadow` of Debian.
const SHADOW: u32 = 42;

/// Where the parts of a made machine are.
pub(crate) struct Made {
    /// Things that take long to make.
    pub cache: Cache,
    /// The programs.
    pub keel: Keel,
    /// Debian.
    pub systems: RootFileSystems,
    /// What goes onto the disks.
    contents: Contents,
    /// The root with the store, as it's on the disks.
    pub root: PathBuf,
    contents_key: Key,
    layouts: [(Layout, Mutex<Option<Disks>>); Layout::ALL.len()],
    switching: Mutex<Option<Switching>>,
    declared: Mutex<Option<Declared>>,
    peers: Mutex<Option<Peers>>,
    notes: PathBuf,
    /// Times and sizes.
    pub figures: Figures,
}

impl Made {
    /// Makes programs and root file systems beside each other (one waits for the network, one computes), then the
    /// store. `built` is called when the programs are there.
    pub(crate) fn make(notes: &Path, built: impl FnOnce()) -> Result<Made> {
        let cache = Cache::open()?;
        let figures = Figures::default();
        let (keel, systems) = std::thread::scope(|scope| {
            let systems = scope.spawn(|| figures.time("root file systems", || root_file_systems(&cache)));
            let keel = figures.time("building keel", Keel::build);
            built();
            let systems = systems
                .join()
                .map_err(|_| anyhow!("making the root file systems panicked"));
            (keel, systems)
        });
        let (keel, systems) = (keel?, systems??);
        figures.size("keel", &keel.keel)?;
        figures.size("keel-init", &keel.init)?;
        let recipe = [
            include_str!("made.rs"),
            include_str!("layout.rs"),
            include_str!("keel.rs"),
        ]
        .concat();
        let contents_key = Key::of([keel.key()?.as_ref(), systems.key.as_ref(), recipe.as_bytes()]);
        let directory = figures.time("store with two generations", || {
            cache.get("store", &contents_key, |directory| {
                store(&keel, &systems, directory)
            })
        })?;
        let root = directory.join("root");
        let made = Made {
            cache,
            keel,
            systems,
            contents: Contents {
                root: directory.join("root.ext4"),
                esp: directory.join("esp.tar"),
            },
            root,
            contents_key,
            layouts: Layout::ALL.map(|layout| (layout, Mutex::new(None))),
            switching: Mutex::new(None),
            declared: Mutex::new(None),
            peers: Mutex::new(None),
            notes: notes.to_owned(),
            figures,
        };
        made.figures.size("initrd", &made.part("initrd")?)?;
        Ok(made)
    }

    /// The disks of a layout; the first caller makes them.
    pub(crate) fn disks(&self, layout: Layout) -> Result<Disks> {
        let slot = self
            .layouts
            .iter()
            .find(|(of, _)| *of == layout)
            .map(|(_, slot)| slot);
        let mut slot = slot
            .context("no such layout")?
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(disks) = slot.as_ref() {
            return Ok(disks.clone());
        }
        let recipe = include_str!("builder.rs");
        let key = Key::of([self.contents_key.as_ref(), recipe.as_bytes()]);
        let directory = self.figures.time(&format!("disks, {}", layout.name()), || {
            self.cache
                .get(&format!("disks-{}", layout.name()), &key, |directory| {
                    builder::build(layout, &self.contents, &self.systems, directory, &self.notes).map(|_| ())
                })
        })?;
        Ok(slot.insert(Disks::in_directory(directory, layout)).clone())
    }

    /// The machine for live switches; the first caller makes it.
    pub(crate) fn switching(&self) -> Result<Switching> {
        let mut slot = self.switching.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = slot.as_ref() {
            return Ok(made.clone());
        }
        let made = self.figures.time("generations to switch between", || {
            Switching::make(&self.cache, &self.keel, &self.systems)
        })?;
        Ok(slot.insert(made).clone())
    }

    /// The machine of one file; the first caller makes it.
    pub(crate) fn declared(&self) -> Result<Declared> {
        let mut slot = self.declared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = slot.as_ref() {
            return Ok(made.clone());
        }
        let made = self.figures.time("the machine of one file", || {
            Declared::make(&self.cache, &self.keel)
        })?;
        Ok(slot.insert(made).clone())
    }

    /// Its disks.
    pub(crate) fn declared_disks(&self) -> Result<Disks> {
        self.declared()?.disks(&self.cache, &self.systems, &self.notes)
    }

    /// The machine that sets every option; the first caller makes it.
    pub(crate) fn options(&self) -> Result<Disks> {
        self.figures.time("the machine of every option", || {
            options_machine::disks(&self.cache, &self.keel, &self.systems, &self.notes)
        })
    }

    /// Debian's own initrds, and a disk for all; the first caller makes them.
    pub(crate) fn peers(&self) -> Result<Peers> {
        let mut slot = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = slot.as_ref() {
            return Ok(made.clone());
        }
        let made = Peers::make(
            &self.cache,
            &self.systems,
            &self.root,
            &self.contents,
            &self.contents_key,
            &self.notes,
        )?;
        Ok(slot.insert(made).clone())
    }

    /// The store path that a generation of the profile points to, newest first.
    pub(crate) fn systems_of_profile(&self) -> Result<Vec<String>> {
        let directory = self.root.join("nix/var/nix/profiles");
        let mut numbered: Vec<(u64, String)> = fs::read_dir(&directory)
            .with_context(|| format!("{} can't be read", directory.display()))?
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let number = name
                    .strip_prefix("system-")?
                    .strip_suffix("-link")?
                    .parse()
                    .ok()?;
                Some((
                    number,
                    fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned(),
                ))
            })
            .collect();
        numbered.sort_by(|one, other| other.cmp(one));
        Ok(numbered.into_iter().map(|(_, system)| system).collect())
    }

    /// A part of the newest generation, such as `kernel`, as a file of this machine.
    pub(crate) fn part(&self, name: &str) -> Result<PathBuf> {
        let system = self
            .systems_of_profile()?
            .into_iter()
            .next()
            .context("the profile has no generation")?;
        self.in_root(&format!("{system}/{name}"))
    }

    /// Follows the links of a path inside of the root.
    fn in_root(&self, path: &str) -> Result<PathBuf> {
        let mut path = self.root.join(path.trim_start_matches('/'));
        for _ in 0..8 {
            match fs::read_link(&path) {
                Ok(target) if target.is_absolute() => {
                    path = self.root.join(target.strip_prefix("/").unwrap_or(&target));
                }
                Ok(target) => path = path.parent().unwrap_or(&self.root).join(target),
                Err(_) => break,
            }
        }
        if path.exists() {
            Ok(path)
        } else {
            Err(anyhow!("{} isn't in the store", path.display()))
        }
    }
}

/// A password as shadow(5) has it.
pub(crate) fn hashed(password: &str) -> Result<String> {
    let hash = Tool::new("openssl")
        .args(["passwd", "-6", "-salt", "keel", password])
        .output()?;
    Ok(hash.trim().to_owned())
}

/// Makes the boot menu of the machine whose root is at `root`: what the ESP holds, as a tar archive.
pub(crate) fn esp(keel: &Keel, root: &Path, archive: &Path) -> Result<()> {
    let esp = archive.with_extension("");
    fs::create_dir(&esp).context("the ESP can't be made")?;
    keel.boot_update(root, &esp)?;
    Tool::new("tar")
        .arg("-cf")
        .arg(archive)
        .arg("-C")
        .arg(&esp)
        .arg(".")
        .run()
}

/// Makes the root with two generations, the image of it, and the ESP's contents.
fn store(keel: &Keel, systems: &RootFileSystems, directory: &Path) -> Result<()> {
    let root = directory.join("root");
    fs::create_dir(&root).context("the root can't be made")?;
    let parameters = Layout::Main.parameters();
    for archive in [&systems.first, &systems.second] {
        keel.import(&root, archive, &parameters)?;
    }
    // The password of the machine's owner: state, which no generation brings.
    let upper = root.join("var/lib/keel/etc/upper");
    fs::create_dir_all(&upper).context("the upper directory can't be made")?;
    let shadow = upper.join("shadow");
    fs::write(
        &shadow,
        format!("root:{}:20000:0:99999:7:::\n", hashed(ROOT_PASSWORD)?),
    )
    .context("shadow can't be written")?;
    fs::set_permissions(&shadow, fs::Permissions::from_mode(0o640)).context("chmod")?;
    chown(&shadow, Some(0), Some(SHADOW)).context("chown")?;

    esp(keel, &root, &directory.join("esp.tar"))?;
    image(&root, &directory.join("root.ext4"), FREE_MIB).map(drop)
}

/// An ext4 image of `root`, with hard links, extended attributes and some free room. Returns its size in MiB.
pub(crate) fn image(root: &Path, path: &Path, free_mib: u64) -> Result<u64> {
    let used = Tool::new("du")
        .args(["--summarize", "--block-size=1M"])
        .arg(root)
        .output()?;
    let used: u64 = used
        .split_whitespace()
        .next()
        .and_then(|size| size.parse().ok())
        .context("du says no size")?;
    let size = used + used / 8 + free_mib;
    Tool::new("mke2fs")
        .args([
            "-q",
            "-t",
            "ext4",
            // A disk with blocks of 4096 bytes takes no smaller ones.
            "-b",
            "4096",
            "-L",
            "root",
            "-U",
            ROOT_UUID,
            "-E",
            "root_owner=0:0",
            "-d",
        ])
        .arg(root)
        .arg(path)
        .arg(format!("{size}M"))
        .run()?;
    Tool::new("e2fsck").arg("-fn").arg(path).run()?;
    Ok(size)
}

/// Times something and notes it.
impl Figures {
    fn time<T>(&self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let started = Instant::now();
        let result = work();
        self.note(name, started.elapsed().as_secs_f64(), "s");
        result
    }

    pub(crate) fn size(&self, name: &str, path: &Path) -> Result<()> {
        let bytes = fs::metadata(path)
            .with_context(|| format!("{} is gone", path.display()))?
            .len();
        #[allow(clippy::cast_precision_loss)] // megabytes with three digits
        self.note(name, bytes as f64 / 1e6, "MB");
        Ok(())
    }
}
