//! apt in a private root: its solver and its check of signatures, without this machine's suite, sources or installed packages.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::deb822::{date, paragraphs, signed_text};
use super::index::Listed;
use super::mirror::normal;
use super::sources::Source;
use crate::layers::stub;
use crate::store::files;

/// What is installed before anything is: the stand-in for what makes initrds, which kernels depend on.
pub(super) fn empty_status() -> String {
    format!("Status: install ok installed\n{}\n", stub::control())
}

/// Why apt didn't do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum AptError {
    /// It can't be run.
    #[error("{tool} can't be run: {source}; packages are resolved by apt (Debian: package apt)")]
    Run {
        /// Which of its programs.
        tool: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The indexes can't be fetched.
    #[error("the indexes of packages can't be fetched: {0}")]
    Update(String),
    /// The indexes were never fetched.
    #[error("the indexes of {0} aren't here yet: they have to be fetched once (without --offline)")]
    NoIndexes(String),
    /// There is no set of packages that has what was asked for.
    #[error("apt finds no way to install these packages together: {0}")]
    Solve(String),
    /// A file of the private root.
    #[error("{}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What apt says can't be understood.
    #[error("apt's answer isn't understood: '{0}'; this is a fault in keel")]
    Answer(String),
}

/// A private root of apt's.
#[derive(Clone, Debug)]
pub(super) struct Apt {
    directory: PathBuf,
    architecture: String,
    sources: Vec<Source>,
    // How many of them, from the first, are mirrors of the suite.
    mirrors: usize,
}

/// What apt would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Name, version and architecture of what it would install.
    pub(super) install: Vec<(String, String, String)>,
    /// Names of what it would remove.
    pub(super) remove: BTreeSet<String>,
}

/// What is installed as far as apt knows, and what it's asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    /// Paragraphs of dpkg's status.
    pub(super) status: &'a str,
    /// Packages that may go when nothing needs them.
    pub(super) automatic: &'a [String],
    /// Names of packages.
    pub(super) install: &'a [String],
    /// Whether packages that nothing needs any more go.
    pub(super) remove_unneeded: bool,
    /// Whether recommended packages come along.
    pub(super) recommends: bool,
}

/// Debian's name for the architecture that this program is made for.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "i386",
        "arm" => "armhf",
        "powerpc64" => "ppc64el",
        other => other,
    }
}

impl Apt {
    /// Makes a root in `directory` with these sources, of which the first `mirrors` are the suite's own.
    ///
    /// # Errors
    /// When it can't be written.
    pub(super) fn prepare(directory: &Path, sources: Vec<Source>, mirrors: usize) -> Result<Self, AptError> {
        let apt = Self {
            directory: directory.to_owned(),
            architecture: architecture().to_owned(),
            sources,
            mirrors,
        };
        for name in ["lists/partial", "cache/archives/partial"] {
            let path = directory.join(name);
            fs::create_dir_all(&path).map_err(at(&path))?;
        }
        let lines: String = apt.sources.iter().map(|source| source.line() + "\n").collect();
        apt.write("sources.list", &lines)?;
        apt.write("apt.conf", &apt.configuration()?)?;
        Ok(apt)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), AptError> {
        let path = self.directory.join(name);
        files::write_atomically(&path, text.as_bytes(), 0o644).map_err(at(&path))
    }

