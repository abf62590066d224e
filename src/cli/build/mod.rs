//! `keel build`: derivations, recipes and Nix expressions become valid outputs; without any, the machine's configuration becomes a
//! system.

mod how;
mod log;
mod recipes;
mod show;
mod stage;
mod what;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;

use super::StoreArgs;
use super::output::{errln, outln};
use crate::build::realise::{Outcome, Want};
use crate::store::locks::TempRoots;
use crate::store::{Layout, StorePath, indirect};

pub(super) use how::{Builder, How};
pub(super) use log::{Log, log};
pub(super) use recipes::ProfileRecipes;
pub(super) use stage::{Stage, stage};

/// Build the machine's configuration; or derivations and recipes: what a cache has is copied, the rest is built in sandboxes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Derivations of the store (NAME.drv) and recipes (NAME.toml); NAME.drv^dev is one of the outputs.
    /// Without any, the machine's configuration is built.
    #[arg(value_name = "WHAT", conflicts_with_all = ["config", "option", "rootfs", "no_initrd"])]
    what: Vec<String>,
    /// Build the Nix expression in FILE, which nix-instantiate reads.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "option", "rootfs", "no_initrd"])]
    nix: Option<PathBuf>,
    /// The attribute of the Nix expression that is built; several may be given.
    #[arg(short = 'A', long = "attr", value_name = "ATTRIBUTE", requires = "nix")]
    attributes: Vec<String>,
    #[command(flatten)]
    machine: super::make::MachineArgs,
    /// Make the system the newest generation of the store's profile, as a machine that is being installed needs it: with --store
    /// the one that boots, too. A running machine's `switch`, `boot` and `test` do what is needed by themselves.
    #[arg(long, conflicts_with = "what")]
    generation: bool,
    /// Build again what is built, and compare.
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    how: How,
    /// Make a link to what was built, which keeps it from being collected. Further outputs get links with their names behind.
    #[arg(long, value_name = "PATH")]
    out_link: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Built {
    derivation: String,
    outputs: BTreeMap<String, String>,
    /// Whether it was built now, and not valid before or copied.
    is_new: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<u8> {
    let layout = args.store.layout()?;
    if args.what.is_empty() && args.nix.is_none() {
        return machine(args, &layout);
    }
    let builder = Builder::new(&layout, &args.how)?;
    let mut roots = TempRoots::new(&layout).context("temporary roots can't be made")?;
    let mut wants = what::named(&layout, &args.what, &mut roots)?;
    if let Some(file) = &args.nix {
        wants.extend(what::instantiated(&layout, file, &args.attributes, &mut roots)?);
    }
    let outcome = builder.build(&wants, &mut roots)?;
    if let Some(link) = &args.out_link {
        link_outputs(&layout, link, &wants, &outcome)?;
    }
    let is_same = !args.check || again(&builder, &wants, &outcome, &mut roots)?;
    print(&layout, &wants, &outcome, args.json)?;
    Ok(u8::from(!is_same))
}

/// The machine's configuration.
fn machine(args: &Args, layout: &Layout) -> anyhow::Result<u8> {
    if args.check {
        anyhow::bail!("--check builds a derivation or a recipe again: say which");
    }
    let built = super::make::build(&args.machine, &args.how, layout)?;
    if args.generation {
        // A machine that runs goes to a generation by `switch`, with a way back. Elsewhere what was built last is meant to boot.
        let elsewhere = args.store.root() != Path::new("/");
        super::make::add_generation(layout, &built.system, elsewhere)?;
    }
    if let Some(link) = &args.out_link {
        indirect::add_indirect(layout, link, &built.system)
            .with_context(|| format!("{} can't be made", link.display()))?;
    }
    let system = built.system.absolute(layout.store_dir());
    if args.json {
        outln!(
            "{}",
            serde_json::json!({ "system": system, "isNew": built.is_new })
        )?;
    } else {
        outln!("{system}")?;
    }
    Ok(0)
}

fn print(layout: &Layout, wants: &[Want], outcome: &Outcome, json: bool) -> anyhow::Result<()> {
    let store_dir = layout.store_dir();
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for want in wants.iter().filter(|want| seen.insert(&want.derivation)) {
        let outputs = outcome.outputs.get(&want.derivation).into_iter().flatten();
        all.push(Built {
            derivation: want.derivation.absolute(store_dir),
            outputs: outputs
                .map(|(id, path)| (id.clone(), path.absolute(store_dir)))
                .collect(),
            is_new: outcome.built.contains(&want.derivation),
        });
    }
    if json {
        outln!("{}", serde_json::to_string_pretty(&all)?)?;
        return Ok(());
    }
    for path in all.iter().flat_map(|built| built.outputs.values()) {
        outln!("{path}")?;
    }
    Ok(())
}

/// Builds everything that was asked for again, and tells of what differs; whether nothing does.
fn again(
    builder: &Builder,
    wants: &[Want],
    outcome: &Outcome,
    roots: &mut TempRoots,
) -> anyhow::Result<bool> {
    let all: Vec<Want> = wants
        .iter()
        .map(|want| Want::all(want.derivation.clone()))
        .collect();
    if all.iter().any(|want| !outcome.built.contains(&want.derivation)) {
        let _outcome = builder.build(&all, roots)?;
    }
    let derivations: BTreeSet<StorePath> = all.into_iter().map(|want| want.derivation).collect();
    let derivations: Vec<StorePath> = derivations.into_iter().collect();
    let mut is_same = true;
    for checked in builder.check(&derivations, roots)? {
        let path = checked.output.absolute(builder.layout.store_dir());
        for difference in &checked.differences {
            is_same = false;
            errln!("keel: {path}: {difference}");
        }
        if let Some(kept) = &checked.kept {
            errln!(
                "keel: {path} was built to something else; that is kept at {} until the next collection",
                kept.display()
            );
        }
    }
    Ok(is_same)
}

/// Links to outputs, each noted as an indirect root: `PATH` for the first `out`, `PATH-dev` for another one, `PATH-2` for those of
/// the second derivation.
fn link_outputs(layout: &Layout, link: &Path, wants: &[Want], outcome: &Outcome) -> anyhow::Result<()> {
    for (number, want) in wants.iter().enumerate() {
        for (id, path) in outcome.outputs.get(&want.derivation).into_iter().flatten() {
            let mut name = link.as_os_str().to_owned();
            if number > 0 {
                name.push(format!("-{}", number + 1));
            }
            if id != "out" {
                name.push(format!("-{id}"));
            }
            let name = PathBuf::from(name);
            indirect::add_indirect(layout, &name, path)
                .with_context(|| format!("{} can't be made", name.display()))?;
        }
    }
    Ok(())
}
