//! `assemble_root`: from a mounted root file system and a system to a tree that systemd can start in.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::mount::{MntFlags, umount2};

use super::identity::{self, Identity, IdentityWarning};
use super::images::{self, Image, ImageError};
use super::layout::{self, LayoutError};
use crate::sys::mount::DetachedMount;
use crate::sys::open_in_root::RootDir;

/// The images of a system.
pub(super) const USR_IMAGE: &str = "usr.cfs";
pub(super) const ETC_IMAGE: &str = "etc.cfs";
/// Where the objects are, below the root.
const OBJECTS: &str = "nix/var/keel/objects";
/// Where `/etc` keeps the administrator's changes, below the root.
const ETC_STATE: &str = "var/lib/keel/etc";

/// What to assemble, and where.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The mounted, writable root file system, such as `/sysroot`.
    pub root: &'a Path,
    /// The store path of the system, as seen inside the root.
    pub system: &'a str,
    /// A directory outside of the root where images are mounted in passing.
    pub scratch: &'a Path,
    /// The store path of the modules tree of the running kernel, when the system's own kernel is another.
    pub kernel_modules: Option<&'a str>,
    /// `systemd.machine_id=`, when given.
    pub machine_id: Option<&'a str>,
}

/// What was done.
#[derive(Debug)]
pub struct Assembled {
    /// What didn't stop the boot, but should be known.
    pub warnings: Vec<IdentityWarning>,
}

/// Why no root could be assembled.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// A mount point or link of the root file system.
    #[error("the root file system can't be completed: {0}")]
    Layout(#[from] LayoutError),
    /// A part of the system.
    #[error("{path} can't be opened: {source}; choose another generation, then `keel store repair`")]
    Part {
        /// Path inside of the root.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// An image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The state of `/etc`.
    #[error("the state of /etc in /{path} can't be prepared: {source}")]
    EtcState {
        /// Path inside of the root.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// Assembles the root of `request.system` at `request.root`.
///
/// Everything is resolved inside of the root: no link of the store leads into the initrd's own tree.
/// On failure what was mounted is unmounted again, so that another generation can be tried.
pub fn assemble_root(request: &Request<'_>) -> Result<Assembled, AssembleError> {
    layout::complete(request.root)?;
    let mut mounted = Mounted::default();
    match assemble(request, &mut mounted) {
        Ok(assembled) => Ok(assembled),
        Err(error) => {
            mounted.undo();
            Err(error)
        }
    }
}

fn assemble(request: &Request<'_>, mounted: &mut Mounted) -> Result<Assembled, AssembleError> {
    let trees = trees(request)?;
    for (tree, name, image) in [(trees.usr, "usr", USR_IMAGE), (trees.etc, "etc", ETC_IMAGE)] {
        let target = request.root.join(name);
        images::attach(tree, &target, image)?;
        mounted.push(target);
    }
    let warnings = identity::settle(&Identity {
        root: request.root,
        system: request.system,
        machine_id: request.machine_id,
    });
    Ok(Assembled { warnings })
}

/// The two trees of a system, attached nowhere yet.
#[derive(Debug)]
pub(super) struct Trees {
    /// `/usr`.
    pub usr: DetachedMount,
    /// `/etc`, with the administrator's changes on top.
    pub etc: DetachedMount,
}

/// Makes the trees: the same for a boot and for a running system.
pub(super) fn trees(request: &Request<'_>) -> Result<Trees, AssembleError> {
    let usr = image_tree(request, USR_IMAGE)?;
    let etc = image_tree(request, ETC_IMAGE)?;
    let work = new_work_directory(request.root)?;
    let upper = request.root.join(ETC_STATE).join("upper");
    // An overlay takes layers of this mount namespace only, so the image is attached for a moment.
    let lower = request.scratch.join("etc");
    images::make_directory(&lower)?;
    images::attach(etc, &lower, ETC_IMAGE)?;
    let writable = images::writable_over(&lower, &upper, &work);
    let _ = umount2(&lower, MntFlags::MNT_DETACH);
    let etc = writable.map_err(|source| ImageError::Overlay {
        mount_point: request.root.join("etc"),
        image: ETC_IMAGE.to_owned(),
        source,
    })?;
    Ok(Trees { usr, etc })
}

fn image_tree(request: &Request<'_>, name: &str) -> Result<DetachedMount, AssembleError> {
    let file = open_part(
        request.root,
        &format!("{}/{name}", request.system),
        OFlag::O_RDONLY,
    )?;
    let objects = open_part(request.root, OBJECTS, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
    let modules = match request.kernel_modules {
        Some(path) if name == USR_IMAGE => {
            Some(open_part(request.root, path, OFlag::O_PATH | OFlag::O_DIRECTORY)?)
        }
        _ => None,
    };
    let below: Vec<_> = modules.iter().map(AsFd::as_fd).collect();
    let image = Image {
        name,
        file: file.as_fd(),
        objects: objects.as_fd(),
        below: &below,
    };
    Ok(image.mount(&request.scratch.join(name))?)
}

fn open_part(root: &Path, path: &str, flags: OFlag) -> Result<OwnedFd, AssembleError> {
    let part_error = |source| AssembleError::Part {
        path: path.to_owned(),
        source,
    };
    RootDir::open(root)
        .and_then(|root| root.open_at(path, flags))
        .map_err(part_error)
}

/// A work directory that no mount has used: a second overlay on the same one breaks copy-up through the first
/// (seen on Linux 6.18). Those of earlier boots go; a running system may still use any of them.
fn new_work_directory(root: &Path) -> Result<PathBuf, AssembleError> {
    let state = root.join(ETC_STATE);
    let state_error = |source| AssembleError::EtcState {
        path: ETC_STATE.to_owned(),
        source,
    };
    fs::create_dir_all(&state).map_err(state_error)?;
    for entry in fs::read_dir(&state).map_err(state_error)? {
        let entry = entry.map_err(state_error)?;
        if root != Path::new("/") && entry.file_name().to_string_lossy().starts_with("work-") {
            // One that can't go only takes room.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let unique = fs::read_to_string("/proc/sys/kernel/random/uuid").map_err(state_error)?;
    let work = state.join(format!("work-{}", unique.trim()));
    fs::create_dir(&work).map_err(state_error)?;
    Ok(work)
}

/// Mount points in the order in which they were mounted.
#[derive(Debug, Default)]
struct Mounted(Vec<PathBuf>);

impl Mounted {
    fn push(&mut self, path: PathBuf) {
        self.0.push(path);
    }

    fn undo(&mut self) {
        while let Some(path) = self.0.pop() {
            let _ = umount2(&path, MntFlags::MNT_DETACH);
        }
    }
}
