//! Sizes and ages as they are typed and printed.

use std::str::FromStr;

/// Bytes: a number, or one with K, M, G or T behind it (powers of 1024).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bytes(pub(super) u64);

/// Seconds: a number with h, d or w behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Age(pub(super) u64);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let units = [
            ("K", 1 << 10),
            ("M", 1 << 20),
            ("G", 1 << 30),
            ("T", 1 << 40),
            ("", 1),
        ];
        number(text, &units)
            .map(Self)
            .ok_or_else(|| "a size is a number of bytes, or one with K, M, G or T".into())
    }
}

impl FromStr for Age {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        number(text, &[("h", 3600), ("d", 86400), ("w", 7 * 86400)])
            .map(Self)
            .ok_or_else(|| "an age is a number with h, d or w, such as 30d".into())
    }
}

fn number(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (digits, unit) = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(*unit)
}

/// `bytes` in the largest unit of which there is one.
pub(super) fn shown_bytes(bytes: u64) -> String {
    let (mut whole, mut tenth, mut unit) = (bytes, 0, "B");
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if whole < 1024 {
            break;
        }
        tenth = whole % 1024 * 10 / 1024;
        whole /= 1024;
        unit = larger;
    }
    if unit == "B" {
        format!("{whole} B")
    } else {
        format!("{whole}.{tenth} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_read_and_nonsense_is_not() {
        let bytes = |text: &str| text.parse().map(|Bytes(bytes)| bytes).ok();
        assert_eq!(bytes("17"), Some(17));
        assert_eq!(bytes("2K"), Some(2048));
        assert_eq!(bytes("3T"), Some(3 << 40));
        let age = |text: &str| text.parse().map(|Age(seconds)| seconds).ok();
        assert_eq!(age("30d"), Some(30 * 86400));
        assert_eq!(age("1w"), age("7d"));
        for odd in ["", "d", "-1d", "+1d", "1", "1y", "1 d", "99999999999999999999d"] {
            assert_eq!(age(odd), None, "{odd}");
        }
        for odd in ["", "K", "-1", "1.5G", "99999999T", "1k"] {
            assert_eq!(bytes(odd), None, "{odd}");
        }
    }

    #[test]
    fn sizes_are_printed_in_their_largest_unit() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_572_864, "1.5 MiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(shown_bytes(bytes), text);
        }
    }
}
