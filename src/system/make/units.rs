//! `[units]` and `[switch]`: units, drop-ins, what enables and masks them, and what a switch does with them.

use std::fmt::Write as _;

use super::contribution::Contribution;
use crate::config::{Config, Unit};
use crate::system::units::parse::{Assignment, parse};
use crate::system::units::{Kind, UnitName};

/// Where units of the configuration lie, below `/etc`.
const DIRECTORY: &str = "systemd/system";
/// Where packages bring theirs.
const PACKAGES: &str = "/usr/lib/systemd/system";

/// What is wrong with a unit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("units.{unit:?}: {why}")]
pub struct UnitError {
    unit: String,
    why: String,
}

/// What `[units]` and `[switch]` add. `fragment` gives the text of a package's unit; a unit that has neither a text nor
/// sections is one.
pub fn contribute(
    config: &Config,
    fragment: &dyn Fn(&str) -> Option<String>,
    made: &mut Contribution,
) -> Result<(), UnitError> {
    for (name, unit) in &config.units {
        one(name, unit, fragment, made).map_err(|why| UnitError {
            unit: name.clone(),
            why,
        })?;
    }
    for name in &config.switch.keep {
        made.drop_in(name, "60-keel-switch", "switch.keep", "[Unit]\nX-Switch=keep\n");
    }
    Ok(())
}

fn one(
    name: &str,
    unit: &Unit,
    fragment: &dyn Fn(&str) -> Option<String>,
    made: &mut Contribution,
) -> Result<(), String> {
    let parsed =
        UnitName::parse(name).ok_or("this is no unit's name: one ends with .service, .timer and so on")?;
    let option = format!("units.{name:?}");
    if unit.mask {
        made.link(format!("{DIRECTORY}/{name}"), &option, "/dev/null");
        let _new = made.disabled.insert(name.to_owned());
        return Ok(());
    }
    let own = own_text(unit)?;
    // An instance has the text of its template.
    let template = parsed.template().filter(|_| parsed.is_instance());
    let text = match &own {
        Some(text) => Some(text.clone()),
        None => fragment(name).or_else(|| fragment(template.as_deref()?)),
    };
    drop_ins(name, unit, &option, made);
    let Some(text) = text else {
        // Mounts and swaps come from fstab, slices and scopes from whoever uses them.
        let is_generated = matches!(
            parsed.kind,
            Kind::Mount | Kind::Automount | Kind::Swap | Kind::Slice | Kind::Scope
        );
        if is_generated && !unit.drop_ins.is_empty() {
            return Ok(());
        }
        return Err("no package brings this unit, and neither text nor sections say what it is".to_owned());
    };
    let place = match (&own, &template) {
        (Some(text), _) => {
            made.stamped(format!("{DIRECTORY}/{name}"), &option, text);
            format!("/etc/{DIRECTORY}/{name}")
        }
        (None, Some(template)) if fragment(name).is_none() => format!("{PACKAGES}/{template}"),
        _ => format!("{PACKAGES}/{name}"),
    };
    if unit.enable {
        for link in links(name, &parsed, unit, &text) {
            made.link(format!("{DIRECTORY}/{link}"), &option, place.clone());
        }
    } else {
        let _new = made.disabled.insert(name.to_owned());
    }
    Ok(())
}

fn drop_ins(name: &str, unit: &Unit, option: &str, made: &mut Contribution) {
    for (drop_in, text) in &unit.drop_ins {
        let drop_in = drop_in.strip_suffix(".conf").unwrap_or(drop_in);
        made.drop_in(name, drop_in, option, &ended(text));
    }
    let own_keys = switching(unit);
    if !own_keys.is_empty() {
        made.drop_in(name, "50-keel", option, &format!("[Unit]\n{own_keys}"));
    }
}

/// The unit's text, as it's given or written from tables.
fn own_text(unit: &Unit) -> Result<Option<String>, String> {
    match (&unit.text, unit.sections.is_empty()) {
        (Some(_), false) => Err("it has a text and sections: one of them is enough".to_owned()),
        (Some(text), true) => Ok(Some(ended(text))),
        (None, true) => Ok(None),
        (None, false) => {
            let mut text = String::new();
            for (section, keys) in &unit.sections {
                let _ = writeln!(text, "[{section}]");
                for (key, value) in keys
                    .iter()
                    .flat_map(|(key, values)| values.iter().map(move |v| (key, v)))
                {
                    if value.contains('\n') {
                        return Err(format!(
                            "{section}.{key} holds a line break: write a list for several lines"
                        ));
                    }
                    let _ = writeln!(text, "{key}={value}");
                }
                text.push('\n');
            }
            Ok(Some(text))
        }
    }
}

fn switching(unit: &Unit) -> String {
    let mut text = String::new();
    let path = |path: &String| format!("/etc/{}", path.trim_start_matches("/etc/"));
    for (key, paths) in [
        ("X-Restart-Triggers", &unit.restart_triggers),
        ("X-Reload-Triggers", &unit.reload_triggers),
    ] {
        for trigger in paths {
            let _ = writeln!(text, "{key}={}", path(trigger));
        }
    }
    if let Some(switch) = &unit.switch {
        let _ = writeln!(text, "X-Switch={switch}");
    }
    text
}

