//! Which of the initrd's keymaps is loaded.

use std::fs;
use std::io;
use std::path::Path;

use log::info;

use super::load::set_unicode;
use super::table::Keymap;
use crate::init::boot::Boot;

/// Where the image keeps its keymaps; the first one is the default.
const KEYMAPS: &str = "/etc/keel/keymaps";

/// A keymap, and what has to be said about it.
#[derive(Debug, PartialEq, Eq)]
pub struct Choice<'a> {
    /// The one to load; without one the kernel's own (US) stays.
    pub keymap: Option<&'a Keymap>,
    /// Why it isn't the one that was asked for.
    pub warning: Option<String>,
}

/// Chooses the keymap that `rd.vconsole.keymap=` asks for, else the first.
pub fn choose<'a>(keymaps: &'a [Keymap], asked: Option<&str>) -> Choice<'a> {
    let default = keymaps.first();
    let Some(asked) = asked else {
        return Choice {
            keymap: default,
            warning: None,
        };
    };
    if let Some(keymap) = keymaps.iter().find(|keymap| keymap.name == asked) {
        return Choice {
            keymap: Some(keymap),
            warning: None,
        };
    }
    let names: Vec<&str> = keymaps.iter().map(|keymap| keymap.name.as_str()).collect();
    let here = match names.as_slice() {
        [] => "it has none, and the kernel's own (us) stays".to_owned(),
        [only] => format!("it has {only}, which stays"),
        [first, ..] => format!("it has {}, of which {first} stays", names.join(", ")),
    };
    // The kernel's own keymap is that of us.
    let is_own = asked == "us" && names.is_empty();
    Choice {
        keymap: default,
        warning: (!is_own).then(|| {
            format!(
                "the keymap {asked} (rd.vconsole.keymap=) isn't in this initrd: {here}; \
                 `keel initrd --keymap {asked}` builds one that has it"
            )
        }),
    }
}

impl Boot {
    /// Loads the keymap, when a console has the machine's own keyboard. To be called before the first prompt.
    pub(in crate::init) fn load_keymap(&mut self) {
        if let Some(font) = self.cmdline.vconsole.font.take() {
            self.warn(&format!(
                "rd.vconsole.font={font} is left to the real system: the initrd keeps the kernel's own font"
            ));
        }
        if self.consoles.virtual_terminals().next().is_none() {
            return;
        }
        let keymaps = match read(Path::new(KEYMAPS)) {
            Ok(keymaps) => keymaps,
            Err(why) => {
                self.warn(&format!(
                    "{KEYMAPS} of the initrd can't be read, the kernel's own keymap (us) stays: {why}"
                ));
                return;
            }
        };
        let choice = choose(&keymaps, self.cmdline.vconsole.keymap.as_deref());
        let mut problems = Vec::from_iter(choice.warning);
        if let Some(keymap) = choice.keymap {
            for terminal in self.consoles.virtual_terminals() {
                problems.extend(
                    set_unicode(terminal)
                        .err()
                        .map(|error| format!("keyboard: {error}")),
                );
            }
            let loaded = self
                .consoles
                .virtual_terminals()
                .next()
                .map(|terminal| keymap.load(terminal));
            if let Some(Err(error)) = loaded {
                problems.push(format!("the keymap {} isn't loaded whole: {error}", keymap.name));
            }
            info!("keymap {}", keymap.name);
            self.consoles
                .print_on_virtual(&format!("Keyboard layout: {}", keymap.name));
            self.report.keymap = Some(keymap.name.clone());
        }
        for problem in problems {
            self.warn(&problem);
        }
    }
}

/// The keymaps of the image; none when it was built without.
fn read(path: &Path) -> Result<Vec<Keymap>, String> {
    match fs::read(path) {
        Ok(bytes) => Keymap::parse_all(&bytes).map_err(|error| error.to_string()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    type Case<'a> = (&'a [Keymap], Option<&'a str>, Option<&'a str>, &'a str);

    fn named(name: &str) -> Keymap {
        Keymap {
            name: name.to_owned(),
            ..Keymap::default()
        }
    }

    #[test]
    fn the_default_is_the_first_and_an_unknown_one_is_told() {
        let two = [named("de"), named("fr")];
        let none: [Keymap; 0] = [];
        let table: [Case<'_>; 7] = [
            (&two, None, Some("de"), ""),
            (&two, Some("fr"), Some("fr"), ""),
            (
                &two,
                Some("dvorak"),
                Some("de"),
                "dvorak (rd.vconsole.keymap=) isn't in this initrd: it has de, fr, of which de stays",
            ),
            (
                &two[..1],
                Some("us"),
                Some("de"),
                "it has de, which stays; `keel initrd --keymap us`",
            ),
            (&none, None, None, ""),
            (&none, Some("us"), None, ""),
            (&none, Some("de"), None, "it has none"),
        ];
        for (keymaps, asked, chosen, said) in table {
            let choice = choose(keymaps, asked);
            assert_eq!(
                choice.keymap.map(|keymap| keymap.name.as_str()),
                chosen,
                "{asked:?}"
            );
            let warning = choice.warning.unwrap_or_default();
            assert_eq!(warning.is_empty(), said.is_empty(), "{asked:?}: {warning}");
            assert!(warning.contains(said), "{asked:?}: {warning}");
        }
    }

    #[test]
    fn an_image_without_keymaps_has_none_and_a_damaged_one_is_told() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("keymaps");
        assert_eq!(read(&path), Ok(Vec::new()));
        fs::write(&path, named("de").to_text() + "rest").unwrap();
        assert!(read(&path).unwrap_err().starts_with("line 3"));
    }
}
