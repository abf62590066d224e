//! keel itself as a part of the systems that it makes: its programs in the store, their names in `/usr`, and its units.
//! A system can so be left, and come back to, with the very programs that it was made with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::notice::Notice;
use crate::store::pool::Pool;
use crate::store::tree::{Meta, Node, TreeError};

/// The unit that judges a boot.
pub const HEALTHY_UNIT: &str = "keel-healthy.service";
const HEALTHY: &[u8] = include_bytes!("../../units/keel-healthy.service");
/// Names of the administrator's command.
const NAMES: [&str; 2] = ["keel", "activate"];

/// What would change packages on the machine, and can't: keel stands in for these, and runs the real ones for everything else.
pub const PACKAGE_TOOLS: [&str; 4] = ["apt", "apt-get", "aptitude", "dpkg"];
/// Where the real ones lie.
pub const REAL_TOOLS: &str = "/usr/lib/keel/tools";

/// The programs that a system brings.
#[derive(Clone, Copy, Debug)]
pub struct Programs<'a> {
    /// The administrator's command.
    pub keel: &'a Path,
    /// The initrd's program; without it the system can't build an initrd by itself.
    pub init: Option<&'a Path>,
}

/// Why keel can't be a part of a system.
#[derive(Debug, thiserror::Error)]
pub enum OwnError {
    /// A program, or what lies beside it in the store, can't be read.
    #[error("{path} can't be read: {source}")]
    Program {
        /// The program.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A unit can't be placed.
    #[error("keel's own files can't be placed in /usr: {0}")]
    Place(#[from] TreeError),
    /// A unit or a page can't be written.
    #[error("keel's own units and pages can't be added: {0}")]
    Unit(#[source] std::io::Error),
}

/// Where manual pages and completion lie, in the tree of the programs as in `/usr`.
const SHARE: &str = "share";

/// The tree of the programs: `bin/keel` and, when given, `bin/keel-init`; and what the command says of itself to `man` and shells.
pub fn programs(programs: &Programs<'_>, pool: &Pool) -> Result<Node, OwnError> {
    let mut tree = Node::directory(0);
    let given = [("keel", Some(programs.keel)), ("keel-init", programs.init)];
    for (name, path) in given.into_iter().filter_map(|(name, path)| Some((name, path?))) {
        let unreadable = |source| OwnError::Program {
            path: path.to_owned(),
            source,
        };
        let bytes = std::fs::read(path).map_err(unreadable)?;
        let id = pool.add(&bytes, true).map_err(unreadable)?;
        tree.put(
            &Path::new("bin").join(name),
            Node::File(Meta::root(0o555, 0), id),
            0,
        )?;
    }
    for (place, text) in pages(programs.keel) {
        let id = pool.add(text.as_bytes(), false).map_err(OwnError::Unit)?;
        tree.put(Path::new(&place), Node::File(Meta::root(0o444, 0), id), 0)?;
    }
    Ok(tree)
}

/// Pages and completion by their places: the program is asked for them, which may be another one than this.
fn pages(keel: &Path) -> BTreeMap<String, String> {
    // A bare name is a file of this directory here as well, not one of $PATH.
    let keel = std::path::absolute(keel).unwrap_or_else(|_| keel.to_owned());
    let said = Command::new(keel)
        .arg("own-pages")
        .env_clear()
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    // An older one has none, and neither has what stands for it in a test.
    let Some(said) = said.ok().filter(|said| said.status.success()) else {
        return BTreeMap::new();
    };
    let mut pages: BTreeMap<String, String> = serde_json::from_slice(&said.stdout).unwrap_or_default();
    pages.retain(|place, _| Path::new(place).starts_with(SHARE));
    pages
}

/// The places of pages and completion in the programs' tree, which lies at `place` in the store.
pub fn pages_at(place: &Path) -> Result<Vec<PathBuf>, OwnError> {
    let mut found = Vec::new();
    let mut directories = vec![PathBuf::from(SHARE)];
    while let Some(directory) = directories.pop() {
        let path = place.join(&directory);
        let unreadable = |source| OwnError::Program {
            path: path.clone(),
            source,
        };
        let entries = match std::fs::read_dir(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries.map_err(unreadable)?,
        };
        for entry in entries {
            let entry = entry.map_err(unreadable)?;
            let name = directory.join(entry.file_name());
            if entry.file_type().map_err(unreadable)?.is_dir() {
                directories.push(name);
            } else {
                found.push(name);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The same of the tree itself.
pub fn pages_of(tree: &Node) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if let Some(share) = tree.get(SHARE) {
        share.walk(Path::new(SHARE), &mut |path, node| {
            if !matches!(node, Node::Directory(..)) {
                found.push(path.to_owned());
            }
        });
    }
    found
}

/// Stands in for the tools that would change packages of `usr`: they'd fail at a read-only file system, without a word of what to
/// do instead.
pub fn take_over(usr: &mut Node, keel: &str) -> Result<(), OwnError> {
    let mtime = usr.meta().mtime;
    let real = Path::new(REAL_TOOLS.trim_start_matches("/usr/"));
    for name in PACKAGE_TOOLS {
        if let Some(tool) = usr.take(&format!("bin/{name}")) {
            usr.put(&real.join(name), tool, mtime)?;
            let link = Node::symlink(format!("{keel}/bin/keel"), mtime);
            usr.put(&Path::new("bin").join(name), link, mtime)?;
        }
    }
    Ok(())
}

/// Puts the command, whose store path is `keel`, its `pages` and the units into `usr`.
pub fn install(
    usr: &mut Node,
    keel: &str,
    pages: &[PathBuf],
    pool: &Pool,
    report: &mut dyn FnMut(Notice),
) -> Result<(), OwnError> {
    let mtime = usr.meta().mtime;
    for name in NAMES {
        let place = format!("bin/{name}");
        if usr.get(&place).is_some() {
            report(Notice::Warning(format!(
                "/usr/{place} of a package gives way to keel's own"
            )));
            let _old = usr.take(&place);
        }
        usr.put(
            Path::new(&place),
            Node::symlink(format!("{keel}/bin/keel"), mtime),
            mtime,
        )?;
    }
    for page in pages {
        let target = Path::new(keel).join(page);
        usr.put(page, Node::symlink(target, mtime), mtime)?;
    }
    let unit = pool.add(HEALTHY, false).map_err(OwnError::Unit)?;
    let directory = Path::new("lib/systemd/system");
    for name in [
        HEALTHY_UNIT.to_owned(),
        format!("multi-user.target.wants/{HEALTHY_UNIT}"),
    ] {
        let _old = usr.take(&format!("lib/systemd/system/{name}"));
    }
    usr.put(
        &directory.join(HEALTHY_UNIT),
        Node::File(Meta::root(0o644, mtime), unit),
        mtime,
    )?;
    usr.put(
        &directory.join("multi-user.target.wants").join(HEALTHY_UNIT),
        Node::symlink(format!("../{HEALTHY_UNIT}"), mtime),
        mtime,
    )?;
    Ok(())
}
