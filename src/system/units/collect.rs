//! Making the record of a system's units, at import: every unit of its own `/etc` and `/usr`, the code that it runs and
//! the configuration that it reads.

use std::collections::BTreeSet;
use std::io;

use sha2::{Digest as _, Sha256};

use super::exec;
use super::load::{State, Unit, UnitFile, Units};
use super::load_path::LoadPath;
use super::name::Kind;
use super::names::LoadError;
use super::packages::{self, Packages};
use super::programs::Programs;
use super::record::{UnitRecord, UnitsRecord};
use super::settings::Settings;
use super::sources::{Found, Sources, is_null, resolve};
use super::text::Text;
use crate::store::path::hex;

/// Why a record can't be made.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// A unit or a directory of units can't be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// dpkg's lists or a configuration directory can't be read.
    #[error("reading what units run and read: {0}")]
    Read(#[from] io::Error),
}

/// Makes the record of the system whose root is `sources`.
pub fn collect(sources: &dyn Sources) -> Result<UnitsRecord<'static>, CollectError> {
    let units = Units::read(sources, LoadPath::persistent())?;
    let mut collector = Collector {
        sources,
        programs: Programs::new(sources),
        packages: Packages::read(sources)?,
        files: BTreeSet::new(),
    };
    let mut names: BTreeSet<String> = units.fragments().map(str::to_owned).collect();
    names.extend(units.mentioned_instances());
    let mut record = UnitsRecord::empty();
    for name in names {
        // A name that leads elsewhere by an alias is listed there.
        if let Some(unit) = units.load(&name)?.filter(|unit| unit.name == name)
            && let Some(found) = collector.unit(&unit)?
        {
            let _new = record.units.insert(name.into(), found);
        }
    }
    let Collector { programs, files, .. } = collector;
    let programs = programs.into_closures();
    let mut paths = files;
    for (program, libraries) in &programs {
        paths.extend(libraries.iter().chain([program]).cloned());
    }
    for path in paths {
        if let Some(digest) = digest(sources, &path)? {
            let _new = record.files.insert(path.into(), digest.into());
        }
    }
    let texts = |paths: Vec<String>| paths.into_iter().map(Text::from).collect();
    let programs = programs.into_iter();
    record.programs = programs
        .map(|(path, libraries)| (path.into(), texts(libraries)))
        .collect();
    Ok(record)
}

struct Collector<'a> {
    sources: &'a dyn Sources,
    programs: Programs<'a>,
    packages: Packages,
    // What is digested besides programs and libraries.
    files: BTreeSet<String>,
}

