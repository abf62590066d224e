//! `keel profile`.

mod change;
mod look;
mod print;

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Subcommand;

use super::StoreArgs;
use super::output::errln;
use crate::profile::age::Age;
use crate::profile::locate::{self, Which};
use crate::profile::{History, locate::user_name};

/// Install packages of the store for a user or for everybody, with generations to go back to.
#[derive(Debug, clap::Args)]
#[command(disable_help_subcommand = true)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Install paths of the store, or recipes (….toml).
    Install {
        /// Which files win a collision: those of the lower number. 5 unless given.
        #[arg(long, value_name = "N", allow_negative_numbers = true)]
        priority: Option<i64>,
        /// A path of the store, a link to one, or a recipe.
        #[arg(required = true, value_name = "ITEM")]
        items: Vec<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Remove what is installed.
    Remove {
        /// A path of the store, or a name with or without its version.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Build again what came from recipes.
    Upgrade {
        /// Only these: as for `remove`.
        #[arg(value_name = "NAME")]
        names: Vec<String>,
        #[command(flatten)]
        common: Common,
    },
    /// List what is installed.
    List {
        #[command(flatten)]
        common: Common,
    },
    /// List the generations, and what each changed.
    History {
        #[command(flatten)]
        common: Common,
    },
    /// Go back to the generation before the current one.
    Rollback {
        /// Go back to this one.
        #[arg(long, value_name = "N")]
        to: Option<u64>,
        #[command(flatten)]
        common: Common,
    },
    /// Switch to a generation.
    Switch {
        /// Its number.
        #[arg(value_name = "GENERATION")]
        number: u64,
        #[command(flatten)]
        common: Common,
    },
    /// Say what differs between two generations.
    Diff {
        /// The older one; unless given, the one before the other.
        #[arg(value_name = "FROM")]
        from: Option<u64>,
        /// The newer one; unless given, the current one.
        #[arg(value_name = "TO")]
        to: Option<u64>,
        #[command(flatten)]
        common: Common,
    },
    /// Forget generations other than the current one, so that `keel gc` can take what only they need.
    WipeHistory {
        /// Only those that were replaced longer ago than this, such as 30d.
        #[arg(long, value_name = "AGE")]
        older_than: Option<Age>,
        /// Only say which.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, clap::Args)]
struct Common {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// The profile of everybody instead of your own.
    #[arg(long, conflicts_with = "profile")]
    system: bool,
    /// The profile whose link is PATH.
    #[arg(long, value_name = "PATH")]
    profile: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
}

impl Common {
    fn history(&self) -> anyhow::Result<History> {
        let layout = self.store.layout()?;
        let name;
        let which = match &self.profile {
            _ if self.system => Which::System,
            Some(path) => Which::Path(path),
            None => {
                name = user().context(
                    "your user has no name in /etc/passwd, and USER isn't set: give --system or --profile PATH",
                )?;
                Which::User(&name)
            }
        };
        let link = locate::locate(&layout, which)?;
        Ok(History::open(&layout, &link)?)
    }
}

// Users of a directory service don't stand in /etc/passwd.
fn user() -> Option<String> {
    let passwd = std::fs::read("/etc/passwd").unwrap_or_default();
    let named = || std::env::var("USER").ok().filter(|name| !name.is_empty());
    user_name(&passwd, nix::unistd::geteuid().as_raw()).or_else(named)
}

fn waiting(path: &Path) {
    errln!(
        "keel: waiting for {}, which another process has locked",
        path.display()
    );
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    dispatch(&args.verb).map_err(|error| {
        let denied = error.chain().any(|cause| {
            let cause = cause.downcast_ref::<io::Error>();
            cause.is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
        });
        if denied && !nix::unistd::geteuid().is_root() {
            return error
                .context("this store is another user's: run it as root, or give another one with --store");
        }
        error
    })
}

fn dispatch(verb: &Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Install {
            priority,
            items,
            common,
        } => change::install(common, *priority, items),
        Verb::Remove { names, common } => change::remove(common, names),
        Verb::Upgrade { names, common } => change::upgrade(common, names),
        Verb::List { common } => look::list(common),
        Verb::History { common } => look::history(common),
        Verb::Rollback { to, common } => change::rollback(common, *to),
        Verb::Switch { number, common } => change::switch(common, *number),
        Verb::Diff { from, to, common } => look::diff(common, *from, *to),
        Verb::WipeHistory {
            older_than,
            dry_run,
            common,
        } => change::wipe_history(common, *older_than, *dry_run),
    }
}
