//! Hibernation: the memory of a machine goes to the swap space, and comes back through early boot.

use anyhow::{Context, Result};

use super::bench::{Bench, TO_OFF, TO_SHELL, same};
use crate::guest::Shell;
use crate::layout::Layout;
use crate::texts;

/// The guest has woken up.
const AWAKE: &str = "<keel-awake>";
/// systemd won't hibernate it.
const REFUSED: &str = "<keel-refused>";

/// What only the memory of the running machine knows.
#[derive(Debug, PartialEq, Eq)]
struct Session {
    boot_id: String,
    /// A process that was started before.
    process: String,
    /// A file in memory.
    file: String,
    /// A variable of the shell itself.
    variable: String,
}

impl Session {
    fn read(shell: &mut Shell<'_>) -> Result<Session> {
        Ok(Session {
            boot_id: shell.run("cat /proc/sys/kernel/random/boot_id")?,
            process: shell.run("cut -d' ' -f1,22 /proc/$kept/stat")?,
            file: shell.run("cat /run/kept")?,
            variable: shell.run("echo $kept")?,
        })
    }
}

/// Lets systemd say on the console when the machine has woken up: what systemd starts there runs, whatever has become of
/// the session, whose processes it freezes meanwhile.
fn tell_of_waking_up(shell: &mut Shell<'_>) -> Result<()> {
    let directory = "/run/systemd/system/systemd-hibernate.service.d";
    let _ = shell.run(&format!(
        "mkdir -p {directory} && cat >{directory}/awake.conf <<'END' && systemctl daemon-reload\n\
         [Service]\nExecStopPost=/bin/sh -c \"echo '{AWAKE}' $SERVICE_RESULT >/dev/ttyS0\"\nEND"
    ))?;
    Ok(())
}

/// Lets the machine go to sleep.
fn sleep(shell: &mut Shell<'_>) -> Result<()> {
    shell.send(&format!("systemctl hibernate || printf '{}'", in_two(REFUSED)))
}

/// Put together by the shell, so that an echo of the command isn't taken for its output.
fn in_two(mark: &str) -> String {
    let (one, other) = mark.split_at(mark.len() / 2);
    format!("{one}''{other}")
}

/// Twice: systemd says where it hibernated to in an EFI variable; then `resume=` says it, too.
pub(super) fn hibernate(bench: &mut Bench<'_>) -> Result<()> {
    let disks = bench.disks(Layout::Main)?;
    let mut machine = bench.through_menu(&disks, "console").boot()?;
    machine.unlock()?;
    let mut shell = machine.shell()?;
    let _ = shell.run("sleep infinity & kept=$!; cp /proc/sys/kernel/random/uuid /run/kept")?;
    let session = Session::read(&mut shell)?;
    tell_of_waking_up(&mut shell)?;
    sleep(&mut shell)?;
    machine.console.set_fatal(&[texts::PANIC, REFUSED]);
    machine.wait_until_off(TO_OFF)?;

    for (woke_up, (log, parameter)) in [("variable", ""), ("parameter", "resume=/dev/vg/swap")]
        .into_iter()
        .enumerate()
    {
        let mut machine = bench.through_menu(&disks, log).with(parameter).boot()?;
        machine.unlock()?;
        let _ = machine
            .console
            .expect(texts::RESUMING, TO_SHELL)
            .context("early boot finds no image")?;
        machine
            .console
            .set_fatal(&[texts::PANIC, texts::DID_NOT_COME_BACK]);
        if let Err(error) = machine.console.expect(AWAKE, TO_SHELL) {
            return Err(error.context(machine.processors()));
        }
        let mut shell = Shell::resumed(&machine.console);
        let now = Session::read(&mut shell)?;
        bench.check(&format!("the session comes back, told by {log}"), || {
            same("the session", &now, &session)
        });
        bench.check(&format!("the EFI variable is gone, told by {log}"), || {
            // Its name is left over in the memory of the hibernated system.
            let (_, left) =
                shell.sh("cat /sys/firmware/efi/efivars/HibernateLocation-* | wc -c | tail -n 1")?;
            same("the bytes that are left of it", &left.lines().last(), &Some("0"))
        });
        bench.check(&format!("root and swap work, told by {log}"), || {
            let _ = shell.run(
                "echo text >/var/kept && sync && grep text /var/kept && swapon --show=NAME | grep dm-",
            )?;
            let (_, errors) = shell.sh("dmesg --level=err,crit,alert,emerg | grep -i -e ext4 -e i/o")?;
            same("errors of the file system", &errors.as_str(), &"")
        });
        if woke_up == 0 {
            sleep(&mut shell)?;
            machine.console.set_fatal(&[texts::PANIC, REFUSED]);
        } else {
            shell.send("systemctl poweroff")?;
        }
        machine.wait_until_off(TO_OFF)?;
    }
    Ok(())
}
