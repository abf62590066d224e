//! Compared with `blkid` on what the real tools make; the fixtures' first lines say how they were made.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    unused_results
)]

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use tempfile::TempDir;

use super::{Kind, Superblock, probe};

/// What `blkid` says of a file: type, identifier, label.
fn blkid(path: &std::path::Path) -> Option<(String, Option<String>, Option<String>)> {
    let output = Command::new("blkid")
        .args(["-p", "-o", "export"])
        .arg(path)
        .output()
        .expect("blkid");
    let text = String::from_utf8(output.stdout).unwrap();
    let field = |name: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
        Some(line.replace('\\', ""))
    };
    match field("TYPE") {
        Some(kind) => Some((kind, field("UUID"), field("LABEL"))),
        None => Some((field("PTTYPE")?, field("PTUUID"), None)),
    }
}

fn found(superblock: Option<Superblock>) -> Option<(String, Option<String>, Option<String>)> {
    superblock.map(|found| (found.kind.name().to_owned(), found.uuid, found.label))
}

/// Probes the file and compares.
fn agreed(path: &std::path::Path) -> Superblock {
    let superblock = probe(&fs::File::open(path).unwrap()).unwrap();
    assert_eq!(found(superblock.clone()), blkid(path), "{}", path.display());
    superblock.unwrap()
}

/// A file of `size` bytes after `script` was run on it as `$1`.
fn made_by(size: u64, script: &str) -> (TempDir, std::path::PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("image");
    fs::File::create(&path).unwrap().set_len(size).unwrap();
    let mut shell = Command::new("sh");
    shell
        .args(["-ec", script, "sh"])
        .arg(&path)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let status = shell
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{script}");
    (dir, path)
}

fn kind_of(size: u64, script: &str) -> Kind {
    let (_dir, path) = made_by(size, script);
    agreed(&path).kind
}

#[test]
fn ext_of_every_kind() {
    let uuid = "-U 01234567-89ab-cdef-0123-456789abcdef";
    assert_eq!(
        kind_of(4 << 20, &format!("mke2fs -q -F -t ext2 {uuid} $1")),
        Kind::Ext2
    );
    assert_eq!(
        kind_of(4 << 20, &format!("mke2fs -q -F -t ext3 {uuid} -L three $1")),
        Kind::Ext3
    );
    assert_eq!(
        kind_of(
            4 << 20,
            &format!("mke2fs -q -F -t ext4 {uuid} -L sixteen-letters- $1")
        ),
        Kind::Ext4
    );
    assert_eq!(
        kind_of(4 << 20, "mke2fs -q -F -t ext4 -O ^has_journal -L 'two words' $1"),
        Kind::Ext4
    );
    assert_eq!(
        kind_of(8 << 20, "mke2fs -q -F -b 1024 -O journal_dev $1"),
        Kind::ExtJournal
    );
}

#[test]
fn fat_of_every_size() {
    assert_eq!(
        kind_of(1 << 20, "mkfs.vfat -F 12 -i 12345678 -n TWELVE $1"),
        Kind::Vfat
    );
    assert_eq!(
        kind_of(16 << 20, "mkfs.vfat -F 16 -i abcdef01 -n 'SIX TEEN' $1"),
        Kind::Vfat
    );
    assert_eq!(kind_of(64 << 20, "mkfs.vfat -F 32 -n THIRTYTWO $1"), Kind::Vfat);
    assert_eq!(kind_of(64 << 20, "mkfs.vfat -F 32 -S 4096 $1"), Kind::Vfat);
    assert_eq!(kind_of(64 << 20, "mkfs.vfat -F 32 $1"), Kind::Vfat);
    for name in ["lower case", "KEYS-1", "A B"] {
        let script = format!("mkfs.vfat -F 32 $1; fatlabel $1 '{name}'");
        assert_eq!(kind_of(64 << 20, &script), Kind::Vfat, "{name}");
    }
    let many =
        "mkfs.vfat -F 32 -s 1 $1; for i in $(seq 40); do mmd -i $1 ::/dir$i; done; mlabel -i $1 ::LATE";
    assert_eq!(kind_of(64 << 20, many), Kind::Vfat);
}

