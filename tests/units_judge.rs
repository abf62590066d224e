//! Is equal to systemd what keel calls equal? systemd itself is the judge: in test mode it loads units and prints all
//! that they came to. `KEEL_JUDGE_ROOT` names the root of another system (Debian 13, with packages whose units are to be
//! tried) whose systemd and units are taken; root is needed then. `KEEL_JUDGE_ROUNDS` asks for more mutations of each
//! unit. Without systemd there is nothing to ask.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, unused_results)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use keel::system::units::mutate::{Pair, must_differ, mutations};

const SYSTEMD: &str = "usr/lib/systemd/systemd";
const NOBODY: &str = "65534";

/// A system whose systemd is asked.
struct Judge {
    root: PathBuf,
    // Below the root, and removed at the end.
    directory: tempfile::TempDir,
}

impl Judge {
    fn find() -> Option<Self> {
        let root = std::env::var_os("KEEL_JUDGE_ROOT").map_or_else(|| PathBuf::from("/"), PathBuf::from);
        if !root.join(SYSTEMD).exists() {
            println!("no systemd in {}: nothing is tried", root.display());
            return None;
        }
        let directory = tempfile::Builder::new()
            .prefix("keel-judge")
            .tempdir_in(root.join("tmp"))
            .unwrap();
        Some(Self { root, directory })
    }

