//! The whole way, under UEFI firmware: menu, passphrase, systemd; and what systemd then sees.

use anyhow::{Context, Result, bail};

use super::bench::{Bench, TO_OFF, TO_PROMPT, same, says};
use crate::guest::Shell;
use crate::layout::{Layout, PASSPHRASE, ROOT_PASSWORD, ROOT_UUID, SWAP_UUID, VOLUMES};
use crate::rootfs::{NEW_ACCOUNT, PRIVILEGED, USER};
use crate::tables::Tables;
use crate::texts;

/// Default boot with a wrong passphrase first, then the second entry of the menu on the same disk.
pub(super) fn boot(bench: &mut Bench<'_>) -> Result<()> {
    let disks = bench.disks(Layout::Main)?;
    let systems = bench.made.systems_of_profile()?;
    let [newest, older] = systems.as_slice() else {
        bail!("the profile has {} generations", systems.len())
    };
    let picture = bench.directory.join("prompt.png");

    let mut machine = bench.through_menu(&disks, "console").boot()?;
    let prompt = machine.console.expect(texts::PASSPHRASE_PROMPT, TO_PROMPT)?;
    bench
        .made
        .figures
        .note("boot: power-on to prompt", prompt.at.as_secs_f64(), "s");
    machine.screenshot(&picture)?;
    machine.console.send_line("no such passphrase")?;
    let _ = machine
        .console
        .expect(texts::WRONG_PASSPHRASE, TO_PROMPT)
        .context("a wrong passphrase isn't called so")?;
    let _ = machine
        .console
        .expect(texts::PASSPHRASE_PROMPT, TO_PROMPT)
        .context("it isn't asked again")?;
    machine.console.send_line(PASSPHRASE)?;
    let mut shell = machine.shell()?;
    bench.check("a wrong passphrase, then the right one boots", || Ok(()));
    let report = shell.boot_report()?;
    bench.made.figures.note_boot("boot", &report);
    bench.check("the default is the profile's newest generation", || {
        same(
            "the running system",
            &report.generation.as_ref().map(|found| &found.system),
            &Some(newest),
        )?;
        says(&shell.run("cat /etc/motd")?, "second generation")
    });
    systemd_sees_everything(bench, &mut shell, "after the boot");
    let tables = bench.made.disks(Layout::Main)?.tables()?;
    bench.check("device-mapper holds what cryptsetup and vgchange load", || {
        same_tables(&mut shell, &tables)
    });
    bench.check("systemd-analyze shows the initrd as a stage of its own", || {
        says(&shell.run("systemd-analyze time")?, "(initrd)")
    });
    bench.check("a rehearsal on the running machine finds everything", || {
        let (code, said) = shell.sh(&format!("echo '{PASSPHRASE}' | keel rehearse --ask --tables"))?;
        same(&format!("its exit code ({said})"), &code, &0)?;
        says(&said, "keyslot 0 opened")?;
        says(&said, "module      nvme  in the initrd")?;
        for line in shell
            .run("dmsetup table --target linear | sed 's/: /: /'")?
            .lines()
        {
            says(&said, &format!("table       {line}"))?;
        }
        let (code, said) = shell.sh("keel rehearse --cmdline root=/dev/vg/swap")?;
        same(&format!("its exit code for a wrong root ({said})"), &code, &3)
    });
    bench.check("a configuration is generated from what the machine is", || {
        let _ = shell.run("mkdir -p /boot && modprobe vfat && mount /dev/nvme0n1p1 /boot")?;
        let said = shell.run("keel generate-config --stdout")?;
        let esp = shell.run("lsblk --noheadings --output UUID /dev/nvme0n1p1; umount /boot")?;
        let [(volume, name), _] = VOLUMES;
        for part in [
            "modules = [\"dm_crypt\", \"dm_mod\", \"ext4\", \"nvme\"]".to_owned(),
            format!("[boot.luks.{name}]"),
            format!("device = \"/dev/disk/by-uuid/{volume}\""),
            "[filesystems.\"/\"]".to_owned(),
            "device = \"/dev/vg/root\"".to_owned(),
            "[filesystems.\"/boot\"]".to_owned(),
            format!("device = \"/dev/disk/by-uuid/{}\"", esp.trim()),
            "[[swap]]".to_owned(),
            "device = \"/dev/vg/swap\"".to_owned(),
        ] {
            says(&said, &part)?;
        }
        Ok(())
    });
    bench.check("systemd is told that the root is checked", || {
        let _ = shell.run("test -e /run/initramfs/fsck-root")?;
        Ok(())
    });
    bench.check("the directory of locks is mounted before systemd starts", || {
        // Mounted later, it would hide the locks of an LVM program that is at work.
        let _ = shell.run("findmnt /run/lock")?;
        let (_, mounting) =
            shell.sh("journalctl --boot --output=cat --grep '^Mount(ing|ed) run-lock.mount'")?;
        let (_, others) =
            shell.sh("journalctl --boot --output=cat --grep '^Mount(ing|ed) dev-hugepages.mount'")?;
        says(&others, "Mounting")?;
        same("what systemd says of mounting it", &mounting.as_str(), &"")
    });
    bench.check("there is a machine-id", || {
        let id = shell.run("cat /etc/machine-id")?;
        same("its length", &id.len(), &32)
    });
    bench.check("the kernel's own modules can be loaded", || {
        let _ = shell.run("modprobe loop && test -d /sys/module/loop")?;
        Ok(())
    });
    privileges(bench, &mut shell);
    let helper = "stat -c '%U:%G:%a:%g' /usr/lib/dbus-1.0/dbus-daemon-launch-helper";
    let numbers = shell.run(helper)?;
    bench.check("owners are right though Debian numbered them otherwise", || {
        says(&numbers, "root:messagebus:4754:")
    });
    bench.check("systemd survives its own re-execution", || {
        let _ = shell.run("systemctl daemon-reexec")?;
        Ok(())
    });
    systemd_sees_everything(bench, &mut shell, "after daemon-reexec");
    shell.send("systemctl poweroff")?;
    machine.wait_until_off(TO_OFF)?;

    other_entry(bench, &disks, older, &numbers)
}

