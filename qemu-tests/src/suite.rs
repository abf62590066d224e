//! `run`: everything, or what is named, as much at once as two processors bear.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::cargo::{self, Outcome};
use crate::image_cache::Cache;
use crate::made::Made;
use crate::report::Figures;
use crate::scenarios::{
    self, ALL, Bench, Check, Checks, NAMED, NATIVE, Native, Place, Scenario, StoreBench, empty_directory,
};
use crate::{keel::Keel, rootfs};

/// Virtual machines side by side: an emulated one keeps a processor busy.
const SIDE_BY_SIDE: usize = 2;
/// Scenarios that take minutes. They begin first, so that none of them is left over for one processor at the end.
const LONG: [&str; 10] = [
    "declared",
    "switch-faults",
    "options",
    "adjunct",
    "switch-boot",
    "switch",
    "switch-power",
    "hibernate",
    "thin-root",
    "reproducible",
];
/// Logs, disks and figures of a run.
pub(crate) const DIRECTORY: &str = "target/qemu-tests";

/// Counts of a run.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    passed: usize,
    failed: usize,
}

/// Lists everything that can be run.
pub(crate) fn list() {
    for (name, about, _) in cargo::ALL {
        println!("{name:20}{about}");
    }
    for scenario in ALL {
        println!("{:20}{}", scenario.name, scenario.about);
    }
    for scenario in NATIVE {
        println!("{:20}{}", scenario.name, scenario.about);
    }
}

/// Runs what is named, or all. Whether everything passed.
pub(crate) fn run(names: &[String]) -> Result<bool> {
    let (passed, figures) = run_with(names, false)?;
    if !figures.is_empty() {
        println!("\nFigures (they decide nothing; also in {DIRECTORY}/figures.json):");
        for line in figures.lines() {
            println!("  {line}");
        }
    }
    Ok(passed)
}

/// Runs scenarios for their figures, those whose names begin with `prefix`: a table, or a JSON array of
/// `{name, subject, value, unit}`. A name may end with a subject: `NAME|SUBJECT`.
pub(crate) fn bench(scenarios: &[&str], prefix: &str, json: bool) -> Result<bool> {
    let (passed, figures) = run_with(
        &scenarios.iter().map(|&name| name.to_owned()).collect::<Vec<_>>(),
        true,
    )?;
    print_figures(&figures, prefix, json)?;
    Ok(passed)
}

/// The store beside Nix: natively, with nothing made but the program and a root file system.
pub(crate) fn bench_store(json: bool) -> Result<()> {
    let cache = Cache::open()?;
    let keel = Keel::build_command()?;
    let archive = rootfs::root_file_systems(&cache)?.first;
    let directory = std::path::absolute(DIRECTORY)
        .context("the working directory is gone")?
        .join("bench-store");
    empty_directory(&directory)?;
    let figures = Figures::default();
    scenarios::bench_store(&StoreBench {
        keel: &keel,
        archive: &archive,
        directory: &directory,
        figures: &figures,
    })?;
    print_figures(&figures, "store", json)
}

/// Building a configuration beside mmdebstrap: natively, with nothing made but the programs.
pub(crate) fn bench_build(json: bool) -> Result<()> {
    let keel = Keel::build()?;
    let directory = std::path::absolute(DIRECTORY)
        .context("the working directory is gone")?
        .join("bench-build");
    empty_directory(&directory)?;
    let figures = Figures::default();
    scenarios::bench_build(&keel, &directory, &figures)?;
    print_figures(&figures, "build", json)
}

fn print_figures(figures: &Figures, prefix: &str, json: bool) -> Result<()> {
    let own = figures.of(prefix);
    if json {
        let array: Vec<_> = own
            .iter()
            .map(|(name, figure)| {
                let (name, subject) = name.split_once('|').unwrap_or((name, "keel"));
                serde_json::json!({ "name": name, "subject": subject, "value": figure.value, "unit": figure.unit })
            })
            .collect();
        println!("{}", serde_json::to_string_pretty(&array).context("figures")?);
    } else {
        for (name, figure) in own {
            let (name, subject) = name.split_once('|').unwrap_or((&name, "keel"));
            println!("{name:60}{subject:18}{:10.3} {}", figure.value, figure.unit);
        }
    }
    Ok(())
}

fn run_with(names: &[String], to_stderr: bool) -> Result<(bool, Figures)> {
    for name in names {
        let known = cargo::ALL.iter().any(|(known, ..)| known == name)
            || ALL.iter().chain(NAMED).any(|known| known.name == name)
            || NATIVE.iter().any(|known| known.name == name);
        if !known {
            bail!("there is no test {name:?}; `--list` lists them");
        }
    }
    let wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    let started = Instant::now();
    let suite = Suite {
        to_stderr,
        started,
        counts: Mutex::default(),
    };
    let mut scenarios: Vec<Scenario> = ALL
        .iter()
        .copied()
        .filter(|scenario| wanted(scenario.name))
        .collect();
    scenarios.sort_by_key(|scenario| {
        LONG.iter()
            .position(|name| *name == scenario.name)
            .unwrap_or(LONG.len())
    });
    let scenarios: VecDeque<Scenario> = scenarios
        .into_iter()
        .chain(
            NAMED
                .iter()
                .copied()
                .filter(|scenario| names.iter().any(|name| name == scenario.name)),
        )
        .collect();
    let directory = std::path::absolute(DIRECTORY).context("the working directory is gone")?;
    std::fs::create_dir_all(&directory).with_context(|| format!("{} can't be made", directory.display()))?;
    let figures = if scenarios.is_empty() {
        suite.without_machines(&wanted, &directory);
        Figures::default()
    } else {
        let (built, is_built) = mpsc::channel::<()>();
        let figures = std::thread::scope(|scope| {
            let machines = scope.spawn(|| suite.with_machines(scenarios, &directory, move || drop(built)));
            // Until then cargo has keel to build. What it checks afterwards runs beside the making of root file systems,
            // which waits for the network, and of the store.
            let _ = is_built.recv();
            suite.without_machines(&wanted, &directory);
            machines.join()
        });
        let figures = figures.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        figures.note("all", started.elapsed().as_secs_f64(), "s");
        figures.write(&directory.join("figures.json"))?;
        figures
    };
    let counts = *suite.counts.lock().unwrap_or_else(PoisonError::into_inner);
    suite.say(&format!("{} passed, {} failed", counts.passed, counts.failed));
    Ok((counts.failed == 0, figures))
}

