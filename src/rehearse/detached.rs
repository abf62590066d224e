//! LUKS volumes whose header lies apart from their data: on a device of its own, or in a file on one.

use std::rc::Rc;

use super::chain::{Chain, Place};
use super::device::Device;
use super::fat::Fat;
use super::report::{LuksReport, OpenedBy};
use super::root;
use crate::block::luks::Header;
use crate::block::probe::Kind;
use crate::init::cmdline::{DeviceSpec, Source};
use crate::init::{BlockDevice, default_name};

/// Larger than any header with its keyslots.
const HEADER_MAX: u64 = 136 << 20;

/// A volume that is looked for in two places.
pub(super) struct Detached {
    /// UUID that its header must have, in lower case.
    pub uuid: String,
    /// Where the header lies.
    pub header: Source,
}

impl Chain<'_> {
    /// Deals with one volume whose parts have both appeared; when there is none, with one that lacks a part. Whether there
    /// was any: something may have appeared on it.
    pub(super) fn detached_volume_is_settled(&mut self) -> bool {
        let complete = self
            .detached
            .iter()
            .position(|volume| self.data_of(volume).is_some() && self.header_of(volume).is_some());
        if complete.is_none() && self.detached.is_empty() {
            return false;
        }
        let volume = self.detached.remove(complete.unwrap_or(0));
        let mut report = LuksReport {
            device: format!("volume {}", volume.uuid),
            uuid: Some(volume.uuid.clone()),
            is_asked_for: true,
            ..LuksReport::default()
        };
        let Some(data) = self.data_of(&volume) else {
            let why = match self.cmdline.luks.data_of(&volume.uuid) {
                None => format!(
                    "its header is apart ({}), and no rd.luks.data={}=DEVICE says where its data is",
                    volume.header, volume.uuid
                ),
                Some(data) => format!("the device with its data isn't among these: {data}"),
            };
            report.problem = Some(why);
            self.report.luks.push(report);
            return true;
        };
        report.device.clone_from(&data.name);
        let header = self.header_of(&volume).unwrap_or_else(|| {
            Err(format!(
                "its header isn't on any of these devices: {}",
                volume.header
            ))
        });
        let read = header.and_then(|keys| {
            let (header, warnings) = Header::read(&*keys).map_err(|error| error.to_string())?;
            if !header.uuid().eq_ignore_ascii_case(&volume.uuid) {
                return Err(format!(
                    "the header {} is that of {}",
                    volume.header,
                    header.uuid()
                ));
            }
            header.check_keyslots(&*keys).map_err(|error| error.to_string())?;
            Ok((keys, header, warnings))
        });
        match read {
            Ok((keys, header, warnings)) => {
                report.warnings = warnings.iter().map(ToString::to_string).collect();
                self.note_file_system(&volume);
                self.luks_found(&header, &keys, &data, report);
            }
            Err(why) => self.without_header(&volume, &data, report, why),
        }
        true
    }

    /// A volume that is open on this machine is looked into all the same: its header may be on a stick that is plugged in
    /// for booting.
    fn without_header(&mut self, volume: &Detached, data: &Place, mut report: LuksReport, why: String) {
        let hexadecimal = volume.uuid.replace('-', "");
        let name = self.cmdline.luks_name(&volume.uuid).flatten();
        let name = name.map_or_else(|| default_name(&volume.uuid), ToOwned::to_owned);
        let mapping = [2, 1]
            .map(|version| format!("CRYPT-LUKS{version}-{hexadecimal}-"))
            .into_iter()
            .find_map(|prefix| Some(((self.secrets.mapped)(&prefix)?, prefix)));
        report.name = Some(name.clone());
        match mapping {
            Some((content, prefix)) => {
                report.opened_by = Some(OpenedBy::Mapping);
                report.warnings.push(format!("{why}; the boot needs it"));
                self.mapping_appears(content, &name, data.number, format!("{prefix}{name}"));
            }
            None => report.problem = Some(why),
        }
        self.report.luks.push(report);
    }

    /// The boot needs the file system of a header, too.
    fn note_file_system(&mut self, volume: &Detached) {
        if let Source::OnDevice(_, spec) = &volume.header
            && let Some(kind) = self.find(spec).and_then(|found| kind(&found.block))
        {
            self.read_from
                .push((kind, format!("the header of volume {}", volume.uuid)));
        }
    }

    fn data_of(&self, volume: &Detached) -> Option<Place> {
        self.place(self.cmdline.luks.data_of(&volume.uuid)?)
    }

    fn place(&self, spec: &DeviceSpec) -> Option<Place> {
        let found = self.find(spec)?;
        Some(Place {
            number: found.block.number,
            name: found.block.display_name(),
            device: found.device,
        })
    }

    /// The bytes of a header, or why there are none. `None` while its device isn't there.
    fn header_of(&self, volume: &Detached) -> Option<Result<Device, String>> {
        match &volume.header {
            Source::Device(spec) => Some(Ok(self.place(spec)?.device)),
            Source::OnDevice(path, spec) => {
                let found = self.find(spec)?;
                let name = found.block.display_name();
                let content = match kind(&found.block) {
                    Some(Kind::Vfat) => Fat::open(found.device)
                        .and_then(|fat| fat.read(path, HEADER_MAX))
                        .map_err(|error| format!("{name}: {error}")),
                    Some(Kind::Ext2 | Kind::Ext3 | Kind::Ext4) => {
                        root::read_file(found.device, path, HEADER_MAX)
                            .map_err(|error| format!("{name}: {error}"))
                    }
                    Some(kind) => Err(format!(
                        "its header is on {name}, whose file system ({kind}) can't be read by a rehearsal"
                    )),
                    None => Err(format!("{name} has no file system that keel knows")),
                };
                Some(content.map(|bytes| -> Device { Rc::new(bytes) }))
            }
            Source::File(path) => Some(Err(format!(
                "its header is in the initrd ({}), where a rehearsal doesn't look for it",
                path.display()
            ))),
        }
    }
}

fn kind(block: &BlockDevice) -> Option<Kind> {
    block.superblock.as_ref().map(|found| found.kind)
}
