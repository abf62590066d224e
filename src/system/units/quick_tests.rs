#![allow(clippy::unwrap_used, clippy::indexing_slicing, unused_results)]
use super::*;
use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

fn strings<'a>(texts: &[&'a str]) -> Vec<Text<'a>> {
    texts.iter().map(|text| Text::from(*text)).collect()
}

fn record() -> UnitsRecord<'static> {
    let mut record = UnitsRecord::empty();
    for (path, digest) in [
        ("/usr/sbin/d", "1"),
        ("/usr/lib/libc.so", "2"),
        ("/usr/lib/libx.so", "3"),
        ("/etc/d.conf", "4"),
    ] {
        record.files.insert(path.into(), digest.into());
    }
    record.programs.insert(
        "/usr/sbin/d".into(),
        strings(&["/usr/lib/libc.so", "/usr/lib/libx.so"]),
    );
    let unit = UnitRecord {
        fragment: "/usr/lib/systemd/system/d.service".into(),
        text: "t".into(),
        code: strings(&["/usr/sbin/d"]),
        configuration: strings(&["/etc/d.conf"]),
        ..UnitRecord::default()
    };
    record.units.insert("d.service".into(), unit);
    record
}

#[test]
fn each_reason_is_named() {
    let old = record();
    let changed = |change: &dyn Fn(&mut UnitsRecord<'static>)| {
        let mut new = record();
        change(&mut new);
        let found = quick_compare(&old, &new);
        let unit = found.get("d.service").cloned();
        match unit {
            Some(Difference::Changed(changed)) => (
                changed.text,
                changed.mask,
                changed.code.join(" "),
                changed.configuration.join(" "),
            ),
            other => panic!("{other:?}"),
        }
    };
    assert!(quick_compare(&old, &record()).is_empty());
    let unit = |new: &mut UnitsRecord<'static>, change: &dyn Fn(&mut UnitRecord<'static>)| {
        change(new.units.get_mut("d.service").unwrap());
    };
    let none = String::new;
    assert_eq!(
        changed(&|new| unit(new, &|unit| unit.text = "u".into())),
        (true, false, none(), none())
    );
    assert_eq!(
        changed(&|new| unit(new, &|unit| unit.masked = true)),
        (false, true, none(), none())
    );
    let digest = |path: &'static str| {
        move |new: &mut UnitsRecord<'static>| drop(new.files.insert(path.into(), "9".into()))
    };
    assert_eq!(
        changed(&digest("/usr/lib/libx.so")),
        (false, false, "/usr/lib/libx.so".into(), none())
    );
    assert_eq!(
        changed(&digest("/usr/sbin/d")),
        (false, false, "/usr/sbin/d".into(), none())
    );
    assert_eq!(
        changed(&digest("/etc/d.conf")),
        (false, false, none(), "/etc/d.conf".into())
    );
    assert_eq!(
        changed(&|new| drop(
            new.programs
                .insert("/usr/sbin/d".into(), strings(&["/usr/lib/libc.so"]))
        )),
        (false, false, "/usr/lib/libx.so".into(), none())
    );
    assert_eq!(
        changed(&|new| unit(new, &|unit| unit.code.clear())),
        (false, false, "/usr/sbin/d".into(), none())
    );
    assert_eq!(
        changed(&|new| unit(new, &|unit| unit.configuration.push("/etc/e".into()))),
        (false, false, none(), "/etc/e".into())
    );
}

#[test]
fn units_come_and_go() {
    let (old, mut new) = (record(), record());
    let unit = new.units.remove("d.service").unwrap();
    new.units.insert("e.service".into(), unit);
    let found = quick_compare(&old, &new);
    assert_eq!(
        found.into_iter().collect::<Vec<_>>(),
        [
            ("d.service", Difference::Removed),
            ("e.service", Difference::Added)
        ]
    );
}

// `cargo test --release -- --nocapture two_thousand` prints how long it takes.
#[test]
fn two_thousand_units_are_compared_and_the_changed_library_is_found() {
    let mut old = UnitsRecord::empty();
    let text = |text: String| Text::from(text);
    let digest = |n: usize| text(format!("{n:064x}"));
    let library = |n: usize| text(format!("/usr/lib/x86_64-linux-gnu/lib{}.so.1", n % 400));
    old.files.extend((0..400).map(|n| (library(n), digest(n))));
    for n in 0..2000 {
        let program = text(format!("/usr/sbin/program-{n}"));
        old.files.insert(program.clone(), digest(n));
        let mut libraries: Vec<_> = (0..20).map(|k| library(n + k * 7)).collect();
        libraries.sort();
        old.programs.insert(program.clone(), libraries);
        let configuration: Vec<_> = (0..5)
            .map(|k| text(format!("/etc/program-{n}/{k}.conf")))
            .collect();
        old.files
            .extend(configuration.iter().map(|path| (path.clone(), digest(n))));
        let unit = UnitRecord {
            fragment: text(format!("/usr/lib/systemd/system/program-{n}.service")),
            text: digest(n),
            code: vec![program],
            configuration,
            ..UnitRecord::default()
        };
        old.units.insert(text(format!("program-{n}.service")), unit);
    }
    let mut new = old.clone();
    new.files.insert(library(7), digest(9999));
    let (old, new) = (old.to_json(), new.to_json());
    let start = processor_time();
    let (before, after) = (
        UnitsRecord::parse(&old).unwrap(),
        UnitsRecord::parse(&new).unwrap(),
    );
    let read = processor_time();
    let found = quick_compare(&before, &after);
    let compared = processor_time();
    println!(
        "{} bytes each, read in {:?}, compared in {:?} of processor time",
        old.len(),
        read.saturating_sub(start),
        compared.saturating_sub(read)
    );
    assert_eq!(found.len(), 100);
    assert!(found.values().all(|difference| matches!(difference, Difference::Changed(changed) if changed.code == ["/usr/lib/x86_64-linux-gnu/lib7.so.1"])));
}
