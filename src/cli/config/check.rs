//! `keel check`.

use anyhow::Result;

use super::ConfigArgs;
use super::problems::Severity;
use crate::activate::{Machine, code};
use crate::cli::output::{self, outln};
use crate::config::{Remark, load_file};

/// Look whether the machine's configuration can be used, or whether a generation is intact.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// A generation's number, or a system's store path: whether all of it is there.
    #[arg(value_name = "GENERATION|SYSTEM", conflicts_with_all = ["config", "option", "resolved", "json"])]
    target: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Print the configuration with imports merged and defaults filled in.
    #[arg(long)]
    resolved: bool,
    /// Print problems and notes as JSON.
    #[arg(long, conflicts_with = "resolved")]
    json: bool,
}

/// A remark, for programs.
#[derive(serde::Serialize)]
struct Told<'a> {
    severity: Severity,
    file: &'a str,
    line: usize,
    column: usize,
    width: usize,
    message: &'a str,
    help: Option<&'a str>,
}

impl<'a> Told<'a> {
    fn new(severity: Severity, remark: &'a Remark) -> Self {
        Self {
            severity,
            file: remark.place.file(),
            line: remark.place.line(),
            column: remark.place.column(),
            width: remark.place.width(),
            message: &remark.message,
            help: remark.help.as_deref(),
        }
    }
}

/// Runs it; returns the exit code.
pub(in crate::cli) fn run(args: &Args) -> Result<u8> {
    if let Some(target) = &args.target {
        let machine = Machine::this()?;
        let target = machine.target(Some(target))?;
        machine.check_intact(&target.system)?;
        outln!("{} is intact", target.system)?;
        return Ok(code::DONE);
    }
    if args.json {
        return json(&args.config);
    }
    let loaded = args.config.load()?;
    if args.resolved {
        output::write(format_args!("{}", loaded.to_toml()?))?;
    } else {
        outln!("{} can be used", args.config.path().display())?;
    }
    Ok(code::DONE)
}

fn json(args: &ConfigArgs) -> Result<u8> {
    let (severity, remarks, code) = match load_file(args.path(), &args.option) {
        Ok(loaded) => (Severity::Note, loaded.notes, code::DONE),
        Err(problems) => (Severity::Error, problems.0, code::ERROR),
    };
    let told: Vec<Told<'_>> = remarks.iter().map(|remark| Told::new(severity, remark)).collect();
    outln!("{}", serde_json::to_string_pretty(&told)?)?;
    Ok(code)
}
