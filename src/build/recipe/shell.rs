//! The shell that runs a recipe's script, when no input has one: this machine's busybox, known by its hash.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::source::SourceHash;
use crate::store::content::Method;
use crate::store::derivation::Algorithm;
use crate::store::{Addition, StorePath};

const PROGRAM: &str = "/usr/bin/busybox";
/// What an applet may be called: a file beside the others.
const NAME_MAX: usize = 64;

/// A statically linked busybox of this machine.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Busybox {
    #[serde(default = "usual")]
    path: PathBuf,
    hash: Option<String>,
}

fn usual() -> PathBuf {
    PROGRAM.into()
}

impl Busybox {
    /// Puts it into the store, with links for all that it can do in `bin`.
    pub(super) fn add(&self, addition: &mut Addition) -> Result<StorePath, String> {
        let path = self.path.display();
        let program = std::fs::read(&self.path)
            .map_err(|error| format!("{path} can't be read: {error} (the package busybox-static has it)"))?;
        let is = SourceHash {
            algorithm: Algorithm::Sha256,
            bytes: Sha256::digest(&program).to_vec(),
        };
        match self.hash.as_deref().map(str::parse::<SourceHash>).transpose()? {
            Some(should) if should == is => {}
            Some(should) => {
                return Err(format!(
                    "{path} has the hash {is}, and the recipe asks for {should}: give the new hash when it was upgraded"
                ));
            }
            None => {
                return Err(format!(
                    "it needs its hash, so that the build stays the same: hash = \"{is}\""
                ));
            }
        }
        let failed = |error: std::io::Error| format!("{path} can't be brought into the store: {error}");
        let directory = tempfile::tempdir().map_err(failed)?;
        let bin = directory.path().join("bin");
        std::fs::create_dir(&bin)
            .and_then(|()| std::fs::write(bin.join("busybox"), &program))
            .and_then(|()| executable(&bin.join("busybox")))
            .map_err(failed)?;
        for applet in applets(&bin.join("busybox")).map_err(failed)? {
            symlink("busybox", bin.join(applet)).map_err(failed)?;
        }
        addition
            .copy(directory.path(), "busybox", Method::SOURCE)
            .map_err(|error| error.to_string())
    }
}

fn executable(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
}

/// What it can do, as it says itself.
fn applets(program: &Path) -> std::io::Result<Vec<String>> {
    let output = Command::new(program).arg("--list").output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let is_name = |name: &&str| {
        !name.is_empty()
            && name.len() <= NAME_MAX
            && !name.contains('/')
            && !name.starts_with('.')
            && *name != "busybox"
    };
    let names: Vec<String> = text.lines().filter(is_name).map(str::to_owned).collect();
    if !output.status.success() || !names.iter().any(|name| name == "sh") {
        return Err(std::io::Error::other("it is no busybox with a shell"));
    }
    Ok(names)
}
