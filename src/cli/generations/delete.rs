//! `keel generations delete`.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde::Serialize;

use super::Where;
use crate::activate::{self, Machine};
use crate::cli::output::{errln, outln};
use crate::cli::units::Age;
use crate::generations::facts::is_this_machine;
use crate::generations::select::Numbers;
use crate::generations::{Selection, remove};
use crate::system::generation::{Profile, SYSTEM_PROFILE};

/// Delete generations. What nothing else keeps goes with the next `keel gc`.
///
/// What runs, was booted, is the default, was good last, is on trial, is pinned, or is what the profile leads to never goes.
/// Numbers and ranges go; then --keep holds back the newest; of the rest those go that meet all other conditions that are
/// given.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  keel generations delete 12 14..17\n  keel generations delete --older-than 30d --keep 5\n  \
                        keel generations delete --pattern 'try*' --dry-run"
)]
pub(super) struct Args {
    /// Numbers, or ranges such as 3..7.
    #[arg(value_name = "SELECTOR")]
    named: Vec<Numbers>,
    /// Those made more than AGE ago (such as 30d, 12h, 4w).
    #[arg(long, value_name = "AGE")]
    older_than: Option<Age>,
    /// All but the newest N; with other conditions, the newest N stay whatever these say.
    #[arg(long, value_name = "N")]
    keep: Option<usize>,
    /// From this number on.
    #[arg(long, value_name = "N")]
    from: Option<u64>,
    /// Up to this number.
    #[arg(long, value_name = "N")]
    to: Option<u64>,
    /// Those whose tag or label matches: * stands for any text, ? for a character, [ab] for one of several.
    #[arg(long, value_name = "GLOB")]
    pattern: Option<String>,
    /// Only say what would be deleted.
    #[arg(long)]
    dry_run: bool,
    /// Leave the boot menu as it is.
    #[arg(long)]
    keep_boot_menu: bool,
    /// Mount point of the EFI system partition; found when left out.
    #[arg(long, value_name = "PATH")]
    esp: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: Where,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    dry_run: bool,
    deleted: Vec<u64>,
    kept: Vec<Kept>,
    /// Mount point of the ESP whose menu was made anew.
    boot_menu: Option<String>,
}

#[derive(Debug, Serialize)]
struct Kept {
    generation: u64,
    reason: &'static str,
}

/// Runs the verb.
pub(super) fn run(args: &Args) -> Result<()> {
    let profile = args.at.open()?;
    let is_here = is_this_machine(profile.layout().root());
    // A switch reads and writes the same generations.
    let _lock = if is_here {
        Some(Machine::this()?.lock(Duration::from_secs(5))?)
    } else {
        None
    };
    let menu_default = match &args.esp {
        Some(esp) => activate::menu_default_on(esp),
        None => super::menu_default(&profile),
    };
    let chosen = remove(&profile, &args.selection()?, menu_default, args.dry_run)?;
    let mut said = Said {
        dry_run: args.dry_run,
        deleted: chosen.numbers,
        kept: chosen
            .kept
            .into_iter()
            .map(|(generation, reason)| Kept { generation, reason })
            .collect(),
        boot_menu: None,
    };
    if !args.dry_run && !args.keep_boot_menu && !said.deleted.is_empty() {
        said.boot_menu = args.menu(&profile, is_here)?;
    }
    print(&said, args.json)
}

impl Args {
    fn selection(&self) -> Result<Selection> {
        let before = match self.older_than {
            Some(Age(seconds)) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH);
                let now = now.context("the clock stands before 1970")?.as_secs();
                Some(i64::try_from(now.saturating_sub(seconds)).unwrap_or(i64::MAX))
            }
            None => None,
        };
        Ok(Selection {
            named: self.named.clone(),
            from: self.from,
            to: self.to,
            before,
            pattern: self.pattern.clone(),
            keep: self.keep,
        })
    }

    /// Makes the boot menu show what is left; returns the ESP's mount point.
    fn menu(&self, profile: &Profile, is_here: bool) -> Result<Option<String>> {
        if self.at.profile != SYSTEM_PROFILE {
            return Ok(None);
        }
        let found = || is_here.then(activate::find_esp)?.map(PathBuf::from);
        let Some(esp) = self.esp.clone().or_else(found) else {
            if is_here {
                errln!(
                    "keel: warning: no EFI system partition is mounted at /efi, /boot or /boot/efi: the boot menu still \
                     shows what is gone; mount it, and call `keel boot update --esp PATH`"
                );
            }
            return Ok(None);
        };
        let store = profile.layout().root();
        activate::refresh_menu(&esp, (store != Path::new("/")).then_some(store)).with_context(|| {
            format!(
                "the generations are deleted, but the boot menu on {} still shows them; call `keel boot update --esp {}`",
                esp.display(),
                esp.display()
            )
        })?;
        Ok(Some(esp.display().to_string()))
    }
}

fn print(said: &Said, json: bool) -> Result<()> {
    if json {
        outln!("{}", serde_json::to_string_pretty(said)?)?;
        return Ok(());
    }
    let verb = if said.dry_run { "would delete" } else { "deleted" };
    for number in &said.deleted {
        outln!("{verb} generation {number}")?;
    }
    for Kept { generation, reason } in &said.kept {
        outln!("kept generation {generation} ({reason})")?;
    }
    if said.deleted.is_empty() {
        outln!(
            "no generation {}",
            if said.dry_run {
                "would be deleted"
            } else {
                "was deleted"
            }
        )?;
    }
    if let Some(esp) = &said.boot_menu {
        outln!("the boot menu on {esp} shows what is left")?;
    }
    Ok(())
}
