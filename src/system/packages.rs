//! packages.json: what a system consists of, taken from dpkg's status file.

use serde::{Deserialize, Serialize};

/// `packages.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packages {
    /// Version of this format: 1.
    pub version: u32,
    /// Installed packages, in the order of their names and architectures.
    pub packages: Vec<Package>,
}

/// An installed package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Debian's name of the architecture, `all` included.
    pub architecture: String,
    /// Its version.
    pub version: String,
    /// Bytes that it takes when installed, as it says itself (`Installed-Size`).
    pub size: u64,
    /// The users whose package it is (`users.NAME.packages`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
}

/// The packages that dpkg's status file (deb822; dpkg's manual page "deb822(5)") calls installed. Stanzas without a name
/// or version are passed over, as dpkg itself would have refused to write them.
pub fn from_dpkg_status(bytes: &[u8]) -> Packages {
    let text = String::from_utf8_lossy(bytes);
    let mut packages: Vec<_> = text.split("\n\n").filter_map(package).collect();
    packages.sort();
    Packages { version: 1, packages }
}

fn package(stanza: &str) -> Option<Package> {
    let field = |name: &str| {
        stanza.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    if field("Status")?.split_whitespace().nth(2) != Some("installed") {
        return None;
    }
    Some(Package {
        name: field("Package")?,
        architecture: field("Architecture").unwrap_or_default(),
        version: field("Version")?,
        // In units of 1024 bytes: Debian policy, section 5.6.20.
        size: field("Installed-Size")
            .and_then(|size| size.parse::<u64>().ok())
            .map_or(0, |k| k.saturating_mul(1024)),
        users: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        unused_results
    )]
    use super::*;

    #[test]
    fn takes_what_is_installed() {
        let status = "Package: zlib1g\nStatus: install ok installed\nInstalled-Size: 164\nArchitecture: amd64\n\
                      Version: 1:1.3\nDescription: zlib\n Version: not this one\n\n\
                      Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
                      Package: adduser\nStatus: hold ok installed\nArchitecture: all\nVersion: 3.152\n";
        let packages = from_dpkg_status(status.as_bytes());
        let seen: Vec<_> = packages
            .packages
            .iter()
            .map(|p| (p.name.as_str(), p.version.as_str(), p.size))
            .collect();
        assert_eq!(seen, [("adduser", "3.152", 0), ("zlib1g", "1:1.3", 164 * 1024)]);
    }

    #[test]
    fn agrees_with_dpkg_query_on_this_machine() {
        let (Ok(status), Ok(out)) = (
            std::fs::read("/var/lib/dpkg/status"),
            std::process::Command::new("dpkg-query")
                .args([
                    "-W",
                    "-f",
                    "${db:Status-Status} ${Package} ${Version} ${Architecture} ${Installed-Size}\n",
                ])
                .output(),
        ) else {
            return;
        };
        let mut expected: Vec<_> = String::from_utf8(out.stdout)
            .unwrap()
            .lines()
            .filter_map(|line| line.strip_prefix("installed ").map(str::to_owned))
            .collect();
        expected.sort();
        let mut seen: Vec<_> = from_dpkg_status(&status)
            .packages
            .iter()
            .map(|p| format!("{} {} {} {}", p.name, p.version, p.architecture, p.size / 1024))
            .collect();
        seen.sort();
        assert_eq!(seen, expected);
    }
}
