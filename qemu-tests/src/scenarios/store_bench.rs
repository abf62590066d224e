//! The store beside Nix's own tools: the same data, natively, in turns.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::process::Tool;
use crate::report::Figures;
use crate::rootfs::unpack;

/// How often each does its work; the median counts.
const ROUNDS: usize = 5;
/// The same for what takes longer.
const FEW: usize = 3;
/// Paths of the made-up database, and what each refers to.
const PATHS: usize = 100_000;
const REFERENCES: usize = 10;
/// Paths that are referred to from the one of the highest number in a group: the group.
const GROUP: usize = 10_000;
/// Groups that a root keeps; the rest is dead.
const ALIVE: usize = 5;
/// Bytes of the file whose hash is measured against the processor's limit.
const LARGE: u32 = 1 << 30;

/// Of the file system that all is done in.
const SIZE: &str = "8G";

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
    /// Of all processors together: what else the machine does hardly changes it.
    processor_seconds: f64,
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
            .args(["time", "--quiet", "--format=%M %U %S", "--output"])
            .arg(&peak)
            .arg(program)
            .args(arguments);
        let started = Instant::now();
        let said = tool.output()?;
        let seconds = started.elapsed().as_secs_f64();
        let text = fs::read_to_string(&peak).context("time(1) says nothing")?;
        let numbers: Vec<f64> = text
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        let [kib, user, system] = numbers[..] else {
            bail!("time(1) says {text:?}");
        };
        Ok((
            Taken {
                seconds,
                processor_seconds: user + system,
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

    fn note(&self, bench: &StoreBench<'_>, what: &str) {
        for (name, taken) in ["keel", "nix"].into_iter().zip(&self.0) {
            let figures = bench.figures;
            let seconds = median(taken.iter().map(|taken| taken.seconds));
            figures.note(&format!("store: {what}|{name}"), seconds, "s");
            let seconds = median(taken.iter().map(|taken| taken.processor_seconds));
            figures.note(&format!("store: {what}, processor|{name}"), seconds, "s");
            let peak = taken.iter().map(|taken| taken.peak_mib).fold(0.0, f64::max);
            figures.note(&format!("store: {what}, memory|{name}"), peak, "MiB");
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What is measured, with what, and where.
pub(crate) struct StoreBench<'a> {
    /// The program.
    pub keel: &'a Path,
    /// A root file system.
    pub archive: &'a Path,
    /// For everything that is made: a file system of its own is mounted in it.
    pub directory: &'a Path,
    /// What was measured.
    pub figures: &'a Figures,
}

/// A file system of its own, so that nobody waits for what others have written to the disk.
struct Mounted(PathBuf);

impl Mounted {
    fn new(directory: &Path) -> Result<Self> {
        let image = directory.join("image");
        Tool::new("truncate").args(["--size", SIZE]).arg(&image).run()?;
        Tool::new("mkfs.ext4")
            .args(["-q", "-N", "600000"])
            .arg(&image)
            .run()?;
        let place = directory.join("mounted");
        fs::create_dir_all(&place).context("the mount point can't be made")?;
        Tool::new("mount")
            .args(["-o", "loop"])
            .arg(&image)
            .arg(&place)
            .run()?;
        Ok(Self(place))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = Tool::new("umount").arg(&self.0).run() {
            eprintln!("{error:#}");
        }
    }
}

/// Everything that the store's speed is asked for.
pub(crate) fn store(bench: &StoreBench<'_>) -> Result<()> {
    let mounted = Mounted::new(bench.directory)?;
    let bench = &StoreBench {
        directory: &mounted.0,
        ..*bench
    };
    let tree = bench.directory.join("tree");
    unpack(bench.archive, &tree)?;
    let usr = tree.join("usr");
    contents(bench, &usr)?;
    parts(bench, &usr)?;
    fs::remove_dir_all(&tree).context("the tree can't be removed")?;
    one_file(bench)?;
    graph(bench)
}

/// A whole `/usr`: added, verified, deduplicated.
fn contents(bench: &StoreBench<'_>, usr: &Path) -> Result<()> {
    let keel = bench.keel;
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
    deduplicated(bench, &usr)?;

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
    rounds.note(bench, "verifying it, one path");

    // The same files twice, under two names.
    let twin = bench.directory.join("twin");
    Tool::new("cp")
        .args(["--archive", "--no-target-directory", path.trim()])
        .arg(&twin)
        .run()?;
    let _twin = whole.nix(&["--add", &twin.to_string_lossy()]).output()?;
    let mut rounds = Rounds::default();
    for _ in 0..FEW {
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

/// The same where equal files are shared while they are added: a second tree like the first.
fn deduplicated(bench: &StoreBench<'_>, usr: &str) -> Result<()> {
    let mut rounds = Rounds::default();
    for _ in 0..FEW {
        for subject in SUBJECTS {
            let place = Place::new(bench.directory.join("add"), bench.keel)?;
            fs::write(
                place.directory.join("conf/nix.conf"),
                CONF.replace("auto-optimise-store = false", "auto-optimise-store = true"),
            )
            .context("nix.conf can't be written")?;
            let _path = place.nix(&["--add", usr]).output()?;
            let twin = format!("{usr}-twin");
            if !Path::new(&twin).exists() {
                Tool::new("cp")
                    .args(["--archive", "--no-target-directory", usr, &twin])
                    .run()?;
            }
            let (taken, _) = place.measure(subject, &["store", "add", &twin], &["--add", &twin])?;
            rounds.add(subject, taken);
        }
    }
    rounds.note(bench, "adding it again, shared");
    Ok(())
}

/// The same `/usr` as a thousand paths, as packages are.
fn parts(bench: &StoreBench<'_>, usr: &Path) -> Result<()> {
    let place = Place::new(bench.directory.join("parts"), bench.keel)?;
    let mut names = Vec::new();
    for above in entries(usr)?
        .into_iter()
        .filter(|path| path.is_dir() && !path.is_symlink())
    {
        names.extend(entries(&above)?.into_iter().filter(|path| is_named(path)));
    }
    names.sort();
    let list: Vec<&str> = names.iter().filter_map(|path| path.to_str()).collect();
    let _paths = place.nix(&[&["--add"], &list[..]].concat()).output()?;
    let mut rounds = Rounds::default();
    for _ in 0..ROUNDS {
        for subject in SUBJECTS {
            let (taken, _) =
                place.measure(subject, &["store", "verify"], &["--verify", "--check-contents"])?;
            rounds.add(subject, taken);
        }
    }
    rounds.note(bench, &format!("verifying its {} parts", list.len()));
    remove(&place.directory)
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    fs::read_dir(directory)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
        .with_context(|| format!("{} can't be listed", directory.display()))
}

/// Whether it can be a path of the store under its own name.
fn is_named(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-._?=".contains(byte);
    !name.starts_with(b".") && name.iter().all(is_plain)
}

/// The hash of one path that lies in memory, beside what OpenSSL does with one buffer.
fn one_file(bench: &StoreBench<'_>) -> Result<()> {
    let place = Place::new(bench.directory.join("large"), bench.keel)?;
    let file = bench.directory.join("large-file");
    fs::write(&file, vec![0x5a; LARGE as usize]).context("a large file can't be written")?;
    let path = place.nix(&["--add", &file.to_string_lossy()]).output()?;
    let (mut ours, mut limit) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let tool = place.tool(bench.keel, &["store", "verify", path.trim()]);
        let started = Instant::now();
        tool.run()?;
        ours.push(f64::from(LARGE) / 1e9 / started.elapsed().as_secs_f64());
        let said = Tool::new("openssl")
            .args([
                "speed", "-mr", "-seconds", "1", "-bytes", "65536", "-evp", "sha256",
            ])
            .output()?;
        let speed: f64 = said
            .lines()
            .filter_map(|line| line.strip_prefix("+F:")?.rsplit(':').next()?.parse().ok())
            .next_back()
            .context("openssl says no speed")?;
        limit.push(speed / 1e9);
    }
    for (name, values) in [("keel", ours), ("openssl", limit)] {
        let name = format!("store: hash of a path of 1 GiB|{name}");
        bench.figures.note(&name, median(values.into_iter()), "GB/s");
    }
    remove(&place.directory)?;
    fs::remove_file(&file).context("a large file can't be removed")
}

/// A made-up database: closures, and a collection of its dead half.
fn graph(bench: &StoreBench<'_>) -> Result<()> {
    let keel = bench.keel;
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
    for subject in SUBJECTS.repeat(FEW) {
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
