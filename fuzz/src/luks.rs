//! LUKS headers. Checksums are made right first: no fuzzer finds one by chance, and an attacker just computes it.

use keel::block::luks::{Header, HeaderError};
use keel::block::probe::{Kind, probe};
use sha2::Digest;

use super::image::Image;
use super::input::check_line;

/// Size of the binary part of a LUKS2 header.
const BINARY: usize = 4096;
/// Larger headers would only make the fuzzer slow.
const SIZES: std::ops::RangeInclusive<u64> = 0x4000..=0x1_0000;
const CHECKSUM: std::ops::Range<usize> = 448..512;

/// A device that begins with a LUKS1 header, in pieces.
pub(crate) fn luks1(data: &[u8]) {
    let mut image = Image::decode(data);
    if has_noise(&image) {
        image.noise_from = 4096;
    }
    check(&image);
}

/// A device with both copies of a LUKS2 header, in pieces. A second copy without JSON gets that of the first.
pub(crate) fn luks2_header(data: &[u8]) {
    let mut image = Image::decode(data);
    let size = header_size(&image)
        .filter(|size| SIZES.contains(size))
        .unwrap_or(0x4000);
    if has_noise(&image) {
        image.noise_from = 2 * size;
    }
    let area = |at: u64| image.bytes(at + BINARY as u64, size as usize - BINARY);
    if let (Some(first), Some(second)) = (area(0), area(size))
        && second.iter().all(|&byte| byte == 0)
    {
        image.write(size + BINARY as u64, &first);
    }
    seal(&mut image, 0, size as usize);
    seal(&mut image, size, size as usize);
    check(&image);
}

/// The JSON of a LUKS2 header, in a header that is right in all else.
pub(crate) fn luks2_json(data: &[u8]) {
    const SIZE: usize = 0x4000;
    let area = &data[..data.len().min(SIZE - BINARY)];
    let mut image = Image::new(32 << 20);
    for (at, magic) in [(0, b"LUKS\xba\xbe"), (SIZE, b"SKUL\xba\xbe")] {
        let mut header = vec![0; SIZE];
        let mut put =
            |offset: usize, bytes: &[u8]| header[offset..offset + bytes.len()].copy_from_slice(bytes);
        put(0, magic);
        put(6, &2_u16.to_be_bytes());
        put(8, &(SIZE as u64).to_be_bytes());
        put(16, &1_u64.to_be_bytes());
        put(72, b"sha256");
        put(168, b"01234567-89ab-cdef-0123-456789abcdef");
        put(256, &(at as u64).to_be_bytes());
        put(BINARY, area);
        image.write(at as u64, &header);
        seal(&mut image, at as u64, SIZE);
    }
    check(&image);
}

/// Looking through keyslots that could be real takes a hundred times as long as looking at ones that are zero, so only
/// devices of an odd size have them.
fn has_noise(image: &Image) -> bool {
    !image.size.is_multiple_of(2)
}

fn header_size(image: &Image) -> Option<u64> {
    Some(u64::from_be_bytes(image.bytes(8, 8)?.try_into().ok()?))
}

/// Computes the checksum of a copy anew, by the algorithm that it names (LUKS2 on-disk format 1.1, section 2.1).
fn seal(image: &mut Image, at: u64, size: usize) {
    let Some(mut header) = image.bytes(at, size) else {
        return;
    };
    header[CHECKSUM].fill(0);
    let name = header[72..104]
        .split(|&byte| byte == 0)
        .next()
        .unwrap_or_default();
    let sum = match name {
        b"sha1" => sha1::Sha1::digest(&header).to_vec(),
        b"sha512" => sha2::Sha512::digest(&header).to_vec(),
        _ => sha2::Sha256::digest(&header).to_vec(),
    };
    image.write(at + CHECKSUM.start as u64, &sum);
}

fn check(image: &Image) {
    let probed = probe(image).expect("an image gives no errors");
    let is_luks = probed.is_some_and(|found| matches!(found.kind, Kind::Luks1 | Kind::Luks2));
    let (header, warnings) = match Header::read(image) {
        Ok(read) => read,
        Err(error) => {
            check_line(&error);
            let refused = matches!(error, HeaderError::NotLuks);
            assert!(
                !(refused && is_luks) || image.size < 0x1000,
                "probed as LUKS, and then not"
            );
            return;
        }
    };
    warnings.iter().for_each(check_line);
    check_header(&header, image);
}

fn check_header(header: &Header, image: &Image) {
    // All of these become words of device-mapper tables, or names in the kernel.
    let words = [
        Some(header.uuid().to_owned()),
        Some(header.cipher().to_owned()),
        header.key_description(),
    ];
    for word in words.into_iter().flatten() {
        let bad = |c: char| c.is_whitespace() || c.is_control();
        assert!(!word.is_empty() && !word.contains(bad), "{word:?} is no word");
    }
    assert!(
        header.dm_uuid("root").len() <= 128,
        "longer than device-mapper takes"
    );
    let keyslots = header.keyslots();
    assert!(keyslots.is_sorted_by_key(|keyslot| keyslot.id));
    for token in header.tokens() {
        let known = |id: &u32| keyslots.iter().any(|keyslot| keyslot.id == *id);
        assert!(
            token.keyslots.iter().all(known),
            "a token of a keyslot that isn't there"
        );
    }
    match header.segment_sectors(image.size) {
        Ok(sectors) => assert!(
            sectors > 0 && sectors.checked_mul(512).is_some_and(|bytes| bytes <= image.size),
            "{sectors} sectors on a device of {} bytes",
            image.size
        ),
        Err(error) => check_line(&error),
    }
    let _ = (header.label(), header.subsystem(), header.stored_options());
    if let Err(error) = header.check_keyslots(image) {
        check_line(&error);
    }
}
