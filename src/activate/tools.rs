//! systemd's own tools, which take over what packages ask for in directories of configuration: accounts, files, kernel
//! settings, modules, rules of udev. Each runs when what it reads differs between two systems.

use std::path::Path;
use std::process::{Command, Stdio};

use super::error::Failure;
use crate::root::trees_differ;

/// A tool, and what it reads.
#[derive(Debug)]
struct Tool {
    program: &'static str,
    arguments: &'static [&'static str],
    /// Below `/usr/lib` and below `/etc`.
    reads: &'static [&'static str],
}

/// All, in the order in which they run: files belong to accounts, and modules bring kernel settings.
const TOOLS: [Tool; 7] = [
    Tool {
        program: "/usr/bin/systemd-sysusers",
        arguments: &[],
        reads: &["sysusers.d"],
    },
    Tool {
        program: "/usr/bin/systemd-tmpfiles",
        arguments: &["--create", "--exclude-prefix=/dev"],
        reads: &["tmpfiles.d", "sysusers.d"],
    },
    Tool {
        program: "/usr/lib/systemd/systemd-modules-load",
        arguments: &[],
        reads: &["modules-load.d"],
    },
    Tool {
        program: "/usr/lib/systemd/systemd-sysctl",
        arguments: &[],
        reads: &["sysctl.d", "sysctl.conf", "modules-load.d"],
    },
    // systemd reads the file at boot only.
    Tool {
        program: "/usr/bin/hostname",
        arguments: &["--file", "/etc/hostname"],
        reads: &["hostname"],
    },
    Tool {
        program: "/usr/lib/systemd/systemd-binfmt",
        arguments: &[],
        reads: &["binfmt.d"],
    },
    // It takes changes for granted only when a directory is younger, and those of the store are all equally old.
    Tool {
        program: "/usr/bin/udevadm",
        arguments: &["control", "--reload"],
        reads: &["udev", "systemd/network"],
    },
];

/// Runs those tools of the new system that have something to do on the way from `old`. Returns what was odd.
pub(super) fn run(old: &str, new: &str) -> Result<Vec<String>, Failure> {
    let mut odd = Vec::new();
    for tool in needed(Path::new(old), Path::new(new)) {
        match execute(tool.program, tool.arguments) {
            Ok(None) => {}
            Ok(Some(text)) => odd.push(text),
            Err(text) => return Err(Failure::activation(tool.program, text)),
        }
    }
    Ok(odd)
}

/// The tools whose reading differs. Files may have to belong to an account that is declared anew.
fn needed(old: &Path, new: &Path) -> impl Iterator<Item = &'static Tool> {
    let accounts = trees_differ(Path::new("accounts.json"), old, new);
    TOOLS.iter().filter(move |tool| {
        let other = |name: &&str| {
            ["usr/lib", "etc"]
                .iter()
                .any(|above| trees_differ(&Path::new(above).join(name), old, new))
        };
        accounts && tool.reads.contains(&"sysusers.d") || tool.reads.iter().any(other)
    })
}

/// Fails unless the systemd that is in place can be executed.
pub(super) fn try_systemd() -> Result<(), Failure> {
    let program = "/usr/lib/systemd/systemd";
    match execute(program, &["--version"]) {
        Ok(None) if Path::new(program).exists() => Ok(()),
        Ok(said) => Err(Failure::activation(
            program,
            said.unwrap_or_else(|| "it isn't there".to_owned()),
        )),
        Err(text) => Err(Failure::activation(program, text)),
    }
}

/// Runs a tool of the new system. One that isn't there has nothing to do; one that can't be executed, or is killed,
/// fails; one that complains is only odd.
fn execute(program: &str, arguments: &[&str]) -> Result<Option<String>, String> {
    if !Path::new(program).exists() {
        return Ok(None);
    }
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("it can't be executed: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    match output.status.code() {
        Some(0) => Ok(None),
        // 127: the dynamic loader lacks a library or a symbol.
        Some(code) if code != 127 => Ok(Some(format!("{program} ended with {code}: {said}"))),
        _ => Err(format!("{} {said}", output.status)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    fn system(at: &Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = at.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    #[test]
    fn a_tool_runs_when_what_it_reads_differs() {
        let place = tempfile::tempdir().unwrap();
        let old = place.path().join("old");
        let base = [
            ("usr/lib/tmpfiles.d/a.conf", "d /run/a\n"),
            ("usr/lib/sysctl.d/a.conf", "kernel.x=1\n"),
            ("etc/hosts", "\n"),
            ("accounts.json", "{}"),
        ];
        system(&old, &base);
        let all: &[&str] = &["sysusers", "tmpfiles"];
        for (number, (file, text, runs)) in [
            ("etc/hosts", "other\n", &[][..]),
            ("usr/lib/tmpfiles.d/a.conf", "d /run/b\n", &["tmpfiles"][..]),
            ("etc/tmpfiles.d/b.conf", "d /run/b\n", &["tmpfiles"][..]),
            ("usr/lib/sysusers.d/b.conf", "u b\n", all),
            ("accounts.json", "{ }", all),
            ("etc/sysctl.conf", "kernel.x=2\n", &["sysctl"][..]),
            ("etc/hostname", "other\n", &["hostname"][..]),
            (
                "etc/modules-load.d/x.conf",
                "loop\n",
                &["modules-load", "sysctl"][..],
            ),
            ("usr/lib/udev/rules.d/9.rules", "\n", &["udevadm"][..]),
        ]
        .into_iter()
        .enumerate()
        {
            let new = place.path().join(number.to_string());
            system(&new, &base);
            system(&new, &[(file, text)]);
            let names: Vec<&str> = needed(&old, &new)
                .map(|tool| tool.program.rsplit('/').next().unwrap())
                .map(|name| name.trim_start_matches("systemd-"))
                .collect();
            assert_eq!(names, runs, "{file}");
        }
        // Nobody knows what a system read that is gone.
        assert!(needed(&place.path().join("gone"), &old).count() >= 3);
    }
}