    fn configuration(&self) -> Result<String, AptError> {
        let dir = self.directory.display();
        let architecture = &self.architecture;
        let mut text = format!(
            "Dir::Etc::main \"/dev/null\";\nDir::Etc::parts \"/dev/null\";\nDir::Etc::sourcelist \"{dir}/sources.list\";\n\
             Dir::Etc::sourceparts \"/dev/null\";\nDir::Etc::preferences \"/dev/null\";\n\
             Dir::Etc::preferencesparts \"/dev/null\";\nDir::Etc::trusted \"/dev/null\";\n\
             Dir::Etc::trustedparts \"/dev/null\";\nDir::State \"{dir}\";\nDir::State::lists \"{dir}/lists\";\n\
             Dir::State::status \"{dir}/status\";\nDir::State::extended_states \"{dir}/extended_states\";\n\
             Dir::Cache \"{dir}/cache\";\nDir::Log \"{dir}\";\nAPT::Architecture \"{architecture}\";\n\
             APT::Architectures {{ \"{architecture}\"; }};\nAPT::Install-Suggests \"false\";\n\
             APT::AutoRemove::RecommendsImportant \"false\";\nAPT::AutoRemove::SuggestsImportant \"false\";\n\
             APT::Protect-Kernels \"false\";\nAPT::Solver \"internal\";\nAcquire::Languages \"none\";\nAcquire::GzipIndexes \"false\";\n\
             Acquire::PDiffs \"false\";\nAcquire::IndexTargets::deb::Packages::KeepCompressed \"false\";\n"
        );
        // What this machine's apt was told about the way to its mirrors.
        let mut dump = Command::new("apt-config");
        let output = run(dump.arg("dump"), "apt-config")?;
        for line in output.out.lines() {
            let about_network = [
                "Acquire::http",
                "Acquire::https",
                "Acquire::Retries",
                "Acquire::Check-",
            ]
            .iter()
            .any(|prefix| line.starts_with(prefix));
            // Lists and empty values are the defaults' own.
            if about_network && !line.contains(":: ") && !line.ends_with("\"\";") {
                text.push_str(line);
                text.push('\n');
            }
        }
        Ok(text)
    }

    fn command(&self, tool: &'static str) -> Command {
        let mut command = Command::new(tool);
        let _command = command
            .env("APT_CONFIG", self.directory.join("apt.conf"))
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null());
        command
    }

    /// Fetches the indexes, and checks them against Debian's keys.
    ///
    /// # Errors
    /// [`AptError::Update`] with what apt says, when any of them can't be had.
    pub(super) fn update(&self) -> Result<(), AptError> {
        let mut command = self.command("apt-get");
        self.write("status", &empty_status())?;
        // Without this a source that can't be reached is only warned of, and old indexes are used.
        let output = run(command.args(["-q", "update", "--error-on=any"]), "apt-get")?;
        if output.success {
            Ok(())
        } else {
            Err(AptError::Update(why(&output.err)))
        }
    }

    /// Reads the indexes that are here.
    ///
    /// # Errors
    /// [`AptError::NoIndexes`] when one is missing.
    pub(super) fn lists(&self) -> Result<Vec<Listed>, AptError> {
        let mut command = self.command("apt-get");
        let format = "$(FILENAME)|$(REPO_URI)|$(RELEASE)|$(CODENAME)";
        let output = run(
            command.args(["indextargets", "--format", format, "Created-By: Packages"]),
            "apt-get",
        )?;
        let mut lists = Vec::new();
        for source in &self.sources {
            let mut any = false;
            for line in output.out.lines() {
                let mut fields = line.split('|');
                let (Some(file), Some(uri), Some(release)) = (fields.next(), fields.next(), fields.next())
                else {
                    return Err(AptError::Answer(line.to_owned()));
                };
                let same_uri = normal(uri) == normal(&source.uri);
                let is_its = same_uri && release.trim_end_matches('/') == source.suite.trim_end_matches('/');
                if !is_its || !Path::new(file).exists() {
                    continue;
                }
                any = true;
                let path = Path::new(file);
                let position = self.sources.iter().position(|one| one == source);
                lists.push(Listed {
                    uri: uri.trim_end_matches('/').to_owned(),
                    suite: source.suite.clone(),
                    is_mirror: position.is_some_and(|position| position < self.mirrors),
                    text: String::from_utf8_lossy(&fs::read(path).map_err(at(path))?).into_owned(),
                });
            }
            if !any {
                return Err(AptError::NoIndexes(format!("{} {}", source.uri, source.suite)));
            }
        }
        Ok(lists)
    }

    /// When the newest of the indexes was made: seconds since 1970.
    ///
    /// # Errors
    /// When they can't be read.
    pub(super) fn date(&self) -> Result<i64, AptError> {
        let directory = self.directory.join("lists");
        let mut newest = 0;
        for entry in fs::read_dir(&directory).map_err(at(&directory))? {
            let path = entry.map_err(at(&directory))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.ends_with("Release") {
                let text = fs::read_to_string(&path).map_err(at(&path))?;
                let text = signed_text(&text);
                let of_this = paragraphs(&text)
                    .next()
                    .and_then(|release| date(release.get("Date")?));
                newest = newest.max(of_this.unwrap_or(0));
            }
        }
        Ok(newest)
    }

    /// Asks apt what it would do.
    ///
    /// # Errors
    /// [`AptError::Solve`] when there's no way.
    pub(super) fn plan(&self, question: &Question<'_>) -> Result<Plan, AptError> {
        self.write("status", question.status)?;
        let mut automatic = String::new();
        for name in question.automatic {
            let architecture = self.architecture.as_str();
            automatic.extend([
                "Package: ",
                name,
                "\nArchitecture: ",
                architecture,
                "\nAuto-Installed: 1\n\n",
            ]);
        }
        self.write("extended_states", &automatic)?;
        let mut command = self.command("apt-get");
        let recommends = if question.recommends { "true" } else { "false" };
        let _command = command
            .args(["-q", "-s", "-y", "--allow-downgrades"])
            .args(["-o", &format!("APT::Install-Recommends={recommends}")]);
        if question.remove_unneeded {
            let _command = command.arg("--auto-remove");
        }
        let _command = command.arg("install").args(question.install);
        let output = run(&mut command, "apt-get")?;
        if !output.success {
            return Err(AptError::Solve(unmet(&output)));
        }
        parse_plan(&output.out)
    }
}

