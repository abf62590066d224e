//! A store in a temporary directory that Nix's own programs and keel find by Nix's variables, so that its links lead
//! where they say.
#![allow(
    dead_code,
    clippy::new_without_default,
    reason = "each test file uses a part of it"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use std::os::unix::fs::symlink;

const CONF: &str = "sandbox = false\nbuild-users-group =\nsubstitute = false\n\
                    experimental-features = nix-command flakes\n";

pub(crate) struct NixStore {
    pub(crate) dir: tempfile::TempDir,
}

impl NixStore {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for below in ["conf", "home", "scratch"] {
            fs::create_dir(dir.path().join(below)).unwrap();
        }
        fs::write(dir.path().join("conf/nix.conf"), CONF).unwrap();
        Self { dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A program that works on this store.
    pub(crate) fn program(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("NIX_STORE_DIR", self.path("store"))
            .env("NIX_STATE_DIR", self.path("var/nix"))
            .env("NIX_LOG_DIR", self.path("var/log"))
            .env("NIX_CONF_DIR", self.path("conf"))
            .env("HOME", self.path("home"))
            .env_remove("NIX_REMOTE")
            .env_remove("NIX_PROFILES")
            .env_remove("SUDO_USER");
        command
    }

    pub(crate) fn keel(&self, arguments: &[&str]) -> Command {
        self.program(env!("CARGO_BIN_EXE_keel"), arguments)
    }

    /// What a program of Nix prints.
    pub(crate) fn nix(&self, program: &str, arguments: &[&str]) -> String {
        text(&run(&mut self.program(program, arguments)).stdout)
    }

    /// What keel prints.
    pub(crate) fn say(&self, arguments: &[&str]) -> String {
        text(&run(&mut self.keel(arguments)).stdout)
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let said = self.say(&[arguments, &["--json"]].concat());
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    }

    /// Adds a tree of files by `nix-store --add`; a text that starts with `->` makes a link.
    pub(crate) fn add(&self, name: &str, files: &[(&str, &str)]) -> String {
        let tree = self.path("scratch").join(name);
        for (file, text) in files {
            let path = tree.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match text.strip_prefix("->") {
                Some(target) => symlink(target, path).unwrap(),
                None => fs::write(path, text).unwrap(),
            }
        }
        let path = self.nix("nix-store", &["--add", tree.to_str().unwrap()]);
        fs::remove_dir_all(tree).unwrap();
        path.trim().to_owned()
    }

    /// A tree with a static shell and its tools, kept by a root; the shell is `bin/sh` in it.
    pub(crate) fn shell(&self) -> String {
        let tree = self.path("scratch").join("tools");
        fs::create_dir_all(tree.join("bin")).unwrap();
        fs::copy("/usr/bin/busybox", tree.join("bin/busybox")).unwrap();
        for name in [
            "sh", "mkdir", "cat", "echo", "sleep", "ln", "chmod", "id", "date", "dd", "nc", "cp", "mkfifo",
            "chown",
        ] {
            symlink("busybox", tree.join("bin").join(name)).unwrap();
        }
        let path = self
            .nix("nix-store", &["--add", tree.to_str().unwrap()])
            .trim()
            .to_owned();
        fs::remove_dir_all(tree).unwrap();
        symlink(&path, self.path("var/nix/gcroots/tools")).unwrap();
        path
    }

    /// Builds a derivation: `$out` is made by `script`, which may name `inputs`.
    pub(crate) fn build(&self, name: &str, inputs: &[&str], script: &str) -> String {
        let mut script = script.to_owned();
        for input in inputs {
            // Only so does Nix know that it is an input.
            script = script.replace(input, &format!("${{builtins.storePath \"{input}\"}}"));
        }
        let expression = format!(
            "derivation {{ name = \"{name}\"; system = builtins.currentSystem; builder = \"/bin/sh\"; \
             PATH = \"/usr/bin:/bin\"; args = [ \"-c\" ''{script}'' ]; }}"
        );
        self.nix("nix-build", &["--no-out-link", "-E", &expression])
            .trim()
            .to_owned()
    }

    /// What `nix-build` says of an expression that it can't build.
    pub(crate) fn nix_refuses(&self, expression: &str) -> String {
        fails_with(&mut self.program("nix-build", &["--no-out-link", "-E", expression]))
    }

    /// Nix's own judgement.
    pub(crate) fn nix_verifies(&self) {
        let out = run(&mut self.program("nix-store", &["--verify", "--check-contents"]));
        let text = text(&out.stderr);
        assert!(
            !["error", "disappeared", "modified"]
                .iter()
                .any(|bad| text.contains(bad)),
            "{text}"
        );
    }

    /// That no temporary name is left anywhere.
    pub(crate) fn nothing_half(&self) {
        let out = run(Command::new("find")
            .arg(self.dir.path())
            .args(["-name", "*keel-tmp*"]));
        assert_eq!(text(&out.stdout), "");
    }

    /// Names in a tree, with types and targets of links.
    pub(crate) fn listing(tree: &Path) -> Vec<String> {
        let out = run(Command::new("find")
            .arg(tree)
            .args(["-mindepth", "1", "-printf", "%P %y %l\n"]));
        let mut lines: Vec<_> = text(&out.stdout).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }
}

impl Drop for NixStore {
    fn drop(&mut self) {
        // Whoever isn't root can't remove the entries of canonical directories.
        let _ignored = Command::new("chmod")
            .args(["-R", "u+w"])
            .arg(self.dir.path())
            .status();
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command that must succeed.
pub(crate) fn run(command: &mut Command) -> Output {
    let out = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(out.status.success(), "{command:?}: {}", text(&out.stderr));
    out
}

fn fails_with(command: &mut Command) -> String {
    let out = command.output().unwrap();
    assert!(!out.status.success(), "{command:?}");
    text(&out.stderr)
}

/// Runs a command that must fail; returns what it says.
pub(crate) fn fails(command: &mut Command) -> String {
    let out = command.output().unwrap();
    let text = text(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{command:?}: {text}");
    text
}
