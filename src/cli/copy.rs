//! `keel copy` and `keel key`: between the store and binary caches.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Subcommand;
use serde::Serialize;

use super::StoreArgs;
use super::gc::say_waiting;
use super::output::{errln, outln};
use super::settings::Settings;
use super::units::shown_bytes;
use crate::store::cache::copy::{self, Fetch, Progress, Push};
use crate::store::cache::keys::{PublicKey, SecretKey};
use crate::store::cache::narinfo::Compression;
use crate::store::cache::{self, Cache, Trust};
use crate::store::locks::TempRoots;
use crate::store::{Layout, StorePath, files};

/// Paths at once, when nobody says how many.
const JOBS: usize = 4;

/// Copy paths, and all that they need, from a binary cache or to one.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The cache to copy from: file:///DIRECTORY, http://… or https://…; several are asked in this order. Those of keel.toml
    /// when none is given.
    #[arg(long, value_name = "CACHE", conflicts_with = "to")]
    from: Vec<String>,
    /// The cache to copy to: file:///DIRECTORY.
    #[arg(long, value_name = "CACHE")]
    to: Option<String>,
    /// A public key (NAME:BASE64) whose signatures are trusted, beside those of keel.toml.
    #[arg(long, value_name = "KEY")]
    trusted_key: Vec<PublicKey>,
    /// Take paths that nobody has signed.
    #[arg(long)]
    no_check_signatures: bool,
    /// Sign what is copied to a cache with the secret key in FILE.
    #[arg(long, value_name = "FILE", requires = "to")]
    sign: Option<PathBuf>,
    /// How archives are compressed in a cache: none, xz or zstd.
    #[arg(long, value_name = "HOW", default_value = "zstd", value_parser = compression, requires = "to")]
    compression: Compression,
    /// How many paths are copied at once.
    #[arg(long, value_name = "N", default_value_t = JOBS)]
    jobs: usize,
    /// Store paths.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

fn compression(text: &str) -> Result<Compression, String> {
    Compression::from_name(text).ok_or_else(|| "none, xz and zstd are known".to_owned())
}

#[derive(Debug, Serialize)]
struct Copied {
    copied: Vec<String>,
    bytes: u64,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let layout = args.store.layout()?;
    let paths: Vec<StorePath> = args
        .paths
        .iter()
        .map(|text| named(&layout, text))
        .collect::<Result<_, _>>()?;
    let mut roots = TempRoots::new(&layout).context("temporary roots can't be made")?;
    let progress = Progress::default();
    let copied = if let Some(url) = &args.to {
        let cache = cache::open(url)?;
        let directory = cache
            .as_directory()
            .ok_or_else(|| cache::CacheError::ReadOnly(url.clone()))?;
        let key = args.sign.as_deref().map(secret_key).transpose()?;
        let push = Push {
            layout: &layout,
            cache: directory,
            compression: args.compression,
            key: key.as_ref(),
            jobs: args.jobs,
            progress: &progress,
        };
        shown(&progress, || copy::push(&push, &paths, &mut roots))?
    } else {
        let settings = Settings::read(&layout)?;
        let caches = caches(&args.from, &settings)?;
        let trust = Trust {
            keys: [&args.trusted_key[..], &settings.trusted_keys[..]].concat(),
            unsigned: args.no_check_signatures,
        };
        let fetch = Fetch {
            layout: &layout,
            caches: &caches,
            trust: &trust,
            jobs: args.jobs,
            progress: &progress,
        };
        shown(&progress, || {
            copy::fetch(&fetch, &paths, &mut roots, &mut say_waiting)
        })?
    };
    let copied: Vec<_> = copied
        .iter()
        .map(|path| path.absolute(layout.store_dir()))
        .collect();
    if args.json {
        let bytes = progress.bytes.load(Ordering::Relaxed);
        outln!("{}", serde_json::to_string_pretty(&Copied { copied, bytes })?)?;
        return Ok(());
    }
    for path in copied {
        outln!("{path}")?;
    }
    Ok(())
}

/// The caches that are named, or else those of the settings.
pub(super) fn caches(named: &[String], settings: &Settings) -> anyhow::Result<Vec<Box<dyn Cache>>> {
    let urls = if named.is_empty() { &settings.caches } else { named };
    if urls.is_empty() {
        anyhow::bail!("no cache: name one by --from, or in keel.toml ([store] caches)");
    }
    Ok(urls
        .iter()
        .map(|url| cache::open(url))
        .collect::<Result<_, _>>()?)
}

