//! What a modalias without a driver is, in words, for those devices that a disk or a keyboard may hang on.

/// Describes the device, or `None` when its absence can't be why the root or the keyboard is missing.
pub(super) fn describe(modalias: &str) -> Option<String> {
    let (bus, rest) = modalias.split_once(':')?;
    let device = match bus {
        "pci" => pci(rest)?,
        "usb" => usb(rest)?,
        "virtio" => virtio(rest)?,
        "scsi" => scsi(rest)?.to_owned(),
        "serio" => serio(rest)?.to_owned(),
        "hid" => "Keyboard or other input device".to_owned(),
        "nvme" => "NVMe device".to_owned(),
        "mmc" | "sd" => "Memory card or eMMC".to_owned(),
        "xen" if rest == "vbd" => "Xen disk".to_owned(),
        "xen" if rest == "vkbd" => "Xen keyboard".to_owned(),
        // Class identifiers of Linux, include/linux/hyperv.h.
        "vmbus" if rest == "d96361baa104294db60572e2ffb1dc7f" => "Hyper-V SCSI controller".to_owned(),
        "vmbus" if rest == "32264132cb86a2449b5c50d1417354f5" => "Hyper-V IDE controller".to_owned(),
        "vmbus" if rest == "6dad12f9172bea48bd65f927a61c7684" => "Hyper-V keyboard".to_owned(),
        _ => return None,
    };
    Some(format!("{device}; modalias {modalias}"))
}

/// `v00001B36d00000010sv00001AF4sd00001100bc01sc08i02`
fn pci(rest: &str) -> Option<String> {
    let (vendor, rest) = hex(rest, "v", 8)?;
    let (device, rest) = hex(rest, "d", 8)?;
    let (_, rest) = hex(rest, "sv", 8)?;
    let (_, rest) = hex(rest, "sd", 8)?;
    let (class, rest) = hex(rest, "bc", 2)?;
    let (subclass, rest) = hex(rest, "sc", 2)?;
    let (interface, _) = hex(rest, "i", 2)?;
    // PCI Code and ID Assignment Specification, class codes.
    let kind = match (class, subclass) {
        (0x01, 0x00) => "storage controller (SCSI)",
        (0x01, 0x01) => "storage controller (IDE)",
        (0x01, 0x04) => "storage controller (RAID)",
        (0x01, 0x05) => "storage controller (ATA)",
        (0x01, 0x06) => "storage controller (SATA)",
        (0x01, 0x07) => "storage controller (SAS)",
        (0x01, 0x08) => "storage controller (NVM Express)",
        (0x01, _) => "storage controller",
        (0x0c, 0x03) => match interface {
            0x00 => "USB controller (UHCI)",
            0x10 => "USB controller (OHCI)",
            0x20 => "USB controller (EHCI)",
            0x30 => "USB controller (xHCI)",
            0x40 => "USB controller (USB4)",
            // A device, which is no controller.
            0xfe => return None,
            _ => "USB controller",
        },
        _ => return None,
    };
    Some(format!("PCI {kind} {vendor:04x}:{device:04x}"))
}

/// `v46F4p0001d0000dc00dsc00dp00ic08isc06ip50in00`
fn usb(rest: &str) -> Option<String> {
    let (vendor, rest) = hex(rest, "v", 4)?;
    let (product, rest) = hex(rest, "p", 4)?;
    let (_, rest) = hex(rest, "d", 4)?;
    let (_, rest) = hex(rest, "dc", 2)?;
    let (_, rest) = hex(rest, "dsc", 2)?;
    let (_, rest) = hex(rest, "dp", 2)?;
    let (class, rest) = hex(rest, "ic", 2)?;
    let (_, rest) = hex(rest, "isc", 2)?;
    let (protocol, _) = hex(rest, "ip", 2)?;
    let kind = match (class, protocol) {
        (0x03, 0x01) => "keyboard",
        // A mouse unlocks nothing.
        (0x03, 0x02) => return None,
        (0x03, _) => "input device",
        (0x08, _) => "storage",
        _ => return None,
    };
    Some(format!("USB {kind} {vendor:04x}:{product:04x}"))
}

/// `d00000002v00001AF4`; the numbers are those of the Virtual I/O Device specification, section 5.
fn virtio(rest: &str) -> Option<String> {
    let (device, _) = hex(rest, "d", 8)?;
    let kind = match device {
        2 => "disk",
        8 => "SCSI controller",
        9 => "9P file system",
        18 => "input device",
        26 => "file system",
        27 => "persistent memory",
        _ => return None,
    };
    Some(format!("Virtio {kind}"))
}

/// `t-0x00`, the peripheral device type (SCSI Primary Commands, INQUIRY).
fn scsi(rest: &str) -> Option<&'static str> {
    match rest.strip_prefix("t-0x")?.get(..2)? {
        "00" => Some("SCSI or SATA disk"),
        "05" => Some("CD or DVD drive"),
        "07" => Some("Optical disk"),
        "0e" => Some("SCSI disk (reduced block commands)"),
        "14" => Some("SCSI disk (zoned)"),
        _ => None,
    }
}

/// `ty06pr00id00ex00`; the types are those of Linux, include/uapi/linux/serio.h.
fn serio(rest: &str) -> Option<&'static str> {
    match hex(rest, "ty", 2)?.0 {
        // Also what a PS/2 mouse is connected to.
        0x01 => Some("PS/2 keyboard or mouse"),
        0x06 => Some("PS/2 keyboard"),
        _ => None,
    }
}

/// A tag, then `digits` hexadecimal digits.
fn hex<'a>(text: &'a str, tag: &str, digits: usize) -> Option<(u32, &'a str)> {
    let (number, rest) = text.strip_prefix(tag)?.split_at_checked(digits)?;
    if !number.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    Some((u32::from_str_radix(number, 16).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn devices_that_matter() {
        let cases = [
            (
                "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02",
                Some("PCI storage controller (NVM Express) 1b36:0010"),
            ),
            (
                "pci:v00008086d00007A60sv00001028sd00000BB9bc0Csc03i30",
                Some("PCI USB controller (xHCI) 8086:7a60"),
            ),
            ("pci:v00008086d000010D3sv00008086sd0000A01Fbc02sc00i00", None),
            ("pci:v0000", None),
            (
                "usb:v46F4p0001d0000dc00dsc00dp00ic08isc06ip50in00",
                Some("USB storage 46f4:0001"),
            ),
            (
                "usb:v0627p0001d0000dc00dsc00dp00ic03isc01ip01in00",
                Some("USB keyboard 0627:0001"),
            ),
            ("usb:v1D6Bp0002d0612dc09dsc00dp01ic09isc00ip00in00", None),
            ("virtio:d00000002v00001AF4", Some("Virtio disk")),
            ("virtio:d00000005v00001AF4", None),
            ("scsi:t-0x00", Some("SCSI or SATA disk")),
            ("scsi:t-0x0d", None),
            ("serio:ty06pr00id00ex00", Some("PS/2 keyboard")),
            (
                "hid:b0003g0001v00000627p00000001",
                Some("Keyboard or other input device"),
            ),
            ("xen:vbd", Some("Xen disk")),
            ("acpi:PNP0A03:", None),
            ("", None),
        ];
        for (modalias, expected) in cases {
            let expected = expected.map(|device| format!("{device}; modalias {modalias}"));
            assert_eq!(describe(modalias), expected);
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(bus in "pci|usb|virtio|scsi|serio", rest in "(v|d|ty|t-0x)?\\PC{0,20}") {
            let _ = describe(&format!("{bus}:{rest}"));
        }
    }
}
