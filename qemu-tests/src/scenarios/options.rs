//! Every option of `system.toml` is seen on a machine that sets it to something else than its default.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::bench::{Bench, TO_OFF, TO_PROMPT, same, says};
use super::options_rows::{ROWS, Row, Seen};
use crate::disk::{Bus, Disk};
use crate::guest::Shell;

/// A network that the firewall sees: another namespace at the end of two cables, one of which is trusted.
const NETWORK: &str = "ip netns add other && \
    for cable in 'va 192.0.2' 'trusted 198.51.100'; do set -- $cable; \
    ip link add $1 type veth peer name end-$1 && ip link set end-$1 netns other && \
    ip addr add $2.1/24 dev $1 && ip link set $1 up && \
    ip -n other addr add $2.2/24 dev end-$1 && ip -n other link set end-$1 up; done";
/// Units whose processes a switch keeps, or doesn't.
const PROCESSES: &str = "watcher reloader stubborn kept plain";
/// A switch builds first.
const SWITCH: Duration = Duration::from_mins(6);
/// Switches to the second generation, which wants to be confirmed: the output goes to a file that rows look at.
const CONFIRMED_SWITCH: &str = "keel switch --config /etc/keel/second.toml >/run/said-switch 2>&1 & \
    until grep -q 'keel confirm' /run/said-switch || ! kill -0 $! 2>/dev/null; do sleep 1; done; \
    keel confirm; wait $!; echo \"ended with $?\"";
/// Generations by the order in which they were made.
const FAILING: &str = "keel test 2 >/run/said-failing 2>&1; echo \"ended with $?\"";

/// Boots it, switches to the second generation, to one that isn't healthy, and boots the second one.
pub(super) fn options(bench: &mut Bench<'_>) -> Result<()> {
    let listed = bench.made.keel.options()?;
    bench.check("every option has a row, and every row an option", || {
        complete(&listed)
    });
    let disks = bench.made.options()?;
    let mut attached = disks
        .disks()
        .iter()
        .map(|disk| disk.overlay(&bench.directory))
        .collect::<Result<Vec<_>>>()?;
    // The kernel for clouds has no drivers of USB.
    attached.push(Disk {
        bus: Bus::Virtio { block_bytes: 512 },
        ..disks.stick()
    });
    let mut machine = bench.through_menu(&attached, "first");
    machine.reboots = true;
    // One thread emulates all of them: a second one would only wait for the first.
    machine.processors = 1;
    let mut running = machine.boot()?;
    // The countdown comes after the entries.
    let _entries = running.console.expect("Boot in", TO_PROMPT)?;
    let menu = running.console.expect(".", TO_PROMPT)?.before;
    show(bench, Seen::Menu, |_| Ok((0, menu.clone())))?;
    let mut shell = running.shell()?;
    healthy(bench, &mut shell, "the first generation")?;
    let _ = shell.run(NETWORK)?;
    show(bench, Seen::Booted, |look| shell.sh(look))?;
    let _ = shell.run(&pids("before"))?;
    let (_, ended) = shell.sh_within(CONFIRMED_SWITCH, SWITCH)?;
    let said = shell.run("cat /run/said-switch")?;
    bench.check("the second generation is switched to", || {
        // 100: another initrd and other parameters of the kernel.
        same(&format!("its end ({said})"), &last(&ended), &"ended with 100")
    });
    let _ = shell.run(&pids("after"))?;
    show(bench, Seen::Switched, |look| shell.sh(look))?;
    let (_, ended) = shell.sh_within(FAILING, SWITCH)?;
    bench.check("one that isn't healthy is left again", || {
        same("its end", &last(&ended), &"ended with 5")
    });
    show(bench, Seen::Failed, |look| shell.sh(look))?;
    shell.send("systemctl reboot")?;
    let mut shell = running.shell().context("after the reboot")?;
    healthy(bench, &mut shell, "the second generation")?;
    show(bench, Seen::Second, |look| shell.sh(look))?;
    shell.send("systemctl poweroff")?;
    running.wait_until_off(TO_OFF)
}

/// Looks at what is seen now, a check for each option.
fn show(
    bench: &mut Bench<'_>,
    seen: Seen,
    mut look: impl FnMut(&str) -> Result<(i32, String)>,
) -> Result<()> {
    for row in ROWS.iter().filter(|row| row.seen == seen) {
        let Row { key, shows, .. } = row;
        let (_, said) = look(row.look)?;
        bench.check(&format!("{key} is seen"), || {
            shows.iter().try_for_each(|text| says(&said, text))
        });
    }
    Ok(())
}

fn complete(listed: &str) -> Result<()> {
    let listed: Vec<serde_json::Value> =
        serde_json::from_str(listed).context("`keel options --json` isn't read")?;
    let options: BTreeSet<&str> = listed
        .iter()
        .filter_map(|option| option.get("path")?.as_str())
        .collect();
    let shown: BTreeSet<&str> = ROWS.iter().map(|row| row.key).collect();
    let lacking: Vec<&&str> = options.difference(&shown).collect();
    let strange: Vec<&&str> = shown.difference(&options).collect();
    if !(lacking.is_empty() && strange.is_empty()) || options.is_empty() {
        bail!("without a row: {lacking:?}; rows of no option: {strange:?}");
    }
    let mut seen = BTreeSet::new();
    match ROWS.iter().find(|row| !seen.insert(row.key)) {
        Some(row) => bail!("{} has two rows", row.key),
        None => Ok(()),
    }
}

fn healthy(bench: &mut Bench<'_>, shell: &mut Shell<'_>, what: &str) -> Result<()> {
    let state = shell.sh("systemctl is-system-running --wait")?.1;
    let failed = shell.run(
        "systemctl --failed --plain --no-legend; for unit in $(systemctl --failed --plain --no-legend | cut -d ' ' -f 1); \
         do journalctl -b -u $unit --no-pager; done",
    )?;
    bench.check(&format!("{what} has started, and no unit of it fails"), || {
        same("failed units", &failed.as_str(), &"")?;
        same("the system's state", &state.as_str(), &"running")
    });
    Ok(())
}

/// Notes the processes of [`PROCESSES`].
fn pids(when: &str) -> String {
    format!(
        "mkdir -p /run/{when}; for unit in {PROCESSES}; do systemctl show --value -p MainPID $unit >/run/{when}/$unit; done"
    )
}

fn last(text: &str) -> &str {
    text.lines().last().unwrap_or_default()
}
