//! The machine of one file.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::bench::{Bench, TO_OFF, same, says};
use crate::declared::PASSWORD;
use crate::guest::Shell;
use crate::repository::{PACKAGE, SERVE, URI};

/// The configuration on the machine.
const FILE: &str = "/etc/keel/system.toml";
/// A network that the firewall sees: another namespace at the end of a cable.
const NETWORK: &str = "ip netns add other && ip link add va type veth peer name vb && ip link set vb netns other && \
                       ip addr add 192.0.2.1/24 dev va && ip link set va up && \
                       ip netns exec other sh -c 'ip addr add 192.0.2.2/24 dev vb; ip link set vb up'";
/// Units whose processes an edit of others mustn't touch.
const KEPT: [&str; 6] = [
    "ssh",
    "NetworkManager",
    "dbus",
    "systemd-logind",
    "systemd-journald",
    "systemd-udevd",
];
/// A switch builds first.
const SWITCH: Duration = Duration::from_mins(8);
/// Indexes of all of Debian are read, a package is installed into the whole set, and images are made of that.
const UPDATE: Duration = Duration::from_mins(20);

/// Boots it, looks at every line, edits the file, switches, and goes back.
pub(super) fn declared(bench: &mut Bench<'_>) -> Result<()> {
    let disks = bench.made.declared_disks()?.disks();
    let disks = disks
        .iter()
        .map(|disk| disk.overlay(&bench.directory))
        .collect::<Result<Vec<_>>>()?;
    let mut machine = bench.through_menu(&disks, "first");
    machine.reboots = true;
    // One thread emulates all of them: a second one would only wait for the first.
    machine.processors = 1;
    let mut running = machine.boot()?;
    running.unlock()?;
    let mut shell = running.shell()?;
    let state = shell.sh("systemctl is-system-running --wait")?.1;
    let failed = shell.run("systemctl --failed --plain --no-legend")?;
    bench.check("no unit fails", || {
        same("failed units", &failed.as_str(), &"")?;
        same("the system's state", &state.as_str(), &"running")
    });
    system(bench, &mut shell)?;
    programs(bench, &mut shell)?;
    network(bench, &mut shell)?;
    edit(bench, &mut shell)?;
    package(bench, &mut shell)?;
    let (code, said) = shell.sh("keel rollback --to 1")?;
    bench.check("a rollback to the first one brings the old system back", || {
        same(&format!("its exit code ({said})"), &code, &0)?;
        same("the host's name", &shell.run("hostname")?.as_str(), &"nixie")?;
        says(&shell.run("systemctl show -p Environment hello")?, "WORD=one")?;
        let groups = shell.run("id -nG kirans")?;
        if groups.split(' ').any(|group| group == "video") {
            bail!("kirans is still in video: {groups}");
        }
        Ok(())
    });
    shell.send("systemctl reboot")?;
    running.unlock().context("after the reboot")?;
    let mut shell = running.shell()?;
    bench.check("the old generation boots again", || {
        same("the host's name", &shell.run("hostname")?.as_str(), &"nixie")?;
        let profile = shell.run("readlink /nix/var/nix/profiles/system")?;
        same("the profile's generation", &profile.as_str(), &"system-1-link")
    });
    shell.send("systemctl poweroff")?;
    running.wait_until_off(TO_OFF)
}

