//! `keel store verify` and `keel store repair`.

use serde::Serialize;

use super::Opened;
use crate::cli::StoreArgs;
use crate::cli::copy::caches;
use crate::cli::gc::say_waiting;
use crate::cli::output::outln;
use crate::cli::settings::Settings;
use crate::cli::units::shown_bytes;
use crate::store::cache::Trust;
use crate::store::cache::keys::PublicKey;
use crate::store::repair;
use crate::store::verify::{self, Fault, Report};

/// What to look at.
#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    /// Only these paths; all, and the objects, when none is given.
    #[arg(value_name = "PATH")]
    paths: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Serialize)]
struct Row {
    kind: &'static str,
    path: String,
    text: String,
}

#[derive(Debug, Serialize)]
struct Verified {
    paths: usize,
    objects: usize,
    bytes: u64,
    faults: Vec<Row>,
}

/// Exit code 1 when something isn't as it should be.
pub(super) fn verify(args: &Verify) -> anyhow::Result<u8> {
    let store = Opened::new(&args.store)?;
    let report = look(&store, &args.paths)?;
    print(&store, args.json, &report)?;
    Ok(u8::from(!report.faults.is_empty()))
}

fn look(store: &Opened, paths: &[String]) -> anyhow::Result<Report> {
    let all = paths.is_empty();
    let paths = if all {
        store.database.all_paths()?
    } else {
        paths
            .iter()
            .map(|text| store.path(text))
            .collect::<Result<_, _>>()?
    };
    let mut report = verify::verify(&store.layout, &store.database, &paths, &|_| {})?;
    if all {
        verify::verify_objects(&store.layout, &mut report)?;
    }
    Ok(report)
}

/// What to mend, and what with.
#[derive(Debug, clap::Args)]
pub(super) struct Repair {
    /// The cache to take whole paths from; several are asked in this order. Those of keel.toml when none is given.
    #[arg(long, value_name = "CACHE")]
    from: Vec<String>,
    /// A public key (NAME:BASE64) whose signatures are trusted, beside those of keel.toml.
    #[arg(long, value_name = "KEY")]
    trusted_key: Vec<PublicKey>,
    /// Take paths that nobody has signed. Their hashes are still those of the database.
    #[arg(long)]
    no_check_signatures: bool,
    #[command(flatten)]
    verify: Verify,
}

#[derive(Debug, Serialize)]
struct Mended {
    paths: Vec<String>,
    objects: Vec<String>,
    left: Vec<String>,
}

/// Exit code 1 when something is left as it was.
pub(super) fn repair(args: &Repair) -> anyhow::Result<u8> {
    let store = Opened::new(&args.verify.store)?;
    let settings = Settings::read(&store.layout)?;
    let caches = caches(&args.from, &settings)?;
    let trust = Trust {
        keys: [&args.trusted_key[..], &settings.trusted_keys[..]].concat(),
        unsigned: args.no_check_signatures,
    };
    let report = look(&store, &args.verify.paths)?;
    let repaired = repair::repair(&store.layout, &report, &caches, &trust, &mut say_waiting)?;
    let mended = Mended {
        paths: repaired.paths.iter().map(|path| store.shown(path)).collect(),
        objects: repaired
            .objects
            .iter()
            .map(|path| path.display().to_string())
            .collect(),
        left: repaired.left,
    };
    if args.verify.json {
        outln!("{}", serde_json::to_string_pretty(&mended)?)?;
    } else {
        for path in mended.paths.iter().chain(&mended.objects) {
            outln!("mended {path}")?;
        }
        for text in &mended.left {
            outln!("not mended: {text}")?;
        }
    }
    Ok(u8::from(!mended.left.is_empty()))
}

fn print(store: &Opened, json: bool, report: &Report) -> anyhow::Result<()> {
    if json {
        let faults = report.faults.iter().map(|fault| row(store, fault)).collect();
        let verified = Verified {
            paths: report.paths,
            objects: report.objects,
            bytes: report.bytes,
            faults,
        };
        outln!("{}", serde_json::to_string_pretty(&verified)?)?;
        return Ok(());
    }
    for fault in &report.faults {
        outln!("{fault}")?;
    }
    let found = match report.faults.len() {
        0 => "all as they should be".to_owned(),
        count => format!("{count} faults: `keel store repair` mends what a cache has"),
    };
    outln!(
        "{} paths with {} and {} objects: {found}",
        report.paths,
        shown_bytes(report.bytes),
        report.objects
    )?;
    Ok(())
}

fn row(store: &Opened, fault: &Fault) -> Row {
    let (kind, path) = match fault {
        Fault::Missing(path) => ("missing", store.shown(path)),
        Fault::Changed { path, .. } => ("changed", store.shown(path)),
        Fault::Unreadable(path, _) => ("unreadable", store.shown(path)),
        Fault::Object(path, _) => ("object", path.display().to_string()),
    };
    Row {
        kind,
        path,
        text: fault.to_string(),
    }
}
