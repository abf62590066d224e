//! The commands of keel that the suite calls, in one place.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::image_cache::Key;
use crate::process::Tool;

/// Target directory of the static binaries.
const TARGET: &str = "target/x86_64-unknown-linux-gnu";

/// The built programs, beside each other as they're installed.
#[derive(Clone, Debug)]
pub(crate) struct Keel {
    /// The administrator's command.
    pub keel: PathBuf,
    /// The initrd's program.
    pub init: PathBuf,
}

/// A generation to make.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Import<'a> {
    /// The machine's root.
    pub root: &'a Path,
    /// The root file system.
    pub rootfs: &'a Path,
    /// Kernel parameters.
    pub parameters: &'a [String],
    /// A ready initrd.
    pub initrd: Option<&'a Path>,
    /// Health checks.
    pub health: Option<&'a Path>,
    /// Whether the profile's current generation stays.
    pub keep_current: bool,
}

impl Keel {
    /// Builds both, or takes those of the directory that `KEEL_TEST_PROGRAMS` names: other builds of the same programs.
    pub(crate) fn build() -> Result<Keel> {
        if let Some(directory) = std::env::var_os("KEEL_TEST_PROGRAMS").map(PathBuf::from) {
            return Ok(Keel {
                keel: directory.join("keel"),
                init: directory.join("keel-init"),
            });
        }
        let cargo = |arguments: &[&str]| {
            Tool::cargo()
                .args(["build", "--locked", "--quiet"])
                .args(arguments)
                .run()
        };
        cargo(&["--release", "--package", "keel", "--bin", "keel"])?;
        cargo(&[
            "--profile",
            "init",
            "--package",
            "keel",
            "--no-default-features",
            "--bin",
            "keel-init",
        ])?;
        let directory =
            std::path::absolute("target/qemu-tests/bin").context("the working directory is gone")?;
        fs::create_dir_all(&directory).context("the directory of programs can't be made")?;
        let keel = Keel {
            keel: directory.join("keel"),
            init: directory.join("keel-init"),
        };
        for (from, to) in [("release/keel", &keel.keel), ("init/keel-init", &keel.init)] {
            let from = Path::new(TARGET).join(from);
            let _ = fs::remove_file(to);
            let _ = fs::copy(&from, to).with_context(|| format!("{} can't be copied", from.display()))?;
        }
        Ok(keel)
    }

    /// Builds the administrator's command alone, and says where it is.
    pub(crate) fn build_command() -> Result<PathBuf> {
        Tool::cargo()
            .args([
                "build",
                "--locked",
                "--quiet",
                "--release",
                "--package",
                "keel",
                "--bin",
                "keel",
            ])
            .run()?;
        let path = Path::new(TARGET).join("release/keel");
        std::path::absolute(path).context("the working directory is gone")
    }

    /// Names these very programs.
    pub(crate) fn key(&self) -> Result<Key> {
        Ok(Key::of([Key::of_file(&self.keel)?, Key::of_file(&self.init)?]))
    }

    /// Makes a root file system a generation of the machine whose root is at `root`.
    pub(crate) fn import(&self, root: &Path, archive: &Path, parameters: &[String]) -> Result<()> {
        let mut tool = self
            .verb(&["import", "keel", "--set", "common"])
            .arg("--rootfs")
            .arg(archive)
            .arg("--store")
            .arg(root);
        for parameter in parameters {
            tool = tool.arg(format!("--kernel-param={parameter}"));
        }
        tool.run()
    }

    /// Makes a root file system a generation, with everything said.
    pub(crate) fn import_with(&self, import: &Import<'_>) -> Result<()> {
        let mut tool = self
            .verb(&["import", "keel", "--set", "common"])
            .arg("--rootfs")
            .arg(import.rootfs)
            .arg("--store")
            .arg(import.root);
        for parameter in import.parameters {
            tool = tool.arg(format!("--kernel-param={parameter}"));
        }
        for (option, path) in [("--initrd", import.initrd), ("--health", import.health)] {
            if let Some(path) = path {
                tool = tool.arg(option).arg(path);
            }
        }
        if import.keep_current {
            tool = tool.arg("--keep-current");
        }
        tool.run()
    }

    /// Makes a directory with a root file system a system that isn't booted; returns its store path.
    pub(crate) fn import_tree(&self, root: &Path, tree: &Path) -> Result<String> {
        let said = self
            .verb(&["import", "keel", "--no-initrd", "--rootfs"])
            .arg(tree)
            .arg("--store")
            .arg(root)
            .output()?;
        let system = said.lines().next().context("keel import says no store path")?;
        Ok(system.to_owned())
    }

    /// Resolves the packages of a configuration for the machine whose root is at `root`.
    pub(crate) fn update(&self, configuration: &Path, root: &Path) -> Result<()> {
        self.verb(&["update", "--config"])
            .arg(configuration)
            .arg("--keel-init")
            .arg(&self.init)
            .arg("--store")
            .arg(root)
            .run()
    }

