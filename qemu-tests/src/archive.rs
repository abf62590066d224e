//! Where this machine's apt gets Debian from: the same mirror, and the same keys, serve Debian 13.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::process::Tool;

/// The release that generations are made from.
pub(crate) const SUITE: &str = "trixie";

/// Files that may hold the keys of the release: the name of the keyring changed its ending in Debian 13.
const KEYRINGS: [&str; 4] = [
    "/usr/share/keyrings/debian-archive-keyring.pgp",
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-trixie-automatic.pgp",
    "/usr/share/keyrings/debian-archive-trixie-automatic.gpg",
];

/// The line of sources.list(5) for the release.
pub(crate) fn source() -> Result<String> {
    let keyring = KEYRINGS
        .iter()
        .find(|path| Path::new(path).exists())
        .context("there is no keyring of Debian's archive (package debian-archive-keyring)")?;
    Ok(format!("deb [signed-by={keyring}] {} {SUITE} main", mirror()?))
}

/// The mirror that apt gets packages of Debian's main archive from.
pub(crate) fn mirror() -> Result<String> {
    let listed = indexes()?;
    if let Some(mirror) = first_mirror(&listed) {
        return Ok(mirror);
    }
    // A machine whose lists were removed.
    Tool::new("apt-get").args(["update", "--quiet=2"]).run()?;
    match first_mirror(&indexes()?) {
        Some(mirror) => Ok(mirror),
        None => bail!("apt has no source of Debian packages; see sources.list(5)"),
    }
}

fn indexes() -> Result<String> {
    let format = "$(ORIGIN) $(LABEL) $(COMPONENT) $(REPO_URI)";
    Tool::new("apt-get")
        .args(["indextargets", "--format", format, "Created-By: Packages"])
        .output()
}

/// The first archive of Debian itself: security and third parties have labels or origins of their own.
fn first_mirror(indexes: &str) -> Option<String> {
    indexes.lines().find_map(|line| {
        line.strip_prefix("Debian Debian main ")
            .map(|uri| uri.trim().to_owned())
    })
}

/// What apt was told about proxies and the like, for mmdebstrap's own apt.
pub(crate) fn apt_options() -> Result<Vec<String>> {
    let dump = Tool::new("apt-config").arg("dump").output()?;
    Ok(dump
        .lines()
        .filter(|line| {
            [
                "Acquire::http",
                "Acquire::https",
                "Acquire::Retries",
                "Acquire::Check-",
            ]
            .iter()
            .any(|prefix| line.starts_with(prefix))
        })
        // Lists and empty values are the defaults' own.
        .filter(|line| !line.contains(":: ") && !line.ends_with("\"\";"))
        .map(str::to_owned)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn security_and_third_parties_are_passed_over() {
        let indexes = "Someone Tools main https://tools.example/\n\
                       Debian Debian-Security main http://mirror.example/security/\n\
                       Debian Debian contrib http://mirror.example/contrib/\n\
                       Debian Debian main http://mirror.example/debian/\n";
        assert_eq!(
            first_mirror(indexes).as_deref(),
            Some("http://mirror.example/debian/")
        );
    }
}
