//! What is wrong, and where.

use super::{LEAST, SYSTEM, load_all, problems, with};

/// Two lines of [`LEAST`] come first: texts here begin at line 3.
const TABLE: &[(&str, &str)] = &[
    // Keys.
    (
        "[system]\nhostnam = \"a\"",
        "4:1: [system] has no key \"hostnam\"; did you mean \"hostname\"?",
    ),
    (
        "[sistem]",
        "3:2: a configuration has no key \"sistem\"; did you mean \"system\"?",
    ),
    (
        "hostname = \"a\"",
        "3:1: a configuration has no key \"hostname\"; did you mean system.hostname?",
    ),
    (
        "[networking.firewall]\nallowedTCPPorts = [1]",
        "4:1: [networking.firewall] has no key \"allowedTCPPorts\"; did you mean \"allowed_tcp_ports\"?",
    ),
    (
        "[boot]\nzzzzzzzzzz = 1",
        "4:1: [boot] has no key \"zzzzzzzzzz\"; `keel options boot` lists what there is",
    ),
    (
        "[users.\"a b\"]\nnormal = true",
        "3:8: \"a b\" isn't a user name: ",
    ),
    (
        "[units.nginx.service]\nenable = true",
        "3:8: \"nginx\" isn't a name of a unit: its type is missing, such as nginx.service; a name with dots stands in quotes: \"nginx.service\"",
    ),
    (
        "[units.\"a.servise\"]",
        "3:8: \"a.servise\" isn't a name of a unit: '.servise' is no type of unit; the nearest one is '.service'",
    ),
    (
        "[sysctl]\nnet.ipv4.ip_forward = 1",
        "4:1: sysctl.net takes a text, an integer or a boolean, not a table; a name with dots stands in quotes: \"net.ipv4.ip_forward\"",
    ),
    // Types.
    (
        "[boot]\ngenerations = \"10\"",
        "4:15: boot.generations takes an integer from 2 to 1000, not a text; write 10, without quotes",
    ),
    (
        "[boot]\ngenerations = 1",
        "4:15: boot.generations: 1 isn't between 2 and 1000",
    ),
    (
        "[boot]\ngenerations = 99999999999999999999",
        "4:15: boot.generations: 99999999999999999999 isn't between",
    ),
    (
        "[services.openssh]\nenable = \"yes\"",
        "4:10: services.openssh.enable takes true or false, not a text; write true",
    ),
    (
        "[packages]\ninstall = \"vim\"",
        "4:11: packages.install takes a list of texts, not a text; write [\"vim\"]",
    ),
    (
        "[packages]\ninstall = [\"vim\", 1]",
        "4:19: packages.install takes a list of texts with nothing else in it, not an integer",
    ),
    (
        "[packages]\nkernel = 6",
        "4:10: packages.kernel takes a text, not an integer; write \"6\", in quotes",
    ),
    (
        "system = 1",
        "3:10: system takes a table, not an integer; write [system]",
    ),
    (
        "[swap]\ndevice = \"/dev/a\"",
        "3:1: swap takes a list of tables, not a table; write [[swap]]",
    ),
    (
        "swap = [1]",
        "3:9: swap takes a list of tables, not an integer in it; write [[swap]]",
    ),
    // Values.
    (
        "[system]\nhostname = \"My Host\"",
        "4:12: system.hostname: \"My Host\" isn't a host name: ",
    ),
    (
        "[system]\ntime_zone = \"Asai/Kolkata\"",
        "4:13: system.time_zone: \"Asai/Kolkata\" isn't a time zone: the time zone database has no area Asai; the nearest one is Asia/Kolkata",
    ),
    (
        "[networking.firewall]\nallowed_tcp_ports = [22, 65536]",
        "4:26: networking.firewall.allowed_tcp_ports: 65536 isn't between 1 and 65535",
    ),
    (
        "[etc.motd]\ntext = \"\"\nmode = \"0999\"",
        "5:8: etc.motd.mode: \"0999\" isn't a mode: ",
    ),
    (
        "[etc.passwd]\ntext = \"\"",
        "3:6: \"passwd\" isn't a path below /etc: /etc/passwd is made by [users]",
    ),
    (
        "[boot]\nloader = \"grub\"",
        "4:10: boot.loader: \"grub\" isn't \"systemd-boot\"",
    ),
    (
        "[boot]\nkernel_params = [\"root=/dev/sda\"]",
        "4:18: boot.kernel_params: \"root=/dev/sda\" isn't a kernel parameter: root= comes from [filesystems.\"/\"]",
    ),
    // What is missing.
    (
        "[boot.luks.root]\nallow_discards = true",
        "3:12: [boot.luks.root] has no device; such as device = ",
    ),
    (
        "[filesystems.\"/srv\"]\ndevice = \"/dev/sdb1\"",
        "3:14: [filesystems.\"/srv\"] has no type; such as type = \"ext4\"",
    ),
    (
        "[filesystems.\"/srv\"]\ntype = \"ext4\"",
        "3:14: [filesystems.\"/srv\"] has no device; such as device = ",
    ),
    (
        "[[swap]]\npriority = 1",
        "3:1: [[swap]] has no device; such as device = \"/dev/vg/swap\"",
    ),
    (
        "[etc.motd]\nmode = \"0644\"",
        "3:6: etc.motd has nothing in it; it takes one of text, source, link",
    ),
    (
        "[health.checks.web]\ndeadline = 3",
        "3:16: health.checks.web has none; a check has one of command, unit, tcp and http",
    ),
    // What contradicts itself.
    (
        "[users.a]\nnormal = true\nuid = 1000\n[users.b]\nnormal = true\nuid = 1000",
        "8:7: users.b and users.a have the same uid, 1000; a's is at /c/system.toml:5:7",
    ),
    (
        "[users.a]\nnormal = true\nsystem = true",
        "4:10: users.a is both normal and system; system is at /c/system.toml:5:10",
    ),
    (
        "[users.a]\nnormal = true\nuid = 999",
        "5:7: users.a.uid: 999 isn't between 1000 and 59999",
    ),
    (
        "[groups]\na.gid = 5\nb.gid = 5",
        "5:9: groups.b and groups.a have the same gid, 5; a's is at /c/system.toml:4:9",
    ),
    (
        "[etc.motd]\ntext = \"\"\nlink = \"/x\"",
        "4:8: etc.motd has text and link; link is at /c/system.toml:5:8; it takes one of",
    ),
    (
        "[etc.a]\ntext = \"\"\n[etc.\"a/b\"]\ntext = \"\"",
        "5:6: etc.\"a/b\" lies below etc.\"a\", which is a file; it's at /c/system.toml:3:6",
    ),
    (
        "[etc.motd]\nsource = \"nowhere\"",
        "4:10: /c/nowhere can't be read: ",
    ),
    (
        "[units.\"a.service\"]\ntext = \"\"\nsections.Service.X = \"1\"",
        "4:8: units.\"a.service\" has both text and sections",
    ),
    (
        "[units.\"a.service\".sections.Servise]\nA = \"1\"",
        "3:29: systemd reads no section [Servise] in a.service; did you mean [Service]?",
    ),
    (
        "[units.\"a.service\"]\nmask = true\ntext = \"\"",
        "5:8: units.\"a.service\" is masked and has text",
    ),
    (
        "[units.\"a.service\"]\nrestart_triggers = [\"/usr/x\"]",
        "4:21: units.\"a.service\".restart_triggers: /usr/x isn't below /etc",
    ),
    (
        "[filesystems.\"/usr\"]\ndevice = \"/dev/a\"\ntype = \"ext4\"",
        "3:14: filesystems.\"/usr\": /usr comes from the generation",
    ),
    (
        "[filesystems.\"/srv\"]\ndevice = \"sda1\"\ntype = \"ext4\"",
        "4:10: filesystems.\"/srv\".device: \"sda1\" isn't a device, which ext4 lies on",
    ),
    (
        "[[swap]]\ndevice = \"/dev/a\"\n[[swap]]\ndevice = \"/dev/a\"",
        "6:10: /dev/a is swapped to twice; and at /c/system.toml:4:10",
    ),
    (
        "[boot.luks]\na.device = \"/dev/a\"\nb.device = \"/dev/a\"",
        "5:12: boot.luks.b and boot.luks.a are the same device",
    ),
    (
        "[boot.luks]\na = { device = \"/dev/disk/by-partlabel/a\", header = \"/a.hdr\" }",
        "4:53: boot.luks.a has a detached header, and nothing says the volume's UUID; boot.luks.a.uuid",
    ),
    (
        "[[overlay]]\npackage = \"a1\"\ndeb = \"x.deb\"\nrecipe = \"y\"",
        "5:7: overlay.0 has deb and recipe",
    ),
    (
        "[health.checks.web]\ntcp = \"example.org:80\"",
        "3:16: [health.checks.web]: tcp is HOST:PORT",
    ),
    (
        "[health.checks.web]\nunit = \"a.service\"\ntcp = \"localhost:1\"",
        "3:16: health.checks.web has unit and tcp",
    ),
    (
        "[services.openssh]\nenable = true\nports = []",
        "5:9: services.openssh.ports: sshd needs a port",
    ),
    // TOML.
    ("[system\n", "3:8: this isn't TOML: "),
    (
        "system.hostname = \"a\"\nsystem.hostname = \"b\"",
        "4:8: this isn't TOML: duplicate key",
    ),
];

