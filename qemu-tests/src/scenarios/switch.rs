//! Live switches on a running machine.

use anyhow::{Result, bail};

use super::bench::{Bench, TO_OFF, same, says};
use crate::guest::Shell;
use crate::machine::Running;
use crate::switching::{Gen, PROGRAMS};

/// Counts connections that were refused, and programs that couldn't be executed, until the file `/run/stop` appears.
const LOOPS: &str = r#"
cat >/run/client <<'END'
#!/bin/bash
refused=0 done=0
while [ ! -e /run/stop ]; do
    if exec 5<>/dev/tcp/127.0.0.1/7000; then read -r word <&5; exec 5>&-; done=$((done + 1)); else refused=$((refused + 1)); fi
    sleep 0.2
done 2>/dev/null
echo "$refused $done" >/run/client.result
END
cat >/run/programs <<'END'
#!/bin/bash
failed=0 done=0
while [ ! -e /run/stop ]; do
    /usr/bin/true && [ -e /usr/bin/true ] && stat /etc/hostname >/dev/null || failed=$((failed + 1))
    done=$((done + 1))
    sleep 0.1
done 2>/dev/null
echo "$failed $done" >/run/programs.result
END
rm -f /run/stop /run/*.result
systemd-run --quiet --collect --unit=kt-client bash /run/client
systemd-run --quiet --collect --unit=kt-programs bash /run/programs
"#;

/// Ends them and says what they counted.
const COUNTED: &str = "touch /run/stop; while [ ! -e /run/client.result ] || [ ! -e /run/programs.result ]; do \
                       sleep 0.1; done; cat /run/client.result /run/programs.result";

impl Bench<'_> {
    /// A machine for live switches, booted to a shell.
    pub(super) fn switching_machine(&self, log_name: &str) -> Result<Running> {
        let disk = self.made.switching()?.disk().overlay(&self.directory)?;
        self.through_menu(&[disk], log_name).boot()
    }
}

/// Units, programs, a library and configuration change under a running machine; then back again.
pub(super) fn switch(bench: &mut Bench<'_>) -> Result<()> {
    let mut machine = bench.switching_machine("console")?;
    let mut shell = machine.shell()?;
    let _ = shell.run("systemctl is-system-running --wait")?;
    let _ = shell.run("echo mine >/etc/keeltest/hidden.conf; cat /etc/keeltest/followed.conf")?;
    times(bench, &mut shell)?;
    let before = pids(&mut shell)?;
    let _ = shell.run(LOOPS)?;

    let plan = shell.sh(&format!("keel dry-run {}", Gen::Changed.number()))?;
    bench.check("the plan names each unit with its reason", || {
        for line in [
            "restart  kt-text.service  ([Service] ExecStart changed)",
            "restart  kt-binary.service  (binary changed)",
            "restart  kt-library.service  (libkeeltest.so.1 changed)",
            "restart  kt-config.service  (config.conf changed)",
            "reload   kt-reload.service  (reload.conf changed)",
            "restart  kt-socket.service  (server changed)",
            "restart  kt-template@x.service  ([Service] ExecStart changed)",
            "restart  kt-timer.timer  ([Timer] OnCalendar changed)",
            "reload   srv-keeltest.mount  ([Mount] Options changed)",
            r"reload   srv-kt\x2dline.mount  (its options in /etc/fstab changed)",
            r"stop     srv-kt\x2dline\x2dgone.mount  (removed)",
            r"start    srv-kt\x2dline\x2dnew.mount  (added to /etc/fstab)",
            "stop     kt-removed.service  (removed)",
            "stop     kt-masked.service  (masked)",
            "start    kt-added.service",
            "hidden   /etc/keeltest/hidden.conf",
        ] {
            says(&plan.1, line)?;
        }
        if plan.1.contains("kt-same") {
            bail!("what didn't change is in the plan: {}", plan.1);
        }
        Ok(())
    });

    let (code, said) = shell.sh(&format!("keel switch {}", Gen::Changed.number()))?;
    bench.check("the switch succeeds", || {
        same(&format!("its exit code ({said})"), &code, &0)
    });
    let after = pids(&mut shell)?;
    let changed = |unit: &str| before.get(unit) != after.get(unit);
    bench.check("what changed was restarted, and nothing else", || {
        for unit in ["kt-text", "kt-binary", "kt-library", "kt-config", "kt-template@x"] {
            same(&format!("whether {unit} was restarted"), &changed(unit), &true)?;
        }
        for unit in [
            "kt-same",
            "kt-reload",
            "kt-stubborn",
            // Its mount namespace is mended instead.
            "kt-protect",
            "systemd-logind",
            "systemd-journald",
            "systemd-udevd",
            "dbus",
        ] {
            same(&format!("whether {unit} was restarted"), &changed(unit), &false)?;
        }
        Ok(())
    });
    new_tree_is_seen(bench, &mut shell);
    let counted = shell.run(COUNTED)?;
    bench.check("no client is refused and no program fails meanwhile", || {
        for line in counted.lines() {
            let mut numbers = line.split(' ').map(|number| number.parse().unwrap_or(0));
            let (failed, done): (u64, u64) = (numbers.next().unwrap_or(1), numbers.next().unwrap_or(0));
            if failed > 0 || done < 10 {
                bail!("failures and successes: {line}");
            }
        }
        Ok(())
    });
    let status = shell.run("keel status")?;
    bench.check("the trial boot is armed, the default is the old one", || {
        says(
            &status,
            &format!(
                "trial        generation {} at the next boot",
                Gen::Changed.number()
            ),
        )?;
        let default = shell.run("cat /boot/loader/loader.conf")?;
        says(&default, "default keel-system-1.conf")
    });
    let (code, said) = shell.sh("keel rollback --to 1")?;
    bench.check("a rollback brings the old system back", || {
        same(&format!("its exit code ({said})"), &code, &0)?;
        says(&shell.run("cat /etc/keeltest/followed.conf")?, "one")?;
        let _ = shell.run("systemctl is-active kt-removed.service kt-masked.service")?;
        says(&shell.run("journalctl -u kt-text -o cat -n 1")?, "text-one")
    });
    // Its service that never stops would keep it on.
    let _ = shell.run("systemctl kill --signal=KILL kt-stubborn")?;
    shell.send("systemctl poweroff")?;
    machine.wait_until_off(TO_OFF)
}

/// Figures: a switch that changes nothing, one that changes a unit, and what systemd alone takes for that unit.
fn times(bench: &mut Bench<'_>, shell: &mut Shell<'_>) -> Result<()> {
    let one = Gen::One.number();
    for (name, command, back) in [
        ("switch: nothing changed", "keel switch 1", "true"),
        (
            "switch: systemctl restart of a unit",
            "systemctl restart kt-text",
            "true",
        ),
        (
            "switch: systemctl daemon-reload",
            "systemctl daemon-reload",
            "true",
        ),
        (
            "switch: that unit changed",
            &format!("keel test {one}"),
            "keel test 1",
        ),
    ] {
        let mut seconds = Vec::new();
        for _ in 0..3 {
            let text = shell.run(&format!(
                "a=$(cut -d ' ' -f 1 /proc/uptime); {command} >/dev/null 2>&1 || echo failed; \
                 b=$(cut -d ' ' -f 1 /proc/uptime); cp /run/keel/switch/journal /run/last-journal 2>/dev/null; \
                 echo $a $b; {back} >/dev/null 2>&1 || echo failed"
            ))?;
            let mut numbers = text.split_whitespace().map(str::parse::<f64>);
            let (Some(Ok(from)), Some(Ok(to)), None) = (numbers.next(), numbers.next(), numbers.next())
            else {
                bail!("{command}: {text}");
            };
            seconds.push(to - from);
        }
        seconds.sort_by(f64::total_cmp);
        if let Some(median) = seconds.get(1) {
            bench.made.figures.note(name, *median, "s");
        }
    }
    for (phase, seconds) in phases(&shell.run("cat /run/last-journal")?)? {
        let name = format!("switch: that unit changed, phase {phase}");
        bench.made.figures.note(&name, seconds, "s");
    }
    Ok(())
}

/// A line of the switch journal, as far as it says when.
#[derive(serde::Deserialize)]
struct JournalLine {
    usec: f64,
    event: String,
    phase: Option<String>,
}

/// How long each phase of a switch took, by its journal.
fn phases(journal: &str) -> Result<Vec<(String, f64)>> {
    let mut starts: Vec<(String, f64)> = Vec::new();
    for line in journal.lines() {
        let line: JournalLine = serde_json::from_str(line)?;
        let name = match line.event.as_str() {
            "phase" => line.phase.unwrap_or_default(),
            "begin" | "end" => line.event,
            _ => continue,
        };
        starts.push((name, line.usec / 1e6));
    }
    let ends: Vec<f64> = starts.iter().skip(1).map(|(_, at)| *at).collect();
    Ok(starts
        .into_iter()
        .zip(ends)
        .map(|((name, from), to)| (name, to - from))
        .collect())
}

fn new_tree_is_seen(bench: &mut Bench<'_>, shell: &mut Shell<'_>) {
    let mut look = |name: &str, command: &str, part: &str| {
        let result = shell.run(command);
        bench.check(name, || says(&result?, part));
    };
    look("new text", "journalctl -u kt-text -o cat -n 1", "text-two");
    look("new program", "journalctl -u kt-binary -o cat -n 1", "two");
    look("new library", "journalctl -u kt-library -o cat -n 1", "two");
    look(
        "new configuration",
        "journalctl -u kt-config -o cat -n 1",
        "same two",
    );
    look("reloaded", "journalctl -u kt-reload -o cat -n 2", "reloaded");
    look(
        "the removed unit is gone",
        "systemctl is-active kt-removed.service || true",
        "inactive",
    );
    look(
        "the masked unit is stopped",
        "systemctl is-active kt-masked.service || true",
        "inactive",
    );
    look(
        "the added unit runs",
        "systemctl is-active kt-added.service",
        "active",
    );
    look(
        "the template's instance",
        "journalctl -u kt-template@x -o cat -n 1",
        "x-two",
    );
    look(
        "the timer",
        "systemctl show -p TimersCalendar kt-timer.timer",
        "-01 00:00:00",
    );
    look(
        "the mount's new options",
        "findmnt -no OPTIONS /srv/keeltest",
        "size=2048k",
    );
    look("lines of fstab", "findmnt -no OPTIONS /srv/kt-line", "size=2048k");
    look(
        "a line that went",
        "findmnt /srv/kt-line-gone || echo gone",
        "gone",
    );
    look("a line that came", "findmnt -n /srv/kt-line-new", "size=1024k");
    look(
        "a service with mounts below /usr and /etc sees the new trees",
        &format!(
            "nsenter -t $(systemctl show -P MainPID kt-protect) -m sh -c 'cat /etc/keeltest/followed.conf; cmp /{PROGRAMS}/binary /proc/1/root/{PROGRAMS}/binary && echo equal'"
        ),
        "two\nequal",
    );
    look(
        "the group's member is gone",
        "id -nG alice; id -nG alice | grep -q ktgroup || echo gone",
        "gone",
    );
    look(
        "a file changed by hand stays",
        "cat /etc/keeltest/hidden.conf",
        "mine",
    );
    look(
        "keel etc names it",
        "keel etc status",
        "M /etc/keeltest/hidden.conf",
    );
    look(
        "keel etc gives it back",
        "keel etc reset keeltest/hidden.conf && cat /etc/keeltest/hidden.conf",
        "two",
    );
    look("nothing failed", "systemctl is-system-running --wait", "running");
}

/// The main process of each unit that has one.
fn pids(shell: &mut Shell<'_>) -> Result<std::collections::BTreeMap<String, String>> {
    let text = shell.run(
        "systemctl show --type=service --state=active -p Id,MainPID '*' | paste -sd ' ' | sed 's/  /\\n/g'",
    )?;
    Ok(text
        .lines()
        .filter_map(|line| {
            let field = |name: &str| line.split(' ').find_map(|field| field.strip_prefix(name));
            let unit = field("Id=")?.strip_suffix(".service")?;
            Some((unit.to_owned(), field("MainPID=")?.to_owned()))
        })
        .collect())
}
