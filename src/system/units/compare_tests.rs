#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use super::*;
use crate::system::units::load::UnitFile;
use crate::system::units::name::UnitName;
use crate::system::units::parse::parse;
use std::sync::Arc;

fn unit(name: &str, text: &str) -> Unit {
    Unit {
        name: name.to_owned(),
        kind: UnitName::parse(name).unwrap().kind,
        names: [name.to_owned()].into(),
        state: State::Loaded,
        fragment: Some(UnitFile {
            path: format!("/usr/lib/systemd/system/{name}"),
            text: Arc::new(parse(text.as_bytes())),
        }),
        drop_ins: Vec::new(),
        dependencies: Vec::new(),
    }
}

#[test]
fn changes_are_named_by_section_and_key_and_the_strongest_counts() {
    for (name, old, new, verdict, shown) in [
        (
            "a.service",
            "[Service]\nExecStart=/bin/a\n",
            "[Service]\nExecStart=/bin/b\n",
            Verdict::Restart,
            "[Service] ExecStart changed",
        ),
        (
            "a.service",
            "[Unit]\nDescription=a\n",
            "[Unit]\nDescription=b\n",
            Verdict::ReloadDaemonOnly,
            "[Unit] Description changed",
        ),
        (
            "a.service",
            "[Unit]\n",
            "[Unit]\nConditionHost=x\n",
            Verdict::Restart,
            "[Unit] ConditionHost added",
        ),
        (
            "a.socket",
            "[Socket]\nListenStream=1\nListenFIFO=/x\n",
            "[Socket]\nListenStream=1\n",
            Verdict::Restart,
            "[Socket] ListenFIFO changed",
        ),
        (
            "a.service",
            "[Unit]\nAfter=a\n",
            "[Service]\n",
            Verdict::ReloadDaemonOnly,
            "[Unit] After removed",
        ),
        (
            "a.mount",
            "[Mount]\nOptions=ro\n",
            "[Mount]\nOptions=rw\n",
            Verdict::Reload,
            "[Mount] Options changed",
        ),
        (
            "a.service",
            "[Service]\nExecStart=/bin/a %y\n",
            "[Service]\nExecStart=/bin/a %y\n",
            Verdict::Equal,
            "",
        ),
        (
            "a.service",
            "[Service]\nType=exec\n",
            "[Service]\nType=exec\n\u{fdd0}=1\n",
            Verdict::Restart,
            "fault added",
        ),
        ("a.service", "[Install]\nWantedBy=a\n", "", Verdict::Equal, ""),
    ] {
        let comparison = compare(&unit(name, old), &unit(name, new));
        assert_eq!(comparison.verdict, verdict, "{old:?} {new:?}");
        let texts: Vec<_> = comparison.changes.iter().map(Change::to_string).collect();
        assert_eq!(texts.join(", "), shown);
    }
}

#[test]
fn several_changes_are_all_named() {
    let comparison = compare(
        &unit(
            "a.service",
            "[Unit]\nDescription=a\n[Service]\nExecReload=/bin/a\n",
        ),
        &unit(
            "a.service",
            "[Unit]\nDescription=b\n[Service]\nExecReload=/bin/b\n",
        ),
    );
    assert_eq!(comparison.changes.len(), 2);
    assert_eq!(comparison.verdict, Verdict::Reload);
}

#[test]
fn masks_and_moved_fragments_are_changes() {
    let old = unit("a.service", "[Service]\nExecStart=/bin/a %Y\n");
    let mut moved = old.clone();
    moved.fragment.as_mut().unwrap().path = "/etc/systemd/system/a.service".to_owned();
    assert_eq!(
        compare(&old, &moved).changes[0].to_string(),
        "fragment's path changed"
    );
    let mut masked = old.clone();
    masked.state = State::Masked;
    masked.fragment.as_mut().unwrap().text = Arc::default();
    let shown: Vec<_> = compare(&old, &masked)
        .changes
        .iter()
        .map(Change::to_string)
        .collect();
    assert_eq!(
        shown,
        [
            "[Service] ExecStart removed",
            "mask added",
            "fragment's path changed"
        ][..2]
    );
}
