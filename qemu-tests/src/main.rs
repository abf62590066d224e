//! The end-to-end suite of keel: machines in QEMU, their disks, and the scenarios that run on them.

mod ansi;
mod archive;
mod builder;
mod builder_initrd;
mod cargo;
mod console;
mod declared;
mod demo;
mod disk;
mod guest;
mod image_cache;
mod keel;
mod keyboard;
mod layout;
mod machine;
mod made;
#[path = "../../tests/machine/namespaces.rs"]
mod namespaces;
mod options_machine;
mod peers;
mod process;
mod qmp;
mod report;
mod repository;
mod rootfs;
mod scenarios;
mod services;
mod signed_archive;
mod suite;
mod switching;
mod tables;
mod texts;

use std::process::ExitCode;

use anyhow::{Result, bail};
use lexopt::prelude::*;

const USAGE: &str = "Usage: qemu-tests/run [--list] [NAME...]\n       qemu-tests/demo [--interactive]\n       \
                     qemu-tests/bench boot|build|switch|store [--json]\n       qemu-tests/soak switch [N] | store [SECONDS]";

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("qemu-tests: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    let mut arguments = lexopt::Parser::from_env();
    let mut words = Vec::new();
    let (mut list, mut interactive, mut json) = (false, false, false);
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("list") => list = true,
            Long("interactive") => interactive = true,
            Long("json") => json = true,
            Long("help") | Short('h') => {
                println!("{USAGE}");
                return Ok(true);
            }
            Value(word) => words.push(word.string()?),
            other => bail!("{}\n{USAGE}", other.unexpected()),
        }
    }
    let (verb, names) = match words.split_first() {
        Some((verb, names)) => (verb.as_str(), names),
        None => bail!("{USAGE}"),
    };
    match verb {
        "run" if list => {
            suite::list();
            Ok(true)
        }
        "run" => suite::run(names),
        "bench" if names == ["boot"] => suite::bench(&["bench-boot"], "boot", json),
        "bench" if names == ["build"] => suite::bench_build(json).map(|()| true),
        "bench" if names == ["store"] => suite::bench_store(json).map(|()| true),
        "bench" if names == ["switch"] => suite::bench(&["switch", "restarts"], "switch", json),
        "demo" if names.is_empty() => demo::demo(interactive).map(|()| true),
        _ => bail!("{USAGE}"),
    }
}
