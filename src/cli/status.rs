//! `keel status`.

use anyhow::Result;

use super::output::color::{Ink, Style};
use super::output::{self, outln};
use super::units::shown_bytes;
use crate::activate::{Machine, Named, Space, Status, code, status};
use crate::boot::record::TrialState;

/// So many failed units are named.
const FAILED_MAX: usize = 8;
/// Less free space than this share of a file system is marked.
const LITTLE: u64 = 10;

/// What runs, what was booted, what the next boot will be, and what needs attention.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub(super) fn run(args: &Args) -> Result<()> {
    let status = status(&Machine::this()?)?;
    if args.json {
        outln!("{}", serde_json::to_string_pretty(&status)?)?;
    } else {
        output::write(format_args!("{}", describe(&status, Style::stdout())))?;
    }
    Ok(())
}

/// A status, for people.
fn describe(status: &Status, style: Style) -> String {
    let mut rows: Vec<(&str, String)> = vec![("runs", named(&status.running, style))];
    let booted = status.booted.as_ref();
    rows.push((
        "booted",
        match booted {
            Some(booted) if booted.system == status.running.system => "the same".to_owned(),
            Some(booted) => named(booted, style),
            None => "not known".to_owned(),
        },
    ));
    rows.push((
        "next boot",
        match &status.next_boot {
            Some(next) => {
                let what = match (next.generation, &next.entry) {
                    (Some(number), _) => format!("generation {number}"),
                    (None, Some(entry)) => entry.clone(),
                    (None, None) => "another entry".to_owned(),
                };
                format!("{}: {}", style.paint(Ink::Bold, what), next.why)
            }
            None => "not known (no EFI system partition is mounted at /efi, /boot or /boot/efi)".to_owned(),
        },
    ));
    let good = status.last_good.as_ref();
    rows.push((
        "last good",
        good.map_or_else(|| "none yet".to_owned(), |good| named(good, style)),
    ));
    rows.push((
        "trial",
        match status.trial.as_ref().map(|trial| (trial, &trial.state)) {
            None => "none".to_owned(),
            Some((trial, TrialState::Armed)) => format!("generation {} at the next boot", trial.generation),
            Some((trial, TrialState::Failed(reason))) => {
                let what = format!("generation {} failed: {reason}", trial.generation);
                style.paint(Ink::Red, what).to_string()
            }
        },
    ));
    if status.switching {
        rows.push((
            "switch",
            style.paint(Ink::Yellow, "under way right now").to_string(),
        ));
    }
    if let Some(last) = &status.last_switch {
        let ink = match last.code {
            code::DONE => Ink::Green,
            code::REBOOT => Ink::Yellow,
            _ => Ink::Red,
        };
        let code = match last.code {
            code::DONE => String::new(),
            code => format!(" (exit code {code})"),
        };
        rows.push(("last switch", format!("{}{code}", style.paint(ink, &last.text))));
    }
    if !status.reboot.is_empty() {
        let reasons = status.reboot.join(", ");
        rows.push((
            "reboot",
            style
                .paint(Ink::Yellow, format!("needed for {reasons}"))
                .to_string(),
        ));
    }
    if !status.failed.is_empty() {
        rows.push((
            "failed",
            style.paint(Ink::Red, failed(&status.failed)).to_string(),
        ));
    }
    rows.extend(etc(status));
    for (name, space) in [("ESP", &status.esp), ("store", &status.store)] {
        if let Some(space) = space {
            rows.push((name, room(space, style)));
        }
    }
    for warning in &status.warnings {
        rows.push(("warning", style.paint(Ink::Yellow, warning).to_string()));
    }
    rows.iter().fold(String::new(), |text, (name, value)| {
        let name = format!("{name:<13}");
        format!("{text}{}{value}\n", style.paint(Ink::Dim, name))
    })
}

