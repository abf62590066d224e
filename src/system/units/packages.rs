//! Which files of `/etc` belong to the Debian package that brings a unit: by dpkg's own lists.

use std::collections::{BTreeSet, HashMap};
use std::io;

use super::sources::{Found, Sources, resolve};

/// dpkg's database: in a composed system, and on a machine that keel doesn't run.
const PLACES: [&str; 2] = ["/usr/lib/sysimage/dpkg/info", "/var/lib/dpkg/info"];
/// The list of the largest package has some megabytes.
const LIST_MAX: usize = 64 << 20;
/// Directories below `/etc` that many packages put files into: what lies there isn't read by the service of the package
/// that brought it, or not only.
const SHARED: &[&str] = &[
    "/etc/X11",
    "/etc/alternatives",
    "/etc/apparmor.d",
    "/etc/apt",
    "/etc/bash_completion.d",
    "/etc/binfmt.d",
    "/etc/ca-certificates",
    "/etc/cron.d",
    "/etc/cron.daily",
    "/etc/cron.hourly",
    "/etc/cron.monthly",
    "/etc/cron.weekly",
    "/etc/cron.yearly",
    "/etc/dbus-1",
    "/etc/default",
    "/etc/dhcp",
    "/etc/dpkg",
    "/etc/emacs",
    "/etc/environment.d",
    "/etc/fail2ban",
    "/etc/gss",
    "/etc/init",
    "/etc/init.d",
    "/etc/initramfs-tools",
    "/etc/insserv.conf.d",
    "/etc/iproute2",
    "/etc/kernel",
    "/etc/ld.so.conf.d",
    "/etc/ldap",
    "/etc/logcheck",
    "/etc/logrotate.d",
    "/etc/modprobe.d",
    "/etc/modules-load.d",
    "/etc/needrestart",
    "/etc/network",
    "/etc/opt",
    "/etc/pam.d",
    "/etc/perl",
    "/etc/pkcs11",
    "/etc/polkit-1",
    "/etc/pm",
    "/etc/ppp",
    "/etc/profile.d",
    "/etc/python3",
    "/etc/rc0.d",
    "/etc/rc1.d",
    "/etc/rc2.d",
    "/etc/rc3.d",
    "/etc/rc4.d",
    "/etc/rc5.d",
    "/etc/rc6.d",
    "/etc/rcS.d",
    "/etc/reportbug",
    "/etc/rsyslog.d",
    "/etc/security",
    "/etc/selinux",
    "/etc/skel",
    "/etc/ssl",
    "/etc/sudoers.d",
    "/etc/supercat",
    "/etc/sv",
    "/etc/sysctl.d",
    "/etc/systemd",
    "/etc/sysusers.d",
    "/etc/terminfo",
    "/etc/tmpfiles.d",
    "/etc/udev",
    "/etc/ufw",
    "/etc/update-motd.d",
    "/etc/vim",
    "/etc/xdg",
];

/// What dpkg knows of unit files and of `/etc`.
#[derive(Debug, Default)]
pub(super) struct Packages {
    // The path of a unit file -> its package, an index.
    units: HashMap<String, usize>,
    // Paths below /etc, by package.
    configuration: Vec<Vec<String>>,
    names: Vec<String>,
    // The packages that list a path below /etc.
    owners: HashMap<String, Vec<usize>>,
}

impl Packages {
    /// Reads the lists of all packages. Without a database there are none.
    pub(super) fn read(sources: &dyn Sources) -> io::Result<Self> {
        let mut packages = Self::default();
        for place in PLACES {
            let Some(info) = resolve(sources, place)?.filter(|info| info.found == Found::Directory) else {
                continue;
            };
            let mut names = sources.list(&info.path)?;
            names.retain(|name| name.strip_suffix(".list").is_some());
            names.sort_unstable();
            for name in names {
                let bytes = sources.read(&format!("{}/{name}", info.path), LIST_MAX)?;
                packages.add(&name, &String::from_utf8_lossy(&bytes));
            }
            break;
        }
        Ok(packages)
    }

