//! Lines of `/etc/fstab` that differ: systemd makes units of them when it reads its units again, so that no record of a
//! system knows them.

use super::view::{Observed, Text, UnitView};
use crate::system::fstab::Line;
use crate::system::units::{Kind, Policy, Verdict};

/// Adds what has to be done about lines that differ.
pub(super) fn observe(old: &[Line], new: &[Line], observed: &mut Observed) {
    for line in old {
        let text = match new.iter().find(|other| other.unit() == line.unit()) {
            Some(other) => changed(line, other),
            None => Some(Text::Gone),
        };
        let Some(text) = text else { continue };
        let is_gone = text == Text::Gone;
        let automount = line.automount().filter(|_| is_gone);
        for unit in automount.into_iter().chain([line.unit()]) {
            // What has a unit of its own in the system is judged by that.
            let is_known = observed.units.iter().any(|view| view.name == unit);
            if observed.is_active(&unit) && !is_known {
                observed.units.push(view(unit, text.clone()));
            }
        }
    }
    let appears = |line: &&Line| line.is_automatic() && !old.iter().any(|other| other.unit() == line.unit());
    for line in new.iter().filter(appears) {
        let unit = line.automount().unwrap_or_else(|| line.unit());
        let is_known = observed.wanted.iter().any(|(known, _)| *known == unit);
        if !observed.is_active(&unit) && !is_known {
            observed.wanted.push((unit, "added to /etc/fstab".to_owned()));
        }
    }
}

/// How two lines of one unit differ, if they do.
fn changed(old: &Line, new: &Line) -> Option<Text> {
    let mut changes = Vec::new();
    let mut verdict = Verdict::Reload;
    for (what, differs) in [("device", old.what != new.what), ("type", old.kind != new.kind)] {
        if differs {
            changes.push(format!("its {what} in /etc/fstab changed"));
            verdict = Verdict::Restart;
        }
    }
    if old.mount_options() != new.mount_options() {
        changes.push("its options in /etc/fstab changed".to_owned());
    }
    (!changes.is_empty()).then_some(Text::Changed { changes, verdict })
}

fn view(name: String, text: Text) -> UnitView {
    let kind = match name.rsplit_once('.') {
        Some((_, "swap")) => Kind::Swap,
        Some((_, "automount")) => Kind::Automount,
        _ => Kind::Mount,
    };
    UnitView {
        name,
        kind,
        text,
        code: Vec::new(),
        configuration: Vec::new(),
        has_processes: false,
        is_stale: false,
        can_reload: kind == Kind::Mount,
        in_use: false,
        policy: Policy::default(),
        socket: None,
        triggers: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activate::plan::{Verb, plan};
    use crate::system::fstab::parse;

    #[test]
    fn lines_that_differ_become_steps() {
        let old = parse(
            "/dev/a / ext4\n/dev/b /srv/gone ext4\n/dev/c /srv/options ext4 ro\n/dev/d /srv/device ext4\n\
             /dev/e none swap sw\n/dev/f /srv/same ext4 nofail\n/dev/g /srv/idle ext4 noauto\n",
        );
        let new = parse(
            "/dev/a / ext4 noatime\n/dev/c /srv/options ext4 rw\n/dev/x /srv/device ext4\n/dev/e none swap pri=5\n\
             /dev/f /srv/same ext4\n/dev/h /srv/new ext4\n/dev/i /srv/later ext4 noauto\n/dev/j /srv/auto ext4 \
             x-systemd.automount\n",
        );
        let active = [
            "-.mount",
            "srv-gone.mount",
            "srv-options.mount",
            "srv-device.mount",
            "dev-e.swap",
        ];
        let mut observed = Observed {
            active: active.iter().map(|unit| (*unit).to_owned()).collect(),
            ..Observed::default()
        };
        observe(&old, &new, &mut observed);
        let plan = plan(&observed);
        let steps: Vec<(Verb, &str)> = plan
            .steps
            .iter()
            .map(|step| (step.verb, step.unit.as_str()))
            .collect();
        assert_eq!(
            steps,
            [
                (Verb::Stop, "srv-gone.mount"),
                (Verb::Reload, "-.mount"),
                (Verb::Reload, "srv-options.mount"),
                (Verb::Restart, "dev-e.swap"),
                (Verb::Restart, "srv-device.mount"),
                (Verb::Start, "srv-auto.automount"),
                (Verb::Start, "srv-new.mount"),
            ]
        );
        assert!(plan.kept.is_empty(), "{:?}", plan.kept);
    }

    #[test]
    fn what_the_machine_runs_on_is_kept() {
        let (old, new) = (parse("/dev/a /home ext4\n"), parse("/dev/b /home ext4\n"));
        let mut observed = Observed {
            active: ["home.mount".to_owned()].into(),
            ..Observed::default()
        };
        observe(&old, &new, &mut observed);
        let plan = plan(&observed);
        assert!(plan.steps.is_empty());
        assert_eq!(plan.kept.len(), 1);
    }
}
