//! Which devices' modules are loaded first. Loading one takes the kernel tens of milliseconds on a small machine, and the
//! prompt waits only for the disk that it's about and for a keyboard to answer it.

/// How urgent a module is; the lesser comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// The boot waits for it.
    Now,
    /// A disk that answers at once: it's looked at while others are still being reset.
    QuickDisk,
    /// What a passphrase needs to open a volume. It's loaded beside what a quick disk needs.
    Unlocking,
    /// Any other disk, or what one is attached to.
    Disk,
    /// What a keyboard is, or is attached to.
    Keyboard,
    /// Everything else: ciphers, images, what nothing waits for yet.
    #[default]
    Rest,
}

impl Urgency {
    /// That of a device, by its modalias (Linux, scripts/mod/file2alias.c).
    pub(super) fn of(modalias: &str) -> Urgency {
        let (bus, rest) = modalias.split_once(':').unwrap_or((modalias, ""));
        match bus {
            "pci" => of_pci_class(rest),
            // Virtual I/O Device specification, section 5: block device, SCSI host.
            "virtio" if rest.starts_with("d00000002") => Urgency::QuickDisk,
            "virtio" if rest.starts_with("d00000008") => Urgency::Disk,
            "nvme" => Urgency::QuickDisk,
            "scsi" | "mmc" | "sd" | "vmbus" | "xen" => Urgency::Disk,
            // Mass storage (USB, "Defined Class Codes").
            "usb" if rest.contains("ic08") => Urgency::Disk,
            "usb" | "hid" | "serio" | "virtio" => Urgency::Keyboard,
            _ => Urgency::Rest,
        }
    }
}

/// `v…d…sv…sd…bc01sc08i02`: by class and subclass (PCI Code and ID Assignment Specification).
fn of_pci_class(rest: &str) -> Urgency {
    let class = rest.rsplit_once("bc").map_or("", |(_, class)| class);
    // NVM Express; Virtio's disks are SCSI controllers to PCI.
    if class.starts_with("01sc08") || (class.starts_with("01sc00") && rest.starts_with(VIRTIO)) {
        Urgency::QuickDisk
    } else if class.starts_with("01") {
        Urgency::Disk
    } else if class.starts_with("0Csc03") {
        Urgency::Keyboard
    } else {
        Urgency::Rest
    }
}

/// The vendor of PCI devices that speak Virtio.
const VIRTIO: &str = "v00001AF4";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_come_before_keyboards_and_both_before_the_rest() {
        // From /sys/devices of machines.
        let table = [
            (
                "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02",
                Urgency::QuickDisk,
            ),
            (
                "pci:v00001AF4d00001001sv00001AF4sd00000002bc01sc00i00",
                Urgency::QuickDisk,
            ),
            ("virtio:d00000002v00001AF4", Urgency::QuickDisk),
            (
                "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01",
                Urgency::Disk,
            ),
            ("scsi:t-0x00", Urgency::Disk),
            ("usb:v46F4p0001d0000dc00dsc00dp00ic08isc06ip50in00", Urgency::Disk),
            (
                "pci:v00001B36d0000000Dsv00001AF4sd00001100bc0Csc03i30",
                Urgency::Keyboard,
            ),
            (
                "usb:v0627p0001d0000dc00dsc00dp00ic03isc01ip01in00",
                Urgency::Keyboard,
            ),
            ("serio:ty06pr00id00ex00", Urgency::Keyboard),
            (
                "pci:v00001234d00001111sv00001AF4sd00001100bc03sc00i00",
                Urgency::Rest,
            ),
            (
                "cpu:type:x86,ven0002fam000Fmod006B:feature:,0000,0001",
                Urgency::Rest,
            ),
            ("acpi:PNP0C0C:", Urgency::Rest),
            ("crypto-xts", Urgency::Rest),
        ];
        for (modalias, urgency) in table {
            assert_eq!(Urgency::of(modalias), urgency, "{modalias}");
        }
        assert!(Urgency::QuickDisk < Urgency::Unlocking && Urgency::Unlocking < Urgency::Disk);
        assert!(Urgency::Now < Urgency::QuickDisk && Urgency::Disk < Urgency::Keyboard);
        assert!(Urgency::Keyboard < Urgency::Rest);
    }
}
