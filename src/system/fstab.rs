//! fstab(5), as systemd-fstab-generator(8) reads it: lines, and the names of the units that it makes of them.

use std::fmt::Write as _;

/// A line of fstab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What is mounted, as a path: `UUID=…` and the like lead below `/dev/disk`.
    pub what: String,
    /// Where; nothing for swap.
    pub mount_point: Option<String>,
    /// The type of the file system.
    pub kind: String,
    /// The options, in their order.
    pub options: Vec<String>,
}

/// Reads a table. Lines that are incomplete or mount nothing are passed over, as the generator does.
pub fn parse(text: &str) -> Vec<Line> {
    text.lines().filter_map(line).collect()
}

fn line(text: &str) -> Option<Line> {
    let mut fields = text.split_ascii_whitespace();
    let first = fields.next().filter(|field| !field.starts_with('#'))?;
    let (place, kind) = (unescape(fields.next()?), unescape(fields.next()?));
    let options = unescape(fields.next().unwrap_or("defaults"));
    let mount_point = if kind == "swap" {
        None
    } else if place.starts_with('/') {
        Some(simplify(&place))
    } else {
        return None;
    };
    let mut options: Vec<String> = options.split(',').map(str::to_owned).collect();
    options.retain(|option| !option.is_empty());
    Some(Line {
        what: node(&unescape(first)),
        mount_point,
        kind,
        options,
    })
}

impl Line {
    /// The unit that mounts it.
    pub fn unit(&self) -> String {
        match &self.mount_point {
            Some(path) => format!("{}.mount", escape_path(path)),
            None => format!("{}.swap", escape_path(&self.what)),
        }
    }

    /// The unit that mounts it when somebody looks there, when it's asked for (`x-systemd.automount`).
    pub fn automount(&self) -> Option<String> {
        let path = self
            .mount_point
            .as_ref()
            .filter(|_| self.has("x-systemd.automount"))?;
        Some(format!("{}.automount", escape_path(path)))
    }

    /// Whether it's mounted at boot.
    pub fn is_automatic(&self) -> bool {
        !self.has("noauto")
    }

    /// The options that the file system sees, sorted: neither systemd's, nor those that say when it's mounted.
    pub fn mount_options(&self) -> Vec<&str> {
        const NOT_ITS: [&str; 8] = [
            "auto", "noauto", "nofail", "fail", "_netdev", "user", "users", "defaults",
        ];
        let mut options: Vec<&str> = self.options.iter().map(String::as_str).collect();
        options.retain(|option| !option.starts_with("x-") && !option.starts_with("comment="));
        options.retain(|option| !NOT_ITS.contains(option));
        options.sort_unstable();
        options
    }

    fn has(&self, option: &str) -> bool {
        self.options.iter().any(|known| known == option)
    }
}

/// `\040` and the like (fstab(5)).
fn unescape(field: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = field.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| first == b'\\');
        let value = digits.and_then(|digits| {
            let text = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(text, 8).ok()
        });
        if let Some(value) = value {
            bytes.push(value);
            rest = after.get(3..).unwrap_or_default();
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The device's path (systemd, src/shared/fstab-util.c, `fstab_node_to_udev_node`).
fn node(what: &str) -> String {
    for (tag, directory) in [
        ("LABEL=", "by-label"),
        ("UUID=", "by-uuid"),
        ("PARTUUID=", "by-partuuid"),
        ("PARTLABEL=", "by-partlabel"),
    ] {
        if let Some(value) = what.strip_prefix(tag) {
            let value = value.trim_matches(|c| c == '"' || c == '\'');
            let value = if tag.ends_with("UUID=") {
                value.to_ascii_lowercase()
            } else {
                value.to_owned()
            };
            return format!("/dev/disk/{directory}/{}", encode(&value));
        }
    }
    what.to_owned()
}

/// udev's way of writing a name that is part of a link's path.
fn encode(name: &str) -> String {
    let mut encoded = String::new();
    for c in name.chars() {
        if c.is_ascii_alphanumeric() || "#+-.:=@_".contains(c) || !c.is_ascii() {
            encoded.push(c);
        } else {
            let _ = write!(encoded, "\\x{:02x}", u32::from(c));
        }
    }
    encoded
}

fn simplify(path: &str) -> String {
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    format!("/{}", parts.join("/"))
}

/// A path as part of a unit's name (systemd.unit(5), "string escaping for inclusion in unit names").
pub fn escape_path(path: &str) -> String {
    let path = simplify(path);
    let path = path.trim_start_matches('/');
    if path.is_empty() {
        return "-".to_owned();
    }
    let mut escaped = String::new();
    for (at, byte) in path.bytes().enumerate() {
        match byte {
            b'/' => escaped.push('-'),
            b'.' if at > 0 => escaped.push('.'),
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b':' | b'_' => escaped.push(char::from(byte)),
            _ => {
                let _ = write!(escaped, "\\x{byte:02x}");
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Names as `systemd-escape --path` gives them.
    #[test]
    fn paths_become_names() {
        for (path, name) in [
            ("/", "-"),
            ("/srv//data/", "srv-data"),
            ("/srv/a-b", "srv-a\\x2db"),
            ("/.hidden/x.y", "\\x2ehidden-x.y"),
            ("/mnt/größe", "mnt-gr\\xc3\\xb6\\xc3\\x9fe"),
            ("/mnt/with space", "mnt-with\\x20space"),
        ] {
            assert_eq!(escape_path(path), name, "{path}");
        }
    }

    #[test]
    fn lines_become_units() {
        let lines = parse(
            "# comment\n\
             UUID=ABCD-12 /boot vfat umask=0077,x-systemd.automount 0 0\n\
             /dev/vg/swap none swap sw,pri=3 0 0\n\
             LABEL=\"my\\040data\" /srv/my\\040data ext4 noauto,noatime 0 2\n\
             tmpfs /tmp tmpfs\n\
             incomplete /x\n\
             proc relative proc\n",
        );
        let units: Vec<String> = lines.iter().map(Line::unit).collect();
        assert_eq!(
            units,
            [
                "boot.mount",
                "dev-vg-swap.swap",
                "srv-my\\x20data.mount",
                "tmp.mount"
            ]
        );
        let [boot, swap, data, tmp] = &lines[..] else {
            unreachable!()
        };
        assert_eq!(boot.what, "/dev/disk/by-uuid/abcd-12");
        assert_eq!(boot.automount().unwrap(), "boot.automount");
        assert_eq!(boot.mount_options(), ["umask=0077"]);
        assert_eq!(swap.mount_options(), ["pri=3", "sw"]);
        assert_eq!(data.what, "/dev/disk/by-label/my\\x20data");
        assert!(!data.is_automatic() && swap.is_automatic());
        assert_eq!(data.mount_options(), ["noatime"]);
        assert!(tmp.mount_options().is_empty());
    }
}
