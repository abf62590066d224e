//! The store beside Nix's own tools: the same data, natively, in turns.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::bench::Bench;
use crate::process::Tool;
use crate::rootfs::unpack;

/// How often each does its work; the median counts.
const ROUNDS: usize = 3;
/// Paths of the made-up database, and what each refers to.
const PATHS: usize = 100_000;
const REFERENCES: usize = 10;
/// Paths that are referred to from the one of the highest number in a group: the group.
const GROUP: usize = 10_000;
/// Groups that a root keeps; the rest is dead.
const ALIVE: usize = 5;
/// Bytes of the file whose hash is measured against the processor's limit.
const LARGE: usize = 1 << 30;

const CONF: &str = "sandbox = false\nbuild-users-group =\nsubstitute = false\nauto-optimise-store = false\n";

/// Who works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Keel,
    Nix,
}

const SUBJECTS: [Subject; 2] = [Subject::Keel, Subject::Nix];

/// A store in a directory of its own, which both find by Nix's variables.
struct Place<'a> {
    directory: PathBuf,
    keel: &'a Path,
}

/// What one piece of work took.
#[derive(Clone, Copy, Debug)]
struct Taken {
    seconds: f64,
    /// Peak of the resident memory, in MiB.
    peak_mib: f64,
}

impl Place<'_> {
    fn new(directory: PathBuf, keel: &Path) -> Result<Place<'_>> {
        let _gone = fs::remove_dir_all(&directory);
        fs::create_dir_all(directory.join("conf"))
            .and_then(|()| fs::create_dir_all(directory.join("store")))
            .and_then(|()| fs::write(directory.join("conf/nix.conf"), CONF))
            .with_context(|| format!("{} can't be made", directory.display()))?;
        Ok(Place { directory, keel })
    }

    /// A store with the same contents, hard links included.
    fn copy(&self, to: PathBuf) -> Result<Place<'_>> {
        let _gone = fs::remove_dir_all(&to);
        Tool::new("cp")
            .args(["--archive", "--no-target-directory"])
            .arg(&self.directory)
            .arg(&to)
            .run()?;
        Ok(Place {
            directory: to,
            keel: self.keel,
        })
    }

    fn store_path(&self, name: &str) -> String {
        self.directory.join("store").join(name).display().to_string()
    }

    /// The environment that makes this store the one that is worked on.
    fn environment(&self) -> Vec<String> {
        let at = |below: &str| self.directory.join(below).display().to_string();
        vec![
            format!("NIX_STORE_DIR={}", at("store")),
            format!("NIX_STATE_DIR={}", at("var/nix")),
            format!("NIX_LOG_DIR={}", at("var/log")),
            format!("NIX_CONF_DIR={}", at("conf")),
            format!("HOME={}", at("home")),
        ]
    }

    fn tool(&self, program: &Path, arguments: &[&str]) -> Tool {
        Tool::new("env")
            .args(["--unset=NIX_REMOTE"])
            .args(self.environment())
            .arg(program)
            .args(arguments)
    }

    fn nix(&self, arguments: &[&str]) -> Tool {
        self.tool(Path::new("nix-store"), arguments)
    }

    /// Measures one piece of work, and gives what was printed.
    fn measure(&self, subject: Subject, keel: &[&str], nix: &[&str]) -> Result<(Taken, String)> {
        let peak = self.directory.join("peak");
        let (program, arguments) = match subject {
            Subject::Keel => (self.keel, keel),
            Subject::Nix => (Path::new("nix-store"), nix),
        };
        let tool = Tool::new("env")
            .args(["--unset=NIX_REMOTE"])
            .args(self.environment())
            .args(["time", "--quiet", "--format=%M", "--output"])
            .arg(&peak)
            .arg(program)
            .args(arguments);
        let started = Instant::now();
        let said = tool.output()?;
        let seconds = started.elapsed().as_secs_f64();
        let kib: f64 = fs::read_to_string(&peak)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .context("time(1) says no peak")?;
        Ok((
            Taken {
                seconds,
                peak_mib: kib / 1024.0,
            },
            said,
        ))
    }
}

/// What each took in all rounds.
#[derive(Default)]
struct Rounds([Vec<Taken>; 2]);

impl Rounds {
    fn add(&mut self, subject: Subject, taken: Taken) {
        let [keel, nix] = &mut self.0;
        match subject {
            Subject::Keel => keel.push(taken),
            Subject::Nix => nix.push(taken),
        }
    }

