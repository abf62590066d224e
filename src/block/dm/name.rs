//! Names of devices.

use std::fmt::Write;

/// The name as libdm writes it below `/dev/mapper`: bytes outside of its whitelist as `\xNN` (libdm, `_mangle_mode` hex).
pub fn mangle(name: &str) -> String {
    let mut mangled = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"#+-.:=@_".contains(&byte) {
            mangled.push(char::from(byte));
        } else {
            let _ = write!(mangled, "\\x{byte:02x}");
        }
    }
    mangled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusual_bytes_are_escaped_as_libdm_does() {
        assert_eq!(mangle("vg-my--swap"), "vg-my--swap");
        assert_eq!(mangle("a b\\ä"), "a\\x20b\\x5c\\xc3\\xa4");
    }
}
