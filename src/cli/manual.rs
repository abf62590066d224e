//! `keel completion` and `keel man`: what shells and man(1) are to know of the verbs.

use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap::builder::{PossibleValue, PossibleValuesParser};

use super::output;
use crate::config::{describe, options};

/// Print what a shell needs to complete keel's verbs, options and system.toml's options.
#[derive(Debug, clap::Args)]
pub(super) struct CompletionArgs {
    /// The shell.
    shell: Shell,
}

/// Shells that have their way to complete.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Shell {
    /// Its text goes to /usr/share/bash-completion/completions/keel.
    Bash,
    /// Its text goes to /usr/share/zsh/vendor-completions/_keel.
    Zsh,
    /// Its text goes to /usr/share/fish/vendor_completions.d/keel.fish.
    Fish,
}

/// Write the manual pages: keel(1), one for each verb, keel-system.toml(5).
#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// A directory, such as /usr/local/share/man: pages go to man1 and man5 in it.
    directory: PathBuf,
}

/// What `--option` is offered: clap keeps texts that last as long as the program.
static NAMES: OnceLock<Vec<String>> = OnceLock::new();

/// `keel completion`.
pub(super) fn completion(args: &CompletionArgs) -> Result<()> {
    let shell = match args.shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut command = with_option_names(shown());
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "keel", &mut script);
    output::write(format_args!("{}", String::from_utf8_lossy(&script)))?;
    Ok(())
}

/// keel without the verbs that only keel itself calls: generators of completions don't leave them out.
fn shown() -> clap::Command {
    let whole = super::Cli::command();
    let mut shown = clap::Command::new("keel").version(env!("CARGO_PKG_VERSION"));
    for argument in whole.get_arguments() {
        shown = shown.arg(argument.clone());
    }
    for verb in whole.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        shown = shown.subcommand(verb.clone());
    }
    shown
}

/// The same command; `--option` takes the names of options without a part that the user chooses.
fn with_option_names(command: clap::Command) -> clap::Command {
    let option = command
        .get_arguments()
        .find(|argument| argument.get_long() == Some("option"))
        .map(|argument| argument.get_id().clone());
    let command = if let Some(option) = option {
        let names = NAMES.get_or_init(|| {
            options::all()
                .filter(|spec| !spec.path.contains(['<', '[']))
                .map(|spec| format!("{}=", spec.path))
                .collect()
        });
        let names = names.iter().map(|name| PossibleValue::new(name.as_str()));
        command.mut_arg(option, |argument| {
            argument.value_parser(PossibleValuesParser::new(names))
        })
    } else {
        command
    };
    command.mut_subcommands(with_option_names)
}

/// `keel man`.
pub(super) fn man(args: &ManArgs) -> Result<()> {
    let make = |section: &str| -> Result<PathBuf> {
        let directory = args.directory.join(section);
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("{} can't be made", directory.display()))?;
        Ok(directory)
    };
    let verbs = make("man1")?;
    clap_mangen::generate_to(super::Cli::command(), &verbs)
        .with_context(|| format!("pages can't be written into {}", verbs.display()))?;
    let page = make("man5")?.join("keel-system.toml.5");
    std::fs::write(&page, describe::manual()).with_context(|| format!("{} can't be written", page.display()))
}
