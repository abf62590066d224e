//! `keel boot`

use std::path::PathBuf;

use anyhow::Result;

use super::output::{OutputError, errln, outln};
use crate::boot::{
    self, Action, EfiVariables, EspError, Plan, PlanError, Selection, TrialBy, Update, UpdateError,
};

/// Try a system at the next boot; or (`boot update`) make the boot menu.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
// The options of `activate` bring a group of the same name.
#[group(skip)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    activate: super::activate::Args,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make the boot menu show the generations of a profile.
    Update(UpdateArgs),
}

/// Make the boot menu show the generations of a profile.
#[derive(Debug, clap::Args)]
pub struct UpdateArgs {
    /// Mount point of the EFI system partition.
    #[arg(long, value_name = "PATH")]
    pub esp: PathBuf,
    /// Root directory that holds nix/store and nix/var.
    #[arg(long, value_name = "ROOT", default_value = "/")]
    pub store: PathBuf,
    /// Profile whose generations are shown.
    #[arg(long, value_name = "NAME", default_value = "system")]
    pub profile: String,
    /// Generation that starts by itself; the profile's current one when left out.
    #[arg(long, value_name = "N")]
    pub default: Option<u64>,
    /// Generation whose next boot is a trial: a panic or a hang ends in the default.
    #[arg(long, value_name = "N")]
    pub trial: Option<u64>,
    /// How long the menu is shown, in seconds, when the newest generation's configuration doesn't say it.
    #[arg(long, value_name = "S", default_value_t = 5)]
    pub timeout: u32,
    /// The systemd-boot to install; the default generation's when left out.
    #[arg(long, value_name = "FILE")]
    pub systemd_boot: Option<PathBuf>,
    /// When there is no room otherwise, remove what no generation needs before anything is written.
    #[arg(long)]
    pub remove_first: bool,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Runs the verb.
pub(super) fn run(args: &Args) -> Result<u8> {
    match &args.verb {
        Some(Verb::Update(args)) => update(args).map(|_| 0),
        None => super::activate::run(super::activate::Kind::Boot, &args.activate),
    }
}

/// The exit code for an error of [`run`].
pub fn exit_code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref() {
        Some(UpdateError::Plan(PlanError::NoSpace { .. })) => 6,
        Some(UpdateError::Esp(EspError::Locked { .. })) => 11,
        _ => 1,
    }
}

/// Makes the menu on the ESP show the generations; returns what was done (or, with `dry_run`, what would be).
pub fn update(args: &UpdateArgs) -> Result<Plan> {
    let is_this_machine = args.store == std::path::Path::new("/");
    let by_order = is_this_machine && EfiVariables::default().trial_by() == Some(TrialBy::Counter);
    let wanted = Update {
        esp: &args.esp,
        store: (!is_this_machine).then_some(&*args.store),
        profile: &args.profile,
        default: args.default,
        trial: args.trial,
        selection: if by_order {
            Selection::ByOrder {
                armed: args.trial.is_some(),
            }
        } else {
            Selection::ByName
        },
        timeout: args.timeout,
        systemd_boot: args.systemd_boot.as_deref(),
        remove_first: args.remove_first,
        dry_run: args.dry_run,
    };
    let plan = boot::update(&wanted, &mut |warning| errln!("keel: warning: {warning}"))?;
    report(&plan, args)?;
    Ok(plan)
}

fn report(plan: &Plan, args: &UpdateArgs) -> Result<(), OutputError> {
    for step in &plan.steps {
        let verb = if step.action == Action::Remove {
            "remove"
        } else {
            "write"
        };
        outln!("{verb:<6} {:>10}  {}  ({})", step.bytes, step.path, step.reason)?;
    }
    let state = match (plan.steps.is_empty(), args.dry_run) {
        (true, _) => "the boot menu is up to date",
        (false, true) => "nothing was changed (--dry-run)",
        (false, false) => "the boot menu was updated",
    };
    outln!(
        "{}: {state}; {} bytes needed at the peak, {} were free",
        args.esp.display(),
        plan.needed,
        plan.free
    )
}
