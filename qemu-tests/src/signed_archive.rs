//! A small archive of packages, made by Debian's own tools and signed with a key of its own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::archive;
use crate::process::Tool;
use crate::rootfs::{set_mode, write};

/// A package that holds one file.
pub(crate) struct Package<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
    /// A further line of its control file, such as `Recommends: more`.
    pub field: &'a str,
    /// The file's text; the file is `/usr/share/NAME`.
    pub text: &'a str,
}

impl Package<'_> {
    /// Builds the `.deb` in `directory`.
    pub(crate) fn build(&self, directory: &Path) -> Result<PathBuf> {
        let Package {
            name,
            version,
            field,
            text,
        } = self;
        fs::create_dir_all(directory).context("the archive can't be made")?;
        let tree = directory.join("tree");
        let field = if field.is_empty() {
            String::new()
        } else {
            format!("{field}\n")
        };
        write(
            &tree.join("DEBIAN/control"),
            &format!(
                "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: keel <keel@localhost>\n{field}\
                 Description: shows an option\n"
            ),
        )?;
        write(&tree.join("usr/share").join(name), text)?;
        let deb = directory.join(format!("{name}_{version}_all.deb"));
        Tool::new("dpkg-deb")
            .args(["--root-owner-group", "--build"])
            .args([&tree, &deb])
            .run()?;
        fs::remove_dir_all(&tree).context("a package's tree can't be removed")?;
        Ok(deb)
    }
}

/// Makes an archive with `packages` in `directory`, which is `main` of the suite that generations are made from; returns the
/// file with its key.
pub(crate) fn make(directory: &Path, packages: &[Package<'_>]) -> Result<PathBuf> {
    for package in packages {
        let _deb = package.build(&directory.join("pool"))?;
    }
    let index = Tool::new("dpkg-scanpackages")
        .arg("pool")
        .within(directory)
        .output()?;
    let suite = archive::SUITE;
    let dists = directory.join("dists").join(suite);
    let name = "main/binary-amd64/Packages";
    write(&dists.join(name), &index)?;
    let digest = Tool::new("sha256sum").arg(dists.join(name)).output()?;
    let digest = digest.split_whitespace().next().unwrap_or_default();
    let date = Tool::new("date").args(["--utc", "--rfc-email"]).output()?;
    write(
        &dists.join("Release"),
        &format!(
            "Origin: keel\nLabel: keel\nSuite: {suite}\nCodename: {suite}\nDate: {date}Architectures: all amd64\nComponents: main\n\
             SHA256:\n {digest} {} {name}\n",
            index.len()
        ),
    )?;
    let key = sign(directory, &dists)?;
    // apt may read it as a user of its own.
    for path in [directory, &dists, &key] {
        set_mode(path, if path.is_dir() { 0o755 } else { 0o644 })?;
    }
    Ok(key)
}

/// Signs `Release` in `dists` with a new key.
fn sign(directory: &Path, dists: &Path) -> Result<PathBuf> {
    // The agent's socket is there: its path has to be short.
    let home = PathBuf::from(format!("/tmp/keel-key-{}", std::process::id()));
    let _ = fs::remove_dir_all(&home);
    fs::create_dir(&home).context("a directory for a key can't be made")?;
    set_mode(&home, 0o700)?;
    let gpg = || {
        Tool::new("gpg")
            .arg("--homedir")
            .arg(&home)
            .args(["--batch", "--quiet"])
    };
    gpg()
        .args([
            "--passphrase",
            "",
            "--quick-generate-key",
            "keel test",
            "ed25519",
            "sign",
            "0",
        ])
        .run()?;
    gpg()
        .arg("--clearsign")
        .arg("--output")
        .arg(dists.join("InRelease"))
        .arg(dists.join("Release"))
        .run()?;
    let key = directory.join("key.asc");
    write(&key, &gpg().args(["--armor", "--export"]).output()?)?;
    Tool::new("gpgconf")
        .arg("--homedir")
        .arg(&home)
        .args(["--kill", "all"])
        .run()?;
    fs::remove_dir_all(&home).context("the key's directory can't be removed")?;
    Ok(key)
}
