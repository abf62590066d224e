//! `keel etc`: what was changed in `/etc` by hand, and how to take it back.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::output::outln;
use crate::activate::{Machine, replace_trees};
use crate::root::{LocalKind, UPPER, local_changes, take_away};

/// What was changed in /etc by hand.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List what differs from the system's /etc: M changed, A added, D removed, = the same (but no longer followed).
    Status {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show how files differ from the system's.
    Diff {
        /// Files below /etc; all that were changed when left out.
        paths: Vec<PathBuf>,
    },
    /// Give files back to the system: its version shows, and later ones will. The old content is kept aside.
    Reset {
        /// Files below /etc.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
}

/// Runs the verb.
pub(super) fn run(args: &Args) -> Result<u8> {
    let machine = Machine::this()?;
    let current = machine.current()?;
    let tree = Path::new(&current).join("etc");
    let upper = Path::new("/").join(UPPER);
    let changes =
        local_changes(&upper, &tree).with_context(|| format!("{} can't be read", upper.display()))?;
    match &args.verb {
        Verb::Status { json: true } => {
            let all: Vec<_> = changes
                .iter()
                .map(|change| {
                    serde_json::json!({
                        "path": Path::new("/etc").join(&change.path),
                        "change": match change.kind {
                            LocalKind::Changed => "changed",
                            LocalKind::Same => "same",
                            LocalKind::Added => "added",
                            LocalKind::Removed => "removed",
                        },
                    })
                })
                .collect();
            outln!("{}", serde_json::to_string_pretty(&all)?)?;
            Ok(0)
        }
        Verb::Status { json: false } => {
            for change in &changes {
                let mark = match change.kind {
                    LocalKind::Changed => 'M',
                    LocalKind::Same => '=',
                    LocalKind::Added => 'A',
                    LocalKind::Removed => 'D',
                };
                outln!("{mark} /etc/{}", change.path.display())?;
            }
            Ok(0)
        }
        Verb::Diff { paths } => {
            let wanted: Vec<PathBuf> = paths.iter().map(|path| below_etc(path)).collect::<Result<_>>()?;
            for change in changes.iter().filter(|change| change.kind == LocalKind::Changed) {
                if !wanted.is_empty() && !wanted.contains(&change.path) {
                    continue;
                }
                let status = Command::new("diff")
                    .args(["--unified", "--label"])
                    .arg(format!("system/etc/{}", change.path.display()))
                    .arg("--label")
                    .arg(format!("/etc/{}", change.path.display()))
                    .arg(tree.join(&change.path))
                    .arg(upper.join(&change.path))
                    .status()
                    .context("diff can't be executed")?;
                if status.code().is_none_or(|code| code > 1) {
                    bail!("diff of {} ended with {status}", change.path.display());
                }
            }
            Ok(0)
        }
        Verb::Reset { paths } => {
            let wanted: Vec<PathBuf> = paths.iter().map(|path| below_etc(path)).collect::<Result<_>>()?;
            for path in &wanted {
                match changes
                    .iter()
                    .find(|change| change.path == *path)
                    .map(|change| change.kind)
                {
                    Some(LocalKind::Changed | LocalKind::Same | LocalKind::Removed) => {}
                    Some(LocalKind::Added) => bail!(
                        "the system has no /etc/{}; nothing was reset (remove the file if it isn't needed)",
                        path.display()
                    ),
                    None => bail!("/etc/{} wasn't changed; nothing was reset", path.display()),
                }
            }
            let _lock = machine.lock(std::time::Duration::from_secs(5))?;
            let state = upper.parent().unwrap_or(&upper).to_owned();
            for path in &wanted {
                let kept = take_away(&state, path)
                    .with_context(|| format!("/etc/{} can't be reset", path.display()))?;
                outln!(
                    "/etc/{}: reset; what it was is in {}",
                    path.display(),
                    kept.display()
                )?;
            }
            // An overlay doesn't notice what happens below it: /etc is mounted anew, without a moment of absence.
            replace_trees(&current).context("the reset shows only after a reboot")?;
            Ok(0)
        }
    }
}

fn below_etc(path: &Path) -> Result<PathBuf> {
    let absolute = if path.is_absolute() {
        path.to_owned()
    } else {
        Path::new("/etc").join(path)
    };
    let below = absolute
        .strip_prefix("/etc")
        .with_context(|| format!("{} isn't below /etc", path.display()))?;
    if below
        .components()
        .any(|part| !matches!(part, std::path::Component::Normal(_)))
    {
        bail!("{} isn't a plain path below /etc", path.display());
    }
    Ok(below.to_owned())
}
