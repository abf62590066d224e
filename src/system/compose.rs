//! From a root file system to the parts of a system: `/usr`, `/etc`, modules, kernel, accounts, factory copies. Works on
//! trees in memory and on the pool.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::declared::Ids;
use super::factory::{self, Covered, Names};
use super::ids::{self, Assigned, IdsError};
use super::kernel;
use super::notice::Notice;
use super::packages::{self, Packages};
use super::rootfs::Rootfs;
use crate::store::pool::{ContentId, Pool};
use crate::store::tree::{Meta, Node, TreeError};

/// Longest text file that is read whole.
const TEXT_MAX: u64 = 64 << 20;
/// Where dpkg's database travels, below `/usr`.
const DPKG: &str = "lib/sysimage/dpkg";
/// systemd enables what presets say when it finds no machine-id; here units are enabled by the links in `/etc` alone.
const PRESET: &[u8] = b"# Units of this system are enabled by its links, never by a preset.\ndisable *\n";

/// Why a root file system is none that a system can be made of.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// `/usr` isn't merged.
    #[error(
        "/{0} is not a link to usr/{0}: only merged-/usr root file systems are taken (install usrmerge in it)"
    )]
    NotMerged(&'static str),
    /// Something that every Debian root file system has.
    #[error("there is no {0}: is this a Debian root file system?")]
    Missing(&'static str),
    /// No kernel that has its modules.
    #[error(
        "no kernel with its modules: kernels in /boot: {kernels}; modules in /usr/lib/modules: {modules} \
         (install linux-image-amd64 in it)"
    )]
    NoKernel {
        /// Versions.
        kernels: String,
        /// Versions.
        modules: String,
    },
    /// Accounts can't be numbered.
    #[error(transparent)]
    Ids(#[from] IdsError),
    /// A file can't be read or written.
    #[error("{0}: {1}")]
    File(String, #[source] io::Error),
    /// A generated file can't be placed.
    #[error("a generated file can't be placed: {0}")]
    Tree(#[from] TreeError),
}

/// The parts of a system.
#[derive(Debug)]
pub struct Parts {
    /// `/usr` without the kernel's modules.
    pub usr: Node,
    /// `/etc`.
    pub etc: Node,
    /// A layer of `/usr` with the kernel's modules: `lib/modules/<version>`.
    pub modules: Node,
    /// The kernel's image.
    pub kernel: ContentId,
    /// As `uname -r` says it.
    pub kernel_version: String,
    /// `PRETTY_NAME` of os-release.
    pub os_name: String,
    /// What dpkg's database says.
    pub packages: Packages,
    /// Accounts and their numbers.
    pub accounts: Assigned,
}

/// Takes a root file system apart. `previous` are the machine's numbers of accounts.
pub fn divide(
    rootfs: Rootfs,
    pool: &Pool,
    previous: &Ids,
    report: &mut dyn FnMut(Notice),
) -> Result<Parts, ComposeError> {
    let Rootfs { mut tree, accounts } = rootfs;
    require_merged_usr(&tree)?;
    let accounts = number_accounts(&accounts, previous, report)?;
    give_to_machine(&mut tree, &accounts, report);

    let mut usr = directory(&mut tree, "usr", "/usr")?;
    let mut etc = directory(&mut tree, "etc", "/etc")?;
    let mtime = usr.meta().mtime;
    let os_name = os_name(&usr, pool);
    let (kernel_version, kernel, modules) = kernel::take(&mut tree, &mut usr, report)?;

    let mut var = tree.take("var").unwrap_or_else(|| Node::directory(mtime));
    let packages = take_packages(&mut var, &mut usr, pool, mtime)?;
    let local = usr.take("local").filter(|local| local.entries().is_some());
    usr.put(Path::new("local"), Node::symlink("../var/usrlocal", mtime), mtime)?;

    let mut seeded = vec![("var".to_owned(), var)];
    seeded.extend(local.map(|local| ("var/usrlocal".to_owned(), local)));
    for name in ["home", "opt", "root", "srv"] {
        seeded.extend(
            tree.take(name)
                .filter(|node| node.entries().is_some())
                .map(|node| (name.to_owned(), node)),
        );
    }
    add_factory(&mut usr, &etc, &seeded, (&accounts, pool), mtime)?;
    // The image brings the cache of its own libraries; one made on the machine would hide that of every later system.
    let _link = usr.take("lib/systemd/system/sysinit.target.wants/ldconfig.service");
    let preset = add_file(pool, "00-keel.preset", PRESET)?;
    etc.put(
        Path::new("systemd/system-preset/00-keel.preset"),
        Node::File(Meta::root(0o644, mtime), preset),
        mtime,
    )?;
    warn_of_rest(&tree, report);
    Ok(Parts {
        usr,
        etc,
        modules,
        kernel,
        kernel_version,
        os_name,
        packages,
        accounts,
    })
}

fn require_merged_usr(tree: &Node) -> Result<(), ComposeError> {
    for name in ["bin", "sbin", "lib", "lib64", "lib32", "libx32"] {
        match tree.get(name) {
            None => {}
            Some(Node::Symlink(_, target)) if Path::new("/").join(target) == Path::new("/usr").join(name) => {
            }
            Some(_) => return Err(ComposeError::NotMerged(name)),
        }
    }
    Ok(())
}

fn number_accounts(
    files: &BTreeMap<String, Vec<u8>>,
    previous: &Ids,
    report: &mut dyn FnMut(Notice),
) -> Result<Assigned, ComposeError> {
    let users = ids::parse_passwd(files.get("passwd").ok_or(ComposeError::Missing("/etc/passwd"))?)?;
    let groups = ids::parse_group(files.get("group").ok_or(ComposeError::Missing("/etc/group"))?)?;
    for user in files
        .get("shadow")
        .map(|bytes| ids::with_password(bytes))
        .unwrap_or_default()
    {
        report(Notice::Warning(format!(
            "the password of {user} is left out: set it on the machine (passwd {user})"
        )));
    }
    Ok(ids::assign(previous, &users, &groups, report)?)
}

// Owners become the machine's numbers.
fn give_to_machine(tree: &mut Node, accounts: &Assigned, report: &mut dyn FnMut(Notice)) {
    let mut strangers: BTreeMap<(&'static str, u32), (PathBuf, usize)> = BTreeMap::new();
    tree.walk_mut(Path::new("/"), &mut |path, node| {
        let meta = node.meta_mut();
        for (kind, id, numbers) in [
            ("user", &mut meta.uid, &accounts.numbering.users),
            ("group", &mut meta.gid, &accounts.numbering.groups),
        ] {
            match numbers.get(id) {
                Some(to) => *id = *to,
                None => {
                    strangers
                        .entry((kind, *id))
                        .or_insert_with(|| (path.to_owned(), 0))
                        .1 += 1;
                }
            }
        }
    });
    for ((kind, id), (path, count)) in strangers {
        let names = if kind == "user" {
            &accounts.ids.users
        } else {
            &accounts.ids.groups
        };
        if let Some((name, _)) = names.iter().find(|&(_, &number)| number == id) {
            report(Notice::Warning(format!(
                "{count} files (the first: {}) belong to the {kind} number {id}, which has no name in the root file \
                 system and belongs to {name} on this machine",
                path.display()
            )));
        }
    }
}

fn directory(tree: &mut Node, name: &str, shown: &'static str) -> Result<Node, ComposeError> {
    tree.take(name)
        .filter(|node| node.entries().is_some())
        .ok_or(ComposeError::Missing(shown))
}

// dpkg's database describes what /usr holds, so it travels with it.
fn take_packages(var: &mut Node, usr: &mut Node, pool: &Pool, mtime: i64) -> Result<Packages, ComposeError> {
    if let Some(mut database) = var.take("lib/dpkg").filter(|node| node.entries().is_some()) {
        let _locks = ["lock", "lock-frontend", "triggers/Lock"].map(|name| database.take(name));
        // Backups, and what only the first boot of dselect used.
        if let Some(entries) = database.entries_mut() {
            entries.retain(|name, _| !name.as_encoded_bytes().ends_with(b"-old") && name != "available");
        }
        let _old = usr.take(DPKG);
        usr.put(Path::new(DPKG), database, mtime)?;
    }
    let Some(Node::File(_, status)) = usr.get(&format!("{DPKG}/status")) else {
        return Err(ComposeError::Missing("/var/lib/dpkg/status"));
    };
    let bytes = pool
        .read(*status, TEXT_MAX)
        .map_err(|error| ComposeError::File("dpkg's status".into(), error))?;
    Ok(packages::from_dpkg_status(&bytes))
}

fn add_factory(
    usr: &mut Node,
    etc: &Node,
    seeded: &[(String, Node)],
    (accounts, pool): (&Assigned, &Pool),
    mtime: i64,
) -> Result<(), ComposeError> {
    let mut names = Names::default();
    for user in &accounts.declared.users {
        let _first = names.users.entry(user.uid).or_insert_with(|| user.name.clone());
    }
    for group in &accounts.declared.groups {
        let _first = names
            .groups
            .entry(group.gid)
            .or_insert_with(|| group.name.clone());
    }
    let mut covered = Covered::default();
    let overriding = etc.get("tmpfiles.d");
    for (name, node) in factory::configurations(usr.get("lib/tmpfiles.d")) {
        // A file of the same name in /etc replaces it.
        if overriding
            .and_then(Node::entries)
            .is_none_or(|entries| !entries.contains_key(name))
        {
            cover(&mut covered, node, pool);
        }
    }
    for (_, node) in factory::configurations(overriding) {
        cover(&mut covered, node, pool);
    }
    let trees: Vec<_> = seeded.iter().map(|(at, node)| (at.as_str(), node)).collect();
    let mut made = factory::make(&trees, &names, &covered, mtime);
    made.configuration.push_str(factory::DPKG_LINE);
    let mut placed = Ok(());
    made.copies.walk(Path::new(factory::FACTORY), &mut |path, node| {
        let node = match node {
            Node::Directory(meta, _) => Node::Directory(meta.clone(), BTreeMap::new()),
            other => other.clone(),
        };
        if placed.is_ok() {
            placed = usr.put(path, node, mtime);
        }
    });
    placed?;
    let id = add_file(pool, factory::CONFIGURATION, made.configuration.as_bytes())?;
    Ok(usr.put(
        Path::new(factory::CONFIGURATION),
        Node::File(Meta::root(0o644, mtime), id),
        mtime,
    )?)
}

fn cover(covered: &mut Covered, node: &Node, pool: &Pool) {
    // A file that can't be read covers nothing: at worst a path has a line too many.
    if let Node::File(_, id) = node
        && let Ok(bytes) = pool.read(*id, TEXT_MAX)
    {
        covered.add(&bytes);
    }
}

fn add_file(pool: &Pool, name: &str, bytes: &[u8]) -> Result<ContentId, ComposeError> {
    pool.add(bytes, false)
        .map_err(|error| ComposeError::File(name.to_owned(), error))
}

// os-release(5), in /usr/lib where Debian keeps it.
fn os_name(usr: &Node, pool: &Pool) -> String {
    let text = match usr.get("lib/os-release") {
        Some(Node::File(_, id)) => pool.read(*id, TEXT_MAX).unwrap_or_default(),
        _ => Vec::new(),
    };
    let text = String::from_utf8_lossy(&text);
    let value = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    };
    let name = value("PRETTY_NAME")
        .or_else(|| value("NAME"))
        .unwrap_or("Linux")
        .trim();
    let name = name.trim_matches(['"', '\'']).replace('\\', "");
    name.chars().filter(|c| !c.is_control()).take(100).collect()
}

// What is not taken over must not be lost without a word.
fn warn_of_rest(tree: &Node, report: &mut dyn FnMut(Notice)) {
    for (name, node) in tree.entries().into_iter().flatten() {
        let known = matches!(
            name.to_str(),
            Some(
                "bin"
                    | "sbin"
                    | "lib"
                    | "lib64"
                    | "lib32"
                    | "libx32"
                    | "dev"
                    | "proc"
                    | "sys"
                    | "run"
                    | "tmp"
                    | "nix"
                    | "vmlinuz"
                    | "vmlinuz.old"
                    | "initrd.img"
                    | "initrd.img.old"
                    | "lost+found"
            )
        );
        let mount_point = matches!(name.to_str(), Some("mnt" | "media")) && !factory::holds_files(node);
        if !known && !mount_point {
            let name = name.to_string_lossy();
            report(Notice::Warning(format!(
                "/{name} is left out: a system holds /usr and /etc, and copies of /var, /home, /opt, /root and /srv"
            )));
        }
    }
}
