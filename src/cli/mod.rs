//! Verbs of `keel` and what they print.

mod activate;
mod apt;
pub mod boot;
mod build;
mod config;
mod copy;
mod diff;
mod etc;
mod gc;
mod generate;
mod generations;
mod help;
mod import;
pub mod initrd;
mod layer;
mod make;
mod manual;
mod output;
mod passwd;
mod profile;
mod rehearse;
mod search;
mod settings;
mod status;
mod store;
mod units;
mod update;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// Declarative generations for Debian: encrypted boot, live switch, rollback.
#[derive(Debug, Parser)]
#[command(name = "keel", version, disable_help_subcommand = true)]
struct Cli {
    /// When the output is coloured.
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value = "auto")]
    color: output::color::When,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Activate a system now, and boot it from now on once a boot of it was healthy.
    Switch(activate::Args),
    /// Activate a system now; the next boot is as before.
    Test(activate::Args),
    Boot(boot::Args),
    Build(build::Args),
    /// Say what a switch would do.
    DryRun(activate::Args),
    Check(config::CheckArgs),
    /// Switch back to an earlier generation.
    Rollback(activate::RollbackArgs),
    /// Confirm that the machine can still be reached after `switch --confirm`.
    Confirm,
    Status(status::Args),
    Completion(manual::CompletionArgs),
    Copy(copy::Args),
    Diff(diff::Args),
    Etc(etc::Args),
    Gc(gc::Args),
    GenerateConfig(generate::Args),
    Generations(generations::Args),
    Import(import::Args),
    Initrd(initrd::Args),
    Key(copy::KeyArgs),
    Passwd(passwd::Args),
    Man(manual::ManArgs),
    Options(config::OptionsArgs),
    Profile(profile::Args),
    Rehearse(rehearse::Args),
    Search(search::Args),
    Store(store::Args),
    Update(update::Args),
    /// The executor of a switch; started by systemd.
    #[command(hide = true)]
    Execute {
        /// What was asked for.
        request: PathBuf,
    },
    /// The guard of a switch; started by its executor.
    #[command(hide = true)]
    Guard {
        /// The executor.
        pid: u32,
        /// How long it may take.
        seconds: u64,
    },
    /// Judges a boot; started by systemd.
    #[command(hide = true)]
    Healthy,
    /// What builds a layer of packages; run in a sandbox.
    #[command(hide = true)]
    BuildLayer,
    /// Asks a system's own systemd about units; started by `build`.
    #[command(hide = true)]
    VerifyUnits {
        /// `/usr`, `/etc`, and the units.
        arguments: Vec<String>,
    },
    /// Prints this program's pages and completion; started by what makes it a part of a system.
    #[command(hide = true)]
    OwnPages,
    /// A stage of a build's sandbox; started by the one before.
    #[command(hide = true)]
    BuildStage {
        /// Which one.
        stage: build::Stage,
        /// The sandbox, or its first id.
        argument: PathBuf,
    },
}

/// Where the store is.
#[derive(Debug, clap::Args)]
struct StoreArgs {
    /// Work on the store below ROOT (ROOT/nix/…) instead of this machine's.
    #[arg(long, value_name = "ROOT")]
    store: Option<PathBuf>,
}

impl StoreArgs {
    /// The root file system that the store is on.
    fn root(&self) -> &std::path::Path {
        self.store.as_deref().unwrap_or(std::path::Path::new("/"))
    }

    fn layout(&self) -> anyhow::Result<crate::store::Layout> {
        Ok(crate::store::Layout::from_environment(self.store.as_deref())?)
    }
}

/// Exit code when nobody reads the output any more: a shell's for a program that SIGPIPE ended.
const CLOSED_OUTPUT: u8 = 128 + 13;

/// Runs the verb that the arguments ask for. Exit codes: 0 done, 1 failed, 2 wrong usage; those of a switch are in
/// [`crate::activate::code`].
pub fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::new().filter_or("KEEL_LOG", "warn"))
        .format_timestamp(None)
        .init();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = apt::instead(&arguments) {
        return code;
    }
    let matches = help::grouped(Cli::command()).get_matches_from(as_activate(arguments));
    let Cli { color, verb } = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    output::color::choose(color);
    let name = verb.name();
    match verb.run() {
        Ok(code) => ExitCode::from(code),
        Err(error) if matches!(error.downcast_ref(), Some(output::OutputError::Closed)) => {
            ExitCode::from(CLOSED_OUTPUT)
        }
        Err(error) => {
            output::errln!("keel: {name}: {}", one_line(&error));
            ExitCode::from(exit_code(&error))
        }
    }
}

/// `activate` is `keel` under its second name: without a verb it switches.
fn as_activate(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let is_activate = arguments
        .first()
        .is_some_and(|name| std::path::Path::new(name).file_name() == Some("activate".as_ref()));
    let has_verb = arguments
        .get(1)
        .and_then(|word| word.to_str())
        .is_some_and(|word| {
            matches!(
                word,
                "switch" | "test" | "boot" | "dry-run" | "check" | "--help" | "-h" | "--version" | "-V"
            )
        });
    if is_activate && !has_verb {
        arguments.insert(1, "switch".into());
    }
    arguments
}