struct Suite {
    /// Standard output is for something else.
    to_stderr: bool,
    started: Instant,
    counts: Mutex<Counts>,
}

impl Suite {
    /// Says a line, with the time.
    fn say(&self, text: &str) {
        let line = format!("[{:4.0} s] {text}", self.started.elapsed().as_secs_f64());
        if self.to_stderr {
            eprintln!("{line}");
        } else {
            println!("{line}");
        }
    }

    /// Shows and counts checks.
    fn count(&self, checks: &[Check], of: &str) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for check in checks {
            match &check.failure {
                None => {
                    counts.passed += 1;
                    self.say(&format!("ok      {of}: {}", check.name));
                }
                Some(failure) => {
                    counts.failed += 1;
                    self.say(&format!(
                        "FAILED  {of}: {}\n        {}",
                        check.name,
                        failure.replace('\n', "\n        ")
                    ));
                }
            }
        }
    }

    /// Makes what machines need, and runs scenarios side by side. `built` is called as soon as keel is built.
    fn with_machines(
        &self,
        scenarios: VecDeque<Scenario>,
        directory: &Path,
        built: impl FnOnce() + Send,
    ) -> Figures {
        let made = match Made::make(directory, built) {
            Ok(made) => made,
            Err(error) => {
                let check = Check {
                    name: "setting up".to_owned(),
                    failure: Some(format!("{error:#}")),
                };
                self.count(&[check], "machines");
                return Figures::default();
            }
        };
        self.say(&format!("made; {} scenarios begin", scenarios.len()));
        let queue = Mutex::new(scenarios);
        std::thread::scope(|scope| {
            for _ in 0..SIDE_BY_SIDE {
                let _ = scope.spawn(|| self.work(&queue, &made, directory));
            }
        });
        let seconds = self.started.elapsed().as_secs_f64();
        made.figures.note("until the last scenario", seconds, "s");
        made.figures
    }

    /// Runs scenarios until none is left.
    fn work(&self, queue: &Mutex<VecDeque<Scenario>>, made: &Made, directory: &Path) {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(scenario) = next else { return };
            let started = Instant::now();
            let checks = run_scenario(scenario, made, directory.join(scenario.name));
            self.count(&checks, scenario.name);
            made.figures.note(
                &format!("scenario {}", scenario.name),
                started.elapsed().as_secs_f64(),
                "s",
            );
        }
    }

    /// Runs what needs no machine in QEMU, one after the other.
    fn without_machines(&self, wanted: &impl Fn(&str) -> bool, directory: &Path) {
        self.cargo(wanted);
        for scenario in NATIVE.iter().filter(|scenario| wanted(scenario.name)) {
            let checks = run_native(*scenario, directory.join(scenario.name));
            self.count(&checks, scenario.name);
        }
    }

    /// Runs what cargo does, one after the other: they share a lock.
    fn cargo(&self, wanted: &impl Fn(&str) -> bool) {
        for (name, about, run) in cargo::ALL {
            if !wanted(name) {
                continue;
            }
            let outcome = run().unwrap_or_else(|error| Outcome::failure(format!("{error:#}")));
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            counts.passed += outcome.passed;
            counts.failed += outcome.failed;
            drop(counts);
            if outcome.failed > 0 {
                self.say(&format!("FAILED  {name}: {about}\n{}", outcome.said));
            } else {
                self.say(&format!("ok      {name}: {about} ({})", outcome.passed));
            }
        }
    }
}

/// Runs one scenario in a directory of its own.
fn run_scenario(scenario: Scenario, made: &Made, directory: PathBuf) -> Vec<Check> {
    let mut bench = Bench {
        made,
        directory,
        checks: Checks::default(),
    };
    let result = empty_directory(&bench.directory).and_then(|()| (scenario.run)(&mut bench));
    bench.checks.ended(result)
}

/// The same without a machine in QEMU.
fn run_native(scenario: Native, directory: PathBuf) -> Vec<Check> {
    let cache = match Cache::open().and_then(|cache| empty_directory(&directory).map(|()| cache)) {
        Ok(cache) => cache,
        Err(error) => return Checks::default().ended(Err(error)),
    };
    let mut place = Place {
        cache: &cache,
        directory,
        checks: Checks::default(),
    };
    let result = (scenario.run)(&mut place);
    place.checks.ended(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = cargo::ALL
            .iter()
            .map(|(name, ..)| *name)
            .chain(ALL.iter().chain(NAMED).map(|scenario| scenario.name))
            .chain(NATIVE.iter().map(|scenario| scenario.name))
            .collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
