//! Verbs of `keel` and what they print.

pub mod boot;
mod generations;
mod import;
pub mod initrd;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Declarative generations for Debian: encrypted boot, live switch, rollback.
#[derive(Debug, Parser)]
#[command(name = "keel", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Import(import::Args),
    Initrd(initrd::Args),
    Boot(boot::Args),
    Generations(generations::Args),
}

/// Where the store is.
#[derive(Debug, clap::Args)]
struct StoreArgs {
    /// Work on the store below ROOT (ROOT/nix/…) instead of this machine's.
    #[arg(long, value_name = "ROOT")]
    store: Option<PathBuf>,
}

impl StoreArgs {
    fn layout(&self) -> anyhow::Result<crate::store::Layout> {
        Ok(crate::store::Layout::from_environment(self.store.as_deref())?)
    }
}

/// Runs the verb that the arguments ask for. Exit codes: 0 done, 1 failed, 2 wrong usage.
pub fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::new().filter_or("KEEL_LOG", "warn"))
        .format_timestamp(None)
        .init();
    let (name, result) = match Cli::parse().verb {
        Verb::Import(args) => ("import", import::run(&args)),
        Verb::Initrd(args) => ("initrd", initrd::run(&args)),
        Verb::Boot(args) => ("boot", boot::run(&args)),
        Verb::Generations(args) => ("generations", generations::run(&args)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keel: {name}: {}", one_line(&error));
            ExitCode::from(boot::exit_code(&error))
        }
    }
}

// The error and its causes. An error of the library already ends with its cause: it isn't said twice.
fn one_line(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text.replace('\n', " ")
}