fn system(bench: &mut Bench<'_>, shell: &mut Shell<'_>) -> Result<()> {
    let facts = shell.run(
        "hostname; readlink /etc/localtime; date +%Z; . /etc/default/locale; echo $LANG; \
         LC_ALL= LANG=en_US.UTF-8 locale charmap 2>&1; cat /etc/vconsole.conf; uname -n; cat /proc/sys/vm/swappiness",
    )?;
    bench.check("name, zone, locale, keymap and kernel settings", || {
        for line in [
            "nixie",
            "/usr/share/zoneinfo/Asia/Kolkata",
            "IST",
            "en_US.UTF-8",
            "UTF-8",
            "KEYMAP=\"us\"",
            "17",
        ] {
            if !facts.lines().any(|found| found == line) {
                bail!("no line {line:?} in {facts}");
            }
        }
        if facts.contains("Cannot set") || facts.contains("ANSI_X3") {
            bail!("the locale isn't there: {facts}");
        }
        Ok(())
    });
    let disks = shell.run(
        "lsblk -no NAME,FSTYPE,TYPE $(findmnt -no SOURCE /); findmnt -no FSTYPE /boot; swapon --show --noheadings; \
         cat /proc/cmdline",
    )?;
    bench.check("LUKS, LVM, file systems and swap", || {
        for part in ["vg-root ext4", "vfat", "partition", "rd.luks.options=", "quiet"] {
            says(&disks, part)?;
        }
        says(&shell.run("dmsetup table crypt1")?, "allow_discards")
    });
    let people = shell.run(
        "id kirans; getent passwd kirans; stat -c '%a %U %G' /home/kirans; ls -A /home/kirans; getent shadow kirans; \
         grep kirans /etc/subuid",
    )?;
    bench.check("the user, its groups, home, numbers and first password", || {
        for part in [
            "(sudo)",
            ":/home/kirans:/bin/bash",
            "700 kirans kirans",
            ".bashrc",
            "kirans:$6$keel$",
            "kirans:100000:65536",
        ] {
            says(&people, part)?;
        }
        // sudo asks for it and takes it.
        let asked = format!("su - kirans -c 'echo \"{PASSWORD}\" | sudo -S -p \"\" id -un'");
        says(&shell.run(&asked)?, "root")
    });
    let menu = shell.run("ls /boot/loader/entries; cat /boot/loader/loader.conf")?;
    bench.check("the boot menu is of the file's settings", || {
        says(&menu, "keel-system-1.conf")?;
        says(&menu, "timeout 4")
    });
    Ok(())
}

fn programs(bench: &mut Bench<'_>, shell: &mut Shell<'_>) -> Result<()> {
    let versions = shell.run(
        "for p in vim wget tree git starship fastfetch; do $p --version >/dev/null 2>&1 && echo \"$p runs\"; done",
    )?;
    bench.check("every package runs", || {
        for program in ["vim", "wget", "tree", "git", "starship", "fastfetch"] {
            says(&versions, &format!("{program} runs"))?;
        }
        Ok(())
    });
    let session = shell.run(
        "su - kirans -c 'bash -ic \"echo config=\\$STARSHIP_CONFIG word=\\$KEEL_WORD; type -t starship_precmd\" 2>&1'",
    )?;
    bench.check(
        "shells start fastfetch and starship, which has its settings",
        || {
            for part in ["config=/etc/starship.toml word=declared", "function", "OS"] {
                says(&session, part)?;
            }
            says(&shell.run("cat /etc/starship.toml")?, "add_newline = false")
        },
    );
    let listed =
        shell.run("apt-get install -y tree 2>&1; echo; grep -c . /run/current-system/packages.json")?;
    bench.check("apt says how it's done here", || says(&listed, "system.toml"));
    Ok(())
}

fn network(bench: &mut Bench<'_>, shell: &mut Shell<'_>) -> Result<()> {
    let _ = shell.run(NETWORK)?;
    let ssh =
        shell.sh("ip netns exec other timeout 20 bash -c 'exec 3<>/dev/tcp/192.0.2.1/22; head -c 8 <&3'")?;
    bench.check("sshd answers, with keys of its own", || {
        same("the exit code", &ssh.0, &0)?;
        says(&ssh.1, "SSH-2.0-")?;
        says(&shell.run("ls /etc/ssh")?, "ssh_host_ed25519_key")
    });
    let dropped = shell.sh("ip netns exec other timeout 5 bash -c 'exec 3<>/dev/tcp/192.0.2.1/7000' 2>&1")?;
    bench.check("another port is dropped, not refused", || {
        // 124: timeout(1) had to end it.
        same(&format!("the exit code ({})", dropped.1), &dropped.0, &124)
    });
    bench.check("NetworkManager runs", || {
        says(&shell.run("nmcli general status")?, "STATE")
    });
    Ok(())
}

