//! `keel build`: derivations and recipes become valid outputs; without any, the machine's configuration becomes a system.

mod show;
mod stage;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

use super::StoreArgs;
use super::output::{errln, outln};
use super::settings::Settings;
use crate::build::realise::{self, BuildLimits, Checked, Outcome, Realise, RealiseError, Want};
use crate::store::cache::{self, Cache, Trust};
use crate::store::derivation::name_of;
use crate::store::locks::TempRoots;
use crate::store::{Layout, StorePath, indirect, roots};

use show::Show;
pub(super) use stage::{Stage, stage};

/// Build the machine's configuration; or derivations and recipes: what a cache has is copied, the rest is built in sandboxes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Derivations of the store (.drv; NAME.drv^dev for one of its outputs). Without any, the machine's configuration is built.
    #[arg(value_name = "WHAT", conflicts_with_all = ["config", "options", "rootfs", "no_initrd"])]
    what: Vec<String>,
    #[command(flatten)]
    machine: super::make::MachineArgs,
    /// Build again what is built, and compare.
    #[arg(long, requires = "what")]
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

/// How to build, for all verbs that do.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct How {
    /// How many builds at once.
    #[arg(long, value_name = "N", default_value_t = 1)]
    jobs: usize,
    /// How many processors a build is told to use; all when it isn't given.
    #[arg(long, value_name = "N")]
    cores: Option<usize>,
    /// Keep the directory in which a failed builder worked.
    #[arg(long)]
    keep_failed: bool,
    /// Seconds that a build may take.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Seconds that a builder may say nothing.
    #[arg(long, value_name = "SECONDS")]
    max_silent_time: Option<u64>,
    /// Bytes that a build's outputs may have (64G), each file as well.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_output: Option<u64>,
    /// Bytes that a builder may say (256M).
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_log: Option<u64>,
    /// Bytes of memory that each process of a build may have.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_memory: Option<u64>,
    /// Build everything; ask no cache.
    #[arg(long)]
    no_caches: bool,
}

fn size(text: &str) -> Result<u64, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let shift = match unit {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err("a number of bytes, with K, M, G or T behind it or not, is needed".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "no number".to_owned())?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| "too large".to_owned())
}

/// What builds need beside what is built: caches, whose word is taken, limits.
pub(super) struct Builder {
    layout: Layout,
    caches: Vec<Box<dyn Cache>>,
    trust: Trust,
    jobs: usize,
    settings: realise::Settings,
}

impl Builder {
    pub(super) fn new(layout: &Layout, how: &How) -> anyhow::Result<Self> {
        let file = Settings::read(layout)?;
        let urls: &[String] = if how.no_caches { &[] } else { &file.caches };
        let caches = urls
            .iter()
            .map(|url| cache::open(url))
            .collect::<Result<_, _>>()?;
        let trust = Trust {
            keys: file.trusted_keys,
            unsigned: false,
        };
        let usual = realise::Settings::default();
        let seconds = |given: Option<u64>, usual: Duration| given.map_or(usual, Duration::from_secs);
        let limits = BuildLimits {
            time: seconds(how.timeout, usual.limits.time),
            silence: seconds(how.max_silent_time, usual.limits.silence),
            log_bytes: how.max_log.unwrap_or(usual.limits.log_bytes),
            output_bytes: how.max_output.unwrap_or(usual.limits.output_bytes),
            memory_bytes: how.max_memory,
        };
        Ok(Self {
            layout: layout.clone(),
            caches,
            trust,
            jobs: how.jobs.max(1),
            settings: realise::Settings {
                limits,
                cores: how.cores.unwrap_or(usual.cores),
                keep_failed: how.keep_failed,
                ..usual
            },
        })
    }

    fn realise(&self) -> Realise<'_> {
        Realise {
            layout: &self.layout,
            caches: &self.caches,
            trust: &self.trust,
            jobs: self.jobs,
            settings: &self.settings,
        }
    }

    /// Makes outputs valid; what happens is shown.
    pub(super) fn build(&self, wants: &[Want], roots: &mut TempRoots) -> anyhow::Result<Outcome> {
        let show = Show::new(&self.layout);
        let result = realise::realise(&self.realise(), wants, roots, &show);
        Self::told(&show, result)
    }

    fn check(&self, derivations: &[StorePath], roots: &mut TempRoots) -> anyhow::Result<Vec<Checked>> {
        let show = Show::new(&self.layout);
        let result = realise::check(&self.realise(), derivations, roots, &show);
        Self::told(&show, result)
    }

    /// The last lines of a builder that failed come before what went wrong.
    fn told<T>(show: &Show, result: Result<T, RealiseError>) -> anyhow::Result<T> {
        show.end();
        result.map_err(|error| {
            if let RealiseError::Failed(failure) = &error {
                show.last_lines(failure);
            }
            error.into()
        })
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Built {
    derivation: String,
    outputs: std::collections::BTreeMap<String, String>,
    /// Whether it was built now, and not valid before or copied.
    is_new: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<u8> {
    let layout = args.store.layout()?;
    if args.what.is_empty() {
        let built = super::make::build(&args.machine, &args.how, &layout)?;
        if let Some(link) = &args.out_link {
            indirect::add_indirect(&layout, link, &built.system)
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
        return Ok(0);
    }
    let builder = Builder::new(&layout, &args.how)?;
    let mut roots = TempRoots::new(&layout).context("temporary roots can't be made")?;
    let wants = args
        .what
        .iter()
        .map(|word| want(&layout, word))
        .collect::<anyhow::Result<Vec<Want>>>()?;
    let outcome = builder.build(&wants, &mut roots)?;
    if let Some(link) = &args.out_link {
        link_outputs(&layout, link, &wants, &outcome)?;
    }
    let is_same = !args.check || again(&builder, &wants, &outcome, &mut roots)?;
    print(&layout, &wants, &outcome, args.json)?;
    Ok(u8::from(!is_same))
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

/// Builds again what wasn't built just now for the first time… and that as well: twice is what is asked for.
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

/// What a word on the command line asks for.
fn want(layout: &Layout, word: &str) -> anyhow::Result<Want> {
    let (path, outputs) = match word.rsplit_once('^') {
        Some((path, "*")) => (path, None),
        Some((path, outputs)) => (path, Some(outputs.split(',').map(str::to_owned).collect())),
        None => (word, None),
    };
    let derivation = roots::in_store(layout, Path::new(path))
        .or_else(|| StorePath::from_base_name(path).ok())
        .filter(|path| name_of(path).is_some())
        .with_context(|| {
            format!(
                "'{path}' is no derivation of the store ({}/….drv)",
                layout.store_dir()
            )
        })?;
    Ok(Want { derivation, outputs })
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
