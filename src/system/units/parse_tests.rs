#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use super::*;
use proptest::prelude::*;

fn pairs(text: &str) -> Vec<(String, String)> {
    let parsed = parse(text.as_bytes());
    assert_eq!(parsed.broken, None, "{text:?}");
    let shown = |a: Assignment| (format!("{}.{}", a.section, a.key), a.value);
    parsed.assignments.into_iter().map(shown).collect()
}

fn one(text: &str) -> String {
    let mut pairs = pairs(text);
    assert_eq!(pairs.len(), 1, "{text:?}: {pairs:?}");
    pairs.remove(0).1
}

#[test]
fn reads_values_as_systemd_does() {
    let table = [
        ("[S]\nK=v\n", "v"),
        ("[S]\r\nK = v \r\n", "v"),
        ("[S]\rK=v", "v"),
        ("\u{feff}[S]\nK=v", "v"),
        ("  [S]  \n\tK\t=\tv w\t", "v w"),
        ("[S]\nK=v # no comment", "v # no comment"),
        ("[S]\nK=a=b", "a=b"),
        ("[S]\nK=", ""),
        ("[S]\nK=a\\\nb", "a b"),
        ("[S]\nK=a \\\n  b", "a    b"),
        ("[S]\nK=a\\\n# comment\n ; another\\\nb\n", "a b"),
        ("[S]\nK=a\\\\\n", r"a\\"),
        ("[S]\nK=a\\\\\\\nb", r"a\\ b"),
        ("[S]\nK=a\\\n\nL", "a"),
        ("[S]\nK=a\\", "a"),
        ("[S]\nK='a\\\nb'", "'a b'"),
        ("[S]\nK=\"q\" \\x20", "\"q\" \\x20"),
        ("[S]\nK=\x0cv", "\x0cv"),
    ];
    for (text, expected) in table {
        let parsed = parse(text.as_bytes());
        assert_eq!(parsed.assignments[0].value, expected, "{text:?}");
    }
    assert_eq!(one("[S]\n\\\nK=v"), "v");
}

#[test]
fn names_the_line_that_a_fault_or_an_assignment_begins_on() {
    let parsed = parse(b"K=v\n\n[S]\nnothing\n=x\nA=1\\\n2\nB=3\n");
    let faults: Vec<_> = parsed.warnings.iter().map(|w| (w.line, w.fault)).collect();
    assert_eq!(
        faults,
        [
            (1, Fault::OutsideOfSection),
            (4, Fault::NoEquals),
            (5, Fault::NoKey)
        ]
    );
    let lines: Vec<_> = parsed
        .assignments
        .iter()
        .map(|a| (a.line, a.key.as_str()))
        .collect();
    assert_eq!(lines, [(6, "A"), (8, "B")]);
    assert_eq!(
        parsed.warnings[0].to_string(),
        "line 1: an assignment outside of any section"
    );
}

#[test]
fn stops_where_systemd_stops() {
    for (text, fault) in [
        (&b"[S]\nA=1\n[open\nB=2\n"[..], Fault::OpenHeader),
        (b"[S]\nA=1\n[a\"b]\nB=2\n", Fault::BadHeader),
        (b"[S]\nA=1\nB=\xff\nC=3\n", Fault::NotUtf8),
        ("[S]\nA=1\nB=\u{fdd0}\nC=3\n".as_bytes(), Fault::NotUtf8),
    ] {
        let parsed = parse(text);
        assert_eq!(parsed.broken, Some(Warning { line: 3, fault }));
        assert_eq!(parsed.assignments.len(), 1);
    }
    // A comment may hold anything.
    assert_eq!(parse(b"[S]\n# \xff\nA=1\n").broken, None);
}

#[test]
fn ends_lines_at_nul_and_at_pairs_of_marks() {
    assert_eq!(pairs("[S]\0A=1\n\r\0B=2\r\nC=3").len(), 3);
    // A mark that comes twice ends two lines.
    assert_eq!(parse(b"[S]\n\n\nA").warnings[0].line, 4);
    assert_eq!(parse(b"[S]\r\n\r\nA").warnings[0].line, 3);
    assert_eq!(parse(b"[S]\0\0\0A").warnings[0].line, 4);
}

#[test]
fn refuses_what_is_too_long() {
    let line = |length: usize| format!("[S]\nK={}\n", "x".repeat(length - 2)).into_bytes();
    assert_eq!(parse(&line(LINE_MAX - 1)).broken, None);
    assert_eq!(parse(&line(LINE_MAX)).broken.unwrap().fault, Fault::LongLine);
    let continued = format!("[S]\nK={}", "x\\\n".repeat(LINE_MAX)).into_bytes();
    assert_eq!(parse(&continued).broken.unwrap().fault, Fault::LongLine);
    assert_eq!(
        parse(&vec![b'\n'; FILE_MAX + 1]).broken.unwrap().fault,
        Fault::TooLarge
    );
}

proptest! {
    #[test]
    fn never_panics(bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'\\'), Just(b'['), Just(b'='), any::<u8>()], 0..300)) {
        let parsed = parse(&bytes);
        prop_assert!(parsed.assignments.iter().all(|a| a.line > 0 && a.key == a.key.trim_matches(is_blank)));
    }

    #[test]
    fn what_is_written_plainly_is_read_back(pairs in prop::collection::vec(("[A-Z][a-zA-Z]{0,8}", "[a-z/%\"'][a-z /%\"'=#;]{0,20}[a-z]"), 0..20)) {
        let text: String = pairs.iter().fold("[S]\n".to_owned(), |text, (key, value)| text + key + "=" + value + "\n");
        let read: Vec<_> = parse(text.as_bytes()).assignments.into_iter().map(|a| (a.key, a.value)).collect();
        prop_assert_eq!(read, pairs);
    }
}