#[test]
fn each_is_told_with_its_place() {
    let mut wrong = Vec::new();
    for (text, expected) in TABLE {
        let told = problems(with(text));
        let expected = format!("/c/system.toml:{expected}");
        let others = told.iter().filter(|line| !line.starts_with(&expected)).count();
        // A missing file beside two that exclude each other.
        let allowed = if text.starts_with("[[overlay]]") { 2 } else { 0 };
        if others > allowed || others == told.len() {
            wrong.push(format!("{text}\n  expected {expected}\n  told {told:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn all_are_told_at_once_in_their_order() {
    let told = problems(with(
        "[system]\nkeymap = 1\nhostnam = \"a\"\n[boot]\ntimeout = -1\n[users.a]\nnormal = true\nuid = 0\n",
    ));
    let places: Vec<&str> = told.iter().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(
        places,
        [
            "/c/system.toml:4:10",
            "/c/system.toml:5:1",
            "/c/system.toml:7:11",
            "/c/system.toml:10:7"
        ]
    );
}

#[test]
fn nothing_follows_from_what_is_told_already() {
    // A misspelt `device` isn't a missing one as well.
    let told = problems(with(
        "[filesystems.\"/srv\"]\ndevise = \"/dev/sdb1\"\ntype = \"ext4\"",
    ));
    assert_eq!(told.len(), 1, "{told:?}");
    // A file that isn't TOML may have said what is missing.
    let files = [
        ("system.toml", "state_version = \"1\"\nimports = [\"b.toml\"]\n"),
        ("b.toml", "[filesystems\n"),
    ];
    let told = problems(load_all(&files, &[]));
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("/c/b.toml:1:13: this isn't TOML"), "{told:?}");
}

#[test]
fn what_every_machine_needs() {
    assert_eq!(
        problems(load_all(&[("system.toml", "# nothing\n")], &[])),
        [
            "/c/system.toml:1:1: a configuration has no state_version; such as state_version = \"1\"",
            "/c/system.toml:1:1: there is no root file system; declare [filesystems.\"/\"], or import a hardware.toml; \
             `keel generate-config` writes one",
        ]
    );
    let told = problems(load_all(
        &[("system.toml", &LEAST.replace("\"1\"", "\"2\""))],
        &[],
    ));
    assert_eq!(told, ["/c/system.toml:1:17: state_version: \"2\" isn't \"1\""]);
    let told = problems(load_all(&[], &[]));
    assert_eq!(
        told,
        [
            "/c/system.toml:1:1: /c/system.toml can't be read: entity not found; `keel generate-config` writes a \
          configuration for this machine"
        ]
    );
    for (device, kind, part) in [
        (
            "/dev/disk/by-path/x",
            "ext4",
            "isn't found in early boot: links in /dev/disk/by-path",
        ),
        ("tmpfs", "tmpfs", "\"tmpfs\" can't be the root"),
        ("/dev/sda1", "vfat", "\"vfat\" can't be the root"),
    ] {
        let text = format!(
            "state_version = \"1\"\nfilesystems.\"/\" = {{ device = \"{device}\", type = \"{kind}\" }}\n"
        );
        let told = problems(load_all(&[("system.toml", &text)], &[])).join("\n");
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn imports_that_lead_nowhere_or_in_a_circle() {
    let told = problems(load_all(&[("system.toml", SYSTEM)], &[]));
    assert_eq!(
        told,
        ["/c/system.toml:2:12: /c/hardware.toml can't be read: entity not found"]
    );
    let files = [
        ("system.toml", "imports = [\"a.toml\"]"),
        ("a.toml", "imports = [\n  \"b.toml\"]"),
        ("b.toml", "imports = [\"./a.toml\"]"),
    ];
    assert_eq!(
        problems(load_all(&files, &[])),
        [
            "/c/b.toml:1:12: files import each other in a circle: /c/a.toml → /c/b.toml → /c/a.toml; move what both need into a \
          file that imports neither"
        ]
    );
    let told = problems(load_all(&[("system.toml", "imports = [\"system.toml\"]")], &[]));
    assert!(
        told[0].contains("in a circle: /c/system.toml → /c/system.toml"),
        "{told:?}"
    );
    let told = problems(load_all(&[("system.toml", "imports = \"a.toml\"")], &[]));
    assert_eq!(
        told,
        ["/c/system.toml:1:11: imports takes a list of texts, not a text; write [\"a.toml\"]"]
    );
}

#[test]
fn what_has_no_effect_is_noted() {
    let notes = |text: &str| -> Vec<String> {
        let loaded = with(text).unwrap();
        loaded.notes.iter().map(|note| note.message.clone()).collect()
    };
    assert_eq!(
        notes("[services.openssh]\nenable = true"),
        ["sshd listens on port 22, which the firewall drops"]
    );
    assert_eq!(
        notes("[networking.firewall]\nenable = false\nallowed_tcp_ports = [22]"),
        ["networking.firewall.allowed_tcp_ports has no effect: networking.firewall.enable is false"]
    );
    assert_eq!(
        notes("[users.a]\nnormal = true\ngroups = [\"vidoe\"]"),
        ["nobody declares the group vidoe, and Debian itself has none: a package has to make it"]
    );
    assert_eq!(
        notes("[users.a]"),
        ["users.a is neither normal nor system: it's taken for one that a package makes"]
    );
    // A declared wheel is a group like others.
    assert_eq!(
        notes("[groups.wheel]\n[users.a]\nnormal = true\ngroups = [\"wheel\"]"),
        Vec::<String>::new()
    );
}

#[test]
fn a_file_that_is_no_text_is_told() {
    let told = problems(super::load(&super::Sources {
        path: std::path::Path::new("/c/system.toml"),
        overrides: &[],
        read: &|_| Ok(b"a = 1\nb = \xff\n".to_vec()),
        exists: &|_| true,
    }));
    assert_eq!(
        told,
        ["/c/system.toml:2:5: the file isn't UTF-8; save it as UTF-8"]
    );
}