#[test]
fn xfs_of_many_shapes() {
    let uuid = "-m uuid=01234567-89ab-cdef-0123-456789abcdef";
    let shapes = [
        "mkfs.xfs -q -f $1".to_owned(),
        format!("mkfs.xfs -q -f {uuid} -L root $1"),
        "mkfs.xfs -q -f -L 'twelve chars' $1".to_owned(),
        "mkfs.xfs -q -f -L 'a b' -m crc=0 $1".to_owned(),
        "mkfs.xfs -q -f -b size=1024 -L grade $1".to_owned(),
        "mkfs.xfs -q -f -s size=4096 $1".to_owned(),
        "mkfs.xfs -q -f -m reflink=0,bigtime=0 -i size=1024 $1".to_owned(),
        // What was there before must not show.
        "mke2fs -q -F -t ext4 -L old $1; mkfs.xfs -q -f -L new $1".to_owned(),
    ];
    for shape in shapes {
        assert_eq!(kind_of(320 << 20, &shape), Kind::Xfs, "{shape}");
    }
    let swapped = "mkfs.xfs -q -f -L root $1; xfs_admin -U generate -L other $1";
    assert_eq!(kind_of(320 << 20, swapped), Kind::Xfs);
}

#[test]
fn btrfs_of_many_shapes() {
    let shapes = [
        "mkfs.btrfs -q $1",
        "mkfs.btrfs -q -U 01234567-89ab-cdef-0123-456789abcdef -L root $1",
        "mkfs.btrfs -q -L 'a label with spaces, commas and dots., longer than that of other file systems' $1",
        "mkfs.btrfs -q --mixed -L mixed $1",
        "mkfs.btrfs -q --checksum xxhash -O no-holes $1",
        "mkfs.btrfs -q --nodesize 65536 $1",
        "mke2fs -q -F -t ext4 -L old $1; mkfs.btrfs -q -f -L new $1",
        "mkfs.btrfs -q -L before $1; btrfstune -f -u $1; btrfs filesystem label $1 after",
    ];
    for shape in shapes {
        assert_eq!(kind_of(256 << 20, shape), Kind::Btrfs, "{shape}");
    }
}

#[test]
fn a_file_system_over_another_one_is_what_blkid_takes_it_for() {
    for (script, kind) in [
        ("mkfs.btrfs -q -L old $1; mkswap -L new $1", Kind::Swap),
        ("mkfs.xfs -q -f -L old $1; mkfs.vfat -F 32 -n NEW $1", Kind::Vfat),
        (
            "mkfs.vfat -F 32 -n OLD $1; mke2fs -q -F -t ext4 -L new $1",
            Kind::Ext4,
        ),
    ] {
        assert_eq!(kind_of(320 << 20, script), kind, "{script}");
    }
}

#[test]
fn swap_and_images_of_hibernation() {
    assert_eq!(
        kind_of(
            1 << 20,
            "mkswap -L swaplabel -U 01234567-89ab-cdef-0123-456789abcdef $1"
        ),
        Kind::Swap
    );
    assert_eq!(
        kind_of(4 << 20, "mkswap -p 65536 $1 || mkswap -f -p 65536 $1"),
        Kind::Swap
    );
    for magic in ["S1SUSPEND\\000", "S2SUSPEND\\000", "ULSUSPEND\\000", "LINHIB0001"] {
        let script = format!("mkswap $1; printf '{magic}' | dd of=$1 bs=1 seek=4086 conv=notrunc");
        assert_eq!(kind_of(1 << 20, &script), Kind::SwapSuspend, "{magic}");
    }
}

#[test]
fn luks_of_both_versions() {
    let format = "printf secret | cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000";
    assert_eq!(
        kind_of(4 << 20, &format!("{format} --type luks1 $1 -")),
        Kind::Luks1
    );
    let small = "--luks2-keyslots-size 1m --offset 4096 --label 'a label'";
    assert_eq!(
        kind_of(4 << 20, &format!("{format} --type luks2 {small} $1 -")),
        Kind::Luks2
    );
}

#[test]
fn a_luks2_header_of_which_only_the_second_copy_is_left() {
    let format = "printf secret | cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 \
                  --type luks2 --luks2-keyslots-size 1m --offset 4096 --label 'a label'";
    let (_dir, path) = made_by(4 << 20, &format!("{format} $1 -"));
    let whole = agreed(&path);
    let mut bytes = fs::read(&path).unwrap();
    bytes[..4096].fill(0);
    assert_eq!(probe(&bytes).unwrap(), Some(whole));
}

#[test]
fn partition_tables() {
    assert_eq!(kind_of(4 << 20, "sgdisk -o -n 1:0:0 $1"), Kind::Gpt);
}

