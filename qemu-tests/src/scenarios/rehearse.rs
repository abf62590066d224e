//! Rehearsals on image files, without a machine.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::bench::{Bench, same, says};
use crate::layout::{Layout, PASSPHRASE};

/// What `--json` gives, as far as it's looked at.
#[derive(Deserialize)]
struct Report {
    luks: Vec<Luks>,
    tables: Vec<Table>,
    root: Option<Root>,
    outcome: String,
}

#[derive(Deserialize)]
struct Luks {
    keyslot_opened: Option<u32>,
}

#[derive(Deserialize)]
struct Table {
    name: String,
    uuid: String,
    #[serde(rename = "table")]
    lines: Vec<String>,
}

#[derive(Deserialize)]
struct Root {
    device: String,
}

/// All layouts, then what is wrong with one.
pub(super) fn rehearse(bench: &mut Bench<'_>) -> Result<()> {
    let right = bench.directory.join("passphrase");
    fs::write(&right, format!("{PASSPHRASE}\n")).context("a passphrase can't be written")?;
    let wrong = bench.directory.join("wrong");
    fs::write(&wrong, "no such passphrase\n").context("a passphrase can't be written")?;
    let (right, wrong) = (right.display().to_string(), wrong.display().to_string());
    for layout in [
        Layout::Main,
        Layout::Striped,
        Layout::LargeBlocks,
        Layout::LuksOnLvm,
    ] {
        let disks = bench.made.disks(layout)?;
        let images: Vec<PathBuf> = disks.disks().into_iter().map(|disk| disk.path).collect();
        let parameters = layout.parameters().join(" ");
        let arguments = ["--json", "--passphrase-file", &right, "--cmdline", &parameters];
        let (code, said) = bench.made.keel.rehearse(&arguments, &images)?;
        let expected = disks.tables()?;
        bench.check(
            &format!(
                "{}: the boot would succeed, by the tables of the real tools",
                layout.name()
            ),
            || {
                same(&format!("the exit code ({said})"), &code, &0)?;
                let report: Report = serde_json::from_str(&said)?;
                same("the outcome", &report.outcome.as_str(), &"boots")?;
                same(
                    "the root",
                    &report.root.map(|root| root.device).as_deref(),
                    &Some(layout.root().as_str()),
                )?;
                if report.luks.iter().any(|luks| luks.keyslot_opened != Some(0)) {
                    bail!("a keyslot wasn't opened: {said}");
                }
                tables_are(&report.tables, &expected)
            },
        );
    }
    apart(bench, &right)?;
    closed(bench, &right)?;
    let main: Vec<PathBuf> = bench
        .made
        .disks(Layout::Main)?
        .disks()
        .into_iter()
        .map(|disk| disk.path)
        .collect();
    let (code, said) = bench.made.keel.rehearse(&["--passphrase-file", &right], &main)?;
    bench.check("without parameters the generation's own count", || {
        same(&format!("the exit code ({said})"), &code, &0)?;
        says(&said, "generation  2")
    });
    for (what, arguments, code, part) in [
        (
            "a wrong passphrase",
            &["--passphrase-file", &wrong][..],
            1,
            "no keyslot opens with this passphrase",
        ),
        ("no passphrase", &[][..], 1, "no passphrase was given"),
        (
            "no such root",
            &["--passphrase-file", &right, "--cmdline", "root=/dev/vg/none"][..],
            3,
            "root=/dev/vg/none isn't on any of these devices",
        ),
        (
            "a system that isn't there",
            &[
                "--passphrase-file",
                &right,
                "--system",
                "/nix/store/00000000000000000000000000000000-none",
            ][..],
            1,
            "is missing",
        ),
    ] {
        let (is, said) = bench.made.keel.rehearse(arguments, &main)?;
        bench.check(&format!("{what}: exit code {code}, and why"), || {
            same(&format!("the exit code ({said})"), &is, &code)?;
            says(&said, part)
        });
    }
    let striped = bench.made.disks(Layout::Striped)?.disks();
    let first: Vec<PathBuf> = striped.into_iter().map(|disk| disk.path).take(1).collect();
    let parameters = Layout::Striped.parameters().join(" ");
    let arguments = ["--passphrase-file", &right, "--cmdline", &parameters];
    let (code, said) = bench.made.keel.rehearse(&arguments, &first)?;
    bench.check(
        "a missing disk: exit code 3, and the physical volume is named",
        || {
            same(&format!("the exit code ({said})"), &code, &3)?;
            says(&said, "physical volumes are missing")
        },
    );
    damaged(bench, &right, &main)
}

