//! What goes into the store and comes out of it: `add`, `dump`, `restore`, `optimise`.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;

use super::Opened;
use crate::cli::StoreArgs;
use crate::cli::gc::say_waiting;
use crate::cli::output::{OutputError, outln};
use crate::cli::units::shown_bytes;
use crate::store::content::Method;
use crate::store::derivation::Algorithm;
use crate::store::lock::Access;
use crate::store::{Addition, locks, nar, optimise};

/// Files, links or trees to add.
#[derive(Debug, clap::Args)]
pub(super) struct Add {
    /// What to copy into the store.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The name in the store, instead of the file's own.
    #[arg(long)]
    name: Option<String>,
    /// Name it by the hash of the file's bytes, as downloads are; instead of by that of its archive.
    #[arg(long)]
    flat: bool,
    /// The hash that names it: md5, sha1, sha256 or sha512.
    #[arg(long, value_name = "ALGORITHM", default_value = "sha256", value_parser = algorithm)]
    hash: Algorithm,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

fn algorithm(text: &str) -> Result<Algorithm, String> {
    Algorithm::from_name(text).ok_or_else(|| "md5, sha1, sha256 or sha512 are known".to_owned())
}

#[derive(Debug, Serialize)]
struct Added {
    path: String,
}

pub(super) fn add(args: &Add) -> anyhow::Result<()> {
    if args.name.is_some() && args.files.len() > 1 {
        anyhow::bail!("--name is for one file; {} are given", args.files.len());
    }
    let layout = args.store.layout()?;
    let method = Method {
        algorithm: args.hash,
        flat: args.flat,
    };
    let mut addition = Addition::begin(&layout, &mut say_waiting)?;
    let mut paths = Vec::new();
    for file in &args.files {
        let name = match &args.name {
            Some(name) => name.clone(),
            None => own_name(file)?,
        };
        let path = addition.copy(file, &name, method)?;
        paths.push(path.absolute(layout.store_dir()));
    }
    addition.commit()?;
    drop(addition);
    if args.json {
        let rows: Vec<_> = paths.into_iter().map(|path| Added { path }).collect();
        outln!("{}", serde_json::to_string_pretty(&rows)?)?;
        return Ok(());
    }
    for path in paths {
        outln!("{path}")?;
    }
    Ok(())
}

/// The last part of its path; `.` and `..` are looked up.
fn own_name(file: &Path) -> anyhow::Result<String> {
    let name = match file.file_name() {
        Some(name) => name.to_owned(),
        None => std::fs::canonicalize(file)
            .with_context(|| format!("{} can't be found", file.display()))?
            .file_name()
            .with_context(|| format!("{} has no name; give one by --name", file.display()))?
            .to_owned(),
    };
    name.into_string()
        .map_err(|name| anyhow::anyhow!("{} is no name for the store; give one by --name", name.display()))
}

/// A file, link or tree.
#[derive(Debug, clap::Args)]
pub(super) struct Dump {
    /// What to archive.
    path: PathBuf,
}

pub(super) fn dump(args: &Dump) -> anyhow::Result<()> {
    let mut stdout = BufWriter::with_capacity(1 << 18, io::stdout().lock());
    let written = nar::write(&args.path, &mut stdout);
    let written = written.and_then(|()| stdout.flush().map_err(nar::NarError::Write));
    match written {
        Err(nar::NarError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Err(OutputError::Closed.into())
        }
        written => Ok(written?),
    }
}

/// Where to.
#[derive(Debug, clap::Args)]
pub(super) struct Restore {
    /// The new file or directory.
    path: PathBuf,
}

pub(super) fn restore(args: &Restore) -> anyhow::Result<()> {
    if args.path.symlink_metadata().is_ok() {
        anyhow::bail!("{} is there already", args.path.display());
    }
    let restored = nar::unpack(&mut io::stdin().lock(), &args.path, u64::MAX, &mut |_| {});
    if restored.is_err() {
        crate::store::files::remove_tree(&args.path)
            .with_context(|| format!("{} can't be removed", args.path.display()))?;
    }
    let _hash = restored.context("standard input")?;
    Ok(())
}

/// Nothing but the store.
#[derive(Debug, clap::Args)]
pub(super) struct Optimise {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Serialize)]
struct Optimised {
    files: u64,
    bytes: u64,
}

pub(super) fn optimise(args: &Optimise) -> anyhow::Result<()> {
    let store = Opened::new(&args.store)?;
    // Nothing is collected meanwhile.
    let _lock = locks::take_gc_lock(&store.layout, Access::Shared, &mut say_waiting)
        .context("the collector's lock can't be taken")?;
    let paths = store.database.all_paths()?;
    let saved = optimise::optimise(&store.layout, &paths)?;
    if args.json {
        let row = Optimised {
            files: saved.files,
            bytes: saved.bytes,
        };
        outln!("{}", serde_json::to_string_pretty(&row)?)?;
    } else {
        outln!(
            "{} files became links; {} are free again",
            saved.files,
            shown_bytes(saved.bytes)
        )?;
    }
    Ok(())
}
