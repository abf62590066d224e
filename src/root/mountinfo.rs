//! `/proc/PID/mountinfo` (proc_pid_mountinfo(5)): text in, mounts out.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A line of mountinfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Its number.
    pub id: u64,
    /// The number of the mount that it's attached to.
    pub parent: u64,
    /// `major:minor` of the file system: the same for all mounts of one.
    pub device: String,
    /// Which directory of the file system it shows.
    pub root: PathBuf,
    /// Where it's attached, as the process sees it.
    pub mount_point: PathBuf,
    /// Its own attributes, such as `ro,nosuid`.
    pub options: String,
    /// The file system's type.
    pub kind: String,
    /// What was mounted, as whoever mounted it said.
    pub source: String,
}

/// All processes: their numbers and directories in `/proc`. One may end at any moment.
pub fn processes() -> impl Iterator<Item = (u32, PathBuf)> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
}

/// All mounts of a table, in its order: a mount comes after the one that it covers. Lines that don't parse are left out.
pub fn parse(table: &[u8]) -> Vec<Mount> {
    table
        .split(|&byte| byte == b'\n')
        .filter_map(parse_line)
        .collect()
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&byte| byte == b' ');
    let mut number = || std::str::from_utf8(fields.next()?).ok()?.parse().ok();
    let (id, parent) = (number()?, number()?);
    let device = text(fields.next()?);
    let mut path = || Some(PathBuf::from(OsString::from_vec(unescape(fields.next()?))));
    let (root, mount_point) = (path()?, path()?);
    let options = text(fields.next()?);
    // Optional fields end with a dash.
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    Some(Mount {
        id,
        parent,
        device,
        root,
        mount_point,
        options,
        kind: text(rest.next()?),
        source: text(&unescape(rest.next()?)),
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Blanks, line ends and backslashes are written as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let escaped = (byte == b'\\')
            .then(|| tail.get(..3))
            .flatten()
            .and_then(|digits| {
                let digits = std::str::from_utf8(digits).ok()?;
                u8::from_str_radix(digits, 8).ok()
            });
        if let Some(value) = escaped {
            bytes.push(value);
            rest = tail.get(3..).unwrap_or_default();
        } else {
            bytes.push(byte);
            rest = tail;
        }
    }
    bytes
}

/// The mount that a lookup of `path` ends on, when something is mounted exactly there.
pub(super) fn top_of<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    let here: Vec<&Mount> = mounts.iter().filter(|mount| mount.mount_point == path).collect();
    let is_covering = |mount: &&&Mount| here.iter().any(|lower| lower.id == mount.parent);
    let mut top = *here.iter().find(|mount| !is_covering(mount)).or(here.first())?;
    for _ in &here {
        match here.iter().find(|mount| mount.parent == top.id) {
            Some(above) => top = above,
            None => break,
        }
    }
    Some(top)
}

/// What is mounted below the top mount of `path`, each after the one that it's attached to.
pub(super) fn below<'a>(mounts: &'a [Mount], path: &Path) -> Vec<&'a Mount> {
    let Some(top) = top_of(mounts, path) else {
        return Vec::new();
    };
    let mut found: Vec<&Mount> = Vec::new();
    let mut parents = vec![top.id];
    // Tables are small; whatever order they are in, each round finds at least one more.
    loop {
        let next = mounts.iter().find(|mount| {
            parents.contains(&mount.parent)
                && !parents.contains(&mount.id)
                && mount.mount_point != path
                && mount.mount_point.starts_with(path)
        });
        let Some(next) = next else { break };
        parents.push(next.id);
        found.push(next);
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    // From a Debian 13 machine of the test suite: `cat /proc/self/mountinfo`, shortened; the last three were added by
    // `mount --bind` below /etc, on a directory "a b".
    const TABLE: &[u8] = br"26 1 254:1 / / rw,relatime shared:1 - ext4 /dev/mapper/vg-root rw
28 26 0:24 / /usr ro,nodev,relatime shared:3 - overlay keel-usr.cfs ro,lowerdir+=/run/x,redirect_dir=on
31 26 0:26 / /etc rw,relatime shared:4 - overlay keel-etc rw,lowerdir+=/x
22 26 0:20 / /sys rw,nosuid - sysfs sysfs rw
40 31 254:1 /srv /etc/a\040b rw shared:1 - ext4 /dev/mapper/vg-root rw
41 40 254:1 /srv /etc/a\040b/c rw - ext4 /dev/mapper/vg-root rw
nonsense
";

    #[test]
    fn mounts_are_read_with_their_escapes() {
        let mounts = parse(TABLE);
        assert_eq!(mounts.len(), 6);
        assert_eq!(mounts[1].source, "keel-usr.cfs");
        assert_eq!(mounts[4].mount_point, Path::new("/etc/a b"));
        assert_eq!(unescape(br"\04"), br"\04");
    }

    #[test]
    fn the_top_and_what_is_below_it() {
        let mut mounts = parse(TABLE);
        assert_eq!(top_of(&mounts, Path::new("/etc")).unwrap().id, 31);
        assert!(top_of(&mounts, Path::new("/home")).is_none());
        let points: Vec<_> = below(&mounts, Path::new("/etc"))
            .iter()
            .map(|mount| mount.id)
            .collect();
        assert_eq!(points, [40, 41]);
        // A second mount on the same place covers the first.
        mounts.push(Mount {
            id: 50,
            parent: 31,
            ..mounts[2].clone()
        });
        assert_eq!(top_of(&mounts, Path::new("/etc")).unwrap().id, 50);
        assert!(below(&mounts, Path::new("/etc")).is_empty());
        // A loop in a damaged table ends.
        mounts[2].parent = 50;
        assert!(top_of(&mounts, Path::new("/etc")).is_some());
    }
}
