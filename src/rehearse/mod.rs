//! `keel rehearse`: proves, before a reboot, that the next boot will find and open everything. Early boot's own code looks
//! at the devices of the running machine, or at image files, and only reads.
//!
//! [`chain`] walks from disks to file systems, [`root`] looks into the root, [`modules`] compares what the way needs with
//! what the initrd has, [`host`] knows the running machine.

mod chain;
mod detached;
mod device;
mod fat;
mod host;
mod modules;
mod report;
mod root;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use zeroize::Zeroizing;

use self::chain::{Chain, Disk, Found, Secrets};
use self::device::{Device, Piece};
use self::modules::Needed;
use self::report::{GenerationReport, RootReport};
use self::root::Root;
use crate::block::probe::Kind;
use crate::block::{DeviceNumber, gpt};
use crate::init::cmdline::CommandLine;
use crate::init::{BlockDevice, modules::Table, requested};
use crate::initrd::file_of_image;
use crate::store::Layout;
use crate::system::bootspec::BootSpec;
use crate::system::generation::{Profile, SYSTEM_PROFILE};

pub use self::report::{Outcome, Report};

/// Where an initrd has its table of modules.
const MODULE_TABLE: &str = "etc/keel/modules";
/// Where an initrd has lvm.
const LVM: &str = "usr/sbin/lvm";
/// The number of device-mapper's devices where no kernel says it.
const DM_MAJOR: u32 = 253;

/// What is rehearsed.
pub struct Rehearsal<'a> {
    /// Image files of disks, partitions or volumes; the devices of this machine when there are none.
    pub images: &'a [PathBuf],
    /// Kernel parameters; those of the generation when absent.
    pub parameters: Option<String>,
    /// The system that is to start; that of the parameters, else the profile's, when absent.
    pub system: Option<String>,
    /// What opens LUKS volumes.
    pub passphrases: Vec<Zeroizing<Vec<u8>>>,
}

/// Why nothing could be rehearsed.
#[derive(Debug, thiserror::Error)]
pub enum RehearseError {
    /// An image.
    #[error("{path} can't be read: {source}")]
    Image {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Rehearsal<'_> {
    /// Goes the whole way.
    pub fn run(&self) -> Result<Report, RehearseError> {
        let is_live = self.images.is_empty();
        let given = self
            .parameters
            .clone()
            .or_else(|| self.parameters_of_this_machine());
        let mut known = BTreeMap::new();
        let mut text = given.clone().unwrap_or_default();
        // Without parameters the first walk finds the generation, and the second goes by what that one says.
        for is_last in [given.is_some(), true] {
            let (mut cmdline, warnings) = CommandLine::parse(&text);
            if let Some(system) = &self.system {
                cmdline.system = Some(system.clone());
            }
            let mapped: &dyn Fn(&str) -> Option<Device> = if is_live { &host::mapped } else { &|_| None };
            let secrets = Secrets {
                passphrases: &self.passphrases,
                mapped,
                known: &mut known,
            };
            let first = DeviceNumber {
                major: if is_live { host::dm_major() } else { DM_MAJOR },
                minor: 0,
            };
            let chain = Chain::walk(&cmdline, self.disks()?, secrets, first);
            let mut report = Judge {
                chain,
                cmdline: &cmdline,
                is_live,
            }
            .judge(is_last);
            if is_last {
                report.warnings.extend(warnings.iter().map(ToString::to_string));
                return Ok(report.report);
            }
            match report.parameters {
                Some(parameters) => text = parameters,
                None => return Ok(report.report),
            }
        }
        Ok(Report::default())
    }

    /// What the kernel of the next boot is told, as far as this machine's profile says it.
    fn parameters_of_this_machine(&self) -> Option<String> {
        if !self.images.is_empty() {
            return None;
        }
        let found = requested(Path::new("/"), self.system.as_deref()).ok()?;
        Some(parameters_of(Path::new("/"), &found.system)?.0)
    }

    fn disks(&self) -> Result<Vec<Disk>, RehearseError> {
        if self.images.is_empty() {
            return Ok(host::disks());
        }
        let mut disks = Vec::new();
        for (path, major) in self.images.iter().zip(1..) {
            let failed = |source| RehearseError::Image {
                path: path.clone(),
                source,
            };
            disks.extend(image(path, major).map_err(failed)?);
        }
        Ok(disks)
    }
}

/// An image file, and its partitions when it's a disk.
fn image(path: &Path, major: u32) -> io::Result<Vec<Disk>> {
    let file: Device = Rc::new(File::open(path)?);
    let block = |minor, path| BlockDevice {
        number: DeviceNumber { major, minor },
        path,
        aliases: Vec::new(),
        superblock: None,
        partition_uuid: None,
        partition_label: None,
        dm_uuid: None,
    };
    let mut disks = vec![Disk {
        block: block(0, path.to_owned()),
        device: file.clone(),
    }];
    for partition in gpt::read(&*file)?.unwrap_or_default() {
        let name = format!("{}p{}", path.display(), partition.number);
        disks.push(Disk {
            block: BlockDevice {
                partition_uuid: Some(partition.uuid),
                partition_label: Some(partition.label),
                ..block(partition.number, name.into())
            },
            device: Rc::new(Piece {
                disk: file.clone(),
                start: partition.start,
                length: partition.length,
            }),
        });
    }
    Ok(disks)
}

/// The kernel parameters of a system below `root`, and its initrd.
fn parameters_of(root: &Path, system: &str) -> Option<(String, BootSpec)> {
    let profile = Profile::open(Layout::below(root), SYSTEM_PROFILE).ok()?;
    let path = crate::store::StorePath::from_absolute(profile.layout().store_dir(), system).ok()?;
    let spec = profile.boot_spec(&path).ok()?;
    Some((
        format!("{} keel.system={system}", spec.v1.kernel_params.join(" ")),
        spec,
    ))
}

/// A walk, and what is made of it.
struct Judge<'a> {
    chain: Chain<'a>,
    cmdline: &'a CommandLine,
    is_live: bool,
}