impl Collector<'_> {
    fn unit(&mut self, unit: &Unit) -> Result<Option<UnitRecord<'static>>, CollectError> {
        let Some(fragment) = &unit.fragment else {
            return Ok(None);
        };
        let settings = unit.settings();
        let (code, mut configuration) = self.commands(unit.kind, &settings);
        for path in named_files(unit.kind, &settings) {
            packages::collect(self.sources, path, &mut configuration)?;
        }
        if unit.kind == Kind::Service && !code.is_empty() && unit.state == State::Loaded {
            configuration.extend(self.packages.configuration(self.sources, &fragment.path)?);
            for path in own_configuration(&unit.name) {
                packages::collect(self.sources, &path, &mut configuration)?;
            }
        }
        self.files.extend(configuration.iter().cloned());
        let path = |file: &UnitFile| file.path.clone().into();
        Ok(Some(UnitRecord {
            fragment: fragment.path.clone().into(),
            masked: unit.state == State::Masked,
            drop_ins: unit.drop_ins.iter().map(path).collect(),
            text: self.text(unit)?.into(),
            code: code.into_iter().map(Text::from).collect(),
            configuration: configuration.into_iter().map(Text::from).collect(),
            aliases: unit
                .names
                .iter()
                .filter(|name| **name != unit.name)
                .cloned()
                .map(Text::from)
                .collect(),
        }))
    }

    // What the command lines run, and the files of /etc that they name.
    fn commands(&mut self, kind: Kind, settings: &Settings) -> (BTreeSet<String>, BTreeSet<String>) {
        let (mut code, mut configuration) = (BTreeSet::new(), BTreeSet::new());
        let own = kind.section().unwrap_or_default();
        let lines = settings
            .iter()
            .filter(|(name, _)| name.section == own && name.name.starts_with("Exec"));
        let lines = lines.filter(|(name, _)| !matches!(name.name.as_str(), "ExecPaths" | "ExecSearchPath"));
        for item in lines.flat_map(|(_, items)| items) {
            for command in exec::commands(&item.value) {
                code.extend(self.programs.run(&command.program));
                for path in exec::paths(&command.arguments) {
                    let found = self.programs.find(path);
                    if path.starts_with("/etc/") {
                        configuration.extend(found.map(|_| path.to_owned()));
                    } else if let Some(found) = found.filter(|found| found.starts_with("/usr/")) {
                        // A script's path, or a program that a shell is told to run.
                        self.files.extend([found.clone()]);
                        code.extend(self.programs.run(&found));
                    }
                }
            }
        }
        (code, configuration)
    }

    // The digest is of everything that systemd would read for the unit.
    fn text(&self, unit: &Unit) -> Result<String, CollectError> {
        let mut hash = Sha256::new();
        for file in unit.fragment.iter().chain(&unit.drop_ins) {
            let digest = digest(self.sources, &file.path)?.unwrap_or_default();
            hash.update(format!("{}\0{digest}\0", file.path));
        }
        for link in &unit.dependencies {
            hash.update(format!("{}\0{}\0", link.key, link.unit));
        }
        Ok(hex(&hash.finalize()))
    }
}

// Files that keys other than command lines name. Conditions name files too, but the unit doesn't read those.
fn named_files(kind: Kind, settings: &Settings) -> BTreeSet<&str> {
    let own = kind.section().unwrap_or_default();
    let values = |section, key| {
        settings
            .items(section, key)
            .iter()
            .map(|item| item.value.as_str())
    };
    let mut found = BTreeSet::new();
    found.extend(values(own, "EnvironmentFile").map(|path| path.trim_start_matches('-')));
    // `ID:PATH`.
    found.extend(values(own, "LoadCredential").filter_map(|value| Some(value.split_once(':')?.1)));
    let triggers = ["X-Restart-Triggers", "X-Reload-Triggers"];
    for (section, key) in triggers.iter().flat_map(|key| [("Unit", *key), (own, *key)]) {
        found.extend(values(section, key).flat_map(str::split_whitespace));
    }
    found.retain(|path| path.starts_with("/etc/") && !path.contains(['%', '*', '?', '[']));
    found
}

// systemd's own services read files that are named as they are: systemd-journald.service reads journald.conf. They lie
// in a directory that many packages share, so their package says nothing.
fn own_configuration(unit: &str) -> Vec<String> {
    let name = unit
        .strip_prefix("systemd-")
        .and_then(|name| name.strip_suffix(".service"));
    let Some(name) = name else {
        return Vec::new();
    };
    let mut files = Vec::new();
    for directory in ["/etc/systemd", "/usr/lib/systemd"] {
        files.extend([
            format!("{directory}/{name}.conf"),
            format!("{directory}/{name}.conf.d"),
        ]);
    }
    if name == "udevd" {
        files.push("/etc/udev/udev.conf".to_owned());
    }
    files
}

// Of what a path leads to; a mask has none.
fn digest(sources: &dyn Sources, path: &str) -> io::Result<Option<String>> {
    match resolve(sources, path)? {
        Some(found) if matches!(found.found, Found::File { .. }) && !is_null(&found.path) => {
            Ok(Some(hex(&sources.digest(&found.path)?)))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
#[path = "collect_tests.rs"]
mod tests;