/// The rows of a fixture, in a sparse file.
fn fixture(name: &str) -> (TempDir, std::path::PathBuf) {
    use std::io::{Seek, SeekFrom};
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/probe/");
    let text = fs::read_to_string(format!("{source}{name}")).unwrap();
    let dir = TempDir::new().unwrap();
    let path = dir.path().join(name);
    let mut file = fs::File::create(&path).unwrap();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (at, content) = line.split_once(' ').unwrap();
        if at == "size" {
            file.set_len(content.parse().unwrap()).unwrap();
        } else {
            let pairs = (0..content.len()).step_by(2);
            let row: Vec<u8> = pairs
                .map(|i| u8::from_str_radix(&content[i..i + 2], 16).unwrap())
                .collect();
            file.seek(SeekFrom::Start(u64::from_str_radix(at, 16).unwrap()))
                .unwrap();
            file.write_all(&row).unwrap();
        }
    }
    (dir, path)
}

#[test]
fn formats_whose_tools_are_not_here() {
    for (name, kind) in [
        ("xfs", Kind::Xfs),
        ("btrfs", Kind::Btrfs),
        ("f2fs", Kind::F2fs),
        ("erofs", Kind::Erofs),
        ("squashfs", Kind::Squashfs),
        ("iso9660", Kind::Iso9660),
        ("lvm2", Kind::Lvm2Member),
    ] {
        let (_dir, path) = fixture(name);
        assert_eq!(agreed(&path).kind, kind);
    }
}

/// A RAID superblock, version 1 (linux/raid/md_p.h), with its checksum.
fn mdraid1(sector: u64) -> [u8; 256] {
    let mut block = [0; 256];
    block[..4].copy_from_slice(&0xa92b_4efc_u32.to_le_bytes());
    block[4] = 1;
    for (i, byte) in block[16..32].iter_mut().enumerate() {
        *byte = i as u8 + 1;
    }
    block[32..38].copy_from_slice(b"host:0");
    block[144..152].copy_from_slice(&sector.to_le_bytes());
    let words = block
        .chunks_exact(4)
        .map(|word| u64::from(u32::from_le_bytes(word.try_into().unwrap())));
    let sum: u64 = words.sum();
    block[216..220].copy_from_slice(
        &((sum & 0xffff_ffff) as u32)
            .wrapping_add((sum >> 32) as u32)
            .to_le_bytes(),
    );
    block
}

#[test]
fn raid_members_of_every_version() {
    let size = 4 << 20;
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("image");
    for offset in [0, 4096, size - 8192] {
        let mut bytes = vec![0; size];
        bytes[offset..offset + 256].copy_from_slice(&mdraid1(offset as u64 / 512));
        fs::write(&path, &bytes).unwrap();
        assert_eq!(agreed(&path).kind, Kind::MdRaidMember);
    }
    let mut bytes = vec![0; size];
    let block = &mut bytes[size - 65536..];
    for (at, word) in [
        (0, 0xa92b_4efc_u32),
        (4, 0),
        (8, 90),
        (20, 0x0403_0201),
        (52, 5),
        (56, 6),
        (60, 7),
    ] {
        block[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }
    fs::write(&path, &bytes).unwrap();
    assert_eq!(agreed(&path).kind, Kind::MdRaidMember);
}

#[test]
fn half_a_mirror_is_not_what_is_inside_the_mirror() {
    let (_dir, path) = made_by(4 << 20, "mke2fs -q -F -t ext4 $1");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.len() - 8192;
    bytes[at..at + 256].copy_from_slice(&mdraid1(at as u64 / 512));
    assert_eq!(probe(&bytes).unwrap().unwrap().kind, Kind::MdRaidMember);
}

#[test]
fn tiny_and_empty_devices_hold_nothing() {
    for size in [
        0,
        1,
        2,
        10,
        511,
        512,
        513,
        1024,
        4095,
        4096,
        65_536,
        69_631,
        69_632,
        1 << 20,
        (4 << 20) + 511,
    ] {
        assert_eq!(probe(&vec![0_u8; size]).unwrap(), None, "{size}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn damaged_superblocks_never_panic(
        name in prop::sample::select(&["xfs", "btrfs", "f2fs", "erofs", "squashfs", "iso9660", "lvm2"]),
        changes in prop::collection::vec((0..0x1000_usize, any::<u8>()), 0..20),
        cut in 0..0x12000_usize,
    ) {
        use crate::block::ReadAt;
        let (_dir, path) = fixture(name);
        let file = fs::File::open(&path).unwrap();
        let mut bytes = vec![0; cut.min(file.metadata().unwrap().len() as usize)];
        file.read_exact_at(0, &mut bytes).unwrap();
        for (at, value) in changes {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        let _ = probe(&bytes);
    }
}