/// Prints an index that is compressed as apt compresses them.
pub(super) fn cat_file(path: &Path) -> Option<String> {
    let output = Command::new("/usr/lib/apt/apt-helper")
        .arg("cat-file")
        .arg(path)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

struct Output {
    success: bool,
    out: String,
    err: String,
}

fn run(command: &mut Command, tool: &'static str) -> Result<Output, AptError> {
    let output = command
        .output()
        .map_err(|source| AptError::Run { tool, source })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Output {
        success: output.status.success(),
        out: text(&output.stdout),
        err: text(&output.stderr),
    })
}

/// `Inst NAME [OLD] (NEW SOURCE [ARCHITECTURE]) []` and `Remv NAME [OLD]`.
fn parse_plan(text: &str) -> Result<Plan, AptError> {
    let mut plan = Plan::default();
    for line in text.lines() {
        let answer = || AptError::Answer(line.to_owned());
        if let Some(rest) = line.strip_prefix("Inst ") {
            let name = rest.split_whitespace().next().ok_or_else(answer)?;
            let (_, inside) = rest.split_once('(').ok_or_else(answer)?;
            let (inside, _) = inside.split_once(')').ok_or_else(answer)?;
            let version = inside.split_whitespace().next().ok_or_else(answer)?;
            let (_, architecture) = inside.rsplit_once('[').ok_or_else(answer)?;
            plan.install.push((
                name.split(':').next().unwrap_or(name).to_owned(),
                version.to_owned(),
                architecture.trim_end_matches(']').to_owned(),
            ));
        } else if let Some(rest) = line.strip_prefix("Remv ") {
            let name = rest.split_whitespace().next().ok_or_else(answer)?;
            let _new = plan
                .remove
                .insert(name.split(':').next().unwrap_or(name).to_owned());
        }
    }
    // "Remv" comes before "Inst" for what is replaced, and stands alone for what goes.
    plan.remove
        .retain(|name| !plan.install.iter().any(|(installed, _, _)| installed == name));
    Ok(plan)
}

