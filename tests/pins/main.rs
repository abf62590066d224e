//! `keel update`, `keel search` and the fetching of packages, with the real binary and the real apt, on repositories made here.
#![cfg(feature = "tools")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::pedantic,
    unreachable_pub,
    unused_results
)]

mod fetching;
mod refused;
mod repository;
mod resolving;
mod suite;
#[path = "../web/mod.rs"]
mod web;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use keel::pins::Lock;
use repository::{Repository, readable};
use web::{Manners, Server};

/// A machine's configuration, lock and store.
pub(crate) struct Machine {
    pub(crate) top: tempfile::TempDir,
    pub(crate) packages: String,
}

pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Machine {
    /// One whose packages come from `mirror` (`[OPTIONS] URI`).
    pub(crate) fn new(mirror: &str) -> Self {
        let machine = Self {
            top: readable(),
            packages: format!("mirrors = [\"{mirror}\"]\n"),
        };
        fs::write(machine.top.path().join("keel"), "keel's program, for a test").unwrap();
        machine
    }

    /// One whose packages come from a web server, signed by the repository's key.
    pub(crate) fn of(repository: &Repository, server: &Server) -> Self {
        Self::new(&format!(
            "[signed-by={}] {}",
            repository.key().display(),
            server.url()
        ))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.top.path().join(name)
    }

    pub(crate) fn install(&self, names: &[&str]) {
        let text = format!(
            "state_version = \"1\"\n[system]\nhostname = \"nixie\"\n[filesystems.\"/\"]\ndevice = \"/dev/sda2\"\ntype = \"ext4\"\n\
             [networking]\nfirewall.enable = false\n[packages]\nsuite = \"trixie\"\n{}install = {names:?}\n",
            self.packages
        );
        fs::write(self.path("system.toml"), text).unwrap();
    }

    pub(crate) fn keel(&self, verb: &str, arguments: &[&str]) -> Said {
        let output = Command::new(env!("CARGO_BIN_EXE_keel"))
            .arg(verb)
            .args(arguments)
            .arg("--config")
            .arg(self.path("system.toml"))
            .arg("--store")
            .arg(self.path("root"))
            // There is none unless a test writes it.
            .env("KEEL_SETTINGS", self.path("settings.toml"))
            .output()
            .unwrap();
        Said {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub(crate) fn update(&self, arguments: &[&str]) -> Said {
        let program = self.path("keel");
        self.keel(
            "update",
            &[arguments, &["--keel", program.to_str().unwrap()]].concat(),
        )
    }

    /// An update that has to work; what it prints.
    pub(crate) fn updated(&self, arguments: &[&str]) -> String {
        let said = self.update(arguments);
        assert_eq!(said.code, 0, "{}", said.err);
        said.out
    }

    /// An update that has to fail with one line, which is returned, and without touching the lock.
    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        let before = self.lock_text();
        let said = self.update(arguments);
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{}", said.err);
        assert_eq!(self.lock_text(), before);
        let error = said.err.lines().last().unwrap().to_owned();
        let lines = said
            .err
            .lines()
            .filter(|line| !line.contains("fetching the indexes"));
        assert_eq!(lines.count(), 1, "{}", said.err);
        error
    }

    pub(crate) fn lock_text(&self) -> String {
        fs::read_to_string(self.path("keel.lock")).unwrap_or_default()
    }

    pub(crate) fn lock(&self) -> Lock {
        Lock::parse(&self.lock_text(), "keel.lock").unwrap()
    }

    /// `LAYER:NAME=VERSION` of what lies above the base, in the lock's order.
    pub(crate) fn above_base(&self) -> String {
        let pins = self.lock().packages;
        let words: Vec<_> = pins
            .iter()
            .filter(|pin| pin.layer > 0)
            .map(|pin| format!("{}:{}={}", pin.layer, pin.name, pin.version))
            .collect();
        words.join(" ")
    }
}

pub(crate) fn serve(repository: &Repository) -> Server {
    Server::new(&repository.directory(), Manners::default())
}