/// Boots the second entry of the menu by the keyboard.
fn other_entry(bench: &mut Bench<'_>, disks: &[crate::disk::Disk], older: &str, numbers: &str) -> Result<()> {
    let mut machine = bench.through_menu(disks, "other-entry").boot()?;
    let _ = machine
        .console
        .expect(texts::BOOT_MENU, TO_PROMPT)
        .context("the boot menu isn't shown")?;
    machine.console.send(texts::KEY_DOWN)?;
    machine.console.send(texts::KEY_ENTER)?;
    let _ = machine.console.expect(texts::PASSPHRASE_PROMPT, TO_PROMPT)?;
    machine.console.send(PASSPHRASE)?;
    let _ = machine
        .console
        .expect(&"*".repeat(PASSPHRASE.len()), TO_PROMPT)
        .context("what is typed isn't shown as stars")?;
    let dump = bench.directory.join("memory");
    let typed = machine.count_in_memory(PASSPHRASE.as_bytes(), &dump)?;
    machine.console.send_line("")?;
    let mut shell = machine.shell()?;
    let report = shell.boot_report()?;
    bench.check("the menu's other entry starts the other generation", || {
        let generation = report
            .generation
            .as_ref()
            .context("the report names no generation")?;
        same("the running system", &generation.system.as_str(), &older)?;
        same("what chose it", &generation.chosen_by.as_str(), &"entry")?;
        says(&shell.run("cat /etc/motd")?, "first generation")
    });
    bench.check("after a clean poweroff no journal is recovered", || {
        let (_, lines) = shell.sh("dmesg | grep -i -e 'recovery' -e 'recovering journal'")?;
        same("the kernel's log about it", &lines.as_str(), &"")
    });
    bench.check("account numbers are the same in both generations", || {
        let here = shell.run("stat -c '%U:%G:%a:%g' /usr/lib/dbus-1.0/dbus-daemon-launch-helper")?;
        same("the helper's owners", &here.as_str(), &numbers)
    });
    systemd_sees_everything(bench, &mut shell, "in the other generation");
    let left = machine.count_in_memory(PASSPHRASE.as_bytes(), &dump)?;
    bench.check(
        "the machine's memory holds the passphrase while it's typed, and not afterwards",
        || {
            if typed == 0 {
                bail!("it isn't found while it's typed, so that it wouldn't be found later either");
            }
            same("copies that are left", &left, &0)
        },
    );
    machine.press_power_button()?;
    machine.wait_until_off(TO_OFF)
}

