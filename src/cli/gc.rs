//! `keel gc`.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde::Serialize;

use super::StoreArgs;
use super::output::{errln, outln};
use super::units::{Age, Bytes, shown_bytes};
use crate::boot::record::Record;
use crate::store::gc::generations::{self, Old};
use crate::store::gc::{self, Options};
use crate::store::roots::{self, Root, RootKind};
use crate::store::{Layout, StorePath};
use crate::system::generation::is_foreign;

/// Delete what no root keeps: see 'keel store roots' and 'keel store why PATH'.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only say what would be deleted.
    #[arg(long)]
    dry_run: bool,
    /// Delete the old generations of all profiles first. Pinned, last good, running and foreign systems stay.
    #[arg(short, long)]
    delete_old: bool,
    /// Delete generations that nothing used any more AGE ago (such as 30d, 12h, 4w).
    #[arg(long, value_name = "AGE", conflicts_with = "delete_old")]
    older_than: Option<Age>,
    /// Delete generations beyond the newest N of each profile.
    #[arg(long, value_name = "N", conflicts_with = "delete_old")]
    keep: Option<usize>,
    /// Stop once so much is free (bytes, or with K, M, G, T).
    #[arg(long, value_name = "SIZE")]
    max_freed: Option<Bytes>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    dry_run: bool,
    /// Links of generations that are deleted.
    generations: Vec<Link>,
    /// Links that the rule would delete, and why they stay.
    kept_generations: Vec<Link>,
    paths: Vec<String>,
    unregistered: u64,
    links: u64,
    objects: u64,
    bytes: u64,
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "a link is what JSON calls it")]
struct Link {
    link: String,
    /// Where it leads, or why it stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let layout = args.store.layout()?;
    let kept = kept_roots(&layout)?;
    let protected = |path: &StorePath| protection(&layout, &kept, path);
    let old = match args.rules()?.as_slice() {
        [] => generations::Outcome::default(),
        rules => generations::delete_old(&layout, rules, &protected, args.dry_run)?,
    };
    let options = Options {
        dry_run: args.dry_run,
        only: None,
        max_freed: args.max_freed.map(|size| size.0),
        keep: gc::keep_settings(),
        roots: kept,
        without: old.deleted.iter().map(|old| old.link.clone()).collect(),
    };
    let report = gc::collect(&layout, &options, &mut say_waiting)?;
    let said = Said {
        dry_run: args.dry_run,
        generations: old
            .deleted
            .into_iter()
            .map(|old| Link {
                link: old.link.display().to_string(),
                target: Some(old.target.display().to_string()),
                reason: None,
            })
            .collect(),
        kept_generations: old
            .kept
            .into_iter()
            .map(|(link, reason)| Link {
                link: link.display().to_string(),
                target: None,
                reason: Some(reason),
            })
            .collect(),
        paths: report
            .paths
            .iter()
            .map(|path| path.absolute(layout.store_dir()))
            .collect(),
        unregistered: report.unregistered,
        links: report.links,
        objects: report.objects,
        bytes: report.bytes,
        warnings: report.warnings,
    };
    if args.json {
        outln!("{}", serde_json::to_string_pretty(&said)?)?;
        return Ok(());
    }
    print(&said)
}

impl Args {
    fn rules(&self) -> anyhow::Result<Vec<Old>> {
        let mut rules = Vec::new();
        if self.delete_old {
            rules.push(Old::All);
        }
        if let Some(age) = self.older_than {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .context("the clock stands before 1970")?;
            let time = now.as_secs().saturating_sub(age.0);
            rules.push(Old::Before(i64::try_from(time).unwrap_or(i64::MAX)));
        }
        if let Some(count) = self.keep {
            rules.push(Old::Beyond(count));
        }
        Ok(rules)
    }
}

/// Tells which lock is waited for.
pub(super) fn say_waiting(lock: &Path) {
    errln!("keel: waiting for another process (lock {})", lock.display());
}

/// What this machine keeps besides the store's own roots: pinned systems, the last good one, the one on trial.
pub(super) fn kept_roots(layout: &Layout) -> anyhow::Result<Vec<Root>> {
    let (record, error) = Record::read(layout.root());
    if let Some(error) = error {
        // It may pin what nothing else keeps.
        return Err(anyhow::Error::new(error)
            .context("what is pinned can't be read, so nothing is deleted: mend the file, or move it away"));
    }
    let from = layout
        .root()
        .join(crate::boot::record::PATH)
        .display()
        .to_string();
    let pinned = record.systems.iter().filter(|(_, known)| known.pinned);
    let all = record
        .last_good
        .iter()
        .map(|system| (system, "last good"))
        .chain(record.trial.iter().map(|trial| (&trial.system, "trial")))
        .chain(pinned.map(|(system, _)| (system, "pinned")));
    Ok(all
        .filter_map(|(system, which)| {
            Some(Root {
                path: roots::in_store(layout, Path::new(system))?,
                kind: RootKind::Kept(which),
                from: from.clone(),
            })
        })
        .collect())
}

// Why the generation that leads to `path` is never deleted.
fn protection(layout: &Layout, kept: &[Root], path: &StorePath) -> Option<&'static str> {
    let is = |link: &str| {
        let target = std::fs::read_link(layout.root().join(link)).ok();
        target
            .and_then(|target| roots::in_store(layout, &target))
            .as_ref()
            == Some(path)
    };
    if let Some(root) = kept.iter().find(|root| root.path == *path) {
        return Some(root.kind.name());
    }
    if is("run/current-system") {
        return Some("running");
    }
    if is("run/booted-system") {
        return Some("booted");
    }
    is_foreign(layout, path).then_some("foreign: another system's, such as NixOS's")
}

fn print(said: &Said) -> anyhow::Result<()> {
    for warning in &said.warnings {
        errln!("keel: {warning}");
    }
    let verb = if said.dry_run { "would delete" } else { "deleted" };
    for link in &said.generations {
        outln!("{verb} {}", link.link)?;
    }
    for link in &said.kept_generations {
        outln!("kept {} ({})", link.link, link.reason.unwrap_or_default())?;
    }
    if said.dry_run {
        for path in &said.paths {
            outln!("{verb} {path}")?;
        }
    }
    let mut parts = vec![counted(said.paths.len() as u64, "path")];
    for (count, name) in [
        (said.unregistered, "unregistered name"),
        (said.objects, "object"),
        (said.links, "unused link"),
    ] {
        if count > 0 {
            parts.push(counted(count, name));
        }
    }
    let freed = shown_bytes(said.bytes);
    outln!("{verb} {}: {freed}", parts.join(", "))?;
    Ok(())
}

fn counted(count: u64, name: &str) -> String {
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
}