/// A path that need not be there.
fn named(layout: &Layout, text: &str) -> anyhow::Result<StorePath> {
    if let Some(path) = crate::store::roots::in_store(layout, Path::new(text)) {
        return Ok(path);
    }
    StorePath::from_base_name(text).with_context(|| format!("'{text}' is no store path"))
}

fn secret_key(file: &Path) -> anyhow::Result<SecretKey> {
    let text = zeroize::Zeroizing::new(
        std::fs::read_to_string(file).with_context(|| format!("the key {} can't be read", file.display()))?,
    );
    text.parse()
        .with_context(|| format!("{} holds no secret key", file.display()))
}

/// How often it's shown.
const EVERY: Duration = Duration::from_millis(200);

/// Shows on a terminal how far a copy has come, until it has.
pub(super) fn shown<T>(progress: &Progress, work: impl FnOnce() -> T) -> T {
    if !std::io::stderr().is_terminal() {
        return work();
    }
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let shower = scope.spawn(|| {
            let started = Instant::now();
            while !over.load(Ordering::Relaxed) {
                std::thread::park_timeout(EVERY);
                show(progress, started);
            }
            clear();
        });
        let result = work();
        over.store(true, Ordering::Relaxed);
        shower.thread().unpark();
        result
    })
}

fn show(progress: &Progress, started: Instant) {
    use std::io::Write as _;
    const WIDTH: u64 = 24;
    let of = |value: &std::sync::atomic::AtomicU64| value.load(Ordering::Relaxed);
    let (bytes, all) = (of(&progress.bytes), of(&progress.bytes_all));
    if all == 0 {
        return;
    }
    let filled = usize::try_from((bytes.min(all) * WIDTH).checked_div(all).unwrap_or(0)).unwrap_or(0);
    let seconds = started.elapsed().as_secs().max(1);
    let left = match bytes / seconds {
        0 => String::new(),
        rate => format!(", {} s left", all.saturating_sub(bytes) / rate),
    };
    let _ignored = write!(
        std::io::stderr(),
        "\r\x1b[K[{:<24}] {}/{} paths, {} of {}{left}",
        "#".repeat(filled),
        of(&progress.paths),
        of(&progress.paths_all),
        shown_bytes(bytes),
        shown_bytes(all),
    );
}

fn clear() {
    use std::io::Write as _;
    let _ignored = write!(std::io::stderr(), "\r\x1b[K");
}

/// Make keys that sign what lies in caches.
#[derive(Debug, clap::Args)]
pub(super) struct KeyArgs {
    #[command(subcommand)]
    verb: KeyVerb,
}

#[derive(Debug, Subcommand)]
enum KeyVerb {
    /// Make a key, write its secret half to a file, and print its public half.
    Generate {
        /// What signatures name it by, such as cache.example.org-1.
        name: String,
        /// The new file for the secret key.
        file: PathBuf,
    },
    /// Print the public half of a secret key.
    Public {
        /// The file with the secret key.
        file: PathBuf,
    },
}

pub(super) fn key(args: &KeyArgs) -> anyhow::Result<()> {
    match &args.verb {
        KeyVerb::Generate { name, file } => {
            if file.symlink_metadata().is_ok() {
                anyhow::bail!(
                    "{} is there already: a key that is overwritten is lost",
                    file.display()
                );
            }
            let key = SecretKey::generate(name)?;
            files::write_atomically(file, key.text().as_bytes(), 0o600)
                .with_context(|| format!("{} can't be written", file.display()))?;
            outln!("{}", key.public())?;
        }
        KeyVerb::Public { file } => outln!("{}", secret_key(file)?.public())?,
    }
    Ok(())
}

/// Sign valid paths in the store itself, so that whoever copies them from here can check it.
#[derive(Debug, clap::Args)]
pub(super) struct Sign {
    /// The file with the secret key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Store paths.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<String>,
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) fn sign(args: &Sign) -> anyhow::Result<()> {
    let key = secret_key(&args.key)?;
    let layout = args.store.layout()?;
    let mut database =
        crate::store::db::Database::open(&layout.physical(&layout.database_dir()), layout.store_dir())?;
    for text in &args.paths {
        let path = named(&layout, text)?;
        let info = database
            .path_info(&path)?
            .with_context(|| format!("{text} is not a valid path of this store"))?;
        let signature = key.sign(&cache::narinfo::fingerprint(&info, layout.store_dir()));
        if database.add_signature(&path, &signature)? {
            errln!("keel: {} is signed", path.absolute(layout.store_dir()));
        }
    }
    Ok(())
}
