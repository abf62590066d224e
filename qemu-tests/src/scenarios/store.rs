//! The made store, without a machine.

use anyhow::{Result, bail};

use super::bench::{Bench, says};
use crate::process::Tool;

/// Nix's own tool reads database and contents.
pub(super) fn verify(bench: &mut Bench<'_>) -> Result<()> {
    let root = bench.made.root.clone();
    bench.check("nix-store finds every path as its database says", || {
        let output = Tool::new("nix-store")
            .arg("--store")
            .arg(&root)
            .args([
                "--verify",
                "--check-contents",
                "--option",
                "build-users-group",
                "",
            ])
            .finish()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success()
            || said.contains("error")
            || said.contains("modified")
            || said.contains("warning")
        {
            bail!("{}: {said}", output.status);
        }
        Ok(())
    });
    let listed = bench.made.keel.generations(&root)?;
    let systems = bench.made.systems_of_profile()?;
    bench.check("keel lists both generations", || {
        for number in 1..=systems.len() {
            says(&listed, &number.to_string())?;
        }
        Ok(())
    });
    Ok(())
}