    fn note(&self, bench: &Bench<'_>, what: &str) {
        for (name, taken) in ["keel", "nix"].into_iter().zip(&self.0) {
            let mut seconds: Vec<f64> = taken.iter().map(|taken| taken.seconds).collect();
            seconds.sort_by(f64::total_cmp);
            let median = seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN);
            let peak = taken.iter().map(|taken| taken.peak_mib).fold(0.0, f64::max);
            let figures = &bench.made.figures;
            figures.note(&format!("store: {what}|{name}"), median, "s");
            figures.note(&format!("store: {what}, memory|{name}"), peak, "MiB");
        }
    }
}

/// Everything that the store's speed is asked for.
pub(super) fn store(bench: &mut Bench<'_>) -> Result<()> {
    let keel = bench.made.keel.keel.clone();
    let tree = bench.directory.join("tree");
    unpack(&bench.made.systems.first, &tree)?;
    let usr = tree.join("usr");
    contents(bench, &keel, &usr)?;
    fs::remove_dir_all(&tree).context("the tree can't be removed")?;
    one_file(bench, &keel)?;
    graph(bench, &keel)
}

/// A whole `/usr`: added, verified, deduplicated.
fn contents(bench: &Bench<'_>, keel: &Path, usr: &Path) -> Result<()> {
    let usr = usr.to_string_lossy();
    // Read once, so that nobody waits for the disk alone.
    Tool::new("du").args(["-s", &usr]).run()?;
    let mut rounds = Rounds::default();
    for _ in 0..ROUNDS {
        let mut paths = Vec::new();
        for subject in SUBJECTS {
            let place = Place::new(bench.directory.join("add"), keel)?;
            let _made = place.nix(&["--init"]).output()?;
            let (taken, path) = place.measure(subject, &["store", "add", &usr], &["--add", &usr])?;
            rounds.add(subject, taken);
            paths.push(path);
        }
        if paths.first() != paths.last() {
            bail!("different paths are added: {paths:?}");
        }
    }
    rounds.note(bench, "adding /usr");

    let whole = Place::new(bench.directory.join("whole"), keel)?;
    let path = whole.nix(&["--add", &usr]).output()?;
    let mut rounds = Rounds::default();
    for _ in 0..ROUNDS {
        for subject in SUBJECTS {
            let (taken, _) =
                whole.measure(subject, &["store", "verify"], &["--verify", "--check-contents"])?;
            rounds.add(subject, taken);
        }
    }
    rounds.note(bench, "verifying it");

    // The same files twice, under two names.
    let twin = bench.directory.join("twin");
    Tool::new("cp")
        .args(["--archive", "--no-target-directory", path.trim()])
        .arg(&twin)
        .run()?;
    let _twin = whole.nix(&["--add", &twin.to_string_lossy()]).output()?;
    let mut rounds = Rounds::default();
    for _ in 0..ROUNDS {
        for subject in SUBJECTS {
            // The paths of the copy name its own directory in the database: it takes the place of the first.
            let aside = bench.directory.join("aside");
            fs::rename(&whole.directory, &aside).context("a store can't be set aside")?;
            let copy = Place {
                directory: aside,
                keel,
            };
            let place = copy.copy(whole.directory.clone())?;
            let (taken, _) = place.measure(subject, &["store", "optimise"], &["--optimise"])?;
            rounds.add(subject, taken);
            remove(&whole.directory)?;
            fs::rename(&copy.directory, &whole.directory).context("a store can't be put back")?;
        }
    }
    rounds.note(bench, "deduplicating it and a twin");
    remove(&whole.directory)?;
    remove(&twin)
}

/// Paths in a store can't be removed without being made writable.
fn remove(directory: &Path) -> Result<()> {
    Tool::new("chmod").args(["-R", "u+w"]).arg(directory).run()?;
    fs::remove_dir_all(directory).with_context(|| format!("{} can't be removed", directory.display()))
}

