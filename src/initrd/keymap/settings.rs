//! Which keyboard a system is set to: vconsole.conf(5), and Debian's keyboard(5).

use std::path::{Path, PathBuf};

use crate::init::keymap::is_keymap_name;
use crate::sys::open_in_root::RootDir;

/// Larger files of settings aren't read.
const SETTINGS_MAX: u64 = 64 << 10;
/// `XKBMODEL` where nothing says it, as setupcon(1) has it.
const MODEL: &str = "pc105";

/// A keyboard layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// By its name: a console keymap (`de-latin1`), else an XKB layout with its variant (`de-nodeadkeys`).
    Named(String),
    /// A console keymap in a file.
    File(PathBuf),
    /// Of XKB, as keyboard(5) says it.
    Xkb {
        /// `XKBMODEL`
        model: String,
        /// `XKBLAYOUT`: one, or several with commas.
        layout: String,
        /// `XKBVARIANT`
        variant: String,
        /// `XKBOPTIONS`
        options: String,
        /// Whether Backspace gives BS instead of DEL (`BACKSPACE`).
        backspace_is_bs: bool,
    },
}

impl Layout {
    /// What is meant by a word of the administrator: a file when there's a slash in it.
    pub fn parse(word: &str) -> Layout {
        if word.contains('/') {
            Layout::File(word.into())
        } else {
            Layout::Named(word.to_owned())
        }
    }

    /// What the keymap is called in the image.
    pub fn name(&self) -> String {
        match self {
            Layout::Named(name) => name.clone(),
            Layout::File(path) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let name = name.strip_suffix(".gz").unwrap_or(&name);
                let name = name
                    .strip_suffix(".kmap")
                    .or(name.strip_suffix(".map"))
                    .unwrap_or(name);
                name.to_owned()
            }
            Layout::Xkb { layout, variant, .. } if variant.trim_matches(',').is_empty() => layout.clone(),
            Layout::Xkb { layout, variant, .. } => format!("{layout}-{variant}"),
        }
    }

    /// Whether it's the layout that the kernel has anyway.
    pub fn is_kernels_own(&self) -> bool {
        match self {
            Layout::Named(name) => name == "us",
            Layout::File(_) => false,
            Layout::Xkb {
                layout,
                variant,
                options,
                backspace_is_bs,
                ..
            } => layout == "us" && variant.is_empty() && options.is_empty() && !backspace_is_bs,
        }
    }
}

/// What a system is set to: `vconsole.conf` says it, else `default/keyboard`, below its `/etc`.
pub fn layout_of_system(etc: &Path) -> Option<Layout> {
    let root = RootDir::open(etc).ok()?;
    ["vconsole.conf", "default/keyboard"]
        .iter()
        .filter_map(|file| root.read(file, SETTINGS_MAX).ok())
        .find_map(|bytes| layout_of_settings(&String::from_utf8_lossy(&bytes)))
}

fn layout_of_settings(text: &str) -> Option<Layout> {
    let value = |key: &str| {
        let lines = text.lines().filter_map(|line| line.trim().split_once('='));
        lines
            .filter(|(name, _)| *name == key)
            .map(|(_, value)| unquoted(value).to_owned())
            .next_back()
            .unwrap_or_default()
    };
    // keyboard(5): a console keymap that is used as it is. It's looked for by its name, since the path is the system's.
    let file = value("KMAP");
    let named = match file.as_str() {
        "" => value("KEYMAP"),
        path => Layout::File(path.into()).name(),
    };
    if is_keymap_name(&named) {
        return Some(Layout::Named(named));
    }
    let layout = value("XKBLAYOUT");
    if layout.is_empty() {
        return None;
    }
    let model = value("XKBMODEL");
    let xkb = Layout::Xkb {
        model: if model.is_empty() { MODEL.to_owned() } else { model },
        layout,
        variant: value("XKBVARIANT"),
        options: value("XKBOPTIONS"),
        backspace_is_bs: value("BACKSPACE") == "bs",
    };
    is_keymap_name(&xkb.name()).then_some(xkb)
}

/// A value as a shell reads it, as far as settings need: without its quotes, or up to a comment.
fn unquoted(value: &str) -> &str {
    let value = value.trim();
    for quote in ['"', '\''] {
        if let Some(rest) = value.strip_prefix(quote) {
            return rest.split(quote).next().unwrap_or_default();
        }
    }
    value.split_ascii_whitespace().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn xkb(layout: &str, variant: &str, options: &str) -> Layout {
        Layout::Xkb {
            model: "pc105".into(),
            layout: layout.into(),
            variant: variant.into(),
            options: options.into(),
            backspace_is_bs: false,
        }
    }

    #[test]
    fn settings_are_read() {
        let table = [
            (
                "KEYMAP=de-latin1\nFONT=x\n",
                Some(Layout::Named("de-latin1".into())),
            ),
            ("KEYMAP=\"de\" # a comment\n", Some(Layout::Named("de".into()))),
            ("KEYMAP=@kernel\n", None),
            ("KEYMAP=\nXKBLAYOUT=fr\n", Some(xkb("fr", "", ""))),
            (
                "# KEYBOARD CONFIGURATION FILE\nXKBMODEL=\"pc105\"\nXKBLAYOUT=\"de\"\nXKBVARIANT=\"nodeadkeys\"\n\
                 XKBOPTIONS=\"ctrl:nocaps\"\nBACKSPACE=\"guess\"\n",
                Some(xkb("de", "nodeadkeys", "ctrl:nocaps")),
            ),
            ("XKBLAYOUT='us,ru'\nXKBVARIANT=,\n", Some(xkb("us,ru", ",", ""))),
            (
                "KMAP=/etc/console-setup/mine.kmap.gz\nXKBLAYOUT=us\n",
                Some(Layout::Named("mine".into())),
            ),
            ("XKBLAYOUT=\"../../x\"\n", None),
            ("XKBLAYOUT=\n", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(layout_of_settings(text), expected, "{text}");
        }
    }

    #[test]
    fn names_of_keymaps() {
        for (layout, name) in [
            (Layout::parse("de"), "de"),
            (Layout::parse("./my/neo2.map"), "neo2"),
            (Layout::parse("/x/de-latin1.kmap.gz"), "de-latin1"),
            (xkb("de", "", ""), "de"),
            (xkb("us,ru", ",", ""), "us,ru"),
            (xkb("de", "neo", ""), "de-neo"),
        ] {
            assert_eq!(layout.name(), name);
        }
        assert!(xkb("us", "", "").is_kernels_own() && !xkb("us", "dvorak", "").is_kernels_own());
    }

    #[test]
    fn a_link_between_both_files_is_followed_and_the_first_wins() {
        let etc = tempfile::tempdir().unwrap();
        assert_eq!(layout_of_system(etc.path()), None);
        fs::create_dir(etc.path().join("default")).unwrap();
        fs::write(etc.path().join("default/keyboard"), "XKBLAYOUT=\"de\"\n").unwrap();
        assert_eq!(layout_of_system(etc.path()), Some(xkb("de", "", "")));
        symlink("default/keyboard", etc.path().join("vconsole.conf")).unwrap();
        assert_eq!(layout_of_system(etc.path()), Some(xkb("de", "", "")));
        fs::remove_file(etc.path().join("vconsole.conf")).unwrap();
        fs::write(etc.path().join("vconsole.conf"), "KEYMAP=fr\n").unwrap();
        assert_eq!(layout_of_system(etc.path()), Some(Layout::Named("fr".into())));
    }
}
