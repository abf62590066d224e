//! Debian's control files: paragraphs of fields (deb822(5); Debian policy, section 5.1). Indexes of archives, release files and
//! apt's `.sources` are written so.

use std::borrow::Cow;

/// A paragraph, as its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paragraph<'a> {
    text: &'a str,
}

/// The paragraphs of a text, in its order. Lines that begin with `#` belong to none.
pub fn paragraphs(text: &str) -> impl Iterator<Item = Paragraph<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            rest = skip_empty(rest);
            if rest.is_empty() {
                return None;
            }
            let end = end_of_paragraph(rest);
            let (text, after) = rest.split_at(end);
            rest = after;
            let paragraph = Paragraph { text };
            // Comments alone are none.
            if paragraph.fields().next().is_some() {
                return Some(paragraph);
            }
        }
    })
}

fn skip_empty(mut text: &str) -> &str {
    while let Some(end) = text.find('\n') {
        let (line, rest) = text.split_at(end + 1);
        if !line.trim().is_empty() {
            return text;
        }
        text = rest;
    }
    if text.trim().is_empty() { "" } else { text }
}

/// Where the first line that is empty, or holds white space alone, begins.
fn end_of_paragraph(text: &str) -> usize {
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let end = rest.find('\n').map_or(rest.len(), |newline| newline + 1);
        // Indexes have a million lines: few begin with white space, and are looked at more closely.
        let is_blank = rest.starts_with([' ', '\t', '\r', '\n'])
            && rest.get(..end).is_some_and(|line| line.trim().is_empty());
        if is_blank {
            return at;
        }
        at += end;
    }
    text.len()
}

impl<'a> Paragraph<'a> {
    /// Its text, with a newline at its end when the text had one.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// Names and values of its fields. A value of several lines has its newlines, and what they begin with.
    pub fn fields(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let mut rest = self.text;
        std::iter::from_fn(move || {
            loop {
                if rest.is_empty() {
                    return None;
                }
                let end = end_of_field(rest);
                let (field, after) = rest.split_at(end);
                rest = after;
                // A line that goes on without a field before it, a comment, or one without a colon is passed over.
                if field.starts_with([' ', '\t', '#']) {
                    continue;
                }
                if let Some((name, value)) = field.split_once(':')
                    && !name.is_empty()
                    && !name.contains(char::is_whitespace)
                {
                    return Some((name, value.trim()));
                }
            }
        })
    }

    /// The value of the first field of this name, whose case doesn't matter.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.fields()
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// The words of a field, those of the lines that go on included.
    pub fn words(&self, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.get(name)
            .unwrap_or_default()
            .lines()
            .filter(|line| !line.starts_with('#'))
            .flat_map(str::split_whitespace)
    }
}

/// Where the first line ends that isn't followed by one that goes on.
fn end_of_field(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(newline) = text.get(at..).and_then(|rest| rest.find('\n')) {
        at += newline + 1;
        // A comment between the lines of a value belongs to it; `words` leaves it out.
        if !matches!(bytes.get(at), Some(b' ' | b'\t' | b'#')) {
            return at;
        }
    }
    text.len()
}

/// The signed text of a file that may be signed in the clear (RFC 4880, section 7), as `InRelease` is. Nothing is verified here:
/// apt has done that.
pub fn signed_text(text: &str) -> Cow<'_, str> {
    const BEGIN: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
    const END: &str = "\n-----BEGIN PGP SIGNATURE-----";
    let Some(rest) = text.strip_prefix(BEGIN) else {
        return Cow::Borrowed(text);
    };
    // Its own headers (`Hash:`) end with an empty line.
    let Some((_, body)) = rest.split_once("\n\n") else {
        return Cow::Borrowed("");
    };
    let body = body.find(END).and_then(|end| body.get(..end + 1)).unwrap_or(body);
    if body.starts_with("- ") || body.contains("\n- ") {
        let lines = body.split_inclusive('\n');
        return Cow::Owned(
            lines
                .map(|line| line.strip_prefix("- ").unwrap_or(line))
                .collect(),
        );
    }
    Cow::Borrowed(body)
}

/// Seconds since 1970 of the date in a release file: `Sat, 21 Nov 2026 09:15:44 UTC` (RFC 5322, in UTC).
pub fn date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let text = text.split_once(',').map_or(text, |(_, rest)| rest);
    let mut words = text.split_whitespace();
    let day: i64 = words.next()?.parse().ok()?;
    let month = words.next()?;
    let month = i64::try_from(MONTHS.iter().position(|name| *name == month)?).ok()? + 1;
    let year: i64 = words.next()?.parse().ok()?;
    let mut time = words.next()?.split(':').map(|part| part.parse::<i64>().ok());
    let (hours, minutes, seconds) = (time.next()??, time.next()??, time.next()??);
    let zone = words.next()?;
    let fits = (1..=31).contains(&day)
        && (1970..=9999).contains(&year)
        && (0..24).contains(&hours)
        && (0..60).contains(&minutes)
        && (0..=60).contains(&seconds)
        && matches!(zone, "UTC" | "GMT" | "Z" | "+0000");
    // Days from 1970-01-01 in the proleptic Gregorian calendar, of years that begin in March.
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted / 400;
    let of_era = shifted % 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    fits.then_some(days * 86_400 + hours * 3600 + minutes * 60 + seconds)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn paragraphs_and_their_fields() {
        let text = "# a comment\n\nPackage: a\nDescription: first\n second\n .\n third\nTag: x,\n y\n\n \nPackage: b\n# between\nVersion:1:2";
        let all: Vec<_> = paragraphs(text).collect();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].get("description"), Some("first\n second\n .\n third"));
        assert_eq!(all[0].words("Tag").collect::<Vec<_>>(), ["x,", "y"]);
        assert_eq!(all[1].get("Version"), Some("1:2"));
        assert_eq!(all[1].get("Package"), Some("b\n# between"), "words leave it out");
        assert_eq!(all[1].words("Package").collect::<Vec<_>>(), ["b"]);
        assert_eq!(all[1].get("Tag"), None);
    }

    #[test]
    fn damage_is_passed_over() {
        for text in ["", "\n\n", ":", " x", "no colon", "a b: c", "#", "\u{0}"] {
            assert_eq!(paragraphs(text).count(), 0, "{text:?}");
        }
        assert_eq!(paragraphs("A:").next().unwrap().get("a"), Some(""));
        assert_eq!(paragraphs("A: 1\r\n\r\nB: 2\r\n").count(), 2);
    }

    #[test]
    fn what_is_signed_in_the_clear() {
        let text = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nOrigin: Debian\n- - dashed\nSuite: x\n-----BEGIN PGP \
                    SIGNATURE-----\n\nabc\n-----END PGP SIGNATURE-----\n";
        assert_eq!(signed_text(text), "Origin: Debian\n- dashed\nSuite: x\n");
        assert_eq!(signed_text("Origin: x\n"), "Origin: x\n");
    }

    #[test]
    fn dates_as_date_1_reads_them() {
        for (text, expected) in [
            ("Thu, 01 Jan 1970 00:00:00 UTC", Some(0)),
            ("Sat, 21 Nov 2026 09:15:44 UTC", Some(1_795_252_544)),
            ("Thu, 29 Feb 2024 23:59:59 +0000", Some(1_709_251_199)),
            ("1 Mar 2000 00:00:00 GMT", Some(951_868_800)),
            ("Sat, 21 Nov 2026 09:15:44 CEST", None),
            ("Sat, 99 Nov 2026 09:15:44 UTC", None),
            ("nonsense", None),
        ] {
            assert_eq!(date(text), expected, "{text}");
        }
    }
}