    /// What systemd makes of units, by name: the lines that it prints of each.
    fn load(&self, units: &BTreeMap<&str, &str>) -> BTreeMap<String, String> {
        let top = self.directory.path();
        let (directory, runtime) = (top.join("units"), top.join("run"));
        let _none = fs::remove_dir_all(&directory);
        let wants = directory.join("default.target.wants");
        fs::create_dir_all(&wants).unwrap();
        fs::create_dir_all(&runtime).unwrap();
        fs::write(
            directory.join("default.target"),
            "[Unit]\nDescription=All of them\n",
        )
        .unwrap();
        for (name, text) in units {
            fs::write(directory.join(name), text).unwrap();
            symlink(format!("../{name}"), wants.join(name)).unwrap();
        }
        for path in [top, &runtime] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
        }
        let output = self.command(&directory, &runtime).output().unwrap();
        let shown = blocks(&String::from_utf8_lossy(&output.stdout));
        assert!(
            shown.len() >= units.len(),
            "systemd printed {} units: {}",
            shown.len(),
            String::from_utf8_lossy(&output.stderr)
                .lines()
                .take(20)
                .collect::<Vec<_>>()
                .join("\n")
        );
        shown
    }

    // systemd tests nothing as root.
    fn command(&self, units: &Path, runtime: &Path) -> Command {
        let inside = |path: &Path| Path::new("/").join(path.strip_prefix(&self.root).unwrap());
        let is_root = nix::unistd::geteuid().is_root();
        let mut line = Vec::new();
        if is_root {
            line.extend(
                [
                    "setpriv",
                    "--reuid",
                    NOBODY,
                    "--regid",
                    NOBODY,
                    "--clear-groups",
                    "--",
                ]
                .map(str::to_owned),
            );
        }
        line.push("env".to_owned());
        line.push(format!("SYSTEMD_UNIT_PATH={}", inside(units).display()));
        line.push(format!("XDG_RUNTIME_DIR={}", inside(runtime).display()));
        line.push(format!("/{SYSTEMD}"));
        line.extend(
            [
                "--test",
                "--system",
                "--no-pager",
                "--log-target=console",
                "--log-level=err",
            ]
            .map(str::to_owned),
        );
        if self.root == Path::new("/") {
            let mut command = Command::new(&line[0]);
            command.args(&line[1..]);
            return command;
        }
        // Its own mounts, which go with it.
        let script = "root=$1; shift; mount -t proc proc $root/proc && mount --rbind /sys $root/sys && \
                      mount -t tmpfs tmpfs $root/run && mkdir $root/run/systemd && exec chroot $root \"$@\"";
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", script, "sh"])
            .arg(&self.root)
            .args(line);
        command
    }

    /// The texts of all units of the system.
    fn units(&self) -> Vec<(String, String)> {
        let mut units = Vec::new();
        for entry in fs::read_dir(self.root.join("usr/lib/systemd/system")).unwrap() {
            let path = entry.unwrap().path();
            if path.symlink_metadata().unwrap().is_file() {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                units.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
        units.sort();
        units
    }
}

// Each unit's lines. The order of dependencies is that of a hash table; what other units have with this one isn't its own.
fn blocks(output: &str) -> BTreeMap<String, String> {
    let mut blocks: BTreeMap<String, (Vec<&str>, Vec<&str>)> = BTreeMap::new();
    let mut current = None;
    let mut in_job = false;
    for line in output.lines() {
        // The job that a unit has in this test is none of its properties, and it has a number.
        in_job = line.starts_with("\t\t-> Job ")
            || line.starts_with("\t\t→ Job ")
            || in_job && line.starts_with("\t\t\t");
        // Whether it may be collected says what refers to it just now.
        let passing = in_job || line.starts_with("\t\tMay GC:");
        // A mount unit of one pair may say where another pair's files lie.
        if passing || line.contains(": mutation") && line.contains("(origin-path)") {
            continue;
        }
        let heading = line
            .strip_prefix("\t-> Unit ")
            .or_else(|| line.strip_prefix("\t→ Unit "));
        if let Some(name) = heading.and_then(|name| name.strip_suffix(':')) {
            current = Some(name.to_owned());
            blocks.entry(name.to_owned()).or_default();
        } else if !line.starts_with("\t\t") {
            current = None;
        } else if let Some((lines, dependencies)) = current.as_ref().and_then(|name| blocks.get_mut(name)) {
            if line.contains("(origin-") || line.starts_with("\t\tIPAddress") {
                dependencies.push(line);
            } else if !line.contains("(destination-") {
                lines.push(line);
            }
        }
    }
    let joined = |(lines, mut dependencies): (Vec<&str>, Vec<&str>)| {
        dependencies.sort_unstable();
        lines
            .iter()
            .map(|line| sorted_set(line))
            .chain(dependencies.into_iter().map(str::to_owned))
            .collect::<Vec<_>>()
            .join("\n")
    };
    blocks
        .into_iter()
        .map(|(name, block)| (name, joined(block)))
        .collect()
}

// Sets of words are printed in the order of a hash table too.
fn sorted_set(line: &str) -> String {
    const SETS: [&str; 5] = [
        "SystemCallFilter",
        "RestrictAddressFamilies",
        "RestrictFileSystems",
        "SystemCallArchitectures",
        "SystemCallLog",
    ];
    match line.trim_start().split_once(": ") {
        Some((key, words)) if SETS.contains(&key) => {
            let inverted = words.starts_with('~');
            let mut words: Vec<_> = words.trim_start_matches('~').split(' ').collect();
            words.sort_unstable();
            format!("{key}: {inverted} {}", words.join(" "))
        }
        _ => line.to_owned(),
    }
}

fn first_difference(before: &str, after: &str) -> String {
    let mut lines = before.lines().zip(after.lines());
    let differing = lines.find(|(a, b)| a != b);
    differing.map_or_else(
        || "one is longer".to_owned(),
        |(a, b)| format!("{a:.200} | {b:.200}"),
    )
}

/// What systemd shows of each pair's two texts.
fn judge(judge: &Judge, pairs: &[Pair]) -> Vec<(String, String)> {
    let load = |text: fn(&Pair) -> &str| {
        judge.load(
            &pairs
                .iter()
                .map(|pair| (pair.name.as_str(), text(pair)))
                .collect(),
        )
    };
    let (before, after) = (load(|pair| &pair.before), load(|pair| &pair.after));
    pairs
        .iter()
        .map(|pair| (before[&pair.name].clone(), after[&pair.name].clone()))
        .collect()
}

#[test]
fn what_keel_calls_equal_is_equal_to_systemd() {
    let Some(systemd) = Judge::find() else { return };
    let units = systemd.units();
    let rounds = std::env::var("KEEL_JUDGE_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap());
    let texts = units.iter().map(|(name, text)| (name.as_str(), text.as_str()));
    let pairs = mutations(texts, rounds);
    assert!(pairs.len() > 300);
    let mut counts: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (pair, (before, after)) in pairs.iter().zip(judge(&systemd, &pairs)) {
        let count = counts.entry(pair.mutation).or_default();
        match (pair.keel_says_equal(), before == after) {
            (true, true) => count[0] += 1,
            (false, false) => count[1] += 1,
            (false, true) => count[2] += 1,
            (true, false) => wrong.push((pair, first_difference(&before, &after))),
        }
    }
    println!(
        "{} pairs of {} units: equal, different, only different to keel",
        pairs.len(),
        units.len()
    );
    for (mutation, [equal, different, cautious]) in counts {
        println!("{mutation:>25} {equal:5} {different:5} {cautious:5}");
    }
    let shown = wrong
        .iter()
        .take(10)
        .map(|(pair, why)| format!("{} {}: {why}\n{}", pair.name, pair.mutation, pair.after));
    assert!(
        wrong.is_empty(),
        "{} are equal to keel alone:\n{}",
        wrong.len(),
        shown.collect::<Vec<_>>().join("\n")
    );
}

#[test]
fn what_must_differ_differs_for_systemd_too() {
    let Some(systemd) = Judge::find() else { return };
    let pairs = must_differ();
    let judged = judge(&systemd, &pairs);
    let unseen = pairs
        .iter()
        .zip(judged)
        .filter(|(_, (before, after))| before == after);
    let unseen: Vec<_> = unseen
        .map(|(pair, _)| format!("{:?} {:?}", pair.before, pair.after))
        .collect();
    assert!(
        unseen.is_empty(),
        "systemd sees no difference:\n{}",
        unseen.join("\n")
    );
}
