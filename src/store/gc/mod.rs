//! Garbage collection: what no root reaches is made invalid, and then deleted. A crash in between leaves files that are
//! registered nowhere, which the next collection deletes.
//!
//! Protocol: the lock on collection is held exclusively, so that no root is added unseen; processes that need a path
//! meanwhile say so on the collector's socket (see [`server`]).

pub mod generations;
mod mark;
mod reserve;
mod server;
mod settings;
mod sweep;

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::fcntl::{Flock, FlockArg};

pub use mark::{Keep, Living};
pub use settings::keep_settings;

use super::add::{TEMPORARY, failpoint, remove_abandoned};
use super::db::{Database, DbError, Graph};
use super::lock::Access;
use super::locks::{gc_lock_path, take_gc_lock};
use super::roots::{self, Root, RootKind, RootsError};
use super::{Layout, StorePath, files};
use reserve::Reserve;
use server::Server;

/// Paths that are made invalid in one transaction.
const BATCH: usize = 10_000;
/// What is in the store directory under no name of a store path may be somebody's work until it is this old.
const FOREIGN_AGE: Duration = Duration::from_hours(1);

/// Why garbage can't be collected.
#[derive(Debug, thiserror::Error)]
pub enum GcError {
    /// A file can't be read or deleted.
    #[error("collecting garbage: {0}: {1}")]
    File(String, #[source] io::Error),
    /// The roots can't be found.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// The database refused.
    #[error(transparent)]
    Db(#[from] DbError),
    /// A path that was to be deleted is needed.
    #[error("{path} is not deleted: it is alive, see 'keel store why {path}'")]
    Alive {
        /// The path.
        path: String,
    },
    /// A path that was to be deleted is referred to.
    #[error("{path} is not deleted: {referrer}, which refers to it, would have to be deleted with it")]
    Referred {
        /// The path.
        path: String,
        /// What refers to it.
        referrer: String,
    },
}

impl GcError {
    pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.display().to_string();
        move |error| Self::File(path, error)
    }
}

/// What is asked of a collection.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only say what would be deleted.
    pub dry_run: bool,
    /// Delete these alone, and nothing when one of them is needed.
    pub only: Option<Vec<StorePath>>,
    /// Stop once this many bytes are free.
    pub max_freed: Option<u64>,
    /// What keeps derivations and outputs.
    pub keep: Keep,
    /// Roots that the machine has besides those that the store knows of.
    pub roots: Vec<Root>,
    /// Links that count as if they weren't there: those that a dry run would have deleted.
    pub without: Vec<PathBuf>,
}

/// What was done, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The paths, in the order in which they went.
    pub paths: Vec<StorePath>,
    /// How many names in the store directory were registered nowhere.
    pub unregistered: u64,
    /// Links of the deduplication that nothing shared any more.
    pub links: u64,
    /// Objects that no image of a valid system names.
    pub objects: u64,
    /// Bytes that this freed; for a dry run the NARs' sizes stand for those of the paths.
    pub bytes: u64,
    /// What was passed over, and why.
    pub warnings: Vec<String>,
}

/// Collects garbage. `waiting` is told which lock another process holds.
pub fn collect(
    layout: &Layout,
    options: &Options,
    waiting: &mut dyn FnMut(&Path),
) -> Result<Report, GcError> {
    let lock_path = gc_lock_path(layout);
    let _lock = take_gc_lock(layout, Access::Exclusive, waiting).map_err(GcError::at(&lock_path))?;
    let reserve = Reserve::release(layout, options.dry_run)?;
    let database = Database::open(&layout.physical(&layout.database_dir()), layout.store_dir())?;
    let server = Server::start(layout).map_err(GcError::at(&lock_path.with_file_name("gc-socket")))?;
    let found = roots::find(layout)?;
    let graph = database.graph()?;
    let mut living = Living::new(&graph, options.keep);
    let mut announced = HashSet::new();
    let own = found
        .roots
        .iter()
        .filter(|root| !options.without.iter().any(|link| Path::new(&root.from) == link));
    for root in own.chain(&options.roots) {
        // What a temporary root keeps is whatever has its hash: the path need not be valid yet.
        if root.kind == RootKind::Temporary {
            let _new = announced.insert(root.path.hash_part().to_owned());
        }
        mark_hash_part(&mut living, &graph, root.path.hash_part());
    }
    let mut collection = Collection {
        layout,
        options,
        database,
        graph: &graph,
        server: &server,
        announced,
        report: Report {
            warnings: found.unreadable,
            ..Report::default()
        },
    };
    let order = match &options.only {
        Some(only) => collection.chosen(only, &living)?,
        None => living.dead_in_order(),
    };
    collection.paths(&order, &mut living)?;
    if options.only.is_none() && !collection.is_enough() {
        for link in found.stale.iter().filter(|_| !options.dry_run) {
            files::remove_file_if_there(link).map_err(GcError::at(link))?;
        }
        collection.unregistered()?;
        collection.contents()?;
    }
    let report = collection.report;
    reserve.restore();
    Ok(report)
}

