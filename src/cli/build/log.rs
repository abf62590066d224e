//! `keel store log`: what builders said.

use std::fs::File;
use std::io::{self, Read};
use std::process::{Command, Stdio};

use anyhow::Context;

use crate::build::realise::find_log;
use crate::cli::StoreArgs;
use crate::cli::output::write_bytes;
use crate::store::db::Database;
use crate::store::derivation::name_of;
use crate::store::{Layout, StorePath, roots};

/// Show what the builder of a path said.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Log {
    /// A derivation, or a path that was built from one.
    path: String,
    #[command(flatten)]
    store: StoreArgs,
}

pub(in crate::cli) fn log(args: &Log) -> anyhow::Result<()> {
    let layout = args.store.layout()?;
    let path = roots::in_store(&layout, std::path::Path::new(&args.path))
        .or_else(|| StorePath::from_base_name(&args.path).ok())
        .with_context(|| format!("'{}' is no store path", args.path))?;
    let derivations = if name_of(&path).is_some() {
        vec![path]
    } else {
        derivers(&layout, &path)?
    };
    let found = derivations
        .iter()
        .find_map(|derivation| find_log(&layout, derivation));
    let (file, is_compressed) = found.with_context(|| {
        format!(
            "there is no log of {}: it wasn't built on this machine",
            args.path
        )
    })?;
    let failed = || format!("{} can't be read", file.display());
    if is_compressed {
        return decompressed(&file).with_context(failed);
    }
    copy(&mut File::open(&file).with_context(failed)?)
}

/// The derivations that a path comes from, as far as they are known.
fn derivers(layout: &Layout, path: &StorePath) -> anyhow::Result<Vec<StorePath>> {
    let database = Database::open(&layout.physical(&layout.database_dir()), layout.store_dir())?;
    let info = database.path_info(path)?;
    let mut all: Vec<StorePath> = info.and_then(|info| info.deriver).into_iter().collect();
    all.extend(database.valid_derivers(path)?);
    if all.is_empty() {
        anyhow::bail!("{path} wasn't built from a derivation that is known here");
    }
    Ok(all)
}

/// Nix compresses its logs.
fn decompressed(file: &std::path::Path) -> anyhow::Result<()> {
    let mut child = Command::new("bzip2")
        .arg("-dc")
        .arg(file)
        .stdout(Stdio::piped())
        .spawn()
        .context("Nix's logs are read by bzip2, which can't be run")?;
    if let Some(mut output) = child.stdout.take() {
        copy(&mut output)?;
    }
    let status = child.wait()?;
    if !status.success() {
        anyhow::bail!("bzip2 fails ({status})");
    }
    Ok(())
}

fn copy(source: &mut dyn Read) -> anyhow::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => write_bytes(buffer.get(..count).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}
