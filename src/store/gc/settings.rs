//! What Nix was told to keep: `keep-derivations` and `keep-outputs` of its configuration.

use std::path::{Path, PathBuf};

use super::Keep;

/// Reads `nix.conf` where Nix does (`NIX_CONF_DIR`, else `/etc/nix`). One that isn't there, or says nothing of it, means
/// Nix's defaults.
pub fn keep_settings() -> Keep {
    let directory = std::env::var_os("NIX_CONF_DIR").map_or_else(|| PathBuf::from("/etc/nix"), PathBuf::from);
    let text = std::fs::read_to_string(Path::new(&directory).join("nix.conf")).unwrap_or_default();
    parse(&text)
}

// `name = value` a line; what follows a `#` is a comment; the last one counts. The names before 2.0 began with `gc-`.
fn parse(text: &str) -> Keep {
    let mut keep = Keep::default();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        let value = match value.trim() {
            "true" | "yes" | "1" => true,
            "false" | "no" | "0" => false,
            _ => continue,
        };
        match name.trim() {
            "keep-derivations" | "gc-keep-derivations" => keep.derivations = value,
            "keep-outputs" | "gc-keep-outputs" => keep.outputs = value,
            _ => {}
        }
    }
    keep
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_counts_and_odd_words_none() {
        let keep = |derivations, outputs| Keep { derivations, outputs };
        for (text, expected) in [
            ("", keep(true, false)),
            (
                "keep-outputs = true\nkeep-derivations=false # why\n",
                keep(false, true),
            ),
            ("keep-outputs = true\nkeep-outputs = perhaps\n", keep(true, true)),
            (
                "# keep-outputs = true\ngc-keep-derivations = no",
                keep(false, false),
            ),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
