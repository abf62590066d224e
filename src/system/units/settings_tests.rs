#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use super::*;
use crate::system::units::parse::parse;
use proptest::prelude::*;

fn settings(kind: Kind, texts: &[&str]) -> Settings {
    let parsed: Vec<_> = texts.iter().map(|text| parse(text.as_bytes())).collect();
    Settings::new(kind, &parsed, [])
}

/// Texts of a service, in pairs: `true` when keel calls them equal.
const PAIRS: &[(bool, &str, &str)] = &[
    // Form.
    (
        true,
        "[Service]\nExecStart=/bin/a b\n",
        "# x\n\n[Service]\r\n ExecStart = /bin/a   b\r\n",
    ),
    (
        true,
        "[Service]\nExecStart=/bin/a b\n",
        "[Service]\nExecStart=/bin/a \\\n # x\n    b\n",
    ),
    (
        true,
        "[Unit]\nAfter=a\n[Service]\nType=exec\n",
        "[Service]\nType=exec\n[Unit]\nAfter=a\n",
    ),
    (true, "[Service]\nNice=1\nUser=x\n", "[Service]\nUser=x\nNice=1\n"),
    (
        false,
        "[Service]\nExecStart=/bin/a 'b  c'\n",
        "[Service]\nExecStart=/bin/a 'b c'\n",
    ),
    // What systemd doesn't read.
    (
        true,
        "[Service]\nType=exec\n",
        "[Service]\nType=exec\n[Install]\nWantedBy=x\n[X-Y]\nZ=1\n[Socket]\nAccept=yes\n",
    ),
    // Scalars.
    (
        true,
        "[Service]\nType=exec\n",
        "[Service]\nType=simple\nType=exec\n",
    ),
    (true, "[Service]\nPrivateTmp=1\n", "[Service]\nPrivateTmp=1\n"),
    (
        false,
        "[Service]\nRemainAfterExit=yes\n",
        "[Service]\nRemainAfterExit=no\n",
    ),
    (
        false,
        "[Service]\nRemainAfterExit=maybe\n",
        "[Service]\nRemainAfterExit=yes\nRemainAfterExit=maybe\n",
    ),
    (
        true,
        "[Unit]\nStartLimitInterval=5\n",
        "[Unit]\nStartLimitIntervalSec=5\n",
    ),
    (
        true,
        "[Service]\nStartLimitInterval=5\n",
        "[Unit]\nStartLimitIntervalSec=5\n",
    ),
    (
        false,
        "[Service]\nTimeoutSec=5\nTimeoutStopSec=6\n",
        "[Service]\nTimeoutStopSec=6\nTimeoutSec=5\n",
    ),
    (
        false,
        "[Service]\nDynamicUser=maybe\nDynamicUser=yes\n",
        "[Service]\nDynamicUser=yes\n",
    ),
    // Lists.
    (
        true,
        "[Service]\nExecStart=/bin/b\n",
        "[Service]\nExecStart=/bin/a\nExecStart=\nExecStart=/bin/b\n",
    ),
    (
        false,
        "[Service]\nExecStart=/bin/b\n",
        "[Service]\nExecStart=not/absolute\nExecStart=\nExecStart=/bin/b\n",
    ),
    (
        false,
        "[Service]\nExecStart=/bin/a\nExecStart=/bin/b\n",
        "[Service]\nExecStart=/bin/b\nExecStart=/bin/a\n",
    ),
    (true, "[Service]\nEnvironment=\n", "[Service]\n"),
    (false, "[Service]\nCapabilityBoundingSet=\n", "[Service]\n"),
    (
        false,
        "[Service]\nEnvironment=A=1\nEnvironment=A=2\n",
        "[Service]\nEnvironment=A=2\nEnvironment=A=1\n",
    ),
    (
        true,
        "[Unit]\nConditionHost=a\nAssertHost=b\nConditionPathExists=\n",
        "[Unit]\nAssertHost=b\n",
    ),
    (
        false,
        "[Unit]\nConditionHost=a\nAssertHost=b\nAssertPathExists=\n",
        "[Unit]\nAssertHost=b\n",
    ),
    // Dependencies are sets and can't be reset.
    (
        true,
        "[Unit]\nAfter=a b\nAfter=c\n",
        "[Unit]\nAfter=c b\nAfter=\nAfter=a\nAfter=c\n",
    ),
    (false, "[Unit]\nAfter=a\nAfter=\n", "[Unit]\n"),
    (true, "[Unit]\nBindTo=a\n", "[Unit]\nBindsTo=a\n"),
    (false, "[Unit]\nWants=a\n", "[Unit]\nRequires=a\n"),
    // Unknown keys are compared whole.
    (
        false,
        "[Service]\nNewKey=a\nNewKey=\nNewKey=b\n",
        "[Service]\nNewKey=b\n",
    ),
    (
        false,
        "[Service]\nexecStart=/bin/a\n",
        "[Service]\nExecStart=/bin/a\n",
    ),
    // A text that systemd doesn't read to its end.
    (false, "[Service]\nType=exec\n", "[Service]\nType=exec\n[broken\n"),
];

