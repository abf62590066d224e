//! LVM's checksum: CRC-32 with the usual polynomial, another start value and no final inversion (lvm2, lib/misc/crc.c).

const START: u32 = 0xf597_a6cf;
const POLYNOMIAL: u32 = 0xedb8_8320;

/// The checksum of `bytes`.
pub(super) fn crc(bytes: &[u8]) -> u32 {
    bytes.iter().fold(START, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 0 {
                crc >> 1
            } else {
                (crc >> 1) ^ POLYNOMIAL
            }
        })
    })
}
