//! keel itself as a part of the systems that it makes: its programs in the store, their names in `/usr`, and its units.
//! A system can so be left, and come back to, with the very programs that it was made with.

use std::path::{Path, PathBuf};

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
    /// A program can't be read.
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
    /// A unit can't be written.
    #[error("keel's own units can't be added: {0}")]
    Unit(#[source] std::io::Error),
}

/// The tree of the programs: `bin/keel` and, when given, `bin/keel-init`.
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
    Ok(tree)
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

/// Puts the command, whose store path is `keel`, and the units into `usr`.
pub fn install(
    usr: &mut Node,
    keel: &str,
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
