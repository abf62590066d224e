#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unused_results
)]

use super::*;
use proptest::prelude::*;

fn parse(text: &str) -> CommandLine {
    let (line, warnings) = CommandLine::parse(text);
    assert_eq!(warnings, [], "{text}");
    line
}

fn warned(text: &str) -> (CommandLine, String) {
    let (line, warnings) = CommandLine::parse(text);
    assert_eq!(warnings.len(), 1, "{text}: {warnings:?}");
    (line, warnings[0].to_string())
}

type Pairs<'a> = &'a [(&'a str, Option<&'a str>)];

#[test]
fn splits_as_the_kernel_and_systemd_do() {
    let pairs = |text: &str| -> Vec<(String, Option<String>)> {
        words::split(text)
            .parameters
            .into_iter()
            .map(|p| (p.name, p.value))
            .collect()
    };
    let of = |list: &[(&str, Option<&str>)]| -> Vec<(String, Option<String>)> {
        list.iter()
            .map(|(n, v)| ((*n).to_owned(), v.map(str::to_owned)))
            .collect()
    };
    let table: [(&str, Pairs<'_>); 16] = [
        ("", &[]),
        (" \n\t\u{b}", &[]),
        ("quiet ro\n", &[("quiet", None), ("ro", None)]),
        ("a=b=c", &[("a", Some("b=c"))]),
        ("a=", &[("a", Some(""))]),
        ("=b c", &[("c", None)]),
        ("a=\"b c\" d", &[("a", Some("b c")), ("d", None)]),
        ("\"a=b c\" d", &[("a", Some("b c")), ("d", None)]),
        ("a=b\" \"c d", &[("a", Some("b c")), ("d", None)]),
        ("root=UUID=\"12-34\"", &[("root", Some("UUID=12-34"))]),
        ("a=\"b c", &[("a", Some("b c"))]),
        ("a='b c' d", &[("a", Some("b c")), ("d", None)]),
        (
            "root=LABEL=Bob's quiet",
            &[("root", Some("LABEL=Bob's")), ("quiet", None)],
        ),
        ("a='b c", &[("a", Some("'b")), ("c", None)]),
        ("a='b'c", &[("a", Some("'b'c"))]),
        ("a -- root=/dev/x", &[("a", None)]),
    ];
    for (text, expected) in table {
        assert_eq!(pairs(text), of(expected), "{text}");
    }
    assert!(words::split("a=\"b c").unclosed_quote);
}

#[test]
fn a_whole_line() {
    let line = parse(
        "initrd=\\keel\\initrd-abc root=/dev/vg/root rootfstype=ext4 rootflags=noatime rootflags=commit=30 rw \
         rd.luks.name=2B6C2F3E-0000-4000-8000-000000000001=cryptroot rd.luks.uuid=luks-11111111-2222 \
         rd.luks.options=discard,no-read-workqueue rd.luks.options=11111111-2222=header=/x,discard \
         rd.lvm.lv=vg/root rd.lvm.lv=vg/my-swap rd.lvm.vg=data resume=/dev/mapper/vg-my--swap resume_offset=0x10 \
         fsck.mode=force fsck.repair=yes keel.system=/nix/store/abc-keel-system-nixie keel.menu \
         init=/usr/lib/systemd/systemd console=tty0 console=ttyS0,115200n8 \
         systemd.machine_id=0123456789abcdef0123456789ABCDEF quiet panic=10 nvme_core.io-timeout=30 \
         snd-hda-intel.model=\"a b\" modprobe.blacklist=pcspkr,snd-pcsp loglevel=3 rd.modules_load=efi-pstore",
    );
    assert_eq!(
        line.root,
        Some(DeviceSpec::Lv {
            vg: "vg".into(),
            lv: "root".into()
        })
    );
    assert_eq!(line.rootfstype.as_deref(), Some("ext4"));
    assert_eq!(line.rootflags.as_deref(), Some("noatime,commit=30"));
    assert_eq!(line.root_writable, Some(true));
    let uuid = "2b6c2f3e-0000-4000-8000-000000000001";
    assert_eq!(line.luks.name_for(uuid), "cryptroot");
    assert_eq!(line.luks.name_for(&uuid.to_uppercase()), "cryptroot");
    assert_eq!(line.luks.name_for("ab-cd"), "luks-ab-cd");
    assert_eq!(line.luks.wanted(), ["11111111-2222", uuid]);
    assert!(line.luks.wants(uuid) && line.luks.wants("11111111-2222") && !line.luks.wants("ab-cd"));
    assert_eq!(line.luks.options_for("11111111-2222"), ["header=/x", "discard"]);
    assert_eq!(line.luks.options_for(uuid), ["discard", "no-read-workqueue"]);
    assert!(line.lvm.wants("vg", "root") && line.lvm.wants("data", "x") && !line.lvm.wants("vg", "home"));
    let resume = line.resume.clone().unwrap();
    assert_eq!(resume.as_lv(), Some(("vg".into(), "my-swap".into())));
    assert_eq!(line.resume_offset, Some(16));
    assert_eq!(
        (line.fsck_mode, line.fsck_repair),
        (FsckMode::Force, FsckRepair::Yes)
    );
    assert_eq!(
        line.keel_system.as_deref(),
        Some("/nix/store/abc-keel-system-nixie")
    );
    assert!(line.keel_menu && line.quiet && !line.debug);
    assert_eq!(line.init.as_deref(), Some("/usr/lib/systemd/systemd"));
    assert_eq!(line.consoles, ["tty0", "ttyS0"]);
    assert_eq!(
        line.machine_id.as_deref(),
        Some("0123456789abcdef0123456789abcdef")
    );
    assert_eq!((line.panic, line.loglevel), (Some(10), Some(3)));
    assert_eq!(line.module_arguments("nvme-core"), "io_timeout=30");
    assert_eq!(line.module_arguments("snd_hda_intel"), "model=\"a b\"");
    assert_eq!(line.module_arguments("ext4"), "");
    assert_eq!(line.module_blacklist, ["pcspkr", "snd_pcsp"]);
    assert_eq!(line.modules_load, ["efi_pstore"]);
    assert_eq!(line.module_parameters.len(), 2);
    assert_eq!(line.value("initrd"), Some("\\keel\\initrd-abc"));
    assert!(line.flag("keel.menu") && !line.flag("keel.shell"));
}

#[test]
fn nothing_asked_means_everything_needed() {
    let line = parse("");
    assert!(line.luks.wants("ab-cd") && !line.luks.is_listed());
    assert!(line.lvm.wants("vg", "lv"));
    assert_eq!(line.root_writable, None);
    let line = parse("rd.luks=no rd.lvm=0");
    assert!(!line.luks.wants("ab-cd") && !line.lvm.wants("vg", "lv"));
}

#[test]
fn the_last_usable_value_wins() {
    assert_eq!(
        parse("root=/dev/sda1 root=/dev/sdb1").root,
        Some(DeviceSpec::Path("/dev/sdb1".into()))
    );
    assert_eq!(parse("ro rw ro").root_writable, Some(false));
    assert_eq!(
        parse("console=ttyS0 console=tty0 console=ttyS0,9600").consoles,
        ["tty0", "ttyS0"]
    );
    let (line, warning) = warned("root=/dev/sda1 root=floppy");
    assert_eq!(line.root, Some(DeviceSpec::Path("/dev/sda1".into())));
    assert!(
        warning.starts_with("kernel parameter root=floppy ignored: "),
        "{warning}"
    );
}

#[test]
fn hyphen_and_underscore_are_equal_in_names_only() {
    assert_eq!(parse("resume-offset=7").resume_offset, Some(7));
    assert_eq!(
        parse("root=LABEL=a-b").root,
        Some(DeviceSpec::Label("a-b".into()))
    );
    assert_eq!(parse("a-b=c").value("a_b"), Some("c"));
}

#[test]
fn unusable_values_are_named() {
    for text in [
        "root=",
        "root",
        "root=UUID=",
        "root=UUID=xyz",
        "root=/etc/passwd",
        "root=/dev/",
        "root=/dev/../etc/x",
        "root=PARTUUID=1234/PARTNROFF=1",
        "resume=none",
        "resume_offset=x",
        "resume_offset=-1",
        "fsck.mode=maybe",
        "fsck.repair=x",
        "keel.system=foo",
        "keel.system=/nix/store/../x",
        "keel.menu=perhaps",
        "init=bash",
        "console=../mem",
        "systemd.machine_id=0",
        "systemd.machine_id=00000000000000000000000000000000",
        "systemd.machine_id=0123-456789abcdef0123456789abcdef",
        "panic=soon",
        "loglevel=300",
        "rd.luks.name=foo",
        "rd.luks.name=12=",
        "rd.luks.name=12=a/b",
        "rd.luks.name=12=control",
        "rd.luks.uuid=zz",
        "rd.lvm.lv=vg",
        "rd.lvm.lv=vg/..",
        "rd.lvm.vg=-x",
        "rd.luks=x",
        "rd.luks.key=/k",
        "a=\"b",
    ] {
        let (_, warning) = warned(text);
        assert!(warning.contains(&text.replace('"', "")), "{text}: {warning}");
    }
    let (_, warnings) = CommandLine::parse("root=\u{1b}[2Jx");
    assert!(!warnings[0].to_string().contains('\u{1b}'));
}

#[test]
fn devices_in_every_spelling() {
    use DeviceSpec::{Label, Lv, Mapper, PartLabel, PartUuid, Path, Uuid};
    let table = [
        ("UUID=ABCD-12", Uuid("abcd-12".into()), "UUID=abcd-12"),
        (
            "/dev/disk/by-uuid/ABCD-12",
            Uuid("abcd-12".into()),
            "UUID=abcd-12",
        ),
        (
            "PARTUUID=deadbeef-02",
            PartUuid("deadbeef-02".into()),
            "PARTUUID=deadbeef-02",
        ),
        ("/dev/disk/by-partuuid/12", PartUuid("12".into()), "PARTUUID=12"),
        ("LABEL=my root", Label("my root".into()), "LABEL=my root"),
        ("LABEL=\"x\"", Label("x".into()), "LABEL=x"),
        (
            "/dev/disk/by-label/my\\x20r\\xc3\\xb6\\q",
            Label("my rö\\q".into()),
            "LABEL=my rö\\q",
        ),
        ("PARTLABEL=esp", PartLabel("esp".into()), "PARTLABEL=esp"),
        (
            "/dev//disk/by-partlabel/EFI\\x2fx",
            PartLabel("EFI/x".into()),
            "PARTLABEL=EFI/x",
        ),
        (
            "/dev/mapper/vg-a--b",
            Mapper("vg-a--b".into()),
            "/dev/mapper/vg-a--b",
        ),
        (
            "/dev/disk/by-id/dm-name-vg-x",
            Mapper("vg-x".into()),
            "/dev/mapper/vg-x",
        ),
        (
            "/dev/vg/root",
            Lv {
                vg: "vg".into(),
                lv: "root".into(),
            },
            "/dev/vg/root",
        ),
        ("block:/dev/sda1", Path("/dev/sda1".into()), "/dev/sda1"),
        (
            "/dev/./nvme0n1p2",
            Path("/dev/nvme0n1p2".into()),
            "/dev/nvme0n1p2",
        ),
        ("/dev/md/home", Path("/dev/md/home".into()), "/dev/md/home"),
        (
            "/dev/disk/by-id/nvme-x",
            Path("/dev/disk/by-id/nvme-x".into()),
            "/dev/disk/by-id/nvme-x",
        ),
        (
            "ID=nvme-x",
            Path("/dev/disk/by-id/nvme-x".into()),
            "/dev/disk/by-id/nvme-x",
        ),
    ];
    for (text, spec, shown) in table {
        assert_eq!(text.parse(), Ok(spec.clone()), "{text}");
        assert_eq!(spec.to_string(), shown);
        assert_eq!(shown.parse(), Ok(spec), "{shown}");
    }
    for (name, lv) in [
        ("vg-lv", Some(("vg", "lv"))),
        ("my--vg-my--lv", Some(("my-vg", "my-lv"))),
        ("luks-2b6c-01", None),
        ("cryptroot", None),
        ("vg-", None),
    ] {
        let expected = lv.map(|(vg, lv)| (vg.to_owned(), lv.to_owned()));
        assert_eq!(DeviceSpec::Mapper(name.into()).as_lv(), expected, "{name}");
    }
    let lv = DeviceSpec::Lv {
        vg: "my-vg".into(),
        lv: "a".into(),
    };
    assert_eq!(lv.dm_name().as_deref(), Some("my--vg-a"));
}

proptest! {
    #[test]
    fn any_text_parses(text in "\\PC*") {
        let _ = CommandLine::parse(&text);
    }

    #[test]
    fn any_value_of_a_known_name_parses(
        name in "root|resume|rd\\.luks\\.(name|uuid|options)|rd\\.lvm\\.(lv|vg)|console|panic|init|systemd\\.machine_id",
        value in "[\"'/=, a-f0-9\\\\x-]{0,40}",
    ) {
        let (line, _) = CommandLine::parse(&format!("{name}={value}"));
        for console in &line.consoles {
            prop_assert!(!console.contains('/'));
        }
    }

    #[test]
    fn quoted_words_come_back(words in proptest::collection::vec(("[a-z.]{1,8}", "[ a-z=,']{0,8}"), 0..6)) {
        let line: Vec<String> = words.iter().map(|(n, v)| format!("{n}=\"{v}\"")).collect();
        let back: Vec<(String, String)> = words::split(&line.join(" ")).parameters.into_iter()
            .map(|p| (p.name, p.value.unwrap_or_default())).collect();
        prop_assert_eq!(back, words);
    }

    #[test]
    fn a_device_prints_as_what_it_was_read_from(text in "(UUID|LABEL|PARTUUID|PARTLABEL)=[a-f0-9-]{1,12}|/dev/[a-z]{1,6}(/[a-z0-9-]{1,8}){0,2}") {
        if let Ok(spec) = text.parse::<DeviceSpec>() {
            prop_assert_eq!(spec.to_string().parse::<DeviceSpec>(), Ok(spec));
        }
    }
}