/// Offline: another name, another unit, another group.
fn edit(bench: &mut Bench<'_>, shell: &mut Shell<'_>) -> Result<()> {
    let before = pids(shell, &KEPT)?;
    let hello = pids(shell, &["hello"])?;
    let _ = shell.run(&format!(
        "sed -i -e 's/^hostname = .*/hostname = \"pixie\"/' -e 's/WORD=one/WORD=two/' \
         -e 's/^groups = .*/groups = [\"wheel\", \"video\"]/' {FILE}"
    ))?;
    let (code, said) = shell.sh_within("keel switch", SWITCH)?;
    bench.check("an edited file is switched to", || {
        same(&format!("the exit code ({said})"), &code, &0)
    });
    let after = pids(shell, &KEPT)?;
    let hello_after = pids(shell, &["hello"])?;
    bench.check("the edit is seen, and only its service was restarted", || {
        same("the host's name", &shell.run("hostname")?.as_str(), &"pixie")?;
        same(
            "/etc/hostname",
            &shell.run("cat /etc/hostname")?.as_str(),
            &"pixie",
        )?;
        says(&shell.run("systemctl show -p Environment hello")?, "WORD=two")?;
        says(&shell.run("id -nG kirans")?, "video")?;
        if hello == hello_after {
            bail!("hello wasn't restarted: {hello}");
        }
        same("the processes of the others", &after, &before)
    });
    Ok(())
}

/// One more package, from a mirror on the machine's own loopback interface; then back.
fn package(bench: &mut Bench<'_>, shell: &mut Shell<'_>) -> Result<()> {
    let _ = shell.run(&format!(
        "sed -i -e 's|^suite = .*|&\\nmirrors = [\"{URI}\"]|' -e 's/\"fastfetch\"\\]/\"fastfetch\", \"{PACKAGE}\"]/' {FILE}; \
         systemd-run --quiet --unit=mirror {SERVE} && \
         for try in $(seq 100); do (exec 3<>/dev/tcp/127.0.0.1/8080) 2>/dev/null && break; sleep 0.3; done; \
         systemctl is-active mirror"
    ))?;
    let before = pids(shell, &KEPT)?;
    let (code, said) = shell.sh_within(&format!("keel update {PACKAGE}"), UPDATE)?;
    bench.check("one more package is resolved from a mirror on loopback", || {
        same(&format!("the exit code ({said})"), &code, &0)?;
        says(&said, &format!("+ {PACKAGE}"))
    });
    let (code, said) = shell.sh_within("keel switch", UPDATE)?;
    bench.check(
        "it's there after a switch, and nothing was restarted for it",
        || {
            same(&format!("the exit code ({said})"), &code, &0)?;
            says(&shell.run(&format!("{PACKAGE} -f term hello"))?, "hello")?;
            says(&shell.run(&format!("dpkg-query --show {PACKAGE}"))?, PACKAGE)?;
            same("the processes of the services", &pids(shell, &KEPT)?, &before)
        },
    );
    let (code, said) = shell.sh("keel rollback")?;
    bench.check("after a rollback it's gone, and the edit stays", || {
        same(&format!("the exit code ({said})"), &code, &0)?;
        // Not by its name alone: the shell remembers where it was.
        same("its program", &shell.sh(&format!("ls /usr/bin/{PACKAGE}"))?.0, &2)?;
        same("the host's name", &shell.run("hostname")?.as_str(), &"pixie")
    });
    Ok(())
}

fn pids(shell: &mut Shell<'_>, units: &[&str]) -> Result<String> {
    shell.run(&format!(
        "systemctl show --property=Id,MainPID {}",
        units.join(" ")
    ))
}
