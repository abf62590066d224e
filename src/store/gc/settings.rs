//! What Nix was told to keep: `keep-derivations` and `keep-outputs` of its configuration.

use super::Keep;
use crate::store::settings::{flags, nix_conf};

/// Reads Nix's configuration. One that isn't there, or says nothing of it, means Nix's defaults.
pub fn keep_settings() -> Keep {
    parse(&nix_conf())
}

// The names before 2.0 began with `gc-`.
fn parse(text: &str) -> Keep {
    let mut keep = Keep::default();
    for (name, value) in flags(text) {
        match name {
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