/// The links that enable it, below [`DIRECTORY`]: what `systemctl enable` would make of `[Install]` (systemd.unit(5)), and
/// what `wanted_by` says.
fn links(name: &str, parsed: &UnitName<'_>, unit: &Unit, text: &str) -> Vec<String> {
    let install = parse(text.as_bytes());
    let values = |key: &str| -> Vec<String> {
        let mut values: Vec<String> = Vec::new();
        for Assignment {
            section,
            key: found,
            value,
            ..
        } in &install.assignments
        {
            if section == "Install" && found == key {
                if value.is_empty() {
                    values.clear();
                }
                values.extend(value.split_whitespace().map(str::to_owned));
            }
        }
        values
    };
    // A template is enabled as its default instance; without one it waits for somebody to name an instance.
    let enabled = if parsed.is_template() {
        match values("DefaultInstance").pop() {
            Some(instance) => parsed.with_instance(&instance),
            None => return Vec::new(),
        }
    } else {
        name.to_owned()
    };
    let mut links = Vec::new();
    for (key, directory) in [
        ("WantedBy", "wants"),
        ("RequiredBy", "requires"),
        ("UpheldBy", "upholds"),
    ] {
        links.extend(
            values(key)
                .into_iter()
                .map(|above| format!("{above}.{directory}/{enabled}")),
        );
    }
    links.extend(
        unit.wanted_by
            .iter()
            .map(|above| format!("{above}.wants/{enabled}")),
    );
    links.extend(values("Alias").into_iter().filter(|alias| alias != name));
    for link in &mut links {
        // The specifiers that [Install] may hold, as far as they are in use.
        *link = link
            .replace("%i", parsed.instance.unwrap_or_default())
            .replace("%%", "%");
    }
    links.sort_unstable();
    links.dedup();
    links
}

fn ended(text: &str) -> String {
    format!("{}\n", text.trim_end())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn made(text: &str) -> Result<Contribution, UnitError> {
        let config: Config = toml::from_str(text).unwrap();
        let packages = |name: &str| match name {
            "nginx.service" => Some(
                "[Service]\nExecStart=/usr/sbin/nginx\n[Install]\nWantedBy=multi-user.target\n".to_owned(),
            ),
            "getty@.service" => Some("[Install]\nWantedBy=getty.target\nDefaultInstance=tty1\n".to_owned()),
            _ => None,
        };
        let mut made = Contribution::new();
        contribute(&config, &packages, &mut made)?;
        Ok(made)
    }

    #[test]
    fn a_unit_from_tables_is_written_and_enabled() {
        let made = made(
            "[units.\"hello.service\".sections]\n\
             Service = { ExecStart = [\"/usr/bin/echo a\", \"/usr/bin/echo b\"], Type = [\"oneshot\"] }\n\
             Install = { WantedBy = [\"multi-user.target\"], Alias = [\"hi.service\"] }\n",
        )
        .unwrap();
        assert!(made.text("systemd/system/hello.service").ends_with(
            "[Install]\nAlias=hi.service\nWantedBy=multi-user.target\n\n\
             [Service]\nExecStart=/usr/bin/echo a\nExecStart=/usr/bin/echo b\nType=oneshot\n\n"
        ));
        for link in ["multi-user.target.wants/hello.service", "hi.service"] {
            assert_eq!(
                made.text(&format!("systemd/system/{link}")),
                "-> /etc/systemd/system/hello.service"
            );
        }
    }

    #[test]
    fn a_packages_unit_gets_drop_ins_triggers_and_a_policy() {
        let made = made(
            "[units.\"nginx.service\"]\ndrop_ins.limits = \"[Service]\\nLimitNOFILE=9\"\nswitch = \"reload\"\n\
             reload_triggers = [\"nginx/nginx.conf\"]\nrestart_triggers = [\"/etc/x\"]\nwanted_by = [\"x.target\"]\n\
             [switch]\nkeep = [\"db.service\"]\n",
        )
        .unwrap();
        assert!(
            made.text("systemd/system/nginx.service.d/limits.conf")
                .ends_with("LimitNOFILE=9\n")
        );
        assert!(made.text("systemd/system/nginx.service.d/50-keel.conf").ends_with(
            "[Unit]\nX-Restart-Triggers=/etc/x\nX-Reload-Triggers=/etc/nginx/nginx.conf\nX-Switch=reload\n"
        ));
        for above in ["x.target", "multi-user.target"] {
            assert_eq!(
                made.text(&format!("systemd/system/{above}.wants/nginx.service")),
                "-> /usr/lib/systemd/system/nginx.service"
            );
        }
        assert!(
            made.text("systemd/system/db.service.d/60-keel-switch.conf")
                .ends_with("X-Switch=keep\n")
        );
    }

    #[test]
    fn masks_and_what_is_disabled() {
        let made =
            made("[units.\"a.timer\"]\nmask = true\n[units.\"nginx.service\"]\nenable = false\n").unwrap();
        assert_eq!(made.text("systemd/system/a.timer"), "-> /dev/null");
        assert_eq!(Vec::from_iter(&made.disabled), ["a.timer", "nginx.service"]);
        assert_eq!(made.etc.len(), 1);
    }

    #[test]
    fn instances_lead_to_their_template() {
        let made = made("[units.\"getty@tty3.service\"]\n[units.\"getty@.service\"]\n").unwrap();
        for instance in ["getty@tty3.service", "getty@tty1.service"] {
            assert_eq!(
                made.text(&format!("systemd/system/getty.target.wants/{instance}")),
                "-> /usr/lib/systemd/system/getty@.service"
            );
        }
    }

    #[test]
    fn faults_name_the_unit() {
        for (text, part) in [
            (
                "[units.\"none.service\"]\n",
                "units.\"none.service\": no package brings this unit",
            ),
            ("[units.\"x\"]\ntext = \"\"\n", "this is no unit's name"),
            (
                "[units.\"x.service\"]\ntext = \"\"\nsections.Unit.A = [\"b\"]\n",
                "it has a text and sections",
            ),
            (
                "[units.\"x.service\"]\nsections.Unit.A = [\"b\\nc\"]\n",
                "Unit.A holds a line break",
            ),
        ] {
            let error = made(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
