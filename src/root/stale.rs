//! Who still sees the trees of a system that was replaced while it ran.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::mountinfo::{self, Mount};

/// The sources that keel's own overlays are mounted from.
const SOURCES: [&str; 2] = ["keel-usr.cfs", "keel-etc"];

/// The units of whose processes the mount namespace still shows a replaced `/usr` or `/etc`, and one process of each.
/// Processes outside of a unit (there are hardly any) count for `-.slice`.
///
/// A namespace that has a mount of its own below the target (`ProtectKernelModules=`, `ReadOnlyPaths=/etc/x`) isn't
/// reached by the replacement.
pub fn units_on_replaced_trees() -> BTreeMap<String, u32> {
    let Ok(own) = fs::read("/proc/self/mountinfo") else {
        return BTreeMap::new();
    };
    let current = current_devices(&mountinfo::parse(&own));
    let mut judged: BTreeMap<std::path::PathBuf, bool> = BTreeMap::new();
    let mut found = BTreeMap::new();
    for (pid, process) in mountinfo::processes() {
        // A process may end at any moment: what can't be read is gone.
        let Ok(namespace) = fs::read_link(process.join("ns/mnt")) else {
            continue;
        };
        let is_stale = *judged.entry(namespace).or_insert_with(|| {
            fs::read(process.join("mountinfo"))
                .is_ok_and(|table| shows_replaced(&mountinfo::parse(&table), &current))
        });
        if is_stale {
            let cgroup = fs::read_to_string(process.join("cgroup")).unwrap_or_default();
            let _ = found.entry(unit_of_cgroup(&cgroup)).or_insert(pid);
        }
    }
    found
}

/// The devices of the trees that are in place.
fn current_devices(mounts: &[Mount]) -> BTreeSet<String> {
    ["/usr", "/etc"]
        .iter()
        .filter_map(|target| mountinfo::top_of(mounts, Path::new(target)))
        .map(|mount| mount.device.clone())
        .collect()
}

fn shows_replaced(mounts: &[Mount], current: &BTreeSet<String>) -> bool {
    mounts.iter().any(|mount| {
        mount.kind == "overlay"
            && SOURCES.contains(&mount.source.as_str())
            && !current.contains(&mount.device)
    })
}

/// The unit of a process, from the only line of its `cgroup` (cgroups(7), version 2): the last part that names one.
/// What a user's own manager started belongs to that manager's unit.
pub fn unit_of_cgroup(cgroup: &str) -> String {
    let path = cgroup
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .unwrap_or_default();
    let is_unit = |part: &&str| {
        [".service", ".scope", ".mount", ".swap", ".socket"]
            .iter()
            .any(|suffix| part.ends_with(suffix))
    };
    path.split('/').find(is_unit).unwrap_or("-.slice").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_told_from_cgroups() {
        for (cgroup, unit) in [
            ("0::/system.slice/ssh.service\n", "ssh.service"),
            (
                "0::/system.slice/system-getty.slice/getty@tty1.service\n",
                "getty@tty1.service",
            ),
            (
                "0::/user.slice/user-0.slice/user@0.service/app.slice/x.service\n",
                "user@0.service",
            ),
            ("0::/user.slice/user-0.slice/session-1.scope\n", "session-1.scope"),
            ("0::/\n", "-.slice"),
            ("", "-.slice"),
        ] {
            assert_eq!(unit_of_cgroup(cgroup), unit);
        }
    }

    #[test]
    fn a_namespace_with_an_old_overlay_shows_replaced_trees() {
        let table = |device: &str| {
            let line = format!(
                "31 26 {device} / /etc/ssh rw - overlay keel-etc rw\n28 26 0:24 / /usr ro - overlay keel-usr.cfs ro\n"
            );
            mountinfo::parse(line.as_bytes())
        };
        let current = BTreeSet::from(["0:24".to_owned(), "0:40".to_owned()]);
        assert!(shows_replaced(&table("0:26"), &current));
        assert!(!shows_replaced(&table("0:40"), &current));
    }
}
