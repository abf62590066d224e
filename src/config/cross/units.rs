//! `[units]` and `[switch]`.

use super::{Outcome, View};
use crate::config::place::Remark;
use crate::config::{Config, Unit};
use crate::nearest::nearest;
use crate::system::units::UnitName;

pub(super) fn check(view: &View<'_>, config: &Config, outcome: &mut Outcome) {
    for (name, unit) in &config.units {
        one(view, (name, unit), outcome);
    }
}

fn one(view: &View<'_>, (name, unit): (&str, &Unit), outcome: &mut Outcome) {
    let place = |key: &str| view.place(&["units", name, key]);
    if unit.text.is_some() && !unit.sections.is_empty() {
        outcome.problems.push(
            Remark::new(
                place("text"),
                format!("units.\"{name}\" has both text and sections"),
            )
            .also("sections are at", place("sections"))
            .help("keep one of them; drop_ins add to a text"),
        );
    }
    if unit.mask {
        for (key, is_there) in [
            ("text", unit.text.is_some()),
            ("sections", !unit.sections.is_empty()),
            ("drop_ins", !unit.drop_ins.is_empty()),
        ] {
            if is_there {
                outcome.problem(
                    place(key),
                    format!("units.\"{name}\" is masked and has {key} that nobody would read"),
                );
            }
        }
    }
    for (key, triggers) in [
        ("restart_triggers", &unit.restart_triggers),
        ("reload_triggers", &unit.reload_triggers),
    ] {
        for (index, trigger) in triggers.iter().enumerate() {
            if !trigger.starts_with("/etc/") {
                outcome.problem(
                    view.place(&["units", name, key, &index.to_string()]),
                    format!("units.\"{name}\".{key}: {trigger} isn't below /etc"),
                );
            }
        }
    }
    let Some(own) = UnitName::parse(name).map(|name| name.kind.section()) else {
        return;
    };
    let known = ["Unit", "Install"].into_iter().chain(own);
    for section in unit.sections.keys() {
        if section.starts_with("X-") || known.clone().any(|known| known == section) {
            continue;
        }
        let remark = Remark::new(
            view.place(&["units", name, "sections", section]),
            format!("systemd reads no section [{section}] in {name}"),
        );
        outcome.problems.push(match nearest(section, known.clone()) {
            Some(near) => remark.help(format!("did you mean [{near}]?")),
            None => remark,
        });
    }
}
