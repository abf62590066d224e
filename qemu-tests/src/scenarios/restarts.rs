//! What a switch would restart, beside what needrestart(1) names for the same change of the same running machine.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::bench::Bench;
use crate::services::{self, Debian};

/// A change: its name, and the file that becomes another one with the same meaning.
const CHANGES: [(&str, &str); 4] = [
    ("libssl", "usr/lib/x86_64-linux-gnu/libssl.so.3"),
    ("libpam", "usr/lib/x86_64-linux-gnu/libpam.so.0"),
    ("cron", "usr/sbin/cron"),
    ("libc", "usr/lib/x86_64-linux-gnu/libc.so.6"),
];

/// Where a machine of keel's keeps local changes in /etc; here there are none.
const UPPER: &str = "var/lib/keel/etc/upper";

/// What needrestart writes before a service's name.
const SERVICE: &str = "NEEDRESTART-SVC: ";

/// What `keel dry-run --json` says, as far as it's looked at.
#[derive(Deserialize)]
struct Plan {
    steps: Vec<Step>,
    kept: Vec<Kept>,
    reexec: Option<String>,
}

#[derive(Deserialize)]
struct Step {
    unit: String,
    verb: String,
    reasons: Vec<String>,
}

#[derive(Deserialize)]
struct Kept {
    unit: String,
    because: String,
}

/// Each change to a machine of its own.
pub(super) fn restarts(bench: &mut Bench<'_>) -> Result<()> {
    let pristine = services::tree(&bench.made.cache)?;
    let tree = bench.directory.join("tree");
    services::copy(&pristine, &tree)?;
    let root = bench.directory.join("root");
    fs::create_dir(&root).context("the store's root can't be made")?;
    let old = bench.made.keel.import_tree(&root, &tree)?;
    fs::create_dir_all(tree.join(UPPER)).context("the directory of local changes can't be made")?;
    for (name, file) in CHANGES {
        let changed = fs::canonicalize(tree.join(file)).with_context(|| format!("Debian has no {file}"))?;
        let new = with_change(&changed, || bench.made.keel.import_tree(&root, &tree))?;
        let log = bench.directory.join(format!("{name}.log"));
        let debian = Debian::with_services(&tree, &root.join("nix"), &log)?;
        let plan = planned(bench, &debian, &old, &new)?;
        let named = with_change(&changed, || named(&debian))?;
        drop(debian);
        compare(bench, name, &plan, &named);
    }
    Ok(())
}

/// Does something while `file` is another one of the same meaning; the old one's inode comes back, its name in
/// /proc/PID/maps doesn't.
fn with_change<T>(file: &Path, act: impl FnOnce() -> Result<T>) -> Result<T> {
    let beside = |suffix: &str| -> PathBuf {
        let mut name = file.as_os_str().to_owned();
        name.push(suffix);
        name.into()
    };
    let (kept, new) = (beside(".kept"), beside(".new"));
    let swap = || -> std::io::Result<()> {
        let _ = fs::copy(file, &new)?;
        // What follows the sections of an ELF file means nothing.
        fs::File::options()
            .append(true)
            .open(&new)?
            .write_all(b"changed")?;
        fs::hard_link(file, &kept)?;
        fs::rename(&new, file)
    };
    swap().with_context(|| format!("{} can't be changed", file.display()))?;
    let result = act();
    fs::rename(&kept, file).with_context(|| format!("{} can't be put back", file.display()))?;
    result
}

/// What a switch from `old` to `new` would do.
fn planned(bench: &Bench<'_>, debian: &Debian, old: &str, new: &str) -> Result<Plan> {
    for name in ["run/booted-system", "run/current-system"] {
        symlink(old, debian.path(name)).with_context(|| format!("{name} can't be made"))?;
    }
    let keel = debian.path("run/keel-test");
    let _ = fs::copy(&bench.made.keel.keel, &keel).context("keel can't be copied")?;
    let said = debian.run(&["/run/keel-test", "dry-run", "--json", new])?;
    serde_json::from_str(&said).with_context(|| format!("not a plan: {said}"))
}

/// The services that needrestart names.
fn named(debian: &Debian) -> Result<BTreeSet<String>> {
    let said = debian.run(&["needrestart", "-b", "-l", "-r", "l"])?;
    if !said.contains("NEEDRESTART-VER") {
        bail!("needrestart says something else than it should: {said}");
    }
    Ok(said
        .lines()
        .filter_map(|line| line.strip_prefix(SERVICE))
        .map(|name| name.trim().to_owned())
        .collect())
}

fn compare(bench: &mut Bench<'_>, name: &str, plan: &Plan, named: &BTreeSet<String>) {
    let restarted: BTreeSet<String> = plan
        .steps
        .iter()
        .filter(|step| step.verb == "restart")
        .map(|step| step.unit.clone())
        .collect();
    for (subject, count) in [("keel", restarted.len()), ("needrestart", named.len())] {
        let count = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        let figure = format!("switch: services restarted, {name} changed|{subject}");
        bench.made.figures.note(&figure, count, "");
    }
    let unexplained: Vec<String> = named
        .symmetric_difference(&restarted)
        .filter(|unit| explanation(unit, plan).is_none())
        .map(|unit| {
            let step = plan.steps.iter().find(|step| step.unit == *unit);
            let reasons = step.map(|step| step.reasons.join(", "));
            format!(
                "{unit} ({})",
                reasons.as_deref().unwrap_or("only needrestart names it")
            )
        })
        .collect();
    let explained: Vec<String> = named
        .symmetric_difference(&restarted)
        .filter_map(|unit| Some(format!("{unit} ({})", explanation(unit, plan)?)))
        .collect();
    let but = if explained.is_empty() {
        String::new()
    } else {
        format!(", but {}", explained.join(", "))
    };
    bench.check(
        &format!(
            "{name} changed: restarted is what needrestart names ({}){but}",
            named.iter().cloned().collect::<Vec<_>>().join(", ")
        ),
        || {
            if named.is_empty() {
                bail!("needrestart names nothing, so nothing is compared");
            }
            if !unexplained.is_empty() {
                bail!("without an explanation: {}", unexplained.join("; "));
            }
            Ok(())
        },
    );
}

/// Why only one of both names a service.
fn explanation(unit: &str, plan: &Plan) -> Option<String> {
    if let Some(kept) = plan.kept.iter().find(|kept| kept.unit == unit) {
        return Some(format!("kept: {}", kept.because));
    }
    if unit == "systemd-manager" || unit == "init.scope" {
        return plan
            .reexec
            .as_ref()
            .map(|_| "systemd executes itself anew".to_owned());
    }
    None
}