/// What systemd and udev must know of the devices that early boot made.
pub(super) fn systemd_sees_everything(bench: &mut Bench<'_>, shell: &mut Shell<'_>, when: &str) {
    bench.check(&format!("systemd is content {when}"), || {
        let (_, state) = shell.sh("systemctl is-system-running --wait")?;
        let failed = shell.run("systemctl --failed --no-legend --plain; systemctl list-jobs --no-legend")?;
        let (_, why) = shell.sh(
            "for unit in $(systemctl --failed --no-legend --plain | cut -d' ' -f1); do \
             journalctl --boot --no-pager --output=cat --lines=5 --unit=$unit; done",
        )?;
        same(
            &format!("its state (failed units: {failed:?}, their log: {why:?})"),
            &state.as_str(),
            &"running",
        )?;
        same("failed units", &failed.as_str(), &"")
    });
    bench.check(&format!("links of all devices are there {when}"), || {
        let links = [
            "/dev/mapper/crypt1".to_owned(),
            "/dev/mapper/vg-root".to_owned(),
            "/dev/mapper/vg-swap".to_owned(),
            "/dev/vg/root".to_owned(),
            "/dev/vg/swap".to_owned(),
            format!("/dev/disk/by-uuid/{ROOT_UUID}"),
            format!("/dev/disk/by-uuid/{SWAP_UUID}"),
        ];
        let _ = shell.run(
            &format!(
                "for link in {}; do test -b $link || {{ echo $link is missing; exit 1; }}; done",
                links.join(" ")
            )
            .replace("exit 1", "false; break"),
        )?;
        let _ = shell.run(&format!(
            "systemctl is-active $(systemd-escape --path --suffix=device {})",
            links.join(" ")
        ))?;
        Ok(())
    });
    bench.check(&format!("swap on the logical volume is active {when}"), || {
        let _ = shell
            .run("test \"$(swapon --show=NAME --noheadings --raw)\" = \"$(readlink -f /dev/vg/swap)\"")?;
        Ok(())
    });
}

/// setuid, setgid, capabilities and su, as an ordinary user.
fn privileges(bench: &mut Bench<'_>, shell: &mut Shell<'_>) {
    let mut as_user = |command: &str| shell.sh(&format!("su {USER} -c '{command}'"));
    bench.check("a setuid program works", || {
        same(
            "its user",
            &as_user(&format!("{PRIVILEGED}/id-setuid -u"))?.1.as_str(),
            &"0",
        )
    });
    bench.check("a setuid program of another group is refused", || {
        same(
            "its exit code",
            &as_user(&format!("{PRIVILEGED}/id-setuid-group-only"))?.0,
            &126,
        )
    });
    bench.check("a setgid program has the new group", || {
        same(
            "its group",
            &as_user(&format!("{PRIVILEGED}/id-setgid -gn"))?.1.as_str(),
            &NEW_ACCOUNT,
        )
    });
    bench.check("a file's capability works", || {
        same("reading without it", &as_user("cat /etc/shadow")?.0, &1)?;
        says(
            &as_user(&format!("{PRIVILEGED}/cat-anything /etc/shadow"))?.1,
            "root:",
        )
    });
    bench.check("su asks for root's password and takes it", || {
        let (code, said) = as_user(&format!("echo {ROOT_PASSWORD} | su -c \"id -un\""))?;
        same("its exit code", &code, &0)?;
        says(&said, "root")
    });
    bench.check("the new user is known", || {
        let _ = shell.run(&format!(
            "getent passwd {NEW_ACCOUNT} && getent group {NEW_ACCOUNT}"
        ))?;
        Ok(())
    });
}

/// Compares what is mapped in the guest with what the real tools loaded for the same disks.
pub(super) fn same_tables(shell: &mut Shell<'_>, expected: &str) -> Result<()> {
    let (here, there) = (shell.tables()?, Tables::parse(expected));
    if there.len() == 0 {
        bail!("the builder said no tables: {expected}");
    }
    same("what is mapped", &here, &there)
}
