#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;
use crate::init::cmdline::CommandLine;

const UUID: &str = "2b6c2f3e-0000-4000-8000-000000000001";
const OTHER: &str = "2b6c2f3e-0000-4000-8000-000000000002";

fn parse(text: &str) -> LuksParameters {
    let (line, warnings) = CommandLine::parse(text);
    assert_eq!(warnings, []);
    line.luks
}

#[test]
fn keyfiles_lie_in_the_initrd_on_a_device_or_are_one() {
    let table = [
        ("/etc/key", Source::File("/etc/key".into())),
        (
            "/keys/a b:LABEL=stick",
            Source::OnDevice("/keys/a b".into(), DeviceSpec::Label("stick".into())),
        ),
        (
            "/k:UUID=ab-cd",
            Source::OnDevice("/k".into(), DeviceSpec::Uuid("ab-cd".into())),
        ),
        (
            "/k:/dev/sdb1",
            Source::OnDevice("/k".into(), DeviceSpec::Path("/dev/sdb1".into())),
        ),
        ("/dev/sdb1", Source::Device(DeviceSpec::Path("/dev/sdb1".into()))),
        (
            "/dev/disk/by-partlabel/k",
            Source::Device(DeviceSpec::PartLabel("k".into())),
        ),
    ];
    for (text, source) in table {
        assert_eq!(Source::parse(text), Some(source.clone()), "{text}");
        let line = format!("\"rd.luks.key={}={text}\"", UUID.to_uppercase());
        assert_eq!(parse(&line).key_of(UUID), Some(&source));
        assert_eq!(parse(&line).key_of(OTHER), None);
        assert_eq!(
            parse(&format!("\"rd.luks.key={text}\"")).key_of(OTHER),
            Some(&source)
        );
    }
    for text in [
        "",
        "key",
        "../key",
        "/a/../b",
        "/k:",
        "/k:stick",
        ":LABEL=x",
        "/dev/../etc/key",
    ] {
        assert_eq!(Source::parse(text), None, "{text}");
    }
}

#[test]
fn keyfiles_are_given_as_dracut_does() {
    let stick = Source::OnDevice("/k".into(), DeviceSpec::Label("stick".into()));
    let luks = parse(&format!("rd.luks.key=/k:LABEL=stick:UUID={UUID}"));
    assert_eq!((luks.key_of(UUID), luks.key_of(OTHER)), (Some(&stick), None));
    let luks = parse(&format!("rd.luks.key=/k::UUID={UUID} rd.luks.key.tout=20"));
    assert_eq!(luks.key_of(UUID), Some(&Source::File("/k".into())));
    assert_eq!(
        luks.options_of(UUID).0.keyfile_timeout,
        Some(Duration::from_secs(20))
    );
}

#[test]
fn every_option_is_read() {
    let (options, complaints) = VolumeOptions::parse(
        "luks,discard,header=/h:LABEL=stick,keyfile-offset=4096,keyfile-size=64,keyfile-timeout=1min30s,key-slot=3,\
         tries=5,timeout=90,try-empty-password,nofail,x-initrd.attach,read-only",
    );
    assert_eq!(complaints, [] as [String; 0]);
    let expected = VolumeOptions {
        crypt: CryptOptions {
            allow_discards: true,
            read_only: true,
            ..CryptOptions::default()
        },
        header: Some(Source::OnDevice("/h".into(), DeviceSpec::Label("stick".into()))),
        keyfile_offset: 4096,
        keyfile_size: Some(64),
        keyfile_timeout: Some(Duration::from_secs(90)),
        key_slot: Some(3),
        tries: Some(5),
        timeout: Some(Duration::from_secs(90)),
        try_empty: true,
    };
    assert_eq!(options, expected);
}

#[test]
fn what_is_not_heeded_is_named() {
    let (options, complaints) = VolumeOptions::parse(
        "tpm2-device=auto,discard,frobnicate=1,key-slot=x,header=h,keyfile-timeout=soon",
    );
    assert!(options.crypt.allow_discards);
    assert_eq!(complaints.len(), 5);
    assert!(
        complaints
            .first()
            .unwrap()
            .starts_with("tpm2-device=auto isn't heeded")
    );
    assert_eq!(complaints.get(1).unwrap(), "frobnicate=1 isn't known");
    let (line, warnings) =
        CommandLine::parse("rd.luks.crypttab=no luks.frobnicate rd.luks.key=key rd.luks.data=/dev/sda");
    assert_eq!((line, warnings.len()), (CommandLine::default(), 4));
}

#[test]
fn own_options_come_before_those_for_all_and_switches_add_up() {
    let luks = parse(&format!(
        "rd.luks.options=tries=3 rd.luks.options={UUID}=read-only rd.luks.allow-discards={UUID} rd.luks.no-read-workqueue"
    ));
    let (own, _) = luks.options_of(&UUID.to_uppercase());
    assert!(own.crypt.read_only && own.crypt.allow_discards && own.crypt.no_read_workqueue);
    assert_eq!(own.tries, None);
    let (other, _) = luks.options_of(OTHER);
    assert!(!other.crypt.read_only && !other.crypt.allow_discards && other.crypt.no_read_workqueue);
    assert_eq!(other.tries, Some(3));
    assert!(
        parse("rd.luks.allow-discards")
            .options_of(OTHER)
            .0
            .crypt
            .allow_discards
    );
}

#[test]
fn detached_headers_are_those_with_a_place() {
    let luks = parse(&format!(
        "rd.luks.name={UUID}=root rd.luks.options={UUID}=header=/dev/vdc rd.luks.data={UUID}=/dev/vdb"
    ));
    let header = Source::Device(DeviceSpec::Path("/dev/vdc".into()));
    assert_eq!(luks.detached(), [(UUID.to_owned(), header)]);
    assert_eq!(luks.data_of(UUID), Some(&DeviceSpec::Path("/dev/vdb".into())));
    let luks = parse(&format!(
        "rd.luks.uuid={OTHER} rd.luks.options={UUID}=header=/dev/vdc"
    ));
    assert_eq!(luks.detached(), []);
}

#[test]
fn time_spans_are_systemds() {
    let seconds = |count| Ok(Some(Duration::from_secs(count)));
    for (text, span) in [
        ("90", seconds(90)),
        ("30s", seconds(30)),
        ("1min30s", seconds(90)),
        ("2h", seconds(7200)),
        ("1500ms", Ok(Some(Duration::from_millis(1500)))),
        ("0", Ok(None)),
        ("infinity", Ok(None)),
        ("", Err(NoTimeSpan)),
        ("soon", Err(NoTimeSpan)),
        ("5 s", Err(NoTimeSpan)),
        ("-1", Err(NoTimeSpan)),
        ("99999999999999999999", Err(NoTimeSpan)),
    ] {
        assert_eq!(time_limit(text), span, "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_is_parsed(text: String) {
        let _ = VolumeOptions::parse(&text);
        let _ = Source::parse(&text);
        for key in ["luks.key", "luks.data", "luks.options", "luks.name", "luks.timeout"] {
            let _ = LuksParameters::default().take(key, Some(&text));
        }
    }
}
