//! Building a machine's configuration, beside `mmdebstrap` of the same packages: natively.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::archive;
use crate::keel::Keel;
use crate::process::Tool;
use crate::report::Figures;

/// How often a short piece of work is done; the median counts.
const ROUNDS: usize = 5;
/// What the machine has; `linux-image-amd64` comes by itself.
const PACKAGES: [&str; 9] = [
    "dbus",
    "e2fsprogs",
    "git",
    "less",
    "lvm2",
    "openssh-server",
    "sudo",
    "vim",
    "wget",
];
/// What is added.
const MORE: &str = "tree";

/// A configuration and a store.
struct Place<'a> {
    configuration: PathBuf,
    store: PathBuf,
    keel: &'a Path,
    init: &'a Path,
    mirror: String,
}

impl Place<'_> {
    /// Writes the configuration: of the suite alone, as mmdebstrap has it.
    fn configure(&self, hostname: &str, more: &[&str]) -> Result<()> {
        let install: Vec<String> = PACKAGES
            .iter()
            .chain(more)
            .map(|name| format!("\"{name}\""))
            .collect();
        let text = format!(
            "state_version = \"1\"\n[system]\nhostname = \"{hostname}\"\n[filesystems.\"/\"]\n\
             device = \"/dev/vg/root\"\ntype = \"ext4\"\n[packages]\nsuite = \"{}\"\nsecurity = false\nupdates = false\nmirrors = [\"{}\"]\ninstall = [{}]\n",
            archive::SUITE,
            self.mirror,
            install.join(", ")
        );
        fs::write(&self.configuration, text).context("the configuration can't be written")
    }

    fn tool(&self, verb: &str) -> Tool {
        Tool::new(self.keel)
            .arg(verb)
            .arg("--config")
            .arg(&self.configuration)
            .arg("--store")
            .arg(&self.store)
    }

    fn update(&self) -> Result<()> {
        self.tool("update")
            .arg("--keel")
            .arg(self.keel)
            .arg("--keel-init")
            .arg(self.init)
            .arg("--download")
            .run()
    }

    /// Builds, and says what it took and the system's path.
    fn build(&self) -> Result<(f64, String)> {
        let started = Instant::now();
        let said = self.tool("build").output()?;
        let seconds = started.elapsed().as_secs_f64();
        let path = said.lines().next_back().unwrap_or_default().to_owned();
        if !path.starts_with("/nix/store/") {
            bail!("keel build prints {said:?}");
        }
        Ok((seconds, path))
    }

    /// Bytes that the store takes on the disk, names of equal contents counted once.
    fn disk(&self) -> Result<f64> {
        let said = Tool::new("du")
            .args(["--summarize", "--block-size=1"])
            .arg(&self.store)
            .output()?;
        let bytes = said.split_whitespace().next().unwrap_or_default();
        bytes.parse().with_context(|| format!("du says {said:?}"))
    }
}

/// Everything that a build's speed is asked for; what is made lies in `directory`.
pub(crate) fn build(programs: &Keel, directory: &Path, figures: &Figures) -> Result<()> {
    let place = Place {
        configuration: directory.join("system.toml"),
        store: directory.join("store"),
        keel: &programs.keel,
        init: &programs.init,
        mirror: archive::mirror()?,
    };
    place.configure("one", &[])?;
    place.update()?;
    let (seconds, first) = place.build()?;
    figures.note("build: from nothing, packages cached|keel", seconds, "s");

    let debs = directory.join("debs");
    let whole = mmdebstrap(&place, &debs, &directory.join("root.tar"))?;
    figures.note("build: from nothing, packages cached|mmdebstrap", whole, "s");

    let mut same = Vec::new();
    for _ in 0..ROUNDS {
        let (seconds, path) = place.build()?;
        if path != first {
            bail!("the same inputs give {path} after {first}");
        }
        same.push(seconds);
    }
    figures.note("build: nothing changed|keel", median(&mut same), "s");

    let (mut one_option, mut grown) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let before = place.disk()?;
        place.configure(&format!("host{round}"), &[])?;
        let (seconds, path) = place.build()?;
        if path == first {
            bail!("another hostname gives the same system");
        }
        one_option.push(seconds);
        grown.push((place.disk()? - before) / f64::from(1 << 20));
    }
    figures.note("build: one option changed|keel", median(&mut one_option), "s");
    figures.note(
        "build: disk for one option changed|keel",
        median(&mut grown),
        "MiB",
    );

    place.configure("one", &[MORE])?;
    place.update()?;
    let (seconds, _) = place.build()?;
    figures.note("build: a package added|keel", seconds, "s");
    figures.note("build: a package added|mmdebstrap", whole, "s");
    Tool::new("chmod").args(["-R", "u+w"]).arg(&place.store).run()?;
    fs::remove_dir_all(&place.store).context("the store can't be removed")
}

fn median(seconds: &mut [f64]) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Makes a root file system of the lock's packages, which lie in a cache, and says what it took.
fn mmdebstrap(place: &Place<'_>, debs: &Path, archive: &Path) -> Result<f64> {
    fs::create_dir_all(debs).context("the cache can't be made")?;
    let entries = fs::read_dir(place.store.join("nix/store")).context("the store can't be listed")?;
    let mut names = Vec::new();
    for entry in entries
        .flatten()
        .filter(|entry| entry.path().extension() == Some("deb".as_ref()))
    {
        let format = "--showformat=${Package} ${Version} ${Architecture}";
        let said = Tool::new("dpkg-deb")
            .args(["--show", format])
            .arg(entry.path())
            .output()?;
        let fields: Vec<&str> = said.split_whitespace().collect();
        let [name, version, architecture] = fields.as_slice() else {
            bail!("dpkg-deb says {said:?}");
        };
        // As apt names what it keeps.
        let cached = format!("{name}_{}_{architecture}.deb", version.replace(':', "%3a"));
        let _bytes = fs::copy(entry.path(), debs.join(cached)).context("a package can't be copied")?;
        names.push((*name).to_owned());
    }
    if names.is_empty() {
        bail!("keel update --download brought no package");
    }
    let copy = format!(
        "mkdir -p \"$1/var/cache/apt/archives\" && cp --reflink=auto {}/*.deb \"$1/var/cache/apt/archives/\"",
        debs.display()
    );
    let mut tool = Tool::new("mmdebstrap").args([
        "--variant=essential",
        "--format=tar",
        "--architectures=amd64",
        "--skip=essential/unlink",
    ]);
    for option in archive::apt_options()? {
        tool = tool.arg(format!("--aptopt={option}"));
    }
    let tool = tool
        .arg("--aptopt=APT::Install-Recommends \"false\";")
        .arg("--dpkgopt=force-unsafe-io")
        .arg(format!("--setup-hook={copy}"))
        .arg(format!("--include={}", names.join(",")))
        .arg(archive::SUITE)
        .arg(archive)
        .arg(archive::source()?);
    let started = Instant::now();
    tool.run()?;
    Ok(started.elapsed().as_secs_f64())
}