    /// Builds a configuration, with `options` set otherwise (`NAME=VALUE`), as the newest generation of the machine whose root is
    /// at `root`; returns the system.
    pub(crate) fn build_machine(
        &self,
        configuration: &Path,
        root: &Path,
        options: &[&str],
    ) -> Result<String> {
        let mut tool = self
            .verb(&["build", "--generation", "--config"])
            .arg(configuration);
        for option in options {
            tool = tool.args(["--option", option]);
        }
        let said = tool.arg("--store").arg(root).output()?;
        Ok(said.trim().to_owned())
    }

    /// Copies paths between a cache, which `options` name, and the store below `root`.
    pub(crate) fn copy(&self, options: &[&str], paths: &[String], root: &Path) -> Result<()> {
        self.verb(&["copy"])
            .args(options)
            .args(paths)
            .arg("--store")
            .arg(root)
            .run()
    }

    /// Reads every path of the store below `root`, and fails when one isn't as the database says.
    pub(crate) fn verify(&self, root: &Path) -> Result<()> {
        self.verb(&["store", "verify"]).arg("--store").arg(root).run()
    }

    /// Adds a tree to the store of the machine whose root is at `root`; returns its path.
    pub(crate) fn store_add(&self, tree: &Path, root: &Path) -> Result<String> {
        let said = self
            .verb(&["store", "add"])
            .arg(tree)
            .arg("--store")
            .arg(root)
            .output()?;
        Ok(said.trim().to_owned())
    }

    /// The options that there are, as JSON.
    pub(crate) fn options(&self) -> Result<String> {
        self.verb(&["options", "--json"]).output()
    }

    /// Writes the boot menu of the machine whose root is at `root`.
    pub(crate) fn boot_update(&self, root: &Path, esp: &Path) -> Result<()> {
        self.verb(&["boot", "update", "--timeout", "3"])
            .arg("--esp")
            .arg(esp)
            .arg("--store")
            .arg(root)
            .run()
    }

    /// Builds an initrd from the modules of `tree`, of one of the sets.
    pub(crate) fn initrd(&self, tree: &Path, set: &str, output: &Path) -> Result<()> {
        self.initrd_with(tree, set, &[], output)
    }

    /// The same, with further modules.
    pub(crate) fn initrd_with(&self, tree: &Path, set: &str, modules: &[&str], output: &Path) -> Result<()> {
        let mut tool = self.verb(&["initrd", "--set", set]);
        for module in modules {
            tool = tool.arg(format!("--module={module}"));
        }
        tool.arg("--root").arg(tree).arg("--output").arg(output).run()
    }

    /// Builds an initrd with these options.
    pub(crate) fn initrd_of(&self, tree: &Path, options: &[&str], output: &Path) -> Result<()> {
        self.verb(&["initrd"])
            .args(options)
            .arg("--root")
            .arg(tree)
            .arg("--output")
            .arg(output)
            .run()
    }

    /// Builds an initrd whose PID 1 is the systemd of `tree`.
    pub(crate) fn initrd_with_systemd(&self, tree: &Path, output: &Path) -> Result<()> {
        self.verb(&[
            "initrd",
            "--systemd",
            "--set",
            "common",
            "--compression-level",
            "3",
        ])
        .arg("--root")
        .arg(tree)
        .arg("--output")
        .arg(output)
        .run()
    }

    /// The same, with the real lvm of the tree.
    pub(crate) fn initrd_with_lvm(&self, tree: &Path, output: &Path) -> Result<()> {
        let tool = self.verb(&["initrd", "--set", "common", "--lvm"]);
        tool.arg("--root").arg(tree).arg("--output").arg(output).run()
    }

    /// The generations of the machine whose root is at `root`, as the command lists them.
    pub(crate) fn generations(&self, root: &Path) -> Result<String> {
        self.verb(&["generations"]).arg("--store").arg(root).output()
    }

    /// `keel rehearse` on images, as a user without privileges: its exit code and what it says.
    pub(crate) fn rehearse(&self, arguments: &[&str], images: &[PathBuf]) -> Result<(i32, String)> {
        const NOBODY: &str = "65534";
        let mut tool = Tool::new("setpriv")
            .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--"])
            .arg(&self.keel)
            .arg("rehearse")
            .args(arguments);
        for image in images {
            tool = tool.arg("--device").arg(image);
        }
        let output = tool.finish()?;
        let code = output.status.code().context("keel rehearse was killed")?;
        let said = [output.stdout, output.stderr].concat();
        Ok((code, String::from_utf8_lossy(&said).into_owned()))
    }

    fn verb(&self, words: &[&str]) -> Tool {
        Tool::new(&self.keel).args(words)
    }
}
