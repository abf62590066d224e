//! `keel search`: packages of the configured suite.

use std::collections::BTreeMap;

use super::StoreArgs;
use super::config::ConfigArgs;
use super::gc::say_waiting;
use super::output::color::{Ink, Style};
use super::output::{errln, outln};
use crate::pins::index::Index;
use crate::pins::{self, Freshness, Lock};
use crate::system::packages::Packages;

/// The system that runs.
const CURRENT: &str = "/run/current-system";

/// Find packages by words of their names and summaries.
///
/// The indexes are those that the last `keel update` fetched; they are fetched when there are none.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Words; a package has to have all of them.
    #[arg(required = true, value_name = "WORD")]
    words: Vec<String>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Exit code 1 when nothing is found, as grep has it.
pub(super) fn run(args: &Args) -> anyhow::Result<u8> {
    let layout = args.store.layout()?;
    let config = args.config.load()?.config;
    let lock = Lock::read(&args.config.lock_path())?.unwrap_or_default();
    let indexes = pins::indexes(
        &layout,
        &config,
        &lock.mirrors,
        Freshness::WhenMissing,
        &mut say_waiting,
    )?;
    let index = Index::new(indexes.lists());
    let hits = pins::search(&index, &args.words, &installed());
    if args.json {
        outln!("{}", serde_json::to_string_pretty(&hits)?)?;
        return Ok(u8::from(hits.is_empty()));
    }
    if hits.is_empty() {
        errln!(
            "keel: search: no package of {} has {}",
            config.packages.suite,
            args.words.join(" and ")
        );
        return Ok(1);
    }
    let style = Style::stdout();
    let width = |of: &dyn Fn(&pins::Hit) -> usize| hits.iter().map(of).max().unwrap_or(0);
    let (names, versions) = (width(&|hit| hit.name.len()), width(&|hit| hit.version.len()));
    for hit in &hits {
        let mark = match &hit.installed {
            None => " ".to_owned(),
            Some(version) if *version == hit.version => style.paint(Ink::Green, "*").to_string(),
            Some(_) => style.paint(Ink::Yellow, "~").to_string(),
        };
        outln!(
            "{mark} {}  {:versions$}  {}",
            style.paint(Ink::Bold, format!("{:names$}", hit.name)),
            hit.version,
            hit.summary
        )?;
    }
    if hits.iter().any(|hit| hit.installed.is_some()) {
        errln!("keel: search: * is in the running system, ~ in another version");
    }
    Ok(0)
}

/// Names and versions of what the running system has. One that isn't keel's has nothing to compare.
fn installed() -> BTreeMap<String, String> {
    let path = std::path::Path::new(CURRENT).join("packages.json");
    let Some(packages) = std::fs::read(path)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Packages>(&bytes).ok())
    else {
        return BTreeMap::new();
    };
    packages
        .packages
        .into_iter()
        .map(|package| (package.name, package.version))
        .collect()
}