fn named(named: &Named, style: Style) -> String {
    let mut parts = Vec::new();
    if let Some(number) = named.generation {
        parts.push(style.paint(Ink::Bold, format!("generation {number}")).to_string());
    }
    parts.extend(named.tag.iter().map(|tag| format!("\u{201c}{tag}\u{201d}")));
    parts.extend(named.label.clone());
    parts.push(style.paint(Ink::Dim, &named.system).to_string());
    parts.join("  ")
}

fn failed(units: &[String]) -> String {
    let named: Vec<&str> = units.iter().take(FAILED_MAX).map(String::as_str).collect();
    match units.len().saturating_sub(FAILED_MAX) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

fn etc(status: &Status) -> Option<(&'static str, String)> {
    let files = |count: usize| format!("{count} file{}", if count == 1 { "" } else { "s" });
    let (changed, same) = (status.etc.changed, status.etc.same);
    let words = match (changed, same) {
        (0, 0) => return None,
        (_, 0) => format!("{} changed by hand", files(changed)),
        (0, _) => format!("{} held by hand, equal to the system's", files(same)),
        _ => format!(
            "{} changed by hand, {} held and equal to the system's",
            files(changed),
            files(same)
        ),
    };
    Some(("/etc", format!("{words} (`keel etc status`)")))
}

fn room(space: &Space, style: Style) -> String {
    let is_little = space.free < space.size / LITTLE;
    let free = format!("{} free", shown_bytes(space.free));
    let free = if is_little {
        style.paint(Ink::Yellow, free).to_string()
    } else {
        free
    };
    format!("{free} of {} ({})", shown_bytes(space.size), space.path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activate::{LastSwitch, Local, NextBoot};

    fn system(number: u64) -> Named {
        Named {
            system: format!("/nix/store/{number}-keel-system-x"),
            generation: Some(number),
            label: Some("Debian".to_owned()),
            kernel: Some("6.12.9".to_owned()),
            tag: (number == 5).then(|| "fair".to_owned()),
        }
    }

    #[test]
    fn everything_that_needs_attention_is_a_line() {
        let mut status = Status {
            running: system(5),
            booted: Some(system(4)),
            next_boot: Some(NextBoot {
                generation: Some(5),
                entry: None,
                why: "it is on trial".to_owned(),
            }),
            last_good: Some(system(4)),
            trial: None,
            switching: false,
            last_switch: Some(LastSwitch {
                code: 100,
                text: "switched".to_owned(),
            }),
            reboot: vec!["another initrd".to_owned()],
            failed: vec!["a.service".to_owned()],
            etc: Local { changed: 2, same: 1 },
            esp: Some(Space {
                path: "/efi".to_owned(),
                free: 1 << 20,
                size: 1 << 30,
            }),
            store: None,
            warnings: Vec::new(),
        };
        assert_eq!(
            describe(&status, Style::default()),
            "runs         generation 5  \u{201c}fair\u{201d}  Debian  /nix/store/5-keel-system-x\n\
             booted       generation 4  Debian  /nix/store/4-keel-system-x\n\
             next boot    generation 5: it is on trial\n\
             last good    generation 4  Debian  /nix/store/4-keel-system-x\n\
             trial        none\n\
             last switch  switched (exit code 100)\n\
             reboot       needed for another initrd\n\
             failed       a.service\n\
             /etc         2 files changed by hand, 1 file held and equal to the system's (`keel etc status`)\n\
             ESP          1.0 MiB free of 1.0 GiB (/efi)\n"
        );
        status = Status {
            booted: Some(system(5)),
            last_good: Some(system(5)),
            last_switch: None,
            reboot: Vec::new(),
            failed: Vec::new(),
            etc: Local::default(),
            esp: None,
            ..status
        };
        assert_eq!(
            describe(&status, Style::default()),
            "runs         generation 5  \u{201c}fair\u{201d}  Debian  /nix/store/5-keel-system-x\n\
             booted       the same\n\
             next boot    generation 5: it is on trial\n\
             last good    generation 5  \u{201c}fair\u{201d}  Debian  /nix/store/5-keel-system-x\n\
             trial        none\n"
        );
        assert!(describe(&status, Style { is_coloured: true }).contains("\x1b[1mgeneration 5\x1b[0m"));
    }
}