/// A volume whose header is a file on a stick.
fn apart(bench: &mut Bench<'_>, right: &str) -> Result<()> {
    let made = bench.made.disks(Layout::Stick)?;
    let disks: Vec<PathBuf> = made.disks().into_iter().map(|disk| disk.path).collect();
    let with_stick = [disks.clone(), vec![made.stick().path]].concat();
    let parameters = Layout::Stick.parameters().join(" ");
    let arguments = ["--json", "--passphrase-file", right, "--cmdline", &parameters];
    let (code, said) = bench.made.keel.rehearse(&arguments, &with_stick)?;
    let expected = made.tables()?;
    bench.check(
        "a header on a stick: both volumes open, by the tables of the real tools; the initrd lacks vfat",
        || {
            same(&format!("the exit code ({said})"), &code, &1)?;
            let report: Report = serde_json::from_str(&said)?;
            if report.luks.len() != 2 || report.luks.iter().any(|luks| luks.keyslot_opened != Some(0)) {
                bail!("a keyslot wasn't opened: {said}");
            }
            says(&said, "the initrd lacks the module vfat (the header of volume")?;
            tables_are(&report.tables, &expected)
        },
    );
    let (code, said) = bench.made.keel.rehearse(&arguments, &disks)?;
    bench.check("without the stick it's said that the header isn't there", || {
        same(&format!("the exit code ({said})"), &code, &1)?;
        says(
            &said,
            "its header isn't on any of these devices: /root.hdr on LABEL=STICK",
        )
    });
    Ok(())
}

/// Roots whose files can't be read from here: what is proved, and what isn't.
fn closed(bench: &mut Bench<'_>, right: &str) -> Result<()> {
    for layout in [Layout::BarePartition, Layout::Btrfs] {
        let disks = bench.made.disks(layout)?.disks();
        let images: Vec<PathBuf> = disks.into_iter().map(|disk| disk.path).collect();
        let parameters = layout.parameters().join(" ");
        let arguments = ["--json", "--passphrase-file", right, "--cmdline", &parameters];
        let (code, said) = bench.made.keel.rehearse(&arguments, &images)?;
        let kind = layout.file_system().name();
        bench.check(
            &format!("{kind}: the root is found, and that its files weren't looked at is said"),
            || {
                same(&format!("the exit code ({said})"), &code, &1)?;
                let report: Report = serde_json::from_str(&said)?;
                if report.root.is_none() {
                    bail!("no root is named: {said}");
                }
                says(&said, "only ext4 can be looked into in an image")
            },
        );
    }
    Ok(())
}

/// Both copies of the LUKS header are damaged.
fn damaged(bench: &mut Bench<'_>, right: &str, main: &[PathBuf]) -> Result<()> {
    let original = main.first().context("there is no disk")?;
    let copy = bench.directory.join("damaged.raw");
    crate::process::Tool::new("cp")
        .args(["--sparse=always", "--reflink=auto"])
        .arg(original)
        .arg(&copy)
        .run()?;
    let file = fs::File::options()
        .write(true)
        .open(&copy)
        .context("a copy can't be opened")?;
    // The second partition starts behind an ESP of 300 MiB; the second copy of the header lies 16 KiB into it.
    for offset in [0, 16 << 10] {
        file.write_all_at(&[0; 4096], (301 << 20) + offset)
            .context("a copy can't be damaged")?;
    }
    drop(file);
    let (code, said) = bench
        .made
        .keel
        .rehearse(&["--passphrase-file", right], std::slice::from_ref(&copy))?;
    bench.check("a damaged header: nothing to boot from", || {
        if code == 0 {
            bail!("it's taken for one that boots: {said}");
        }
        Ok(())
    });
    fs::remove_file(&copy).context("a copy can't be removed")
}

/// Compares with what `dmsetup` printed in the builder: device numbers are others there.
fn tables_are(tables: &[Table], expected: &str) -> Result<()> {
    let plain = |line: &str| -> String {
        let words = line.split(' ').map(|word| match word.split_once(':') {
            Some((major, minor)) if major.parse::<u32>().is_ok() && minor.parse::<u32>().is_ok() => "DEVICE",
            _ => word,
        });
        words.collect::<Vec<_>>().join(" ")
    };
    let mut there: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut uuids = BTreeMap::new();
    for line in expected.lines() {
        if let Some((name, table)) = line.strip_prefix("table ").and_then(|rest| rest.split_once(": ")) {
            there.entry(name.to_owned()).or_default().push(plain(table));
        } else if let Some((name, uuid)) = line.strip_prefix("uuid ").and_then(|rest| rest.split_once(' ')) {
            let _ = uuids.insert(name.to_owned(), uuid.to_owned());
        }
    }
    let here = tables
        .iter()
        .map(|table| {
            (
                table.name.clone(),
                table.lines.iter().map(|line| plain(line)).collect(),
            )
        })
        .collect();
    same("the tables", &here, &there)?;
    let here = tables
        .iter()
        .map(|table| (table.name.clone(), table.uuid.clone()))
        .collect();
    same("the UUIDs", &here, &uuids)
}
