#![allow(clippy::unwrap_used, clippy::indexing_slicing, unused_results)]
use super::*;
use crate::system::units::sources::InDirectory;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// A root with files (text) and links (`-> target`).
fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match text.strip_prefix("-> ") {
            Some(target) => symlink(target, path).unwrap(),
            None => fs::write(path, text).unwrap(),
        }
    }
    dir
}

fn load(dir: &Path, name: &str) -> Unit {
    let sources = InDirectory::open(dir).unwrap();
    let units = Units::read(&sources, LoadPath::system()).unwrap();
    units.load(name).unwrap().unwrap()
}

fn paths(files: &[UnitFile]) -> Vec<&str> {
    files.iter().map(|file| file.path.as_str()).collect()
}

#[test]
fn the_first_directory_wins_and_masks_mask() {
    let dir = root(&[
        ("/usr/lib/systemd/system/a.service", "[Service]\nNice=1\n"),
        ("/etc/systemd/system/a.service", "[Service]\nNice=2\n"),
        ("/usr/lib/systemd/system/b.service", "[Service]\nNice=1\n"),
        ("/etc/systemd/system/b.service", "-> /dev/null"),
        ("/usr/lib/systemd/system/c.service", ""),
        ("/usr/lib/systemd/system/d.service", "[Service]\n"),
        ("/run/systemd/transient/d.service", "[Service]\nNice=3\n"),
        ("/etc/systemd/system/d.service", "[Service]\nNice=2\n"),
    ]);
    let fragment = |name| load(dir.path(), name).fragment.unwrap().path;
    assert_eq!(fragment("a.service"), "/etc/systemd/system/a.service");
    assert_eq!(fragment("d.service"), "/run/systemd/transient/d.service");
    for masked in ["b.service", "c.service"] {
        assert_eq!(load(dir.path(), masked).state, State::Masked);
    }
    assert_eq!(load(dir.path(), "none.service").state, State::NotFound);
    let sources = InDirectory::open(dir.path()).unwrap();
    let units = Units::read(&sources, LoadPath::persistent()).unwrap();
    assert_eq!(
        units
            .load("d.service")
            .unwrap()
            .unwrap()
            .settings()
            .last("Service", "Nice"),
        Some("2")
    );
    assert!(units.load("no unit").unwrap().is_none());
    assert_eq!(
        units.fragments().collect::<Vec<_>>(),
        ["a.service", "b.service", "c.service", "d.service"]
    );
}

#[test]
fn aliases_are_names_of_the_unit_that_they_lead_to() {
    let dir = root(&[
        ("/usr/lib/systemd/system/a.service", "[Service]\n"),
        (
            "/etc/systemd/system/b.service",
            "-> /lib/systemd/system/a.service",
        ),
        ("/etc/systemd/system/c.service", "-> b.service"),
        ("/etc/systemd/system/x.service", "-> y.service"),
        ("/etc/systemd/system/y.service", "-> x.service"),
        (
            "/etc/systemd/system/wrong.socket",
            "-> /usr/lib/systemd/system/a.service",
        ),
        ("/etc/systemd/system/linked.service", "-> /srv/other.service"),
        ("/srv/other.service", "[Service]\nNice=4\n"),
        (
            "/usr/lib/systemd/system/c.service.d/10.conf",
            "[Service]\nNice=5\n",
        ),
        ("/usr/lib/systemd/system/getty@.service", "[Service]\n"),
        ("/usr/lib/systemd/system/autovt@.service", "-> getty@.service"),
        ("/etc/systemd/system/special.service", "-> self.service"),
    ]);
    for name in ["a.service", "b.service", "c.service"] {
        let unit = load(dir.path(), name);
        assert_eq!(unit.name, "a.service");
        assert_eq!(
            unit.names.iter().collect::<Vec<_>>(),
            ["a.service", "b.service", "c.service"]
        );
        assert_eq!(
            paths(&unit.drop_ins),
            ["/usr/lib/systemd/system/c.service.d/10.conf"]
        );
    }
    for nothing in ["x.service", "wrong.socket", "special.service"] {
        assert_eq!(load(dir.path(), nothing).state, State::NotFound, "{nothing}");
    }
    let linked = load(dir.path(), "linked.service");
    assert_eq!(
        linked.fragment.as_ref().unwrap().path,
        "/etc/systemd/system/linked.service"
    );
    assert_eq!(linked.settings().last("Service", "Nice"), Some("4"));
    let getty = load(dir.path(), "autovt@tty2.service");
    assert_eq!(getty.name, "getty@tty2.service");
    assert!(getty.names.contains("autovt@tty2.service"));
    assert!(
        load(dir.path(), "getty@tty2.service")
            .names
            .contains("autovt@tty2.service")
    );
}

