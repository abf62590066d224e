//! Device-mapper parameters, as cryptsetup loads them.

use crate::block::DeviceNumber;
use crate::block::luks::fixture::{Image, PASSPHRASE, PBKDF2, patch};
use crate::block::luks::{CryptOptions, Header, SegmentError};

const DEVICE: DeviceNumber = DeviceNumber { major: 254, minor: 0 };
const UUID: &str = "01234567-89ab-cdef-0123-456789abcdef";

fn image(args: &[&str]) -> Vec<u8> {
    let uuid = format!("--uuid={UUID}");
    let mut all = PBKDF2.to_vec();
    all.push(&uuid);
    all.extend_from_slice(args);
    Image::format(&all).bytes()
}

fn table(bytes: &Vec<u8>, options: CryptOptions) -> String {
    let (header, _) = Header::read(bytes).unwrap();
    let unlocked = header.unlock(bytes, PASSPHRASE).unwrap();
    header.dm_parameters(&unlocked, DEVICE, options).to_string()
}

#[test]
fn the_plain_table_has_no_options() {
    let expected = format!("aes-xts-plain64 :64:logon:cryptsetup:{UUID}-d0 0 254:0 4096");
    assert_eq!(
        table(&image(&["--sector-size=512"]), CryptOptions::default()),
        expected
    );
}

#[test]
fn given_options_and_sector_size_come_in_the_order_of_cryptsetup() {
    let (options, unknown) = CryptOptions::parse(
        "high-priority,no-write-workqueue,no-read-workqueue,submit-from-crypt-cpus,same-cpu-crypt,discard",
    );
    assert!(unknown.is_empty());
    let expected = format!(
        "aes-xts-plain64 :32:logon:cryptsetup:{UUID}-d0 0 254:0 4096 7 allow_discards same_cpu_crypt \
         submit_from_crypt_cpus no_read_workqueue no_write_workqueue high_priority sector_size:4096"
    );
    assert_eq!(
        table(&image(&["--sector-size=4096", "--key-size=256"]), options),
        expected
    );
}

#[test]
fn flags_of_the_header_are_merged_with_given_options() {
    let bytes = patch(&image(&["--sector-size=512"]), |json| {
        json["config"]["flags"] = serde_json::json!([
            "allow-discards",
            "no-read-workqueue",
            "high_priority",
            "no-journal",
            "of-tomorrow"
        ]);
    });
    assert!(Image::cryptsetup_opens(&bytes, PASSPHRASE));
    let given = CryptOptions {
        no_write_workqueue: true,
        ..CryptOptions::default()
    };
    let expected = format!(
        "aes-xts-plain64 :64:logon:cryptsetup:{UUID}-d0 0 254:0 4096 4 allow_discards no_read_workqueue \
         no_write_workqueue high_priority"
    );
    assert_eq!(table(&bytes, given), expected);
}

#[test]
fn the_tweak_of_the_iv_is_told() {
    let bytes = patch(&image(&["--sector-size=512"]), |json| {
        json["segments"]["0"]["iv_tweak"] = "8".into()
    });
    let expected = format!("aes-xts-plain64 :64:logon:cryptsetup:{UUID}-d0 8 254:0 4096");
    assert_eq!(table(&bytes, CryptOptions::default()), expected);
}

#[test]
fn the_length_is_that_of_the_device_or_of_the_segment() {
    let bytes = image(&["--sector-size=4096"]);
    let (header, _) = Header::read(&bytes).unwrap();
    assert_eq!(header.segment_sectors(3 << 20), Ok(2048));
    assert_eq!(header.segment_sectors((3 << 20) + 511), Ok(2048));
    assert_eq!(
        header.segment_sectors((3 << 20) + 512),
        Err(SegmentError::Misaligned {
            bytes: (1 << 20) + 512,
            sector_size: 4096
        })
    );
    let truncated = |device| {
        Err(SegmentError::Truncated {
            end: (2 << 20) + 512,
            device,
        })
    };
    assert_eq!(header.segment_sectors(2 << 20), truncated(2 << 20));
    assert_eq!(header.segment_sectors(0), truncated(0));
    let fixed = patch(&bytes, |json| json["segments"]["0"]["size"] = "8192".into());
    let (header, _) = Header::read(&fixed).unwrap();
    assert_eq!(header.segment_sectors(3 << 20), Ok(16));
    assert_eq!(header.segment_sectors((2 << 20) + 8192), Ok(16));
    let end = (2 << 20) + 8192;
    assert_eq!(
        header.segment_sectors(end - 1),
        Err(SegmentError::Truncated { end, device: end - 1 })
    );
}

#[test]
fn names_are_those_of_cryptsetup() {
    let bytes = image(&[]);
    let (header, _) = Header::read(&bytes).unwrap();
    assert_eq!(
        header.dm_uuid("root"),
        "CRYPT-LUKS2-0123456789abcdef0123456789abcdef-root"
    );
    assert_eq!(header.dm_uuid(&"ü".repeat(100)).len(), 127);
    assert_eq!(header.key_description(), Some(format!("cryptsetup:{UUID}-d0")));
}

/// In hexadecimal digits, as `lib/libdevmapper.c` of cryptsetup writes it for LUKS1.
#[test]
fn the_key_of_luks1_is_in_the_table() {
    let uuid = format!("--uuid={UUID}");
    let image = Image::try_format(
        "luks1",
        &[
            "--pbkdf-force-iterations=1000",
            "--cipher=aes-cbc-essiv:sha256",
            "--key-size=256",
            &uuid,
        ],
    )
    .unwrap();
    let bytes = image.bytes();
    let digits: String = image
        .volume_key()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<Vec<_>>()
        .concat();
    let options = CryptOptions {
        allow_discards: true,
        ..CryptOptions::default()
    };
    let expected = format!("aes-cbc-essiv:sha256 {digits} 0 254:0 4096 1 allow_discards");
    assert_eq!(table(&bytes, options), expected);
    let (header, _) = Header::read(&bytes).unwrap();
    assert_eq!(header.key_description(), None);
    assert_eq!(
        header.dm_uuid("root"),
        "CRYPT-LUKS1-0123456789abcdef0123456789abcdef-root"
    );
    assert_eq!(header.segment_sectors(3 << 20), Ok(2048));
}