impl Verb {
    fn name(&self) -> &'static str {
        match self {
            Verb::Switch(_) => "switch",
            Verb::Test(_) => "test",
            Verb::Boot(_) => "boot",
            Verb::Build(_) => "build",
            Verb::DryRun(_) => "dry-run",
            Verb::Check(_) => "check",
            Verb::Rollback(_) => "rollback",
            Verb::Confirm => "confirm",
            Verb::Status(_) => "status",
            Verb::Completion(_) => "completion",
            Verb::Copy(_) => "copy",
            Verb::Diff(_) => "diff",
            Verb::Etc(_) => "etc",
            Verb::Gc(_) => "gc",
            Verb::GenerateConfig(_) => "generate-config",
            Verb::Generations(_) => "generations",
            Verb::Import(_) => "import",
            Verb::Initrd(_) => "initrd",
            Verb::Key(_) => "key",
            Verb::Passwd(_) => "passwd",
            Verb::Man(_) => "man",
            Verb::Options(_) => "options",
            Verb::Profile(_) => "profile",
            Verb::Rehearse(_) => "rehearse",
            Verb::Search(_) => "search",
            Verb::Store(_) => "store",
            Verb::Update(_) => "update",
            Verb::Execute { .. } => "execute",
            Verb::Guard { .. } => "guard",
            Verb::Healthy => "healthy",
            Verb::VerifyUnits { .. } => "verify-units",
            Verb::BuildLayer => "build-layer",
            Verb::OwnPages => "own-pages",
            Verb::BuildStage { .. } => "build-stage",
        }
    }

    fn run(self) -> anyhow::Result<u8> {
        use activate::Kind;
        let done = |result: anyhow::Result<()>| result.map(|()| 0);
        let machine = crate::activate::Machine::this;
        match self {
            Verb::Switch(args) => activate::run(Kind::Switch, &args),
            Verb::Test(args) => activate::run(Kind::Test, &args),
            Verb::Boot(args) => boot::run(&args),
            Verb::Build(args) => build::run(&args),
            Verb::DryRun(args) => activate::run(Kind::DryRun, &args),
            Verb::Check(args) => config::check(&args),
            Verb::Rollback(args) => activate::rollback(&args),
            Verb::Confirm => {
                done(crate::activate::confirm_now().context("no switch waits for a confirmation"))
            }
            Verb::VerifyUnits { arguments } => make::verify_units(&arguments),
            Verb::Status(args) => done(status::run(&args)),
            Verb::Completion(args) => done(manual::completion(&args)),
            Verb::Copy(args) => done(copy::run(&args)),
            Verb::Diff(args) => done(diff::run(&args)),
            Verb::Etc(args) => etc::run(&args),
            Verb::Gc(args) => done(gc::run(&args)),
            Verb::GenerateConfig(args) => done(generate::run(&args)),
            Verb::Generations(args) => done(generations::run(&args)),
            Verb::Import(args) => done(import::run(&args)),
            Verb::Initrd(args) => done(initrd::run(&args)),
            Verb::Key(args) => done(copy::key(&args)),
            Verb::Passwd(args) => passwd::run(&args),
            Verb::Man(args) => done(manual::man(&args)),
            Verb::Options(args) => done(config::options(&args)),
            Verb::Profile(args) => done(profile::run(&args)),
            Verb::Rehearse(args) => rehearse::run(&args),
            Verb::Search(args) => search::run(&args),
            Verb::Store(args) => store::run(&args),
            Verb::Update(args) => update::run(&args),
            Verb::Execute { request } => {
                let result = crate::activate::execute(&request, &machine()?);
                done(result.map_err(anyhow::Error::msg))
            }
            Verb::Guard { pid, seconds } => {
                let text = crate::activate::guard(pid, seconds, &machine()?).map_err(anyhow::Error::msg)?;
                output::outln!("{text}")?;
                Ok(0)
            }
            Verb::Healthy => {
                let judgement = crate::activate::healthy(&machine()?).map_err(anyhow::Error::msg)?;
                for words in &judgement.words {
                    output::outln!("{words}")?;
                }
                Ok(0)
            }
            Verb::BuildLayer => Ok(layer::run()),
            Verb::OwnPages => done(manual::own_pages()),
            Verb::BuildStage { stage, argument } => build::stage(stage, &argument),
        }
    }
}

fn exit_code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref() {
        Some(crate::activate::MachineError::Locked) => crate::activate::code::LOCKED,
        _ => boot::exit_code(error),
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
    // Names of files may hold anything; what reaches a terminal stays on one line, and commands nothing.
    text.replace('\n', " ").replace(char::is_control, "?")
}
