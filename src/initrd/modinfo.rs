//! The firmware that a module names in its `.modinfo` section (ELF-64 Object File Format; `MODULE_FIRMWARE`).

/// Names of firmware files, sorted, each once. A file that isn't an ELF module names none.
pub(super) fn firmware(module: &[u8]) -> Vec<String> {
    let section = modinfo_section(module).unwrap_or_default();
    let records = section
        .split(|byte| *byte == 0)
        .filter_map(|record| std::str::from_utf8(record).ok());
    let mut names: Vec<String> = records
        .filter_map(|record| record.strip_prefix("firmware="))
        .filter(|name| is_name(name))
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Firmware lies below one directory; a name must not lead out of it.
fn is_name(name: &str) -> bool {
    !name.contains(char::is_control)
        && name
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..")
}

fn modinfo_section(module: &[u8]) -> Option<&[u8]> {
    if !module.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let headers = number(module, 40, 8)?;
    let [size, count, names] = [58, 60, 62].map(|at| number(module, at, 2));
    let (size, count, names) = (size?, count?, names?);
    let header = |index: usize| {
        let start = headers.checked_add(index.checked_mul(size)?)?;
        module.get(start..start.checked_add(64)?)
    };
    let content = |header: &[u8]| {
        let start = number(header, 24, 8)?;
        module.get(start..start.checked_add(number(header, 32, 8)?)?)
    };
    let names = content(header(names)?)?;
    (0..count).filter_map(header).find_map(|header| {
        let name = names.get(number(header, 0, 4)?..)?;
        name.starts_with(b".modinfo\0").then(|| content(header)).flatten()
    })
}

/// A little-endian number of `length` bytes.
fn number(bytes: &[u8], at: usize, length: usize) -> Option<usize> {
    let bytes = bytes.get(at..at.checked_add(length)?)?;
    let value = bytes
        .iter()
        .rev()
        .fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    usize::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_module_names_nothing() {
        assert!(firmware(b"").is_empty());
        assert!(firmware(b"#!/bin/sh").is_empty());
        assert!(firmware(&std::fs::read("/proc/self/exe").unwrap_or_default()).is_empty());
    }

    #[test]
    fn names_that_lead_elsewhere_are_passed_over() {
        assert!(is_name("qed/qed_init_values-8.59.1.0.bin"));
        for name in ["", "../x", "/etc/x", "a//b", "a/./b", "a\nb"] {
            assert!(!is_name(name), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn hostile_modules_do_no_harm(mut bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for (byte, magic) in bytes.iter_mut().zip(b"\x7fELF\x02\x01") {
                *byte = *magic;
            }
            let _ = firmware(&bytes);
        }
    }
}
