//! The same file and lock give the same system, wherever they are built.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::bench::{Bench, same};
use crate::declared::FILE;
use crate::process::Tool;

/// Another machine, as far as a process can tell: its name, its words, its time, what its files begin with.
const ELSEWHERE: &str = "hostname elsewhere && umask 077 && exec env -i PATH=/usr/bin:/usr/sbin HOME=/nonexistent \
                         USER=nobody LANG=de_DE.UTF-8 LC_ALL=tr_TR.UTF-8 TZ=Asia/Kathmandu TMPDIR=/var/tmp \
                         SOURCE_DATE_EPOCH=1 DEBIAN_FRONTEND=readline \"$@\"";

/// A valid path, as the database knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Registered {
    nar_hash: String,
    references: BTreeSet<String>,
}

/// Builds the machine of one file a second time: from its configuration and lock alone, in another place.
pub(super) fn reproducible(bench: &mut Bench<'_>) -> Result<()> {
    let made = bench.made.declared()?;
    let first = made.root();
    let configuration = bench.directory.join("another place");
    let second = bench.directory.join("another/root");
    for directory in [&configuration, &second] {
        fs::create_dir_all(directory).with_context(|| format!("{} can't be made", directory.display()))?;
    }
    for name in [FILE, "hardware.toml", "keel.lock"] {
        let from = made.configuration().join(name);
        let _ = fs::copy(&from, configuration.join(name))
            .with_context(|| format!("{} can't be copied", from.display()))?;
    }
    let lock = fs::read(configuration.join("keel.lock")).context("the lock can't be read")?;
    // Nothing but the packages comes from the first place: they'd be fetched from a mirror otherwise.
    let cache = format!("file://{}", bench.directory.join("packages").display());
    let debs = packages(&first)?;
    let keel = &bench.made.keel;
    keel.copy(&["--compression", "none", "--to", &cache], &debs, &first)?;
    keel.copy(&["--no-check-signatures", "--from", &cache], &debs, &second)?;

    let said = Tool::new("unshare")
        .args(["--uts", "--", "sh", "-ec", ELSEWHERE, "sh"])
        .arg(&keel.keel)
        .args(["build", "--config"])
        .arg(configuration.join(FILE))
        .arg("--store")
        .arg(&second)
        .within(Path::new("/"))
        .output()?;
    let system = made.system()?;
    bench.check("the system has the same store path", || {
        same("the second system", &said.trim(), &system.as_str())
    });
    bench.check("the lock is as it was", || {
        let after = fs::read(configuration.join("keel.lock")).context("the lock can't be read")?;
        same("that the lock changed", &(after != lock), &false)
    });
    let (one, other) = (registered(&first)?, registered(&second)?);
    bench.check("every path that was built is the same to the byte", || {
        compare(&one, &other, &system)
    });
    bench.check("the second store is whole", || bench.made.keel.verify(&second));
    Tool::new("rm")
        .arg("-rf")
        .arg(bench.directory.join("another"))
        .run()
}

/// Fails unless both stores have the same paths, with the same contents and references.
fn compare(
    one: &BTreeMap<String, Registered>,
    other: &BTreeMap<String, Registered>,
    system: &str,
) -> Result<()> {
    if !one.contains_key(system) {
        bail!("{system} isn't valid in the first store");
    }
    let paths: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let all = paths.len();
    let differ: Vec<&String> = paths
        .into_iter()
        .filter(|path| one.get(*path) != other.get(*path))
        .collect();
    if !differ.is_empty() {
        bail!("{} of {all} paths differ: {differ:#?}", differ.len());
    }
    Ok(())
}

/// The packages of the lock in the store below `root`.
fn packages(root: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(root.join("nix/store")).context("the store can't be listed")?;
    Ok(entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.ends_with(".deb"))
        .collect())
}

/// What Nix's own tool says of the store below `root`: a path, its hash, size and deriver, the number of its references and they
/// themselves, each on a line of its own.
fn registered(root: &Path) -> Result<BTreeMap<String, Registered>> {
    let said = Tool::new("nix-store")
        .arg("--store")
        .arg(root)
        .arg("--dump-db")
        .output()?;
    let mut lines = said.lines();
    let mut all = BTreeMap::new();
    while let Some(path) = lines.next() {
        let mut next = || lines.next().context("nix-store --dump-db ended early");
        let nar_hash = next()?.to_owned();
        let (_size, _deriver) = (next()?, next()?);
        let count: usize = next()?.parse().context("nix-store --dump-db")?;
        let references = (0..count)
            .map(|_| next().map(str::to_owned))
            .collect::<Result<_>>()?;
        let _none = all.insert(path.to_owned(), Registered { nar_hash, references });
    }
    Ok(all)
}
