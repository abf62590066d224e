//! `keel completion` and `keel man`: what shells and man(1) are to know of the verbs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{CommandFactory, ValueEnum};

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
    output::write(format_args!("{}", args.shell.script()))?;
    Ok(())
}

impl Shell {
    /// Where the shells of Debian look for what packages bring, below `/usr`.
    fn place(self) -> &'static str {
        match self {
            Shell::Bash => "share/bash-completion/completions/keel",
            Shell::Zsh => "share/zsh/vendor-completions/_keel",
            Shell::Fish => "share/fish/vendor_completions.d/keel.fish",
        }
    }

    fn script(self) -> String {
        let shell = match self {
            Shell::Bash => clap_complete::Shell::Bash,
            Shell::Zsh => clap_complete::Shell::Zsh,
            Shell::Fish => clap_complete::Shell::Fish,
        };
        let mut command = with_option_names(shown());
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command, "keel", &mut script);
        String::from_utf8_lossy(&script).into_owned()
    }
}

/// `keel own-pages`: what the systems bring that this program is a part of, as a JSON object of places below `/usr` to texts.
pub(super) fn own_pages() -> Result<()> {
    let mut all: BTreeMap<String, String> = pages()?
        .into_iter()
        .map(|(place, text)| (format!("share/man/{place}"), text))
        .collect();
    all.extend(
        Shell::value_variants()
            .iter()
            .map(|shell| (shell.place().to_owned(), shell.script())),
    );
    output::outln!("{}", serde_json::to_string(&all)?)?;
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
    for (place, text) in pages()? {
        let path = args.directory.join(place);
        let directory = path.parent().unwrap_or(&args.directory);
        std::fs::create_dir_all(directory)
            .with_context(|| format!("{} can't be made", directory.display()))?;
        std::fs::write(&path, text).with_context(|| format!("{} can't be written", path.display()))?;
    }
    Ok(())
}

/// The manual pages, by their places in a directory of manuals.
fn pages() -> Result<BTreeMap<String, String>> {
    let mut pages = BTreeMap::from([("man5/keel-system.toml.5".to_owned(), describe::manual())]);
    let mut command = super::Cli::command().disable_help_subcommand(true);
    command.build();
    add_pages(&command, &mut pages).context("a page can't be made")?;
    Ok(pages)
}

fn add_pages(command: &clap::Command, pages: &mut BTreeMap<String, String>) -> std::io::Result<()> {
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        add_pages(verb, pages)?;
    }
    let page = clap_mangen::Man::new(command.clone());
    let mut text = Vec::new();
    page.render(&mut text)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let _none = pages.insert(format!("man1/{}", page.get_filename()), text);
    Ok(())
}
