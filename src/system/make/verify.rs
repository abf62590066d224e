//! `systemd-analyze verify`, by the generation's own systemd, on the units that the configuration writes.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::contribution::{Content, Contribution, Entry};

/// Where units lie below `/etc`.
const UNITS: &str = "systemd/system/";
/// What judges them, below `/usr`.
const ANALYZE: &str = "bin/systemd-analyze";
/// Directories that the generation's root needs for this.
const DIRECTORIES: [&str; 6] = ["usr", "etc", "proc", "run", "tmp", "dev"];

/// Why units aren't taken.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// systemd refuses some.
    #[error("systemd refuses {units}: {said}")]
    Refused {
        /// The options that they come from.
        units: String,
        /// What systemd-analyze says.
        said: String,
    },
    /// It can't be asked.
    #[error("the units can't be verified ({what}): {source}")]
    Ask {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> VerifyError {
    move |source| VerifyError::Ask { what, source }
}

/// The units that the configuration gives a text, or drop-ins, by name, and the option of each.
fn written(made: &Contribution) -> BTreeMap<&str, &Entry> {
    let mut units = BTreeMap::new();
    for (path, entry) in &made.etc {
        // What keel itself writes for its options needs no judge.
        let is_users = entry.option.starts_with("units.");
        let Some(name) = path
            .strip_prefix(UNITS)
            .filter(|_| is_users && matches!(entry.content, Content::File(_)))
        else {
            continue;
        };
        let unit = name.split_once(".d/").map_or(name, |(unit, _)| unit);
        let _first = units.entry(unit).or_insert(entry);
    }
    units
}

/// Verifies the units of `made` in the system of `usr` and `etc`. `program` is keel: it enters a mount namespace. A system
/// without systemd-analyze has no judge.
pub fn verify(program: &Path, made: &Contribution, usr: &Path, etc: &Path) -> Result<(), VerifyError> {
    let units = written(made);
    if units.is_empty() || !usr.join(ANALYZE).exists() {
        return Ok(());
    }
    // A template is judged as an instance.
    let names = units.keys().map(|name| name.replace("@.", "@keel."));
    let output = Command::new(program)
        .arg("verify-units")
        .args([usr, etc])
        .args(names)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .output()
        .map_err(failed("starting keel"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let concerned = |name: &&str| {
        let (stem, _) = name.rsplit_once('.').unwrap_or((name, ""));
        said.contains(*name) || said.contains(stem)
    };
    let named: Vec<&str> = units
        .iter()
        .filter(|(name, _)| concerned(name))
        .map(|(_, entry)| entry.option.as_str())
        .collect();
    let named = if named.is_empty() {
        units.values().map(|entry| entry.option.as_str()).collect()
    } else {
        named
    };
    Err(VerifyError::Refused {
        units: named.join(", "),
        said: said.trim().replace('\n', "; "),
    })
}

/// The other side of [`verify`], in a process of its own: makes a root of `usr` and `etc` that nobody else sees, and runs
/// systemd-analyze in it. Returns its exit code.
pub fn inside(usr: &Path, etc: &Path, units: &[String]) -> Result<u8, VerifyError> {
    let failed_call = |what: &'static str| move |errno: nix::errno::Errno| failed(what)(errno.into());
    unshare(CloneFlags::CLONE_NEWNS).map_err(failed_call("a mount namespace"))?;
    let bind = |from: &Path, to: &Path| {
        mount(
            Some(from),
            to,
            None::<&str>,
            MsFlags::MS_BIND | MsFlags::MS_REC,
            None::<&str>,
        )
    };
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
        .map_err(failed_call("a mount namespace"))?;
    // Below /proc nothing is in the way of anybody, and the directory is there on every machine.
    let root = Path::new("/tmp");
    let usr_from = std::fs::canonicalize(usr).map_err(failed("/usr"))?;
    let etc_from = std::fs::canonicalize(etc).map_err(failed("/etc"))?;
    let kept: [PathBuf; 2] = [usr_from, etc_from];
    let handles = kept.each_ref().map(std::fs::File::open);
    let [usr, etc] = handles;
    let (usr, etc) = (usr.map_err(failed("/usr"))?, etc.map_err(failed("/etc"))?);
    let here = |file: &std::fs::File| crate::sys::mount::proc_path(std::os::fd::AsFd::as_fd(file));
    mount(
        Some("tmpfs"),
        root,
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=0755"),
    )
    .map_err(failed_call("a root for it"))?;
    for name in DIRECTORIES {
        std::fs::create_dir(root.join(name)).map_err(failed("a root for it"))?;
    }
    for name in ["bin", "sbin", "lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{name}"), root.join(name))
            .map_err(failed("a root for it"))?;
    }
    bind(Path::new(&here(&usr)), &root.join("usr")).map_err(failed_call("/usr"))?;
    bind(Path::new(&here(&etc)), &root.join("etc")).map_err(failed_call("/etc"))?;
    bind(Path::new("/proc"), &root.join("proc")).map_err(failed_call("/proc"))?;
    nix::unistd::chroot(root).map_err(failed_call("its root"))?;
    std::env::set_current_dir("/").map_err(failed("its root"))?;
    let status = Command::new("/usr/bin/systemd-analyze")
        .args(["verify", "--man=no", "--generators=no", "--recursive-errors=no"])
        .args(units)
        .status()
        .map_err(failed("systemd-analyze"))?;
    Ok(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_users_write_is_judged() {
        let mut made = Contribution::new();
        made.stamped("systemd/system/a.service", "units.\"a.service\"", "");
        made.drop_in("b@.service", "x", "units.\"b@.service\"", "");
        made.drop_in("ssh.service", "x", "services.openssh", "");
        made.link(
            "systemd/system/x.target.wants/a.service",
            "units.\"a.service\"",
            "x",
        );
        assert_eq!(
            written(&made).keys().collect::<Vec<_>>(),
            [&"a.service", &"b@.service"]
        );
    }
}
