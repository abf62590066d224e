//! The mount namespaces of services, after `/usr` and `/etc` were replaced.
//!
//! A replacement propagates into the namespaces that systemd makes for services, with two flaws. A namespace that has a
//! mount of its own below the tree (`ProtectKernelModules=`, `ReadOnlyPaths=/etc/x`) keeps the old tree on top. And the
//! new mount lacks the attributes that the service was given (`ProtectSystem=full` makes `/etc` read-only). Both are
//! mended from inside of the namespace, while the unit's processes are frozen: at no instant can they do more than before.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use super::mountinfo::{self, Mount};
use super::stale::unit_of_cgroup;
use crate::sys::mount::{DetachedMount, MountAttributes, MountError, set_attributes};

/// What is replaced.
const TARGETS: [&str; 2] = ["/usr", "/etc"];
/// How long a unit may take to freeze.
const TO_FREEZE: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// A mount namespace other than this process's own.
#[derive(Clone, Debug)]
struct Namespace {
    /// A process in it.
    pid: u32,
    /// That process's unit, and its control group.
    unit: String,
    cgroup: PathBuf,
    /// The attributes of its `/usr` and `/etc`, as mountinfo shows them.
    options: BTreeMap<&'static str, String>,
}

/// The namespaces of all services, before a replacement.
#[derive(Debug, Default)]
pub struct Namespaces(BTreeMap<u64, Namespace>);

/// A unit that couldn't be mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmended {
    /// The unit.
    pub unit: String,
    /// Why not.
    pub why: String,
}

impl Namespaces {
    /// Looks at the namespaces of all processes.
    pub fn look() -> Self {
        let own = fs::metadata("/proc/self/ns/mnt").map(|found| found.ino()).ok();
        let mut found = BTreeMap::new();
        for (pid, process) in mountinfo::processes() {
            // What can't be read has ended.
            let Ok(inode) = fs::metadata(process.join("ns/mnt")).map(|found| found.ino()) else {
                continue;
            };
            if Some(inode) == own || found.contains_key(&inode) {
                continue;
            }
            if let Some(namespace) = Namespace::of(pid) {
                let _new = found.insert(inode, namespace);
            }
        }
        Self(found)
    }

    /// Mends every namespace after a replacement: those that were there before, and those that came meanwhile.
    pub fn mend(&self) -> Vec<Unmended> {
        let current = current_devices();
        let mut unmended = Vec::new();
        for (inode, now) in Namespaces::look().0 {
            let before = self.0.get(&inode);
            if let Err(why) = mend(&now, before, &current) {
                unmended.push(Unmended {
                    unit: now.unit.clone(),
                    why,
                });
            }
        }
        unmended
    }
}

impl Namespace {
    fn of(pid: u32) -> Option<Self> {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let cgroup = fs::read_to_string(process.join("cgroup")).ok()?;
        let path = cgroup.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let mounts = mountinfo::parse(&fs::read(process.join("mountinfo")).ok()?);
        let options = TARGETS
            .iter()
            .filter_map(|target| {
                Some((
                    *target,
                    mountinfo::top_of(&mounts, Path::new(target))?.options.clone(),
                ))
            })
            .collect();
        Some(Self {
            pid,
            unit: unit_of_cgroup(&cgroup),
            cgroup: Path::new("/sys/fs/cgroup").join(path),
            options,
        })
    }
}

/// The devices of the trees that are in place.
fn current_devices() -> BTreeMap<&'static str, String> {
    let mounts = mountinfo::parse(&fs::read("/proc/self/mountinfo").unwrap_or_default());
    TARGETS
        .iter()
        .filter_map(|target| {
            Some((
                *target,
                mountinfo::top_of(&mounts, Path::new(target))?.device.clone(),
            ))
        })
        .collect()
}

/// What has to be done in a namespace.
#[derive(Debug, Default, PartialEq, Eq)]
struct Work {
    /// Trees that are still the old ones.
    stale: BTreeSet<&'static str>,
    /// Attributes that were lost.
    options: BTreeMap<&'static str, String>,
}

fn work(mounts: &[Mount], before: Option<&Namespace>, current: &BTreeMap<&'static str, String>) -> Work {
    let mut work = Work::default();
    for target in TARGETS {
        let (Some(top), Some(device)) = (mountinfo::top_of(mounts, Path::new(target)), current.get(target))
        else {
            // The service sees a root of its own.
            continue;
        };
        let is_ours = top.kind == "overlay" && top.source.starts_with("keel-");
        if is_ours && top.device != *device {
            let _new = work.stale.insert(target);
        }
        let options = before.and_then(|before| before.options.get(target));
        if let Some(options) = options
            && is_ours
            && attributes(options) != attributes(&top.options)
        {
            let _new = work.options.insert(target, options.clone());
        }
        if work.stale.contains(target) {
            let _old = work.options.insert(target, top.options.clone());
        }
    }
    work
}

