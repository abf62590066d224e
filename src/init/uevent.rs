//! Uevents of the kernel: `ACTION@DEVPATH`, then `KEY=VALUE`, each ended by a NUL byte (Linux,
//! lib/kobject_uevent.c).

use crate::block::DeviceNumber;

/// What happened to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The device appeared.
    Add,
    /// The device says something new, such as a medium that was put in.
    Change,
    /// The device went.
    Remove,
    /// Binding, moving and the like.
    Other,
}

/// An event of interest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Uevent {
    /// What happened.
    pub action: Action,
    /// Path below `/sys`, with a leading slash.
    pub device_path: String,
    /// `SUBSYSTEM=`
    pub subsystem: String,
    /// `MODALIAS=`, when the device wants a driver.
    pub modalias: Option<String>,
    /// `MAJOR=` and `MINOR=`.
    pub number: Option<DeviceNumber>,
    /// `DEVNAME=`, below `/dev`.
    pub name: Option<String>,
    /// `PARTUUID=` of a partition, from kernels that say it.
    pub partition_uuid: Option<String>,
    /// `PARTNAME=`, the label of a partition.
    pub partition_label: Option<String>,
}

impl Uevent {
    /// Reads one datagram. `None` for what isn't an event of the kernel.
    pub(super) fn parse(datagram: &[u8]) -> Option<Uevent> {
        let mut fields = datagram
            .split(|&byte| byte == 0)
            .map(|field| std::str::from_utf8(field).ok());
        let header = fields.next()??;
        let (action, device_path) = header.split_once('@')?;
        let mut event = Uevent::from_variables(fields.flatten());
        event.action = match action {
            "add" => Action::Add,
            "change" => Action::Change,
            "remove" => Action::Remove,
            _ => Action::Other,
        };
        device_path.clone_into(&mut event.device_path);
        Some(event)
    }

    /// Reads the lines of a `uevent` file of sysfs, which says what the event of the device would say.
    pub(super) fn from_sysfs(text: &str, device_path: &str, subsystem: &str) -> Uevent {
        let mut event = Uevent::from_variables(text.lines());
        event.action = Action::Add;
        device_path.clone_into(&mut event.device_path);
        subsystem.clone_into(&mut event.subsystem);
        event
    }

    fn from_variables<'a>(variables: impl Iterator<Item = &'a str>) -> Uevent {
        let mut event = Uevent {
            action: Action::Other,
            device_path: String::new(),
            subsystem: String::new(),
            modalias: None,
            number: None,
            name: None,
            partition_uuid: None,
            partition_label: None,
        };
        let (mut major, mut minor) = (None, None);
        for variable in variables {
            let Some((key, value)) = variable.split_once('=') else {
                continue;
            };
            match key {
                "SUBSYSTEM" => value.clone_into(&mut event.subsystem),
                "MODALIAS" => event.modalias = Some(value.to_owned()),
                "MAJOR" => major = value.parse().ok(),
                "MINOR" => minor = value.parse().ok(),
                "DEVNAME" => event.name = Some(value.to_owned()),
                "PARTUUID" => event.partition_uuid = Some(value.to_owned()),
                "PARTNAME" => event.partition_label = Some(value.to_owned()),
                _ => {}
            }
        }
        event.number = major
            .zip(minor)
            .map(|(major, minor)| DeviceNumber { major, minor });
        event
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    // Captured with `socat on a NETLINK_KOBJECT_UEVENT socket` on Linux 6.12, an NVMe partition.
    const PARTITION: &[u8] = b"add@/devices/pci0000:00/0000:00:04.0/nvme/nvme0/nvme0n1/nvme0n1p2\0ACTION=add\0\
        DEVPATH=/devices/pci0000:00/0000:00:04.0/nvme/nvme0/nvme0n1/nvme0n1p2\0SUBSYSTEM=block\0MAJOR=259\0MINOR=2\0\
        DEVNAME=nvme0n1p2\0DEVTYPE=partition\0DISKSEQ=3\0PARTN=2\0PARTNAME=luks\0SEQNUM=1203\0";

    #[test]
    fn reads_a_partition() {
        let event = Uevent::parse(PARTITION).unwrap();
        assert_eq!(event.action, Action::Add);
        assert_eq!(event.subsystem, "block");
        assert_eq!(event.number, Some(DeviceNumber { major: 259, minor: 2 }));
        assert_eq!(event.name.as_deref(), Some("nvme0n1p2"));
        assert_eq!(event.partition_label.as_deref(), Some("luks"));
    }

    #[test]
    fn events_of_udevd_are_not_events_of_the_kernel() {
        assert_eq!(Uevent::parse(b"libudev\0\xfe\xed\xca\xfe"), None);
    }

    proptest! {
        #[test]
        fn any_datagram_is_read_or_refused(datagram: Vec<u8>) {
            let _ = Uevent::parse(&datagram);
        }
    }
}
