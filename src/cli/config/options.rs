//! `keel options`.

use anyhow::{Result, bail};

use crate::cli::output::color::{self, Ink, Style};
use crate::cli::output::{self, outln};
use crate::config::describe;
use crate::config::options::{Preset, Spec, search};

/// Options of system.toml: what there is to say, with types, defaults and examples.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("form"))]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub(in crate::cli) struct Args {
    /// Words that an option's name or description has to have.
    search: Vec<String>,
    /// As JSON.
    #[arg(long, group = "form")]
    json: bool,
    /// All options as a JSON schema, for editors.
    #[arg(long, group = "form", conflicts_with = "search")]
    schema: bool,
    /// All options as Markdown.
    #[arg(long, group = "form", conflicts_with = "search")]
    markdown: bool,
    /// The manual page keel-system.toml(5).
    #[arg(long, group = "form", conflicts_with = "search")]
    man: bool,
}

/// Runs it.
pub(in crate::cli) fn run(args: &Args) -> Result<()> {
    let whole = match (args.schema, args.markdown, args.man) {
        (true, ..) => Some(format!(
            "{}\n",
            serde_json::to_string_pretty(&describe::schema())?
        )),
        (_, true, _) => Some(describe::markdown()),
        (.., true) => Some(describe::manual()),
        _ => None,
    };
    if let Some(text) = whole {
        output::write(format_args!("{text}"))?;
        return Ok(());
    }
    let found = search(&args.search);
    if found.is_empty() {
        bail!(
            "no option has the words {:?}; `keel options` lists all",
            args.search.join(" ")
        );
    }
    if args.json {
        outln!("{}", serde_json::to_string_pretty(&describe::list(&found))?)?;
        return Ok(());
    }
    let style = Style::stdout();
    let width = color::width(std::io::stdout()).unwrap_or(100);
    if args.search.is_empty() {
        let longest = found.iter().map(|spec| spec.path.len()).max().unwrap_or_default();
        for spec in found {
            let kind = clipped(&spec.kind.words(), width.saturating_sub(longest + 2));
            let path = style.paint(Ink::Cyan, spec.path);
            outln!("{path:longest$}  {kind}")?;
        }
        return Ok(());
    }
    for (index, spec) in found.into_iter().enumerate() {
        if index > 0 {
            outln!("")?;
        }
        whole_entry(spec, style, width)?;
    }
    Ok(())
}

fn whole_entry(spec: &Spec, style: Style, width: usize) -> Result<()> {
    outln!("{}", style.paint(Ink::Cyan, spec.path))?;
    for line in describe::wrapped(spec.description, width.clamp(40, 100) - 4) {
        outln!("    {line}")?;
    }
    let dim = |word| style.paint(Ink::Dim, word);
    outln!("    {}     {}", dim("type"), spec.kind.words())?;
    match spec.default {
        Preset::Is(value) => outln!("    {}  {value}", dim("default"))?,
        Preset::Required => outln!("    {}  none: it has to be said", dim("default"))?,
        Preset::Unset => {}
    }
    outln!("    {}  {}", dim("example"), describe::example(spec))?;
    Ok(())
}

/// A text cut to some columns.
fn clipped(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let kept: String = text.chars().take(columns.saturating_sub(1)).collect();
    format!("{kept}…")
}