fn mend(
    namespace: &Namespace,
    before: Option<&Namespace>,
    current: &BTreeMap<&'static str, String>,
) -> Result<(), String> {
    let Ok(table) = fs::read(format!("/proc/{}/mountinfo", namespace.pid)) else {
        return Ok(());
    };
    let mounts = mountinfo::parse(&table);
    let work = work(&mounts, before, current);
    if work == Work::default() {
        return Ok(());
    }
    let text = |error: &dyn std::fmt::Display| error.to_string();
    // The new trees, as this namespace shows them.
    let trees = work
        .stale
        .iter()
        .map(|target| Ok((*target, DetachedMount::copy_of(Path::new(target), false)?)))
        .collect::<Result<Vec<_>, MountError>>()
        .map_err(|error| text(&error))?;
    let inside = match File::open(format!("/proc/{}/ns/mnt", namespace.pid)) {
        Ok(inside) => inside,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(text(&error)),
    };
    let _frozen = Frozen::freeze(&namespace.cgroup)
        .map_err(|error| format!("its processes can't be frozen: {error}"))?;
    // A thread of its own may enter another namespace; this process stays where it is.
    thread::scope(|scope| {
        let entered = scope.spawn(|| -> Result<(), MountError> {
            let entering = |errno| MountError {
                step: "entering its mount namespace".to_owned(),
                errno,
                messages: Vec::new(),
            };
            unshare(CloneFlags::CLONE_FS).map_err(entering)?;
            setns(&inside, CloneFlags::CLONE_NEWNS).map_err(entering)?;
            for (target, tree) in trees {
                replace_inside(target, tree, &mounts)?;
            }
            for (target, options) in &work.options {
                set_attributes(Path::new(target), attributes(options))?;
            }
            Ok(())
        });
        entered
            .join()
            .map_err(|_| "the thread that should have mended it failed".to_owned())?
            .map_err(|error| text(&error))
    })
}

/// Puts `tree` in the place of the old one, with the mounts that this namespace has below it. What showed a part of the
/// old tree (`ReadOnlyPaths=`) shows that part of the new one.
fn replace_inside(target: &str, tree: DetachedMount, mounts: &[Mount]) -> Result<(), MountError> {
    let path = Path::new(target);
    let Some(old) = mountinfo::top_of(mounts, path) else {
        return Ok(());
    };
    let submounts = mountinfo::below(mounts, path)
        .into_iter()
        .map(|mount| {
            let is_part = mount.device == old.device;
            let copy = (!is_part).then(|| DetachedMount::copy_of(&mount.mount_point, false));
            Ok((mount, copy.transpose()?))
        })
        .collect::<Result<Vec<_>, MountError>>()?;
    tree.attach_beneath(path)?;
    umount2(target, MntFlags::MNT_DETACH).map_err(|errno| MountError {
        step: format!("detaching the old {target}"),
        errno,
        messages: Vec::new(),
    })?;
    for (mount, copy) in submounts {
        if let Some(copy) = copy {
            copy.attach(&mount.mount_point)?;
            continue;
        }
        let part = path.join(mount.root.strip_prefix("/").unwrap_or(&mount.root));
        // A part that the new tree hasn't got can't be shown.
        if part.exists() && mount.mount_point.exists() {
            DetachedMount::copy_of(&part, false)?.attach(&mount.mount_point)?;
            set_attributes(&mount.mount_point, attributes(&mount.options))?;
        }
    }
    Ok(())
}

fn attributes(options: &str) -> MountAttributes {
    let has = |name: &str| options.split(',').any(|option| option == name);
    MountAttributes {
        read_only: has("ro"),
        no_devices: has("nodev"),
        no_setuid: has("nosuid"),
        no_exec: has("noexec"),
    }
}

/// A control group whose processes stand still until this is dropped.
struct Frozen(PathBuf);

impl Frozen {
    fn freeze(cgroup: &Path) -> io::Result<Self> {
        fs::write(cgroup.join("cgroup.freeze"), "1")?;
        let frozen = Frozen(cgroup.to_owned());
        let deadline = Instant::now() + TO_FREEZE;
        while !fs::read_to_string(cgroup.join("cgroup.events"))?.contains("frozen 1") {
            if Instant::now() > deadline {
                return Err(io::Error::other("they don't stand still"));
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok(frozen)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if let Err(error) = fs::write(self.0.join("cgroup.freeze"), "0") {
            log::error!("{} can't be thawed: {error}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn before(options: &str) -> Namespace {
        Namespace {
            pid: 1,
            unit: "a.service".into(),
            cgroup: PathBuf::new(),
            options: BTreeMap::from([("/etc", options.to_owned())]),
        }
    }

    #[test]
    fn what_has_to_be_done_follows_from_the_mounts() {
        let table = |device: &str, options: &str| {
            let text = format!(
                "28 26 0:24 / /usr ro - overlay keel-usr.cfs ro\n31 26 {device} / /etc {options} - overlay keel-etc rw\n"
            );
            mountinfo::parse(text.as_bytes())
        };
        let current = BTreeMap::from([("/usr", "0:24".to_owned()), ("/etc", "0:40".to_owned())]);
        assert_eq!(
            work(&table("0:40", "rw"), Some(&before("rw,relatime")), &current),
            Work::default()
        );
        let stale = work(&table("0:26", "ro"), Some(&before("ro")), &current);
        assert_eq!(stale.stale, BTreeSet::from(["/etc"]));
        assert_eq!(stale.options.get("/etc").unwrap(), "ro");
        let lost = work(&table("0:40", "rw"), Some(&before("ro,nosuid")), &current);
        assert!(lost.stale.is_empty());
        assert_eq!(lost.options.get("/etc").unwrap(), "ro,nosuid");
        // A service with a root of its own has other mounts there.
        let own = mountinfo::parse(b"31 26 0:99 / /etc rw - tmpfs tmpfs rw\n");
        assert_eq!(work(&own, Some(&before("ro")), &current), Work::default());
    }
}