/// The valid paths that each root keeps, without deleting anything: for `keel store roots`.
pub fn valid_roots(layout: &Layout, database: &Database, more: &[Root]) -> Result<Vec<Root>, GcError> {
    let mut all = roots::find(layout)?.roots;
    all.extend(more.iter().cloned());
    let mut valid = Vec::new();
    for root in all {
        if database.is_valid(&root.path)? {
            valid.push(root);
        }
    }
    Ok(valid)
}

fn mark_hash_part(living: &mut Living<'_>, graph: &Graph, hash_part: &str) {
    for index in graph.with_hash_part(hash_part) {
        living.mark(index);
    }
}

struct Collection<'a> {
    layout: &'a Layout,
    options: &'a Options,
    database: Database,
    graph: &'a Graph,
    server: &'a Server,
    announced: HashSet<String>,
    report: Report,
}

impl Collection<'_> {
    fn is_enough(&self) -> bool {
        self.options.max_freed.is_some_and(|max| self.report.bytes >= max)
    }

    // The paths of `only`, in their order, when all of them may go.
    fn chosen(&self, only: &[StorePath], living: &Living<'_>) -> Result<Vec<u32>, GcError> {
        let store_dir = self.layout.store_dir();
        let mut wanted = HashSet::new();
        for path in only {
            let index = self
                .graph
                .index(path)
                .ok_or_else(|| DbError::NotValid(path.absolute(store_dir)))?;
            if living.is_alive(index) {
                return Err(GcError::Alive {
                    path: path.absolute(store_dir),
                });
            }
            let _new = wanted.insert(index);
        }
        for path in only {
            let referrers = self.database.referrers(path)?;
            let other = referrers.iter().find(|referrer| {
                self.graph
                    .index(referrer)
                    .is_none_or(|index| !wanted.contains(&index))
            });
            if let Some(referrer) = other {
                return Err(GcError::Referred {
                    path: path.absolute(store_dir),
                    referrer: referrer.absolute(store_dir),
                });
            }
        }
        let order = living.dead_in_order();
        Ok(order.into_iter().filter(|index| wanted.contains(index)).collect())
    }

    fn paths(&mut self, order: &[u32], living: &mut Living<'_>) -> Result<(), GcError> {
        let mut rest = order;
        while !rest.is_empty() && !self.is_enough() {
            let mut batch = Vec::new();
            let chosen = self.server.choose(&mut |new| {
                for hash_part in new {
                    mark_hash_part(living, self.graph, &hash_part);
                }
                let expected = self.report.bytes;
                let (indices, behind) = self.next_batch(rest, living, expected);
                rest = behind;
                batch = indices;
                batch
                    .iter()
                    .filter_map(|&index| self.graph.path(index).cloned())
                    .collect()
            });
            let done = if self.options.dry_run {
                self.report.bytes += batch.iter().map(|&index| self.graph.nar_size(index)).sum::<u64>();
                self.report.paths.extend(chosen);
                Ok(())
            } else {
                self.delete(&batch, living)
            };
            self.server.settle();
            done?;
        }
        Ok(())
    }

    // The next of `rest` that are still dead, and what comes after them.
    fn next_batch<'b>(&self, rest: &'b [u32], living: &Living<'_>, freed: u64) -> (Vec<u32>, &'b [u32]) {
        let mut batch = Vec::new();
        let mut expected = freed;
        for (count, &index) in rest.iter().enumerate() {
            let is_enough = self.options.max_freed.is_some_and(|max| expected >= max);
            if batch.len() == BATCH || is_enough {
                return (batch, rest.get(count..).unwrap_or_default());
            }
            if !living.is_alive(index) {
                expected = expected.saturating_add(self.graph.nar_size(index));
                batch.push(index);
            }
        }
        (batch, &[])
    }

    fn delete(&mut self, batch: &[u32], living: &mut Living<'_>) -> Result<(), GcError> {
        failpoint("before-invalidate");
        let kept: HashSet<u32> = self
            .database
            .invalidate_unreferenced(self.graph, batch)?
            .into_iter()
            .collect();
        failpoint("after-invalidate");
        for &index in &kept {
            // A path that was added meanwhile needs it.
            living.mark(index);
        }
        for &index in batch.iter().filter(|index| !kept.contains(index)) {
            let Some(path) = self.graph.path(index) else {
                continue;
            };
            let physical = self.layout.physical_path(path);
            self.report.bytes += sweep::remove_tree(&physical).map_err(GcError::at(&physical))?;
            self.report.paths.push(path.clone());
            failpoint("between-deletions");
        }
        Ok(())
    }

    // What lies in the store directory and is registered nowhere: left by a crash, or not made by a store's tools at all.
    fn unregistered(&mut self) -> Result<(), GcError> {
        let store = self.layout.physical(self.layout.store_dir());
        let entries = match std::fs::read_dir(&store) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(GcError::at(&store))?,
        };
        if !self.options.dry_run {
            remove_abandoned(&store).map_err(GcError::at(&store))?;
        }
        for entry in entries {
            let entry = entry.map_err(GcError::at(&store))?;
            let name = entry.file_name();
            if name == ".links" || name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) {
                continue;
            }
            let path = name
                .to_str()
                .and_then(|base| StorePath::from_base_name(base).ok());
            let is_garbage = match &path {
                Some(path) => {
                    !self.announced.contains(path.hash_part())
                        && !self.server.is_root(path.hash_part())
                        && self.graph.index(path).is_none()
                        && !self.database.is_valid(path)?
                }
                None => is_old(&entry.path()),
            };
            if !is_garbage || is_locked(&entry.path()) {
                continue;
            }
            if self.options.dry_run {
                self.report.unregistered += 1;
                continue;
            }
            // From here on whoever announces it waits until it's gone.
            let _chosen = self.server.choose(&mut |_| path.iter().cloned().collect());
            let may_go = path
                .as_ref()
                .is_none_or(|path| !self.server.is_root(path.hash_part()));
            let removed = if may_go {
                sweep::remove_tree(&entry.path())
            } else {
                Ok(0)
            };
            self.server.settle();
            self.report.bytes += removed.map_err(GcError::at(&entry.path()))?;
            self.report.unregistered += u64::from(may_go);
            if self.is_enough() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn contents(&mut self) -> Result<(), GcError> {
        let going: HashSet<&StorePath> = self.report.paths.iter().collect();
        let remain = |path: &StorePath| Ok(!going.contains(path) && self.database.is_valid(path)?);
        match sweep::objects(self.layout, &remain, self.options.dry_run) {
            Ok(objects) => {
                self.report.objects = objects.count;
                self.report.bytes += objects.bytes;
            }
            // They stay then: too many harm less than too few.
            Err(error) => self
                .report
                .warnings
                .push(format!("no objects are deleted: {error}")),
        }
        // Those that the paths above shared; a dry run can't know them.
        let links = sweep::unshare(self.layout, self.options.dry_run)?;
        self.report.links = links.count;
        self.report.bytes += links.bytes;
        Ok(())
    }
}

// Somebody works there: Nix and keel lock the temporary directories and lock files that they use.
fn is_locked(path: &Path) -> bool {
    use std::os::unix::fs::OpenOptionsExt;
    let is_other = path
        .symlink_metadata()
        .is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir());
    if is_other {
        return false;
    }
    let opened = std::fs::File::options()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path);
    // One that can't be opened isn't deleted: whoever made it so had a reason.
    opened.map_or(true, |file| {
        Flock::lock(file, FlockArg::LockExclusiveNonblock).is_err()
    })
}

fn is_old(path: &Path) -> bool {
    let changed = path.symlink_metadata().and_then(|metadata| metadata.modified());
    let age = changed.map(|changed| SystemTime::now().duration_since(changed));
    matches!(age, Ok(Ok(age)) if age > FOREIGN_AGE)
}
