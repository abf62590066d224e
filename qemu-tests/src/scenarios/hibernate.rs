//! Hibernation: the memory of a machine goes to the swap space, and comes back through early boot.

use anyhow::{Context, Result};

use super::bench::{Bench, TO_OFF, TO_SHELL, same};
use crate::guest::Shell;
use crate::layout::Layout;
use crate::texts;

/// The guest has woken up; systemd won't hibernate it.
const AWAKE: &str = "<keel-awake>";
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

/// Says that the machine goes to sleep, how often it woke up before, and shows when it has woken up again.
fn sleep(shell: &mut Shell<'_>, woke_up: u32) -> Result<()> {
    let times = woke_up + 1;
    // Looked at again and again: a reader that follows the journal may miss that nobody reads from it any more.
    shell.send(&format!(
        "systemctl hibernate || printf '{}'; until test $(journalctl --boot --output=cat \
         --unit=systemd-hibernate.service | grep -c 'returned from sleep') -ge {times}; do sleep 1; done; printf '{}'",
        in_two(REFUSED),
        in_two(AWAKE)
    ))
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
    sleep(&mut shell, 0)?;
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
        let _ = machine.console.expect(AWAKE, TO_SHELL)?;
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
            sleep(&mut shell, 1)?;
            machine.console.set_fatal(&[texts::PANIC, REFUSED]);
        } else {
            shell.send("systemctl poweroff")?;
        }
        machine.wait_until_off(TO_OFF)?;
    }
    Ok(())
}