#[test]
fn calls_equal_what_is_equal_to_systemd() {
    for (equal, a, b) in PAIRS {
        let (left, right) = (settings(Kind::Service, &[a]), settings(Kind::Service, &[b]));
        assert_eq!(left == right, *equal, "{a:?} {b:?}\n{left:?}\n{right:?}");
    }
}

#[test]
fn drop_ins_add_to_the_fragment() {
    let fragment = "[Unit]\nAfter=a\nConditionHost=x\n[Service]\nExecStart=/bin/a\nNice=1\nType=exec\n";
    let drop_in = "[Unit]\nAfter=\nConditionHost=\n[Service]\nExecStart=\nExecStart=/bin/b\nType=oneshot\n";
    let both = settings(Kind::Service, &[fragment, drop_in]);
    assert_eq!(both.last("Service", "ExecStart"), Some("/bin/b"));
    assert_eq!(both.items("Service", "ExecStart").len(), 1);
    assert_eq!(both.last("Service", "Type"), Some("oneshot"));
    assert_eq!(both.last("Unit", "After"), Some("a"));
    assert!(both.items("Unit", "Conditions").is_empty());
    // Sections don't carry over from one file to the next.
    assert_eq!(
        settings(Kind::Service, &["[Service]\n", "Nice=3\n"]),
        settings(Kind::Service, &[])
    );
}

#[test]
fn links_are_dependencies() {
    let parsed = parse(b"[Unit]\nWants=b.service\n");
    let linked = Settings::new(
        Kind::Target,
        [&parsed],
        [("Wants", "a.service"), ("Wants", "b.service")],
    );
    assert_eq!(
        linked,
        settings(Kind::Target, &["[Unit]\nWants=a.service b.service\n"])
    );
}

#[test]
fn specifiers_of_the_own_path_are_seen() {
    assert!(settings(Kind::Service, &["[Service]\nExecStart=/bin/a %y\n"]).names_own_path());
    assert!(!settings(Kind::Service, &["[Service]\nExecStart=/bin/a %i\n"]).names_own_path());
}

proptest! {
    // The settings are a function of each setting's own sequence: assignments to different settings may change places.
    #[test]
    fn order_across_settings_does_not_matter(
        mut lines in prop::collection::vec(("(Nice|Type|ExecStart|Environment|User)", "(|1|exec|/bin/a|A=1)"), 0..12)
    ) {
        let text = |lines: &[(String, String)]| {
            lines.iter().fold("[Service]\n".to_owned(), |text, (key, value)| text + key + "=" + value + "\n")
        };
        let before = settings(Kind::Service, &[&text(&lines)]);
        lines.sort_by(|a, b| a.0.cmp(&b.0));
        prop_assert_eq!(before, settings(Kind::Service, &[&text(&lines)]));
    }
}
