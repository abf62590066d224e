//! The name that was probably meant.

/// Longer names than any module has would only cost time.
const LONGEST: usize = 128;

/// The one of `known` that is nearest to `name`, when it is near at all.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > LONGEST {
        return None;
    }
    known
        .filter(|known| known.len() <= LONGEST)
        .map(|known| (distance(name, known), known))
        .min()
        .filter(|(distance, _)| *distance <= name.len() / 2)
        .map(|(_, known)| known)
}

/// Levenshtein's distance: insertions, removals and replacements of characters.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, y) in row.iter_mut().skip(1).zip(&b) {
            let above = *cell;
            left = (above + 1).min(left + 1).min(diagonal + usize::from(x != *y));
            diagonal = above;
            *cell = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("", "", 0),
            ("nvme", "nvme", 0),
            ("nvem", "nvme", 2),
            ("", "ab", 2),
            ("ahcl", "ahci", 1),
            ("xts", "", 3),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn only_what_is_near_is_offered() {
        let known = ["nvme", "ahci", "usbhid"];
        assert_eq!(nearest("nvem", known.into_iter()), Some("nvme"));
        assert_eq!(nearest("usb_hid", known.into_iter()), Some("usbhid"));
        assert_eq!(nearest("floppy", known.into_iter()), None);
        assert_eq!(nearest(&"n".repeat(100_000), known.into_iter()), None);
    }
}
