//! `keel switch`, `test`, `boot`, `dry-run`, `rollback`, `confirm`; `activate` is the same.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};

use super::output::color::{Ink, Style};
use super::output::{self, errln, outln};
use crate::activate::{self, Event, Goal, Line, Machine, Options, Plan, Target, code, observe_systems, plan};
use crate::diff::{Diff, Side, between};
use crate::systemd::Manager;

/// Where to go, and how carefully.
#[derive(Debug, clap::Args)]
#[group(skip)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub(super) struct Args {
    /// A generation's number, or a system's store path. When left out, the machine's configuration is built first and
    /// becomes the newest generation; without a configuration it's the newest generation that there is.
    #[arg(value_name = "GENERATION|SYSTEM", conflicts_with_all = ["config", "option", "rootfs"])]
    target: Option<String>,
    #[command(flatten)]
    config: super::make::SourceArgs,
    /// Show what would be done and what differs, and ask before it's done.
    #[arg(long)]
    ask: bool,
    /// Show what differs between the system that runs and the one that is to (see `keel diff`).
    #[arg(long)]
    diff: bool,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// The plan as JSON (with --dry-run), or the journal as a JSON object per line.
    #[arg(long)]
    json: bool,
    /// Go back unless `keel confirm` is called within this time; for a machine that is reached over the network.
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    confirm: Option<u64>,
    /// When the old system comes back, whatever hangs.
    #[arg(long, value_name = "TIME", value_parser = seconds, default_value = "15min")]
    deadline: u64,
    /// How long a unit may take to stop, start or reload.
    #[arg(long, value_name = "TIME", value_parser = seconds, default_value = "90s")]
    unit_deadline: u64,
    /// Mount point of the EFI system partition; found when left out.
    #[arg(long, value_name = "PATH")]
    esp: Option<PathBuf>,
    /// Leave a switch that failed as it is, instead of going back.
    #[arg(long)]
    leave_failed: bool,
    /// Switch although a program asked that the machine not be changed now.
    #[arg(long)]
    ignore_inhibitors: bool,
    /// Arm the next boot although its rehearsal fails (see `keel rehearse`).
    #[arg(long)]
    no_rehearsal: bool,
}

/// Which generation to go back to.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  keel rollback --ask           show what would be done and what differs, then ask\n  \
                        keel rollback --to 41 --boot  go back at the next boot"
)]
pub(super) struct RollbackArgs {
    /// The generation; the one before the current one when left out.
    #[arg(long, value_name = "N")]
    to: Option<u64>,
    #[command(flatten)]
    how: HowArgs,
}

/// How to go back.
#[derive(Debug, clap::Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
struct HowArgs {
    /// Go back at the next boot, not now.
    #[arg(long)]
    boot: bool,
    /// Show what would be done and what differs, and ask before it's done.
    #[arg(long)]
    ask: bool,
    /// Show what differs between the system that runs and the one that is to (see `keel diff`).
    #[arg(long)]
    diff: bool,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// The plan as JSON (with --dry-run), or the journal as a JSON object per line.
    #[arg(long)]
    json: bool,
}

/// What a verb does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Activate, and boot it from now on.
    Switch,
    /// Activate, and keep nothing.
    Test,
    /// Try it at the next boot.
    Boot,
    /// Only say what would be done.
    DryRun,
}

/// Runs a verb; returns the exit code.
pub(super) fn run(kind: Kind, args: &Args) -> Result<u8> {
    let machine = Machine::this()?;
    let is_dry = args.dry_run || kind == Kind::DryRun;
    let (target, confirm) = if args.target.is_none() && args.config.is_there() {
        let persists = matches!(kind, Kind::Switch | Kind::Boot) && !is_dry && !args.ask;
        let (target, config) = super::make::target(&machine, &args.config, persists)?;
        (target, args.confirm.or(config.switch.confirm))
    } else {
        (machine.target(args.target.as_deref())?, args.confirm)
    };
    // With JSON, the plan's object brings it.
    let is_shown = args.diff || args.ask && !is_dry;
    if is_shown && !(is_dry && args.json) {
        show_diff(&machine, &target, is_dry)?;
    }
    let target = if args.ask && !is_dry {
        if kind != Kind::Boot {
            show_plan(&machine, &target)?;
        }
        if !asked("go on?")? {
            errln!("nothing was changed");
            return Ok(code::ERROR);
        }
        super::make::as_generation(&machine, target, kind != Kind::Test)?
    } else {
        target
    };
    let options = |goal| Options {
        confirm,
        ..options(goal, target.clone(), args)
    };
    match kind {
        Kind::DryRun => dry_run(&machine, &target, args.json, args.diff),
        _ if args.dry_run => dry_run(&machine, &target, args.json, args.diff),
        Kind::Switch => go(&machine, &options(Goal::Switch), args.json),
        Kind::Test => go(&machine, &options(Goal::Test), args.json),
        Kind::Boot => go(&machine, &options(Goal::Boot), args.json),
    }
}

