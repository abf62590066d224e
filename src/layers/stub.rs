//! A package that stands in for a generator of initrds: Debian's kernels depend on one, and keel builds the initrds.

use std::io;

use super::deb;
use super::tar_write::{Member, Writer};
use crate::store::tree::Meta;

/// Its name.
pub const NAME: &str = "keel-initramfs";
/// Its version.
pub const VERSION: &str = "1";

/// The package's control file, without an empty line behind it.
pub fn control() -> String {
    format!(
        "Package: {NAME}\nVersion: {VERSION}\nArchitecture: all\nMaintainer: keel <keel@localhost>\n\
         Installed-Size: 1\nProvides: linux-initramfs-tool\nSection: kernel\nPriority: optional\n\
         Description: stands in for a generator of initrds\n keel builds the initrds of its generations by itself.\n"
    )
}

/// The `.deb`: always the same bytes.
pub fn deb() -> io::Result<Vec<u8>> {
    let root = Meta::root(0o755, 0);
    let text = control();
    let mut control = Writer::new(Vec::new());
    control.member(b"./", &root, Member::Directory, &mut io::empty())?;
    let file = Member::File(text.len() as u64);
    control.member(b"./control", &Meta::root(0o644, 0), file, &mut text.as_bytes())?;
    let mut data = Writer::new(Vec::new());
    data.member(b"./", &root, Member::Directory, &mut io::empty())?;
    Ok(deb::assemble(&control.finish()?, &data.finish()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn dpkg_deb_reads_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("stub.deb");
        std::fs::write(&path, deb().unwrap()).unwrap();
        let out = std::process::Command::new("dpkg-deb")
            .args(["-f"])
            .arg(&path)
            .args(["Package", "Version", "Provides"])
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&out.stdout),
            "Package: keel-initramfs\nVersion: 1\nProvides: linux-initramfs-tool\n"
        );
    }
}