/// The errors that apt prints, and what to do about those that are known.
fn why(text: &str) -> String {
    let mut said: Vec<&str> = Vec::new();
    for line in text.lines() {
        // A signature's fault is only in a warning.
        let message = line
            .strip_prefix("E: ")
            .or_else(|| line.strip_prefix("W: ").filter(|text| text.contains("GPG error")));
        if let Some(message) = message.map(str::trim)
            && !message.starts_with("Some index files failed")
            && !said.contains(&message)
        {
            said.push(message);
        }
    }
    let mut all = said.join("; ");
    if all.is_empty() {
        "apt-get update failed without saying why".clone_into(&mut all);
    }
    let hints = [
        (
            "NO_PUBKEY",
            "the key that signed it isn't known: name its keyring by signed-by, or install a newer debian-archive-keyring",
        ),
        (
            "is not signed",
            "indexes have to be signed: `[trusted=yes]` in packages.sources takes them unsigned",
        ),
        (
            "is no longer signed",
            "indexes have to be signed: `[trusted=yes]` in packages.sources takes them unsigned",
        ),
        (
            "EXPKEYSIG",
            "the key has expired: install a newer debian-archive-keyring",
        ),
        (
            "expired",
            "the mirror is out of date, or this machine's clock is wrong",
        ),
        ("not valid yet", "this machine's clock is wrong"),
        (
            "Hash Sum mismatch",
            "the mirror serves other bytes than its signed release file says",
        ),
        (
            "unexpected size",
            "the mirror serves other bytes than its signed release file says",
        ),
        (
            "Could not resolve",
            "is there a network? `--offline` uses the indexes that are here",
        ),
        (
            "Could not connect",
            "is there a network? `--offline` uses the indexes that are here",
        ),
        (
            "Temporary failure",
            "is there a network? `--offline` uses the indexes that are here",
        ),
    ];
    if let Some((_, hint)) = hints.iter().find(|(sign, _)| all.contains(sign)) {
        all = format!("{all} ({hint})");
    }
    all
}

/// What apt says about packages that don't go together.
fn unmet(output: &Output) -> String {
    let mut said: Vec<String> = Vec::new();
    let mut lines = output
        .out
        .lines()
        .skip_while(|line| !line.contains("unmet dependencies"))
        .skip(1)
        .take_while(|line| line.starts_with(' '))
        .peekable();
    while let Some(line) = lines.next() {
        let text = line.split_whitespace().collect::<Vec<_>>().join(" ");
        said.push(text);
        if said.len() == 5 {
            if lines.peek().is_some() {
                said.push("and more".to_owned());
            }
            break;
        }
    }
    if said.is_empty() {
        return why(&output.err);
    }
    said.join("; ")
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> AptError {
    let path = path.to_owned();
    move |source| AptError::File { path, source }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn the_answer_of_a_simulation() {
        // As apt 2.6 and 3.0 print it.
        let text = "Reading package lists...\nRemv vim-tiny [2:9.1.1230-2]\n\
            Inst vim [2:9.0-1] (2:9.1.1230-2 Debian:13.8/stable, Debian-Security:13/stable-security [amd64]) []\n\
            Inst vim-common (2:9.1.1230-2 Debian:13.8/stable [all])\nInst x:amd64 (1 x [amd64])\nConf vim (x)\n";
        let plan = parse_plan(text).unwrap();
        let expected = [("vim", "amd64"), ("vim-common", "all"), ("x", "amd64")];
        let seen: Vec<_> = plan
            .install
            .iter()
            .map(|(name, _, architecture)| (name.as_str(), architecture.as_str()))
            .collect();
        assert_eq!(seen, expected);
        assert_eq!(plan.install[0].1, "2:9.1.1230-2");
        assert_eq!(plan.remove, BTreeSet::from(["vim-tiny".to_owned()]));
        assert!(parse_plan("Inst vim\n").is_err());
    }

    #[test]
    fn errors_come_with_what_to_do() {
        let text = "W: GPG error: http://m.example trixie InRelease: NO_PUBKEY 123\nE: The repository 'http://m.example trixie \
                    InRelease' is not signed.\nE: Some index files failed to download.\n";
        let said = why(text);
        assert!(said.contains("NO_PUBKEY 123; The repository"), "{said}");
        assert!(said.ends_with("a newer debian-archive-keyring)"), "{said}");
        assert!(!said.contains('\n') && !said.contains("Some index"));
    }
}
