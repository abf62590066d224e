//! Adding to the store so that a crash leaves nothing half: temporary names, one sync, renames, one transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::fcntl::Flock;
use sha2::{Digest, Sha256};

use super::content::Method;
use super::db::{Database, DbError, DerivationOutputs, PathInfo};
use super::derivation::{Derivation, name_of};
use super::lock::Access;
use super::locks::{self, PathLock};
use super::nar::{self, NarError, NarHash, UnpackError};
use super::optimise::{self, OptimiseError};
use super::path::{Kind, PathError, References, StorePath, make_store_path};
use super::pool::Pool;
use super::references::{ReferenceScanner, hash_modulo};
use super::tree::Node;
use super::{Layout, base32, copy, files, settings};

/// How temporary names in the store directory start: `.keel-tmp-<addition>-<number>`. Whoever holds the lock on
/// `.keel-tmp-<addition>` may remove them.
pub(super) const TEMPORARY: &str = ".keel-tmp-";
/// How many additions this process has begun.
static BEGUN: AtomicU32 = AtomicU32::new(0);
/// Stands for the own hash while the content isn't hashed yet. No real hash: base-32 hashes of it are not known.
const OWN_HASH: &str = "00000000000000000000000000000000";

/// Why something can't be added to the store.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// A file of the store can't be read or written.
    #[error("{0}: {1}")]
    File(String, #[source] io::Error),
    /// The content can't be archived.
    #[error(transparent)]
    Nar(#[from] NarError),
    /// The name is none for a store path.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The database refused.
    #[error(transparent)]
    Db(#[from] DbError),
    /// An archive that was received.
    #[error("{0}: {1}")]
    Unpack(StorePath, #[source] UnpackError),
    /// It isn't what it was said to be.
    #[error(
        "{path}: its archive has the hash sha256:{is} and {bytes} bytes, and should have sha256:{should} and {expected}: \
             it is damaged or false, and was not added"
    )]
    Mismatch {
        /// The path.
        path: StorePath,
        /// The hash that it has, in base 32.
        is: String,
        /// The hash that it should have.
        should: String,
        /// The bytes that it has.
        bytes: u64,
        /// The bytes that it should have.
        expected: u64,
    },
    /// An equal file can't take the place of one.
    #[error(transparent)]
    Optimise(#[from] OptimiseError),
    /// A thread ended without a result.
    #[error("{0} ended unexpectedly: this is a fault in keel")]
    Thread(&'static str),
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> AddError {
    let path = path.display().to_string();
    move |error| AddError::File(path, error)
}

/// Paths being added: invisible until [`Addition::commit`]. Several processes may add at the same time; garbage isn't
/// collected meanwhile. Dropped without a commit it removes its temporary files; when it's killed, the next addition or
/// collection does.
#[derive(Debug)]
pub struct Addition {
    layout: Layout,
    database: Database,
    store: PathBuf,
    staged: BTreeMap<StorePath, Staged>,
    // `.keel-tmp-<addition>`, and the lock on it.
    prefix: PathBuf,
    next: usize,
    locks: Vec<PathLock>,
    /// Locks that whoever adds holds already.
    held: BTreeMap<StorePath, PathLock>,
    _own: PathLock,
    _gc_lock: Flock<File>,
}

#[derive(Debug)]
struct Staged {
    info: PathInfo,
    // Where it waits; nothing when the path was valid already.
    temporary: Option<PathBuf>,
}

/// A tree written under a temporary name, and its hash.
#[derive(Debug)]
pub struct Prepared {
    temporary: PathBuf,
    nar: NarHash,
}

impl Prepared {
    /// A tree in canonical form at a temporary name of an addition, and its hash.
    pub fn new(temporary: PathBuf, nar: NarHash) -> Self {
        Self { temporary, nar }
    }
}

impl Addition {
    /// Takes the locks (`waiting` is told which one another process holds), makes the store's directories when they
    /// are missing, and removes what an interrupted addition left.
    pub fn begin(layout: &Layout, waiting: &mut dyn FnMut(&Path)) -> Result<Self, AddError> {
        make_directories(layout)?;
        let gc_lock =
            locks::take_gc_lock(layout, Access::Shared, waiting).map_err(at(&locks::gc_lock_path(layout)))?;
        let store = layout.physical(layout.store_dir());
        remove_abandoned(&store).map_err(at(&store))?;
        let number = BEGUN.fetch_add(1, Ordering::Relaxed);
        let prefix = store.join(format!("{TEMPORARY}{}_{number}", std::process::id()));
        let own = PathLock::take(&prefix, waiting).map_err(at(&prefix))?;
        let database = Database::open(&layout.physical(&layout.database_dir()), layout.store_dir())?;
        Ok(Self {
            layout: layout.clone(),
            database,
            store,
            staged: BTreeMap::new(),
            prefix,
            next: 0,
            locks: Vec::new(),
            held: BTreeMap::new(),
            _own: own,
            _gc_lock: gc_lock,
        })
    }

    /// Takes over locks on paths that will be added.
    pub fn hold(&mut self, locks: impl IntoIterator<Item = (StorePath, PathLock)>) {
        self.held.extend(locks);
    }

    /// Where this store lies.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// A new pool for contents, in the store's file system.
    pub fn pool(&mut self) -> Result<Pool, AddError> {
        let staging = self.temporary();
        let objects = self.layout.physical(&self.layout.objects_dir());
        Pool::new(staging.clone(), objects).map_err(at(&staging))
    }

    /// A temporary name in the store directory, for content that [`Addition::adopt`] takes over.
    pub fn temporary(&mut self) -> PathBuf {
        self.next += 1;
        let mut path = self.prefix.clone().into_os_string();
        path.push(format!("-{}", self.next));
        path.into()
    }

    /// Writes `tree` at `temporary` in canonical form and hashes it: the slow part, which threads may share.
    pub fn prepare(temporary: PathBuf, tree: &Node, pool: &Pool) -> Result<Prepared, AddError> {
        realise(tree, &temporary, pool)?;
        let nar = nar::hash(&temporary, &mut |_| {})?;
        Ok(Prepared { temporary, nar })
    }

    /// Adds what was prepared under the name that `nix-store --add` would give it.
    pub fn adopt(&mut self, name: &str, prepared: Prepared) -> Result<StorePath, AddError> {
        let Prepared { temporary, nar } = prepared;
        let kind = Kind::Source(References::default());
        let path = make_store_path(self.layout.store_dir(), kind, &nar.sha256, name)?;
        let info = PathInfo::content_addressed(path.clone(), nar, &nar.sha256, Vec::new());
        self.stage(info, temporary)?;
        Ok(path)
    }

    /// Copies the file, link or tree at `source` into the store, under the name that its content gives it.
    pub fn copy(&mut self, source: &Path, name: &str, method: Method) -> Result<StorePath, AddError> {
        super::path::check_name(name)?;
        if method.flat && !source.symlink_metadata().map_err(at(source))?.is_file() {
            return Err(NarError::NoFile(source.display().to_string()).into());
        }
        let temporary = self.temporary();
        let nar = copy::copy(source, &temporary)?;
        let hash = if method == Method::SOURCE {
            nar.sha256.to_vec()
        } else {
            method.hash(&temporary)?
        };
        let (path, address) = method.path(self.layout.store_dir(), &hash, name)?;
        let info = PathInfo {
            ca: Some(address),
            ..PathInfo::new(path.clone(), nar, Vec::new())
        };
        self.stage(info, temporary)?;
        Ok(path)
    }

    /// Unpacks an archive at `temporary` and sees that it is the one that `info` tells of: the slow part, which threads may
    /// share.
    pub fn receive(temporary: PathBuf, info: &PathInfo, source: &mut dyn Read) -> Result<Prepared, AddError> {
        let nar = nar::unpack(source, &temporary, info.nar.size, &mut |_| {})
            .map_err(|error| AddError::Unpack(info.path.clone(), error))?;
        if nar != info.nar {
            return Err(AddError::Mismatch {
                path: info.path.clone(),
                is: base32::encode(&nar.sha256),
                should: base32::encode(&info.nar.sha256),
                bytes: nar.size,
                expected: info.nar.size,
            });
        }
        Ok(Prepared { temporary, nar })
    }

    /// Adds what was received or built, as `info` tells of it. What it refers to has to be valid, or among what is added.
    pub fn adopt_as(&mut self, info: PathInfo, prepared: Prepared) -> Result<(), AddError> {
        let Prepared { temporary, nar } = prepared;
        self.stage(PathInfo { nar, ..info }, temporary)
    }

    /// Adds a single file.
    pub fn add_file(&mut self, name: &str, bytes: &[u8]) -> Result<StorePath, AddError> {
        let temporary = self.temporary();
        write_file(&temporary, bytes)?;
        let nar = nar::hash(&temporary, &mut |_| {})?;
        self.adopt(name, Prepared { temporary, nar })
    }

    /// Adds a text that names `references`, under the name that its content and they give it: derivations are added so.
    pub fn add_text(
        &mut self,
        name: &str,
        bytes: &[u8],
        references: Vec<StorePath>,
    ) -> Result<StorePath, AddError> {
        let temporary = self.temporary();
        write_file(&temporary, bytes)?;
        let nar = nar::hash(&temporary, &mut |_| {})?;
        let sha256: [u8; 32] = Sha256::digest(bytes).into();
        let kind = Kind::Text(References {
            others: &references,
            itself: false,
        });
        let path = make_store_path(self.layout.store_dir(), kind, &sha256, name)?;
        let info = PathInfo {
            ca: Some(format!("text:sha256:{}", base32::encode(&sha256))),
            ..PathInfo::new(path.clone(), nar, references)
        };
        self.stage(info, temporary)?;
        Ok(path)
    }

    /// Adds a tree of small files and links that refers to `candidates` (those found in it are registered) and
    /// to itself: `content` gets the own path, and is asked twice, first with a stand-in for the hash.
    pub fn add_referring(
        &mut self,
        name: &str,
        candidates: &[StorePath],
        content: &dyn Fn(&StorePath) -> SmallDirectory,
    ) -> Result<StorePath, AddError> {
        let stand_in = StorePath::from_base_name(&format!("{OWN_HASH}-{name}"))?;
        let temporary = self.temporary();
        content(&stand_in).write(&temporary)?;
        let mut archive = Vec::new();
        nar::write(&temporary, &mut archive)?;
        let mut scanner = ReferenceScanner::new(candidates.iter().chain([&stand_in]));
        scanner.update(&archive);
        let mut references = scanner.found();
        references.retain(|path| *path != stand_in);
        let itself = archive
            .windows(OWN_HASH.len())
            .any(|window| window == OWN_HASH.as_bytes());
        let content_hash = hash_modulo(&archive, OWN_HASH.as_bytes());
        let kind = Kind::Source(References {
            others: &references,
            itself,
        });
        let path = make_store_path(self.layout.store_dir(), kind, &content_hash, name)?;

        let nar = if itself {
            files::remove_tree(&temporary).map_err(at(&temporary))?;
            content(&path).write(&temporary)?;
            nar::hash(&temporary, &mut |_| {})?
        } else {
            // What was written doesn't depend on the path: it stays, and its hash is the plain one.
            NarHash {
                sha256: content_hash,
                size: archive.len() as u64,
            }
        };
        if itself {
            references.push(path.clone());
            references.sort_unstable();
        }
        self.stage(
            PathInfo::content_addressed(path.clone(), nar, &content_hash, references),
            temporary,
        )?;
        Ok(path)
    }

    /// Writes everything to the disk, makes it visible and registers it in one transaction. The locks stay until this
    /// is dropped.
    pub fn commit(&mut self) -> Result<(), AddError> {
        failpoint("before-sync");
        let directory = File::open(&self.store).map_err(at(&self.store))?;
        let sync = || nix::unistd::syncfs(&directory).map_err(|errno| at(&self.store)(errno.into()));
        sync()?;
        if settings::deduplicates(&self.layout) {
            // Only what is on the disk is linked to: after a power cut no link has another content than its name says.
            let staged = self.staged.values();
            let trees: Vec<&Path> = staged.filter_map(|staged| staged.temporary.as_deref()).collect();
            let _saved = optimise::share(&self.layout, &trees)?;
            sync()?;
        }
        failpoint("before-rename");
        let mut infos = Vec::new();
        for (path, staged) in std::mem::take(&mut self.staged) {
            if let Some(temporary) = staged.temporary {
                let target = self.layout.physical_path(&path);
                // In the order of the paths; kept until they are registered.
                if !self.held.contains_key(&path) {
                    let lock = PathLock::take(&target, &mut |_| {}).map_err(at(&target))?;
                    self.locks.push(lock);
                }
                if self.is_there(&path)? {
                    // Another process was faster.
                    files::remove_tree(&temporary).map_err(at(&temporary))?;
                    continue;
                }
                // Not registered, so nobody relies on it: an addition that ended between renaming and registering.
                files::remove_tree(&target).map_err(at(&target))?;
                std::fs::rename(&temporary, &target).map_err(at(&target))?;
                failpoint("between-renames");
            }
            infos.push(staged.info);
        }
        directory.sync_all().map_err(at(&self.store))?;
        failpoint("before-register");
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(1, |time| time.as_secs());
        let outputs = self.outputs(&infos)?;
        self.database
            .register_with_outputs(&infos, &outputs, i64::try_from(now).unwrap_or(1))?;
        failpoint("after-register");
        self.locks.clear();
        Ok(())
    }

    /// What the derivations among `infos` are for: the collector keeps and finds derivations by it, as Nix does.
    fn outputs(&self, infos: &[PathInfo]) -> Result<Vec<DerivationOutputs>, AddError> {
        let mut all = Vec::new();
        // Those that are named by their text: any other file may be called like one.
        let is_text = |info: &&PathInfo| info.ca.as_ref().is_some_and(|ca| ca.starts_with("text:"));
        for info in infos
            .iter()
            .filter(|info| name_of(&info.path).is_some())
            .filter(is_text)
        {
            let file = self.layout.physical_path(&info.path);
            let text = std::fs::read(&file).map_err(at(&file))?;
            if let Ok(derivation) = Derivation::parse(self.layout.store_dir(), &text) {
                let outputs = derivation.outputs.into_iter();
                all.push(DerivationOutputs {
                    derivation: info.path.clone(),
                    outputs: outputs
                        .filter_map(|(id, output)| Some((id, output.path?)))
                        .collect(),
                });
            }
        }
        Ok(all)
    }

    fn is_there(&self, path: &StorePath) -> Result<bool, AddError> {
        let there = self.layout.physical_path(path).symlink_metadata().is_ok();
        Ok(there && self.database.is_valid(path)?)
    }

    fn stage(&mut self, info: PathInfo, temporary: PathBuf) -> Result<(), AddError> {
        let temporary = if self.is_there(&info.path)? || self.staged.contains_key(&info.path) {
            files::remove_tree(&temporary).map_err(at(&temporary))?;
            None
        } else {
            Some(temporary)
        };
        // The first one keeps its files when two parts of one addition are equal.
        let _first = self
            .staged
            .entry(info.path.clone())
            .or_insert(Staged { info, temporary });
        Ok(())
    }
}

impl Drop for Addition {
    fn drop(&mut self) {
        // What can't be removed now is removed by the next addition.
        let own = |name: &str| self.prefix.file_name().is_some_and(|own| own == name);
        let _ignored = remove_temporaries(&self.store, &own);
    }
}

/// A tree of small files and links. Names are relative; the directories that they lie in are made.
#[derive(Clone, Debug, Default)]
pub struct SmallDirectory {
    /// Names to contents.
    pub files: BTreeMap<PathBuf, Vec<u8>>,
    /// Names to targets.
    pub links: BTreeMap<PathBuf, PathBuf>,
    /// Directories that are there even when nothing lies in them.
    pub directories: BTreeSet<PathBuf>,
}

impl SmallDirectory {
    fn write(&self, path: &Path) -> Result<(), AddError> {
        // In the order of names: a directory comes before what lies in it.
        let mut directories: BTreeSet<&Path> = [Path::new("")].into();
        let above = self
            .files
            .keys()
            .chain(self.links.keys())
            .map(|name| name.parent());
        let own = self.directories.iter().map(|name| Some(name.as_path()));
        for deepest in above.chain(own).flatten() {
            directories.extend(deepest.ancestors());
        }
        for directory in directories.iter().map(|name| path.join(name)) {
            std::fs::create_dir(&directory).map_err(at(&directory))?;
        }
        for (name, bytes) in &self.files {
            write_file(&path.join(name), bytes)?;
        }
        for (name, target) in &self.links {
            let link = path.join(name);
            std::os::unix::fs::symlink(target, &link).map_err(at(&link))?;
            files::canonicalise_link(&link).map_err(at(&link))?;
        }
        // The innermost first: making an entry changes the time of its directory.
        for directory in directories.iter().rev().map(|name| path.join(name)) {
            files::canonicalise_directory(&directory).map_err(at(&directory))?;
        }
        Ok(())
    }
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), AddError> {
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(at(path))?;
    file.write_all(bytes)
        .and_then(|()| files::canonicalise_file(&file, false))
        .map_err(at(path))
}

fn realise(node: &Node, path: &Path, pool: &Pool) -> Result<(), AddError> {
    match node {
        Node::Directory(_, entries) => {
            std::fs::create_dir(path).map_err(at(path))?;
            for (name, child) in entries {
                realise(child, &path.join(name), pool)?;
            }
            files::canonicalise_directory(path).map_err(at(path))
        }
        Node::File(meta, id) => pool.link(*id, meta.mode & 0o100 != 0, path).map_err(at(path)),
        Node::Symlink(_, target) => std::os::unix::fs::symlink(target, path)
            .and_then(|()| files::canonicalise_link(path))
            .map_err(at(path)),
    }
}

fn make_directories(layout: &Layout) -> Result<(), AddError> {
    let state = layout.state_dir();
    for directory in [
        layout.store_dir().to_owned(),
        format!("{}/.links", layout.store_dir()),
        layout.profiles_dir(),
        format!("{state}/temproots"),
        format!("{}/complete", layout.objects_dir()),
    ] {
        let path = layout.physical(&directory);
        std::fs::create_dir_all(&path).map_err(at(&path))?;
    }
    let roots = layout.physical(&format!("{state}/gcroots"));
    std::fs::create_dir_all(&roots).map_err(at(&roots))?;
    let link = roots.join("profiles");
    // The logical name, right once this store is the machine's; Nix looks into the profiles by themselves too.
    match std::os::unix::fs::symlink(layout.profiles_dir(), &link) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(at(&link)(error)),
        _ => Ok(()),
    }
}

/// Removes what additions left that were killed: those whose lock nobody holds.
pub(super) fn remove_abandoned(store: &Path) -> io::Result<()> {
    let mut seen = BTreeSet::new();
    for entry in std::fs::read_dir(store)? {
        if let Some(addition) = addition_of(&entry?.file_name()) {
            let _new = seen.insert(addition);
        }
    }
    for addition in seen {
        if let Some(_lock) = PathLock::try_take(&store.join(&addition))? {
            remove_temporaries(store, &|name| name == addition)?;
        }
    }
    Ok(())
}

// `.keel-tmp-<addition>`, when a name in the store directory is one of an addition's or its lock's.
fn addition_of(name: &OsStr) -> Option<String> {
    let rest = name.to_str()?.strip_prefix(TEMPORARY)?;
    let id = rest.split(['-', '.']).next()?;
    Some(format!("{TEMPORARY}{id}"))
}

fn remove_temporaries(store: &Path, wanted: &dyn Fn(&str) -> bool) -> io::Result<()> {
    for entry in std::fs::read_dir(store)? {
        let entry = entry?;
        let name = entry.file_name();
        // The lock's file is removed by its holder, last of all.
        let is_lock = Path::new(&name).extension() == Some("lock".as_ref());
        if !is_lock && addition_of(&name).is_some_and(|addition| wanted(&addition)) {
            files::remove_tree(&entry.path())?;
        }
    }
    Ok(())
}

/// Ends the process as a power cut would, when a test asked for this place. It's there in release builds, too, since the
/// tests run those; whoever can set this command's environment can kill it without.
pub(crate) fn failpoint(name: &str) {
    if std::env::var_os("KEEL_TEST_FAILPOINT").is_some_and(|wanted| wanted == name) {
        let _never = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
    }
}
