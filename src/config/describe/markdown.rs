//! docs/options.md.

use std::fmt::Write as _;

use super::{example, table_of};
use crate::config::options::{Preset, Spec, all};

/// All options as Markdown.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Options of system.toml\n\nMade by `keel options --markdown`; don't edit it. How files are read and merged is in \
         [configuration.md](configuration.md).\n",
    );
    let mut table = None;
    for spec in all() {
        let own = table_of(spec);
        if table.as_ref() != Some(&own) {
            let name = if own.is_empty() {
                "At the top".to_owned()
            } else {
                format!("`{own}`")
            };
            // Writing to a string can't fail.
            let _ = write!(text, "\n## {name}\n");
            table = Some(own);
        }
        entry(&mut text, spec);
    }
    text
}

fn entry(text: &mut String, spec: &Spec) {
    let key = spec.path.rsplit('.').next().unwrap_or(spec.path);
    let description = spec.description.replace('<', "\\<");
    let default = match spec.default {
        Preset::Is(value) => format!(" · default `{value}`"),
        Preset::Required => " · needed".to_owned(),
        Preset::Unset => String::new(),
    };
    let _ = write!(
        text,
        "\n**`{key}`** · {}{default}\n\n{description}\n\n```toml\n{}\n```\n",
        spec.kind.words(),
        example(spec).replace("]] ", "]]\n")
    );
}
