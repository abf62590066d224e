//! What the store is told by `nix.conf` and by keel's own settings.

use std::path::{Path, PathBuf};

use super::Layout;

/// Names another file of keel's settings, for tests and for trying settings out.
pub const VARIABLE: &str = "KEEL_SETTINGS";
const FILE: &str = "etc/keel/keel.toml";

/// Where keel's settings are.
pub fn settings_file(layout: &Layout) -> PathBuf {
    std::env::var_os(VARIABLE).map_or_else(|| layout.root().join(FILE), PathBuf::from)
}

/// Whether files that are added become links to equal ones: `[store] deduplicate` of keel's settings, or else
/// `auto-optimise-store` of Nix's. It isn't done unless one of them says so: it hashes everything a second time.
pub fn deduplicates(layout: &Layout) -> bool {
    let own = std::fs::read_to_string(settings_file(layout))
        .ok()
        .and_then(|text| own_word(&text));
    own.unwrap_or_else(|| {
        let text = nix_conf();
        flags(&text)
            .filter(|(name, _)| *name == "auto-optimise-store")
            .last()
            .is_some_and(|(_, value)| value)
    })
}

// What can't be read says nothing here: the command that reads all of it says what is wrong.
fn own_word(text: &str) -> Option<bool> {
    let table: toml::Table = toml::from_str(text).ok()?;
    table.get("store")?.get("deduplicate")?.as_bool()
}

/// The text of `nix.conf` where Nix looks for it (`NIX_CONF_DIR`, else `/etc/nix`); empty when there is none.
pub(super) fn nix_conf() -> String {
    let directory = std::env::var_os("NIX_CONF_DIR").map_or_else(|| PathBuf::from("/etc/nix"), PathBuf::from);
    std::fs::read_to_string(Path::new(&directory).join("nix.conf")).unwrap_or_default()
}

/// What is switched on and off in it: `name = value` a line; what follows a `#` is a comment; the last one counts.
pub(super) fn flags(text: &str) -> impl Iterator<Item = (&str, bool)> {
    text.lines().filter_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let (name, value) = line.split_once('=')?;
        let value = match value.trim() {
            "true" | "yes" | "1" => true,
            "false" | "no" | "0" => false,
            _ => return None,
        };
        Some((name.trim(), value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_word_of_the_right_kind_counts() {
        for (text, expected) in [
            ("[store]\ndeduplicate = true\n", Some(true)),
            ("[store]\ndeduplicate = false\n", Some(false)),
            ("[store]\ndeduplicate = \"true\"\n", None),
            ("deduplicate = true\n", None),
            ("[store\n", None),
            ("", None),
        ] {
            assert_eq!(own_word(text), expected, "{text}");
        }
    }
}
