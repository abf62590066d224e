//! The questions, and `delete`.

use anyhow::Context;
use serde::Serialize;

use super::Opened;
use crate::cli::StoreArgs;
use crate::cli::gc::{kept_roots, say_waiting};
use crate::cli::output::{self, outln};
use crate::cli::units::shown_bytes;
use crate::store::base32;
use crate::store::db::{Direction, PathInfo};
use crate::store::gc::{self, Options};
use crate::store::roots::Root;
use crate::system::generation::is_foreign;

/// Paths of the store.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_field_names, reason = "shown by clap as it is named")]
pub(super) struct Paths {
    /// Store paths, files in them, or links to them.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// What refers to paths.
#[derive(Debug, clap::Args)]
pub(super) struct Referrers {
    /// Also what refers to those, and so on, and the paths themselves.
    #[arg(long)]
    closure: bool,
    #[command(flatten)]
    paths: Paths,
}

/// What keeps paths.
#[derive(Debug, clap::Args)]
pub(super) struct Roots {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// What keeps a path alive.
#[derive(Debug, clap::Args)]
pub(super) struct Why {
    /// A store path, a file in it, or a link to it.
    path: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Paths to delete.
#[derive(Debug, clap::Args)]
pub(super) struct Delete {
    /// Only say whether it can be done.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    paths: Paths,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct InfoRow {
    path: String,
    nar_hash: String,
    nar_size: u64,
    references: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deriver: Option<String>,
    registration_time: i64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    ultimate: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    signatures: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<String>,
}

#[derive(Debug, Serialize)]
struct RootRow {
    path: String,
    kind: &'static str,
    from: String,
    /// Another system's, such as NixOS's: listed, kept, never booted by keel.
    foreign: bool,
    /// From the root to the path that was asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    chain: Option<Vec<String>>,
}

pub(super) fn path_info(args: &Paths) -> anyhow::Result<()> {
    let store = Opened::new(&args.store)?;
    let mut rows = Vec::new();
    for text in &args.paths {
        let path = store.path(text)?;
        let info = store.database.path_info(&path)?;
        rows.push(info_row(&store, info.context("it was deleted meanwhile")?));
    }
    if args.json {
        outln!("{}", serde_json::to_string_pretty(&rows)?)?;
        return Ok(());
    }
    for row in rows {
        outln!("{}", row.path)?;
        outln!("  hash:       {}", row.nar_hash)?;
        outln!("  size:       {} ({})", row.nar_size, shown_bytes(row.nar_size))?;
        outln!(
            "  registered: {}",
            crate::cli::generations::rfc3339(row.registration_time)
        )?;
        let optional = [
            ("deriver:   ", row.deriver),
            ("address:   ", row.ca),
            (
                "signatures:",
                (!row.signatures.is_empty()).then(|| row.signatures.join(" ")),
            ),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                outln!("  {name} {value}")?;
            }
        }
        for reference in row.references {
            outln!("  needs       {reference}")?;
        }
    }
    Ok(())
}

fn info_row(store: &Opened, info: PathInfo) -> InfoRow {
    InfoRow {
        path: store.shown(&info.path),
        nar_hash: format!("sha256:{}", base32::encode(&info.nar.sha256)),
        nar_size: info.nar.size,
        references: info.references.iter().map(|path| store.shown(path)).collect(),
        deriver: info.deriver.map(|path| store.shown(&path)),
        registration_time: info.registration_time,
        ultimate: info.ultimate,
        signatures: info.signatures,
        ca: info.ca,
    }
}

pub(super) fn closure(args: &Paths) -> anyhow::Result<()> {
    let store = Opened::new(&args.store)?;
    let roots: Vec<_> = args
        .paths
        .iter()
        .map(|text| store.path(text))
        .collect::<Result<_, _>>()?;
    print_paths(
        &store,
        args.json,
        &store.database.closure(&roots, Direction::References)?,
    )
}

pub(super) fn referrers(args: &Referrers) -> anyhow::Result<()> {
    let Paths { paths, json, store } = &args.paths;
    let store = Opened::new(store)?;
    let paths: Vec<_> = paths
        .iter()
        .map(|text| store.path(text))
        .collect::<Result<_, _>>()?;
    let mut all = Vec::new();
    if args.closure {
        all = store.database.closure(&paths, Direction::Referrers)?;
    } else {
        for path in &paths {
            all.extend(store.database.referrers(path)?);
        }
        all.sort_unstable();
        all.dedup();
    }
    print_paths(&store, *json, &all)
}

fn print_paths(store: &Opened, json: bool, paths: &[crate::store::StorePath]) -> anyhow::Result<()> {
    let shown: Vec<_> = paths.iter().map(|path| store.shown(path)).collect();
    if json {
        outln!("{}", serde_json::to_string_pretty(&shown)?)?;
    } else if !shown.is_empty() {
        output::write(format_args!("{}\n", shown.join("\n")))?;
    }
    Ok(())
}

fn all_roots(store: &Opened) -> anyhow::Result<Vec<Root>> {
    let kept = kept_roots(&store.layout)?;
    Ok(gc::valid_roots(&store.layout, &store.database, &kept)?)
}

fn root_row(store: &Opened, root: &Root, chain: Option<Vec<String>>) -> RootRow {
    RootRow {
        path: store.shown(&root.path),
        kind: root.kind.name(),
        from: root.from.clone(),
        foreign: is_foreign(&store.layout, &root.path),
        chain,
    }
}

pub(super) fn roots(args: &Roots) -> anyhow::Result<()> {
    let store = Opened::new(&args.store)?;
    let rows: Vec<_> = all_roots(&store)?
        .iter()
        .map(|root| root_row(&store, root, None))
        .collect();
    print_roots(args.json, &rows)
}

pub(super) fn why(args: &Why) -> anyhow::Result<()> {
    let store = Opened::new(&args.store)?;
    let path = store.path(&args.path)?;
    let needing = store
        .database
        .closure(std::slice::from_ref(&path), Direction::Referrers)?;
    let mut rows = Vec::new();
    for root in all_roots(&store)? {
        if needing.binary_search(&root.path).is_ok() {
            let chain = store.database.chain(&root.path, &path)?.unwrap_or_default();
            let chain = chain.iter().map(|path| store.shown(path)).collect();
            rows.push(root_row(&store, &root, Some(chain)));
        }
    }
    if rows.is_empty() && !args.json {
        outln!(
            "{} is kept by no root (a derivation or an output may keep it still)",
            store.shown(&path)
        )?;
        return Ok(());
    }
    print_roots(args.json, &rows)
}

fn print_roots(json: bool, rows: &[RootRow]) -> anyhow::Result<()> {
    if json {
        outln!("{}", serde_json::to_string_pretty(rows)?)?;
        return Ok(());
    }
    for row in rows {
        let foreign = if row.foreign { ", foreign" } else { "" };
        outln!("{} -> {} ({}{foreign})", row.from, row.path, row.kind)?;
        for (depth, path) in row.chain.iter().flatten().enumerate().skip(1) {
            outln!("{:depth$}└─ {path}", "", depth = depth * 2)?;
        }
    }
    Ok(())
}

pub(super) fn delete(args: &Delete) -> anyhow::Result<()> {
    let store = Opened::new(&args.paths.store)?;
    let paths = args
        .paths
        .paths
        .iter()
        .map(|text| store.path(text))
        .collect::<Result<_, _>>()?;
    let options = Options {
        dry_run: args.dry_run,
        only: Some(paths),
        keep: gc::keep_settings(),
        roots: kept_roots(&store.layout)?,
        ..Options::default()
    };
    let report = gc::collect(&store.layout, &options, &mut say_waiting)?;
    let deleted: Vec<_> = report.paths.iter().map(|path| store.shown(path)).collect();
    if args.paths.json {
        let said = serde_json::json!({ "dryRun": args.dry_run, "paths": deleted, "bytes": report.bytes });
        outln!("{}", serde_json::to_string_pretty(&said)?)?;
        return Ok(());
    }
    let verb = if args.dry_run { "would delete" } else { "deleted" };
    for path in deleted {
        outln!("{verb} {path}")?;
    }
    Ok(())
}
