//! `keel store verify`.

use serde::Serialize;

use super::Opened;
use crate::cli::StoreArgs;
use crate::cli::output::outln;
use crate::cli::units::shown_bytes;
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
    let paths = if args.paths.is_empty() {
        store.database.all_paths()?
    } else {
        args.paths
            .iter()
            .map(|text| store.path(text))
            .collect::<Result<_, _>>()?
    };
    let mut report = verify::verify(&store.layout, &store.database, &paths, &|_| {})?;
    if args.paths.is_empty() {
        verify::verify_objects(&store.layout, &mut report)?;
    }
    print(&store, args.json, &report)?;
    Ok(u8::from(!report.faults.is_empty()))
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
        count => format!("{count} faults: `keel store repair` mends what a cache or a twin still has"),
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