/// Why the root can't be looked into.
enum NoWayIn {
    /// It isn't there.
    Absent(String),
    /// It's there, and its content can't be read from here.
    Closed(Box<Found>, String),
}

/// A judged walk.
struct Judged {
    report: Report,
    /// What the generation that was found tells its kernel.
    parameters: Option<String>,
}

impl std::ops::Deref for Judged {
    type Target = Report;
    fn deref(&self) -> &Report {
        &self.report
    }
}

impl std::ops::DerefMut for Judged {
    fn deref_mut(&mut self) -> &mut Report {
        &mut self.report
    }
}

impl Judge<'_> {
    fn judge(mut self, is_last: bool) -> Judged {
        let mut parameters = None;
        match self.root(is_last) {
            Err(NoWayIn::Closed(found, problem)) => {
                self.report_root(&found);
                self.collect_problems();
                self.chain.report.outcome = Outcome::Fails;
                self.chain.report.problems.push(problem);
            }
            Err(NoWayIn::Absent(problem)) => {
                let opened =
                    self.chain.report.luks.iter().all(|luks| {
                        !luks.is_asked_for || (luks.opened_by.is_some() && luks.problem.is_none())
                    });
                let broken = self.chain.report.luks.iter().any(|luks| luks.uuid.is_none());
                self.chain.report.outcome = if opened && !broken {
                    Outcome::NoRoot
                } else {
                    Outcome::Fails
                };
                self.chain.report.problems.push(problem);
            }
            Ok((found, root)) => {
                self.report_root(&found);
                match self.generation(&found, &root) {
                    Ok(told) => parameters = Some(told),
                    Err(problem) => self.chain.report.problems.push(problem),
                }
                self.collect_problems();
                let report = &mut self.chain.report;
                report.outcome = if report.problems.is_empty() {
                    Outcome::Boots
                } else {
                    Outcome::Fails
                };
            }
        }
        Judged {
            report: self.chain.report,
            parameters,
        }
    }

    fn report_root(&mut self, found: &Found) {
        let superblock = found.block.superblock.as_ref();
        self.chain.report.root = Some(RootReport {
            device: found.block.display_name(),
            kind: superblock.map_or_else(String::new, |found| found.kind.name().to_owned()),
            uuid: superblock.and_then(|found| found.uuid.clone()),
        });
    }

    /// The root's device, and a way into it.
    fn root(&self, is_last: bool) -> Result<(Found, Root), NoWayIn> {
        let found = match (&self.cmdline.root, is_last) {
            (Some(spec), _) => self
                .chain
                .find(spec)
                .ok_or_else(|| NoWayIn::Absent(format!("root={spec} isn't on any of these devices")))?,
            (None, true) => {
                return Err(NoWayIn::Absent(
                    "the kernel's parameters name no root (root=)".to_owned(),
                ));
            }
            // The file system that has a profile.
            (None, false) => {
                let mut all = self.chain.file_systems().into_iter();
                let holds = |found: &Found| {
                    open_root(found).is_ok_and(|root| requested(root.directory(), None).is_ok())
                };
                all.find(holds).ok_or_else(|| {
                    NoWayIn::Absent("no file system on these devices has a generation of keel's".to_owned())
                })?
            }
        };
        if self.is_live {
            host::must_be_mounted_root(found.block.number, found.dm_uuid.as_deref())
                .map_err(NoWayIn::Absent)?;
            return Ok((found, Root::Mounted("/".into())));
        }
        let superblock = found.block.superblock.as_ref();
        if superblock.is_none_or(|found| !found.kind.is_file_system()) {
            let name = found.block.display_name();
            return Err(NoWayIn::Absent(format!("{name}: there is no file system on it")));
        }
        match open_root(&found) {
            Ok(root) => Ok((found, root)),
            Err(why) => {
                let why = format!("{}: {why}", found.block.display_name());
                Err(NoWayIn::Closed(Box::new(found), why))
            }
        }
    }

    /// The generation, its initrd and its modules; gives its kernel parameters.
    fn generation(&mut self, found: &Found, root: &Root) -> Result<String, String> {
        let asked = requested(root.directory(), self.cmdline.system.as_deref())?;
        self.chain.report.generation = Some(GenerationReport {
            number: asked.number,
            system: asked.system.clone(),
            kernel: asked.kernel,
        });
        let (parameters, spec) = parameters_of(root.directory(), &asked.system)
            .ok_or_else(|| format!("{}: boot.json can't be read", asked.system))?;
        let initrd = spec
            .v1
            .initrd
            .ok_or_else(|| format!("{} has no initrd", asked.system))?;
        let image = root.read(&initrd).map_err(|error| format!("{initrd}: {error}"))?;
        if let Some(volume) = self.chain.root_by_lvm(found) {
            let has = file_of_image(&image, LVM).map_err(|error| format!("{initrd}: {error}"))?;
            if has.is_none() {
                self.chain.report.problems.push(format!(
                    "{volume} needs lvm, which the initrd lacks; build it again with --lvm"
                ));
            }
        }
        let table = file_of_image(&image, MODULE_TABLE)
            .map_err(|error| format!("{initrd}: {error}"))?
            .ok_or_else(|| format!("{initrd} isn't an initrd of keel's: it has no {MODULE_TABLE}"))?;
        let table = Table::parse(&table).map_err(|error| format!("{initrd}: {error}"))?;
        self.chain.report.modules = self.needed(found).judge(&table);
        Ok(parameters)
    }

    fn needed(&self, found: &Found) -> Needed {
        let mut needed = Needed::always();
        let report = &self.chain.report;
        if let Some(superblock) = &found.block.superblock {
            needed.add(superblock.kind.name(), "the root file system");
        }
        for (kind, what_for) in &self.chain.read_from {
            needed.add(kind.name(), what_for);
        }
        if !report.tables.is_empty() || report.luks.iter().any(|luks| luks.opened_by.is_some()) {
            needed.add("dm_mod", "LUKS and LVM");
        }
        for luks in report.luks.iter().filter(|luks| luks.opened_by.is_some()) {
            needed.add("dm_crypt", &luks.device);
            needed.add_cipher(luks.cipher.as_deref().unwrap_or_default(), &luks.device);
        }
        for volume in report.volumes.iter().filter(|volume| volume.is_by_lvm) {
            if self.chain.root_by_lvm(found).as_ref() == Some(&volume.name) {
                for module in &volume.modules {
                    needed.add(module, &volume.name);
                }
            }
        }
        if self.is_live {
            for number in self.chain.foundations(found.block.number) {
                needed.add_drivers(Path::new("/sys"), number, "the root's disk");
            }
        }
        needed
    }

    fn collect_problems(&mut self) {
        let report = &mut self.chain.report;
        let mut problems = Vec::new();
        for luks in report.luks.iter().filter(|luks| luks.is_asked_for) {
            problems.extend(luks.problem.iter().map(|why| format!("{}: {why}", luks.device)));
        }
        for volume in &report.volumes {
            if let Some(why) = &volume.problem {
                report.warnings.push(format!("{}: {why}", volume.name));
            }
        }
        for module in report
            .modules
            .iter()
            .filter(|module| !module.in_initrd && !module.built_in)
        {
            problems.push(format!(
                "the initrd lacks the module {} ({}); build it again with --module={}",
                module.name, module.needed_by, module.name
            ));
        }
        report.problems.extend(problems);
    }
}

/// A way into the file system on a device.
fn open_root(found: &Found) -> Result<Root, String> {
    match found.block.superblock.as_ref().map(|superblock| superblock.kind) {
        Some(Kind::Ext2 | Kind::Ext3 | Kind::Ext4) => {
            Root::on(found.device.clone()).map_err(|error| error.to_string())
        }
        Some(kind) => Err(format!(
            "that the root is there and opens is proved; its generation, initrd and modules are not, since only ext4 can be \
             looked into in an image and this is {kind}. `keel rehearse` on the running machine looks at those, too"
        )),
        None => Err("there is no file system on it".to_owned()),
    }
}