#[test]
fn drop_ins_are_ordered_by_name_and_hidden_by_better_directories() {
    let dir = root(&[
        ("/usr/lib/systemd/system/foo-bar@.service", "[Service]\n"),
        (
            "/usr/lib/systemd/system/foo-bar@x.service.d/30.conf",
            "[Service]\nNice=1\n",
        ),
        (
            "/usr/lib/systemd/system/foo-bar@.service.d/30.conf",
            "[Service]\nNice=2\n",
        ),
        (
            "/etc/systemd/system/foo-.service.d/20.conf",
            "[Service]\nNice=3\n",
        ),
        (
            "/usr/lib/systemd/system/foo-bar@x.service.d/20.conf",
            "[Service]\nNice=4\n",
        ),
        ("/usr/lib/systemd/system/service.d/10.conf", "[Service]\nNice=5\n"),
        ("/usr/lib/systemd/system/service.d/40.conf", "[Service]\nNice=6\n"),
        ("/etc/systemd/system/foo-bar@.service.d/40.conf", "-> /dev/null"),
        ("/etc/systemd/system/foo-bar@.service.d/README", "no drop-in"),
        ("/etc/systemd/system/foo.service.d/50.conf", "[Service]\nNice=7\n"),
    ]);
    let unit = load(dir.path(), "foo-bar@x.service");
    assert_eq!(
        paths(&unit.drop_ins),
        [
            "/usr/lib/systemd/system/service.d/10.conf",
            "/etc/systemd/system/foo-.service.d/20.conf",
            "/usr/lib/systemd/system/foo-bar@x.service.d/30.conf",
            "/etc/systemd/system/foo-bar@.service.d/40.conf",
        ]
    );
}

#[test]
fn instances_have_their_own_file_or_their_templates() {
    let dir = root(&[
        ("/usr/lib/systemd/system/t@.service", "[Service]\nNice=1\n"),
        ("/etc/systemd/system/t@own.service", "[Service]\nNice=2\n"),
        (
            "/etc/systemd/system/t@dropped.service.d/a.conf",
            "[Service]\nNice=3\n",
        ),
        ("/etc/systemd/system/m.target", "[Unit]\n"),
        (
            "/etc/systemd/system/m.target.wants/t@linked.service",
            "-> /usr/lib/systemd/system/t@.service",
        ),
    ]);
    let nice = |name| {
        load(dir.path(), name)
            .settings()
            .last("Service", "Nice")
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        (
            nice("t@own.service"),
            nice("t@any.service"),
            nice("t@dropped.service")
        ),
        ("2".into(), "1".into(), "3".into())
    );
    let sources = InDirectory::open(dir.path()).unwrap();
    let units = Units::read(&sources, LoadPath::system()).unwrap();
    assert_eq!(
        units.mentioned_instances().into_iter().collect::<Vec<_>>(),
        ["t@dropped.service", "t@linked.service"]
    );
}

#[test]
fn links_in_dependency_directories_count_unless_masked() {
    let dir = root(&[
        ("/usr/lib/systemd/system/m.target", "[Unit]\nWants=text.service\n"),
        (
            "/usr/lib/systemd/system/m.target.wants/a.service",
            "-> ../a.service",
        ),
        (
            "/usr/lib/systemd/system/m.target.wants/b.service",
            "-> ../b.service",
        ),
        ("/etc/systemd/system/m.target.wants/b.service", "-> /dev/null"),
        (
            "/etc/systemd/system/m.target.requires/c.service",
            "-> /nowhere/c.service",
        ),
        ("/etc/systemd/system/m.target.wants/notalink.service", "x"),
        (
            "/etc/systemd/system/m.target.upholds/d.service",
            "-> ../d.service",
        ),
    ]);
    let unit = load(dir.path(), "m.target");
    let links: Vec<_> = unit
        .dependencies
        .iter()
        .map(|link| (link.key, link.unit.as_str()))
        .collect();
    assert_eq!(
        links,
        [
            ("Requires", "c.service"),
            ("Upholds", "d.service"),
            ("Wants", "a.service")
        ]
    );
    assert_eq!(unit.settings().items("Unit", "Wants").len(), 2);
}