/// The hash of one path that lies in memory, beside OpenSSL's of the same bytes: on one processor.
fn one_file(bench: &Bench<'_>, keel: &Path) -> Result<()> {
    let place = Place::new(bench.directory.join("large"), keel)?;
    let file = bench.directory.join("large-file");
    fs::write(&file, vec![0x5a; LARGE]).context("a large file can't be written")?;
    let path = place.nix(&["--add", &file.to_string_lossy()]).output()?;
    let mut seconds = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        let [ours, limit] = &mut seconds;
        for (tool, taken) in [
            (
                Tool::new("env")
                    .args(["--unset=NIX_REMOTE"])
                    .args(place.environment())
                    .args(["taskset", "--cpu-list", "0"])
                    .arg(keel)
                    .args(["store", "verify", path.trim()]),
                ours,
            ),
            (
                Tool::new("taskset").args(["--cpu-list", "0", "openssl", "dgst", "-sha256", path.trim()]),
                limit,
            ),
        ] {
            let started = Instant::now();
            tool.run()?;
            taken.push(started.elapsed().as_secs_f64());
        }
    }
    for (name, mut seconds) in ["keel", "openssl"].into_iter().zip(seconds) {
        seconds.sort_by(f64::total_cmp);
        let median = seconds.get(ROUNDS / 2).copied().unwrap_or(f64::NAN);
        bench.made.figures.note(
            &format!("store: hash of 1 GiB on one processor|{name}"),
            median,
            "s",
        );
    }
    remove(&place.directory)?;
    fs::remove_file(&file).context("a large file can't be removed")
}

/// A made-up database: closures, and a collection of its dead half.
fn graph(bench: &Bench<'_>, keel: &Path) -> Result<()> {
    let place = Place::new(bench.directory.join("graph"), keel)?;
    place
        .nix(&["--load-db"])
        .input(registration(&place)?)
        .run()
        .context("Nix doesn't take the made-up database")?;
    let roots = place.directory.join("var/nix/gcroots");
    for group in 0..ALIVE {
        let top = place.store_path(&name(group * GROUP + GROUP - 1));
        symlink(&top, roots.join(format!("group-{group}"))).context("a root can't be made")?;
    }
    let top = place.store_path(&name(GROUP - 1));
    let mut rounds = Rounds::default();
    for _ in 0..ROUNDS {
        for subject in SUBJECTS {
            let (taken, said) = place.measure(
                subject,
                &["store", "closure", &top],
                &["--query", "--requisites", &top],
            )?;
            if said.lines().count() != GROUP {
                bail!(
                    "{subject:?} finds {} paths instead of {GROUP}",
                    said.lines().count()
                );
            }
            rounds.add(subject, taken);
        }
    }
    rounds.note(bench, "closure of 10,000 paths");

    let aside = bench.directory.join("graph-aside");
    fs::rename(&place.directory, &aside).context("a store can't be set aside")?;
    let whole = Place {
        directory: aside,
        keel,
    };
    let mut rounds = Rounds::default();
    for subject in SUBJECTS {
        let place = whole.copy(place.directory.clone())?;
        let (taken, _) = place.measure(subject, &["gc"], &["--gc"])?;
        rounds.add(subject, taken);
        let left = fs::read_dir(place.directory.join("store"))
            .context("the store can't be listed")?
            .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().ends_with("-made-up")))
            .filter(|&is_path| is_path)
            .count();
        if left != ALIVE * GROUP {
            bail!("{subject:?} leaves {left} paths instead of {}", ALIVE * GROUP);
        }
        remove(&place.directory)?;
    }
    rounds.note(bench, "collecting 50,000 dead paths of 100,000");
    remove(&whole.directory)
}

/// The name of a path: 32 characters of Nix's base 32 that are spread like those of hashes.
fn name(number: usize) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdfghijklmnpqrsvwxyz";
    // Steps of a linear congruential generator (Knuth's constants): different numbers stay different.
    let mut state = (number as u64).wrapping_mul(6_364_136_223_846_793_005);
    let mut text = String::new();
    for _ in 0..32 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let digit = usize::try_from(state >> 59).unwrap_or_default();
        text.push(ALPHABET.get(digit).copied().map_or('0', char::from));
    }
    format!("{text}-made-up")
}

/// Makes the paths, and what `nix-store --load-db` reads of them: path, hash, size, deriver, references.
fn registration(place: &Place<'_>) -> Result<String> {
    let names: Vec<String> = (0..PATHS).map(name).collect();
    let mut text = String::new();
    for (number, name) in names.iter().enumerate() {
        let path = place.store_path(name);
        fs::write(&path, format!("{number}\n")).with_context(|| format!("{path} can't be written"))?;
        let first = number / GROUP * GROUP;
        let references = names
            .get(number.saturating_sub(REFERENCES).max(first)..number)
            .unwrap_or_default();
        let hash = "0".repeat(64);
        let _ = write!(text, "{path}\n{hash}\n128\n\n{}\n", references.len());
        for reference in references {
            let _ = writeln!(text, "{}", place.store_path(reference));
        }
    }
    Ok(text)
}
