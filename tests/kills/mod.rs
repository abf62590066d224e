//! Kills a command at its system calls, as a power cut would end it: strace(1) sends SIGKILL when the n-th call of a kind
//! begins.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

/// Calls that change files.
const CALLS: &str = "write,pwrite64,writev,pwritev,ftruncate,fallocate,copy_file_range,sendfile,fsync,fdatasync,syncfs,msync,\
                     rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir,mkdir,mkdirat,\
                     fchmod,fchmodat,chmod,utimensat";

/// How many calls of a kind are tried, spread over all of them, when `KEEL_KILLS` doesn't say otherwise: a number, or `all`.
const OF_A_KIND: usize = 2;

/// Where a command is killed: the call, and its number, counted from 1.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    pub(crate) call: String,
    pub(crate) number: usize,
}

/// The points of a command, which is run once to its end.
pub(crate) fn points(command: &Command) -> Vec<Point> {
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut traced = traced(command);
    traced.insert_arguments(&[
        "-o",
        log.path().to_str().unwrap(),
        "-e",
        &format!("trace={CALLS}"),
    ]);
    let output = traced.command().output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // strace counts for each thread on its own.
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for line in std::fs::read_to_string(log.path()).unwrap().lines() {
        let Some((thread, rest)) = line.split_once(char::is_whitespace) else {
            continue;
        };
        let Some((call, _)) = rest.trim_start().split_once('(') else {
            continue;
        };
        if call.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            *counts.entry((call.to_owned(), thread.to_owned())).or_default() += 1;
        }
    }
    let mut most: BTreeMap<String, usize> = BTreeMap::new();
    for ((call, _), count) in counts {
        let slot = most.entry(call).or_default();
        *slot = (*slot).max(count);
    }
    let tried = match std::env::var("KEEL_KILLS").as_deref() {
        Ok("all") => usize::MAX,
        Ok(number) => number.parse().unwrap(),
        Err(_) => OF_A_KIND,
    };
    most.into_iter()
        .flat_map(|(call, count)| {
            let tried = tried.min(count);
            (0..tried).map(move |index| Point {
                call: call.clone(),
                // The first, the last, and some between.
                number: 1 + index * (count - 1) / tried.saturating_sub(1).max(1),
            })
        })
        .collect()
}

/// Runs the command and kills it there. Whether it was killed: one with several threads may come to its end.
pub(crate) fn kill_at(command: &Command, point: &Point) -> bool {
    let status = killed_at(command, point);
    assert!(
        status.success() || status.signal() == Some(9),
        "{point:?}: {status:?}"
    );
    !status.success()
}

/// The same for a command with other processes: when one of those is killed, it may say that it failed.
#[allow(dead_code, reason = "each test file uses a part of it")]
pub(crate) fn kill_any_at(command: &Command, point: &Point) -> bool {
    let status = killed_at(command, point);
    assert!(
        status.success() || status.signal() == Some(9) || status.code() == Some(1),
        "{point:?}: {status:?}"
    );
    !status.success()
}

fn killed_at(command: &Command, point: &Point) -> std::process::ExitStatus {
    let mut traced = traced(command);
    traced.insert_arguments(&[
        "-o",
        "/dev/null",
        "-e",
        &format!("trace={}", point.call),
        "-e",
        &format!("inject={}:signal=KILL:when={}", point.call, point.number),
    ]);
    traced.command().output().unwrap().status
}

struct Traced {
    arguments: Vec<std::ffi::OsString>,
    environment: Vec<(std::ffi::OsString, Option<std::ffi::OsString>)>,
    options: Vec<String>,
}

fn traced(command: &Command) -> Traced {
    Traced {
        arguments: std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(Into::into)
            .collect(),
        environment: command
            .get_envs()
            .map(|(name, value)| (name.to_owned(), value.map(Into::into)))
            .collect(),
        options: Vec::new(),
    }
}

impl Traced {
    fn insert_arguments(&mut self, options: &[&str]) {
        self.options
            .extend(options.iter().map(|&option| option.to_owned()));
    }

    fn command(&self) -> Command {
        let mut command = Command::new("strace");
        command
            .args(["-f", "-qq"])
            .args(&self.options)
            .args(&self.arguments);
        for (name, value) in &self.environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }
}
