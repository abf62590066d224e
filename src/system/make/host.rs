//! `[system]`: name, time zone, locale and keymap.

use super::contribution::Contribution;
use crate::config::System;

/// The locale that every Debian has without generating it.
pub const FALLBACK: &str = "C.UTF-8";

/// What `[system]` adds.
pub fn contribute(system: &System, made: &mut Contribution) {
    if !system.hostname.is_empty() {
        made.file("hostname", "system.hostname", format!("{}\n", system.hostname));
    }
    if !system.time_zone.is_empty() {
        let zone = &system.time_zone;
        made.link(
            "localtime",
            "system.time_zone",
            format!("/usr/share/zoneinfo/{zone}"),
        );
        made.file("timezone", "system.time_zone", format!("{zone}\n"));
    }
    locale(system, made);
    if !system.keymap.is_empty() {
        keymap(&system.keymap, made);
    }
}

/// The locales that have to be generated: all but those that libc brings.
pub fn locales(system: &System) -> Vec<String> {
    let own = |name: &&String| !matches!(name.as_str(), "" | "C" | "POSIX" | "C.UTF-8" | "C.utf8");
    let mut all: Vec<String> = [&system.locale]
        .into_iter()
        .chain(&system.extra_locales)
        .filter(own)
        .cloned()
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// `locale.gen` of Debian's package `locales`: a locale and its character set a line.
pub fn locale_gen(locales: &[String]) -> String {
    let line = |name: &String| {
        let bare = name.split('@').next().unwrap_or_default();
        let charset = bare.split_once('.').map_or("ISO-8859-1", |(_, charset)| charset);
        format!("{name} {charset}\n")
    };
    locales.iter().map(line).collect()
}

fn locale(system: &System, made: &mut Contribution) {
    let name = if system.locale.is_empty() {
        FALLBACK
    } else {
        &system.locale
    };
    made.stamped("locale.conf", "system.locale", &format!("LANG={name}\n"));
    // Debian's PAM modules read this name (pam_env), systemd the other one (locale.conf(5)).
    made.link("default/locale", "system.locale", "../locale.conf");
    let generated = locales(system);
    if !generated.is_empty() {
        made.stamped("locale.gen", "system.locale", &locale_gen(&generated));
    }
}

fn keymap(name: &str, made: &mut Contribution) {
    const OPTION: &str = "system.keymap";
    let (layout, variant) = xkb(name);
    // keyboard(5): Debian's console-setup sets the console by the layout of XKB, and X and Wayland read it too. KEYMAP is
    // systemd's word (vconsole.conf(5)), whose file is a link to this one on Debian: systemd-tmpfiles puts the link there at
    // every boot, whatever was there.
    made.stamped(
        "default/keyboard",
        OPTION,
        &format!(
            "KEYMAP=\"{name}\"\nXKBMODEL=\"pc105\"\nXKBLAYOUT=\"{layout}\"\nXKBVARIANT=\"{variant}\"\nXKBOPTIONS=\"\"\n\
             BACKSPACE=\"guess\"\n"
        ),
    );
    made.link("vconsole.conf", OPTION, "default/keyboard");
}

/// Layout and variant of XKB for the name of a console keymap: `de-nodeadkeys` is `de` with `nodeadkeys`. What only names
/// a character set (`de-latin1`) is no variant.
fn xkb(name: &str) -> (&str, &str) {
    match name {
        "uk" => ("gb", ""),
        "dvorak" => ("us", "dvorak"),
        "colemak" => ("us", "colemak"),
        "sv-latin1" => ("se", ""),
        "jp106" => ("jp", ""),
        _ => {
            let (layout, variant) = name.split_once('-').unwrap_or((name, ""));
            // `latin` is a layout of its own: the console keymap of Latin America is `la-latin1`.
            let layout = if layout == "la" { "latam" } else { layout };
            let is_charset = variant.starts_with("latin") || variant.starts_with("utf");
            let variant = variant.strip_prefix("latin1-").unwrap_or(variant);
            (
                layout,
                if is_charset && !variant.contains("dead") {
                    ""
                } else {
                    variant
                },
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(system: &System) -> Contribution {
        let mut made = Contribution::new();
        contribute(system, &mut made);
        made
    }

    #[test]
    fn the_founding_example() {
        let made = made(&System {
            hostname: "nixie".into(),
            time_zone: "Asia/Kolkata".into(),
            locale: "en_US.UTF-8".into(),
            extra_locales: vec!["de_DE.UTF-8".into(), "C.UTF-8".into()],
            keymap: "us".into(),
        });
        assert_eq!(made.text("hostname"), "nixie\n");
        assert_eq!(made.text("localtime"), "-> /usr/share/zoneinfo/Asia/Kolkata");
        assert_eq!(made.text("timezone"), "Asia/Kolkata\n");
        assert!(made.text("locale.conf").ends_with("LANG=en_US.UTF-8\n"));
        assert!(
            made.text("locale.gen")
                .ends_with("de_DE.UTF-8 UTF-8\nen_US.UTF-8 UTF-8\n")
        );
        // What tmpfiles.d/debian.conf of Debian's systemd makes of it at boot in any case.
        assert_eq!(made.text("vconsole.conf"), "-> default/keyboard");
        assert_eq!(made.text("default/locale"), "-> ../locale.conf");
        for line in ["KEYMAP=\"us\"\n", "XKBLAYOUT=\"us\"\n"] {
            assert!(made.text("default/keyboard").contains(line));
        }
    }

    #[test]
    fn without_a_locale_nothing_is_generated() {
        let made = made(&System::default());
        assert!(made.text("locale.conf").ends_with("LANG=C.UTF-8\n"));
        assert_eq!(made.text("locale.gen"), "no locale.gen");
        assert_eq!(made.text("timezone"), "Etc/UTC\n");
    }

    #[test]
    fn character_sets_of_locales() {
        let names = [
            "de_DE".to_owned(),
            "de_DE.UTF-8@euro".to_owned(),
            "ja_JP.EUC-JP".to_owned(),
        ];
        assert_eq!(
            locale_gen(&names),
            "de_DE ISO-8859-1\nde_DE.UTF-8@euro UTF-8\nja_JP.EUC-JP EUC-JP\n"
        );
    }

    #[test]
    fn keymaps_as_xkb_has_them() {
        for (name, expected) in [
            ("us", ("us", "")),
            ("uk", ("gb", "")),
            ("de-latin1", ("de", "")),
            ("de-nodeadkeys", ("de", "nodeadkeys")),
            ("de-latin1-nodeadkeys", ("de", "nodeadkeys")),
            ("dvorak", ("us", "dvorak")),
            ("la-latin1", ("latam", "")),
        ] {
            assert_eq!(xkb(name), expected, "{name}");
        }
    }
}
