//! Names that a partition table gives its partitions. The kernel reads the tables, but says `PARTUUID` to user space
//! only since Linux 6.13.

use std::io;

use super::probe::bytes::{has, le32};
use super::{ReadAt, gpt};

/// Where an MBR keeps the disk's signature, four partition entries of 16 bytes, and its own mark.
const MBR_SIGNATURE: usize = 440;
const MBR_ENTRIES: usize = 446;
const MBR_MARK: usize = 510;
/// Type of the MBR's entry that covers a disk with a GUID partition table (UEFI specification 2.10, section 5.2.3).
const PROTECTIVE: u8 = 0xee;

/// What a partition is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `PARTUUID`, in lower case.
    pub uuid: String,
    /// `PARTLABEL`; an MBR has none.
    pub label: Option<String>,
}

/// What the table of `disk` calls its partition `number`, which the kernel counts from 1. Nothing without a table, and
/// without such a partition in it.
///
/// Of an MBR, a partition's UUID is the disk's signature and the partition's number, both in hexadecimal (Linux,
/// block/partitions/msdos.c, `set_info`); it holds for logical partitions, too.
pub fn identity(disk: &dyn ReadAt, number: u32) -> io::Result<Option<Identity>> {
    let mut mbr = [0; 512];
    if disk.size()? < mbr.len() as u64 {
        return Ok(None);
    }
    disk.read_exact_at(0, &mut mbr)?;
    if !has(&mbr, MBR_MARK, &[0x55, 0xaa]) {
        return Ok(None);
    }
    let entries = mbr.get(MBR_ENTRIES..MBR_MARK).unwrap_or_default();
    // Without that entry the kernel takes a GUID partition table for what is left of an earlier one.
    if entries
        .chunks_exact(16)
        .any(|entry| entry.get(4) == Some(&PROTECTIVE))
    {
        let partitions = gpt::read(disk)?.unwrap_or_default();
        let found = partitions.into_iter().find(|found| found.number == number);
        return Ok(found.map(|found| Identity {
            uuid: found.uuid,
            label: Some(found.label).filter(|label| !label.is_empty()),
        }));
    }
    Ok(le32(&mbr, MBR_SIGNATURE)
        .filter(|signature| *signature != 0)
        .map(|signature| Identity {
            uuid: format!("{signature:08x}-{number:02x}"),
            label: None,
        }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use std::fs::File;
    use std::io::Write;
    use std::process::{Command, Stdio};

    use proptest::prelude::*;

    use super::*;

    /// `sfdisk` of util-linux.
    fn made(script: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(16 << 20).unwrap();
        let mut sfdisk = Command::new("/usr/sbin/sfdisk")
            .arg("--quiet")
            .arg(file.path())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        sfdisk.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(sfdisk.wait().unwrap().success());
        file
    }

    /// Compares every partition with what `partx` of util-linux says; returns how many there are.
    fn agrees(script: &str) -> usize {
        let image = made(script);
        let output = Command::new("/usr/bin/partx")
            .args(["--raw", "--noheadings", "--output", "NR,UUID,NAME"])
            .arg(image.path())
            .output()
            .unwrap();
        let listed = String::from_utf8(output.stdout).unwrap();
        let disk = File::open(image.path()).unwrap();
        for line in listed.lines() {
            let mut words = line.splitn(3, ' ');
            let number = words.next().unwrap().parse().unwrap();
            let expected = Identity {
                uuid: words.next().unwrap().to_owned(),
                label: words
                    .next()
                    .filter(|name| !name.is_empty())
                    .map(|name| name.replace("\\x20", " ")),
            };
            assert_eq!(identity(&disk, number).unwrap(), Some(expected), "{line}");
        }
        listed.lines().count()
    }

    #[test]
    fn guid_partition_tables() {
        let script = "label: gpt\nstart=1MiB, size=2MiB, name=\"first\"\nstart=4MiB, size=1MiB, name=\"a b\"\n\
                      start=6MiB, size=1MiB\n";
        assert_eq!(agrees(script), 3);
        let disk = File::open(made(script).path()).unwrap();
        assert_eq!(identity(&disk, 4).unwrap(), None);
    }

    #[test]
    fn master_boot_records_with_logical_partitions() {
        let script = "label: dos\nlabel-id: 0x0badcafe\nsize=2MiB\ntype=5\nsize=2MiB\nsize=2MiB\n";
        assert_eq!(agrees(script), 4);
        let disk = File::open(made(script).path()).unwrap();
        assert_eq!(identity(&disk, 5).unwrap().unwrap().uuid, "0badcafe-05");
    }

    #[test]
    fn what_is_left_of_an_earlier_table_does_not_count() {
        let image = made("label: gpt\nname=old\n");
        let mut bytes = std::fs::read(image.path()).unwrap();
        let renewed = made("label: dos\nlabel-id: 0x12345678\nsize=2MiB\n");
        bytes[..512].copy_from_slice(&std::fs::read(renewed.path()).unwrap()[..512]);
        assert_eq!(identity(&bytes, 1).unwrap().unwrap().uuid, "12345678-01");
        bytes[510] = 0;
        assert_eq!(identity(&bytes, 1).unwrap(), None);
    }

    proptest! {
        #[test]
        fn any_disk_is_read_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..2048), number: u32) {
            let _ = identity(&bytes, number);
            if bytes.len() >= 512 {
                bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
                bytes[450] = PROTECTIVE;
                let _ = identity(&bytes, number);
            }
        }
    }
}