    fn add(&mut self, name: &str, list: &str) {
        let index = self.configuration.len();
        let mut configuration = Vec::new();
        // systemd has many services, and each reads files of its own: see `collect`.
        let many = name.starts_with("systemd") || name.starts_with("udev");
        for path in list.lines() {
            if path.starts_with("/etc/") {
                self.owners.entry(path.to_owned()).or_default().push(index);
                configuration.extend((!many).then(|| path.to_owned()));
            } else if path.contains("lib/systemd/system/") {
                // Packages from before the merge of /usr say /lib.
                let path = if path.starts_with("/lib/") {
                    format!("/usr{path}")
                } else {
                    path.to_owned()
                };
                let _first = self.units.entry(path).or_insert(index);
            }
        }
        self.configuration.push(configuration);
        let name = name.split(['.', ':']).next().unwrap_or_default();
        self.names.push(name.to_owned());
    }

    /// The configuration files of the package that brings the unit file `fragment`, as they are now: the files that it
    /// lists, and what lies in directories that it lists, whoever put it there. Left out are directories that many
    /// packages share, and, where several packages share one (`/etc/ssh`), what is the others' alone.
    pub(super) fn configuration(
        &self,
        sources: &dyn Sources,
        fragment: &str,
    ) -> io::Result<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        let Some(&package) = self.units.get(fragment) else {
            return Ok(found);
        };
        for path in self.configuration.get(package).into_iter().flatten() {
            if !is_shared(path, self.names.get(package).map_or("", String::as_str)) {
                let is_others = |path: &str| self.is_others(path, package);
                walk(sources, path, &is_others, &mut found)?;
            }
        }
        Ok(found)
    }

    // A file straight below `/etc/name`, or a directory anywhere, that other packages list and this one doesn't. What
    // others put into a subdirectory of this package (`/etc/nginx/conf.d`) is meant for it.
    fn is_others(&self, path: &str, package: usize) -> bool {
        let others = self
            .owners
            .get(path)
            .is_some_and(|owners| !owners.contains(&package));
        let is_directory = || {
            let below = format!("{path}/");
            self.owners.keys().any(|listed| listed.starts_with(&below))
        };
        others && (path.matches('/').count() <= 3 || is_directory())
    }
}

// A directory of many packages is still the own one of that which it is named after: /etc/rsyslog.d of rsyslog. But cron
// looks at all its tables every minute.
fn is_shared(path: &str, package: &str) -> bool {
    let below = |shared: &str| {
        path.strip_prefix(shared)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let is_own = |shared: &str| {
        let name = shared.trim_start_matches("/etc/").trim_end_matches(".d");
        name == package && package != "cron"
    };
    SHARED.iter().any(|shared| below(shared) && !is_own(shared))
}

/// Adds the regular files at and below `path`, by the names that lead to them.
pub(super) fn collect(sources: &dyn Sources, path: &str, found: &mut BTreeSet<String>) -> io::Result<()> {
    walk(sources, path, &|_| false, found)
}

// Links to directories aren't followed, but the first: one may lead to a directory that holds it.
fn walk(
    sources: &dyn Sources,
    path: &str,
    leave_out: &dyn Fn(&str) -> bool,
    found: &mut BTreeSet<String>,
) -> io::Result<()> {
    let mut pending = vec![path.to_owned()];
    let mut is_first = true;
    while let Some(path) = pending.pop() {
        let Some(resolved) = resolve(sources, &path)? else {
            continue;
        };
        match resolved.found {
            Found::File { .. } if !is_left_over(&path) => {
                let _new = found.insert(path);
            }
            Found::Directory if is_first || sources.look(&path)? == Some(Found::Directory) => {
                let below = sources
                    .list(&resolved.path)?
                    .into_iter()
                    .map(|name| format!("{path}/{name}"));
                pending.extend(below.filter(|path| !leave_out(path)));
            }
            _ => {}
        }
        is_first = false;
    }
    Ok(())
}

// What dpkg, ucf and editors leave beside a file.
fn is_left_over(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    [
        ".dpkg-old",
        ".dpkg-new",
        ".dpkg-dist",
        ".dpkg-bak",
        ".ucf-old",
        ".ucf-dist",
        "~",
    ]
    .iter()
    .any(|end| name.ends_with(end))
        || name == ".placeholder"
        || name == "README"
}
