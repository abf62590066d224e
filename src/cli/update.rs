//! `keel update`: the packages of the configuration, as keel.lock keeps them.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;

use super::StoreArgs;
use super::config::ConfigArgs;
use super::copy::shown;
use super::gc::say_waiting;
use super::output::color::{Ink, Style};
use super::output::{errln, outln};
use super::settings::Settings;
use super::units::shown_bytes;
use crate::pins::{self, APT_ARCHIVES, Change, Fetch, JOBS, Lock, Update};
use crate::store::Layout;
use crate::store::cache::copy::Progress;
use crate::store::cache::{self, Trust};
use crate::store::locks::TempRoots;
use crate::system::own::Programs;

/// Resolve the packages that the configuration asks for, and write keel.lock beside it.
///
/// Nothing of the running system changes: that is done by `keel switch`, which builds what the lock says. Say `keel update vim` to
/// update one package and what it needs.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Update these packages alone, and what they need; all when none is named.
    #[arg(value_name = "PACKAGE")]
    packages: Vec<String>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Say whether the lock is of this configuration (exit code 1 when it isn't), and change nothing.
    #[arg(long, conflicts_with_all = ["packages", "offline", "download"])]
    check: bool,
    /// Take the indexes that were fetched before.
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    download: DownloadArgs,
    /// The keel that systems bring; this program when left out.
    #[arg(long, value_name = "FILE")]
    keel: Option<PathBuf>,
    /// The keel-init that systems bring; the one beside that program when left out.
    #[arg(long, value_name = "FILE")]
    keel_init: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, clap::Args)]
struct DownloadArgs {
    /// Fetch the packages into the store as well, so that a build needs no network.
    #[arg(long)]
    download: bool,
    /// With --download: a directory that may hold the .deb files; may be given several times.
    #[arg(long, value_name = "DIR", requires = "download")]
    deb_dir: Vec<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Told {
    lock: PathBuf,
    written: bool,
    packages: usize,
    layers: u32,
    changes: Vec<Change>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<u8> {
    let config = args.config.load()?.config;
    let path = args.config.lock_path();
    let old = Lock::read(&path)?;
    if args.check {
        return check(&config, old.as_ref(), &path);
    }
    let layout = args.store.layout()?;
    let keel = match &args.keel {
        Some(keel) => keel.clone(),
        None => std::env::current_exe().context("this program's own place can't be found")?,
    };
    let beside = keel.with_file_name("keel-init");
    let init = args
        .keel_init
        .clone()
        .or_else(|| beside.exists().then_some(beside));
    if !args.offline {
        errln!("keel: update: fetching the indexes of {}", config.packages.suite);
    }
    let lock = pins::update(
        &Update {
            layout: &layout,
            config: &config,
            old: old.as_ref(),
            only: &args.packages,
            offline: args.offline,
            programs: Programs {
                keel: &keel,
                init: init.as_deref(),
            },
            root: &root_name(&path),
        },
        &mut say_waiting,
    )?;
    let written = old.as_ref() != Some(&lock);
    if written {
        lock.write(&path)?;
    }
    let changes = pins::changes(old.as_ref(), &lock);
    if args.json {
        let told = Told {
            lock: path.clone(),
            written,
            packages: lock.packages.len(),
            layers: lock.layers(),
            changes,
        };
        outln!("{}", serde_json::to_string_pretty(&told)?)?;
    } else {
        print(&changes)?;
        summary(&lock, &path, written);
    }
    if args.download.download {
        download(&args.download, &layout, &config.packages.mirrors, &lock)?;
    }
    Ok(0)
}

/// A root's name for the lock at `path`: one lock, one root.
fn root_name(path: &Path) -> String {
    use sha2::Digest as _;
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let hash = sha2::Sha256::digest(path.as_os_str().as_encoded_bytes());
    crate::store::path::hex(&hash).chars().take(16).collect()
}

fn check(config: &crate::config::Config, lock: Option<&Lock>, path: &Path) -> anyhow::Result<u8> {
    let why = match lock {
        None => Some("there is none".to_owned()),
        Some(lock) => pins::stale(config, lock),
    };
    match why {
        None => {
            outln!("{} is of this configuration", path.display())?;
            Ok(0)
        }
        Some(why) => {
            errln!(
                "keel: update: {} isn't of this configuration: {why}; run `keel update`",
                path.display()
            );
            Ok(1)
        }
    }
}

fn print(changes: &[Change]) -> anyhow::Result<()> {
    let style = Style::stdout();
    let width = changes.iter().map(|change| change.name.len()).max().unwrap_or(0);
    for change in changes {
        let name = format!("{:width$}", change.name);
        match (&change.old, &change.new) {
            (Some(old), Some(new)) => outln!("{} {name}  {old} -> {new}", style.paint(Ink::Yellow, "~"))?,
            (None, Some(new)) => outln!("{} {name}  {new}", style.paint(Ink::Green, "+"))?,
            (Some(old), None) => outln!("{} {name}  {old}", style.paint(Ink::Red, "-"))?,
            (None, None) => {}
        }
    }
    Ok(())
}

fn summary(lock: &Lock, path: &Path, written: bool) {
    let layers = lock.layers();
    let bytes: u64 = lock.packages.iter().map(|pin| pin.size).sum();
    errln!(
        "keel: update: {} {}: {} packages in {layers} {}, {} as .deb files",
        path.display(),
        if written { "was written" } else { "is as it was" },
        lock.packages.len(),
        if layers == 1 { "layer" } else { "layers" },
        shown_bytes(bytes),
    );
}

fn download(args: &DownloadArgs, layout: &Layout, mirrors: &[String], lock: &Lock) -> anyhow::Result<()> {
    let settings = Settings::read(layout)?;
    let caches = settings
        .caches
        .iter()
        .map(|url| cache::open(url))
        .collect::<Result<Vec<_>, _>>()?;
    let trust = Trust {
        keys: settings.trusted_keys,
        unsigned: false,
    };
    let mut deb_dirs = args.deb_dir.clone();
    deb_dirs.push(PathBuf::from(APT_ARCHIVES));
    let progress = Progress::default();
    let mut roots = TempRoots::new(layout).context("temporary roots can't be made")?;
    let fetch = Fetch {
        layout,
        mirrors,
        deb_dirs: &deb_dirs,
        caches: &caches,
        trust: &trust,
        jobs: JOBS,
        progress: &progress,
    };
    let _paths = shown(&progress, || {
        pins::fetch(&fetch, lock, &mut roots, &mut say_waiting)
    })?;
    let count = |value: &std::sync::atomic::AtomicU64| value.load(std::sync::atomic::Ordering::Relaxed);
    errln!(
        "keel: update: {} packages came, {}; all {} are in the store",
        count(&progress.paths),
        shown_bytes(count(&progress.bytes)),
        lock.packages.len()
    );
    Ok(())
}
