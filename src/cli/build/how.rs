//! How to build: limits, caches, and whose word is taken.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use super::show::Show;
use super::what;
use crate::build::realise::{self, BuildLimits, Checked, Outcome, Realise, RealiseError, Want};
use crate::cli::settings::Settings;
use crate::store::cache::{self, Cache, Trust};
use crate::store::locks::TempRoots;
use crate::store::{Layout, StorePath};

/// How to build, for all verbs that do.
#[derive(Clone, Debug, Default, clap::Args)]
pub(in crate::cli) struct How {
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
    /// Bytes of memory that the processes of a build may use together.
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
pub(in crate::cli) struct Builder {
    pub(super) layout: Layout,
    caches: Vec<Box<dyn Cache>>,
    trust: Trust,
    jobs: usize,
    settings: realise::Settings,
}

impl Builder {
    pub(in crate::cli) fn new(layout: &Layout, how: &How) -> anyhow::Result<Self> {
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
    pub(in crate::cli) fn build(&self, wants: &[Want], roots: &mut TempRoots) -> anyhow::Result<Outcome> {
        let show = Show::new(&self.layout);
        let result = realise::realise(&self.realise(), wants, roots, &show);
        Self::told(&show, result)
    }

    /// Builds a recipe; returns its output `out`.
    pub(in crate::cli) fn recipe(&self, file: &Path, roots: &mut TempRoots) -> anyhow::Result<StorePath> {
        let derivations = what::instantiate(&self.layout, &[file], roots)?;
        let derivation = derivations.into_iter().next().context("it's no recipe")?;
        let outcome = self.build(&[Want::all(derivation.clone())], roots)?;
        let outputs = outcome.outputs.get(&derivation);
        let out = outputs.and_then(|outputs| outputs.get("out"));
        out.cloned().context("it has no output `out`")
    }

    /// Caches that are asked.
    pub(in crate::cli) fn caches(&self) -> &[Box<dyn Cache>] {
        &self.caches
    }

    /// Whose word is taken.
    pub(in crate::cli) fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Makes the parts of a lock's packages: builds the layers that aren't valid; what happens is shown.
    pub(in crate::cli) fn layers(
        &self,
        request: &crate::layers::Request<'_>,
        roots: &mut TempRoots,
        notice: &mut dyn FnMut(crate::system::notice::Notice),
    ) -> anyhow::Result<crate::system::packages_parts::Parts> {
        let show = Show::new(&self.layout);
        let result = crate::layers::realise(&self.realise(), request, roots, &show, notice);
        show.end();
        Ok(result?)
    }

    pub(super) fn check(
        &self,
        derivations: &[StorePath],
        roots: &mut TempRoots,
    ) -> anyhow::Result<Vec<Checked>> {
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