/// Says what differs between what runs and what is to run: where the result is said when that is all that is asked for.
fn show_diff(machine: &Machine, target: &Target, is_result: bool) -> Result<()> {
    let diff = difference(machine, target)?;
    if is_result {
        super::diff::print(&diff, Style::stdout())?;
        output::write(format_args!("\n"))?;
    } else {
        errln!("{}", super::diff::render(&diff, Style::stderr()));
    }
    Ok(())
}

fn difference(machine: &Machine, target: &Target) -> Result<Diff> {
    let profile = &machine.profile;
    let side = |system: &str| Side::named(profile, system);
    let (from, to) = (side(&machine.current()?)?, side(&target.system)?);
    Ok(between(profile.layout(), &from, &to)?)
}

/// A question on the terminal; anything but a clear yes is no.
fn asked(question: &str) -> Result<bool> {
    let terminal = File::options().read(true).write(true).open("/dev/tty");
    let mut terminal = terminal.context("--ask needs a terminal")?;
    write!(terminal, "{question} [y/N] ")?;
    let mut answer = String::new();
    let _length = BufReader::new(&terminal).read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

fn options(goal: Goal, target: Target, args: &Args) -> Options {
    Options {
        goal,
        target,
        esp: args.esp.clone(),
        confirm: args.confirm,
        deadline: args.deadline,
        unit_deadline: args.unit_deadline,
        leave_failed: args.leave_failed,
        ignore_inhibitors: args.ignore_inhibitors,
        no_rehearsal: args.no_rehearsal,
    }
}

/// `keel rollback`.
pub(super) fn rollback(args: &RollbackArgs) -> Result<u8> {
    let machine = Machine::this()?;
    let before_the_current = || -> Result<u64> {
        let now = machine.generation_of(&machine.current()?).unwrap_or(u64::MAX);
        let generations = machine.profile.generations()?;
        let mut before = generations
            .iter()
            .rev()
            .map(|generation| generation.number)
            .filter(|number| *number < now);
        before.next().ok_or_else(|| {
            anyhow!("there is no generation before the current one; `keel generations` lists them")
        })
    };
    let number = args.to.map_or_else(before_the_current, Ok)?;
    let target = machine.target(Some(&number.to_string()))?;
    let how = &args.how;
    if how.diff && !(how.dry_run && how.json) || how.ask && !how.dry_run {
        show_diff(&machine, &target, how.dry_run)?;
    }
    if how.dry_run {
        return dry_run(&machine, &target, how.json, how.diff);
    }
    if how.ask {
        if !how.boot {
            show_plan(&machine, &target)?;
        }
        if !asked(&format!("go back to generation {number}?"))? {
            errln!("nothing was changed");
            return Ok(code::ERROR);
        }
    }
    let goal = if args.how.boot { Goal::Boot } else { Goal::Switch };
    let options = Options {
        goal,
        target,
        esp: None,
        confirm: None,
        deadline: 900,
        unit_deadline: 90,
        leave_failed: false,
        ignore_inhibitors: false,
        no_rehearsal: false,
    };
    go(&machine, &options, how.json)
}

fn go(machine: &Machine, options: &Options, json: bool) -> Result<u8> {
    let style = Style::stderr();
    let mut tell = |line: &Line| {
        // The switch goes on without its audience.
        let _ = if json {
            serde_json::to_string(line).map_or(Ok(()), |text| writeln!(std::io::stdout(), "{text}"))
        } else {
            say(&line.event, style)
        };
    };
    let (code, text) = activate::switch(machine, options, &mut tell)?;
    let mark = if code == code::DONE || code == code::REBOOT {
        ""
    } else {
        "error: "
    };
    let _ = writeln!(std::io::stderr(), "keel: {mark}{text}");
    Ok(code)
}

fn say(event: &Event, style: Style) -> std::io::Result<()> {
    let mut out = std::io::stderr();
    match event {
        Event::Plan { .. } | Event::Begin { .. } | Event::Phase { .. } | Event::End { .. } => Ok(()),
        Event::Unit { unit, verb, result } => {
            let result = if result == "done" {
                String::new()
            } else {
                format!(": {result}")
            };
            writeln!(out, "  {verb:8} {unit}{result}")
        }
        Event::Pending { text } => {
            let waiting = format_args!("waiting for {text}");
            writeln!(out, "  {}", style.paint(Ink::Dim, waiting))
        }
        Event::Note { text } => writeln!(out, "  {text}"),
        Event::Warning { text } => writeln!(out, "keel: warning: {text}"),
        Event::Revert { reason } => writeln!(out, "keel: {reason}; going back to the old system"),
    }
}

fn dry_run(machine: &Machine, target: &Target, json: bool, with_diff: bool) -> Result<u8> {
    let plan = plan_to(machine, target)?;
    if json && with_diff {
        let both = serde_json::json!({ "plan": plan, "diff": difference(machine, target)? });
        outln!("{}", serde_json::to_string_pretty(&both)?)?;
    } else if json {
        outln!("{}", serde_json::to_string_pretty(&plan)?)?;
    } else {
        output::write(format_args!("{}", describe(&plan)))?;
    }
    Ok(if plan.is_partial() {
        code::REBOOT
    } else {
        code::DONE
    })
}

/// Says what would be done, before a question: it isn't the result.
fn show_plan(machine: &Machine, target: &Target) -> Result<()> {
    errln!("{}", describe(&plan_to(machine, target)?));
    Ok(())
}

/// What going to a system takes.
fn plan_to(machine: &Machine, target: &Target) -> Result<Plan> {
    machine.check_intact(&target.system)?;
    let current = machine.current()?;
    if current == target.system {
        return Ok(Plan::default());
    }
    let mut manager = Manager::connect()?;
    Ok(plan(&observe_systems(&mut manager, &current, &target.system)?))
}

/// A plan, for people.
fn describe(plan: &Plan) -> String {
    let mut lines = Vec::new();
    for step in &plan.steps {
        lines.push(format!(
            "{:8} {}  ({})",
            step.verb.name(),
            step.unit,
            step.reasons.join(", ")
        ));
    }
    if let Some(reason) = &plan.reexec {
        lines.push(format!("reexec   systemd  ({reason})"));
    }
    for kept in &plan.kept {
        lines.push(format!(
            "keep     {}  ({}; not restarted: {})",
            kept.unit,
            kept.reasons.join(", "),
            kept.because
        ));
    }
    for reason in &plan.reboot {
        lines.push(format!("reboot   for {reason}"));
    }
    for path in &plan.hidden {
        lines.push(format!("hidden   {path}  (changed here; `keel etc diff {path}`)"));
    }
    for warning in &plan.warnings {
        lines.push(format!("warning  {warning}"));
    }
    if lines.is_empty() {
        lines.push("nothing has to be done with units".to_owned());
    }
    lines.push(String::new());
    lines.join("\n")
}

/// A time: `90`, `90s`, `15min`, `1h`.
fn seconds(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let factor = match unit.trim() {
        "s" | "sec" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        _ => return Err("a time is a number of seconds, or like 90s, 15min, 1h".to_owned()),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .filter(|seconds| (1..=86_400).contains(seconds))
        .ok_or_else(|| "a time is between 1 second and 24 hours".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, value) in [
            ("90", Some(90)),
            ("60s", Some(60)),
            ("15min", Some(900)),
            ("1h", Some(3600)),
            ("0", None),
            ("1d", None),
            ("", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(seconds(text).ok(), value, "{text}");
        }
    }
}
