//! How the effect of each option is seen: a row for each.

/// When a row is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// On the console, before a kernel starts.
    Menu,
    /// On the machine that has booted its first generation.
    Booted,
    /// After the second generation was switched to.
    Switched,
    /// After the switch to one that isn't healthy.
    Failed,
    /// When the second generation has booted.
    Second,
}

/// How an option is seen.
pub(super) struct Row {
    /// Its path in the table of options.
    pub key: &'static str,
    /// When it's looked at.
    pub seen: Seen,
    /// A command of the machine's shell.
    pub look: &'static str,
    /// What the command says.
    pub shows: &'static [&'static str],
}

const fn menu(key: &'static str, shows: &'static [&'static str]) -> Row {
    Row {
        key,
        seen: Seen::Menu,
        look: "",
        shows,
    }
}

const fn booted(key: &'static str, look: &'static str, shows: &'static [&'static str]) -> Row {
    Row {
        key,
        seen: Seen::Booted,
        look,
        shows,
    }
}

const fn switched(key: &'static str, look: &'static str, shows: &'static [&'static str]) -> Row {
    Row {
        key,
        seen: Seen::Switched,
        look,
        shows,
    }
}

const fn failed(key: &'static str, look: &'static str, shows: &'static [&'static str]) -> Row {
    Row {
        key,
        seen: Seen::Failed,
        look,
        shows,
    }
}

const fn second(key: &'static str, look: &'static str, shows: &'static [&'static str]) -> Row {
    Row {
        key,
        seen: Seen::Second,
        look,
        shows,
    }
}

/// A row for each option, in the order of docs/options.md.
pub(super) const ROWS: &[Row] = &[
    booted(
        "state_version",
        "grep state_version /run/current-system/system.toml; keel check --option state_version=2 2>&1",
        &["state_version = \"1\"", "state_version"],
    ),
    // The mount stands in a file that is imported by an imported one.
    booted("imports", "findmnt -no TARGET /srv/scratch", &["/srv/scratch"]),
    booted("system.hostname", "cat /proc/sys/kernel/hostname", &["vessel"]),
    booted("system.time_zone", "date +%Z", &["JST"]),
    booted(
        "system.locale",
        "systemctl show-environment; LC_ALL=en_GB.UTF-8 date --date 2026-12-31 +%x",
        &["LANG=en_GB.UTF-8", "31/12/26"],
    ),
    booted(
        "system.extra_locales",
        "LC_ALL=fr_FR.UTF-8 date --date 2026-11-30 +%A",
        &["lundi"],
    ),
    booted(
        "system.keymap",
        "dumpkeys -C /dev/tty1 --keys-only | grep 'keycode  21 ='",
        &["+z"],
    ),
    booted(
        "boot.loader",
        "tr -d '\\0' </sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f",
        &["systemd-boot"],
    ),
    // A trial is armed by the order of the menu then, not by a variable.
    switched(
        "boot.can_touch_efi_variables",
        "ls /boot/loader/entries; ls /sys/firmware/efi/efivars | grep -c LoaderEntryOneShot",
        &["keel-system-3+1.conf", "\n0"],
    ),
    // Four were made.
    booted(
        "boot.generations",
        "echo $(ls /boot/loader/entries)",
        &["keel-system-3.conf keel-system-4.conf"],
    ),
    menu("boot.timeout", &[" 2 s"]),
    booted(
        "boot.kernel_params",
        "cat /sys/module/kernel/parameters/consoleblank",
        &["77"],
    ),
    booted(
        "boot.luks.<mapping>.device",
        "dmsetup deps -o devname vault | grep -c \"($(basename $(readlink -f /dev/disk/by-partlabel/keel-2)))\"",
        &["1"],
    ),
    booted(
        "boot.luks.<mapping>.uuid",
        "grep uuid /run/keel/boot.json; dmsetup info -c --noheadings -o uuid vault",
        &[
            "5f0b3c5e-7a10-4c5b-9d57-6b65656c0012",
            "CRYPT-LUKS2-5f0b3c5e7a104c5b9d576b65656c0012-vault",
        ],
    ),
    booted(
        "boot.luks.<mapping>.allow_discards",
        "dmsetup table vault",
        &["allow_discards"],
    ),
    // Nobody typed anything.
    booted(
        "boot.luks.<mapping>.key_file",
        "grep '\"by\"' /run/keel/boot.json",
        &["\"by\": \"keyfile\""],
    ),
    booted(
        "boot.luks.<mapping>.header",
        "blkid -p /dev/disk/by-partlabel/keel-2 | grep -c LUKS; dmsetup info -c --noheadings -o name",
        &["0\n", "vault"],
    ),
    booted(
        "boot.luks.<mapping>.options",
        "dmsetup table vault",
        &["no_read_workqueue"],
    ),
    booted(
        "boot.initrd.modules",
        "zstd -dcq </run/current-system/initrd | cpio -t --quiet",
        &["/virtio_blk.ko"],
    ),
    booted(
        "boot.initrd.set",
        "zstd -dcq </run/current-system/initrd | cpio -t --quiet >/run/listed; \
         grep -c /virtio_blk.ko /run/listed; grep -c -e ahci.ko -e virtio_scsi.ko /run/listed",
        &["1\n0"],
    ),
    second("boot.initrd.systemd", "systemd-analyze time", &["(initrd)"]),
    booted(
        "filesystems.<path>.device",
        "lsblk -no NAME $(findmnt -no SOURCE --nofsroot /)",
        &["vg-root"],
    ),
    booted(
        "filesystems.<path>.type",
        "findmnt -no FSTYPE /srv/scratch",
        &["tmpfs"],
    ),
    booted(
        "filesystems.<path>.options",
        "findmnt -no OPTIONS /srv/scratch",
        &["size=8192k", "mode=711"],
    ),
    booted(
        "filesystems.<path>.check",
        "grep '\"check\"' /run/keel/boot.json",
        &["not checked: rd.skipfsck"],
    ),
    booted(
        "swap[].device",
        "swapon --show=NAME --noheadings; readlink -f /dev/mapper/vault",
        &["/dev/dm-"],
    ),
    booted("swap[].priority", "swapon --show=PRIO --noheadings", &["7"]),
    booted(
        "swap[].resume",
        "[ \"$(cat /sys/power/resume)\" = \"$(lsblk -ndo MAJ:MIN /dev/mapper/vault | tr -d ' ')\" ] && echo the same",
        &["the same"],
    ),
    booted(
        "swap[].options",
        "systemctl show -p Options dev-mapper-vault.swap",
        &["discard=pages"],
    ),
    booted(
        "packages.suite",
        ". /etc/os-release; echo $VERSION_CODENAME",
        &["trixie"],
    ),
    booted(
        "packages.components",
        "dpkg-query -W -f '${Section} ${Status}' firmware-zd1211",
        &["non-free-firmware/kernel install ok installed"],
    ),
    booted(
        "packages.mirrors",
        "grep -F \"$(sed -n 's/^mirrors = \\[\"\\(.*\\)\"\\]/\\1/p' /etc/keel/common.toml | sed 's|/$||')\" \
         /run/current-system/keel.lock | head -n 1",
        &["://"],
    ),
    booted(
        "packages.updates",
        "cat /nix/var/keel/apt/*/sources.list; grep -c -e -updates /nix/var/keel/apt/*/sources.list",
        &["trixie main non-free-firmware", "\n0"],
    ),
    booted(
        "packages.security",
        "grep -c -e -security /run/current-system/keel.lock",
        &["0"],
    ),
    // Only the machine's own archive has it.
    booted("packages.sources", "cat /usr/share/keel-more", &["recommended"]),
    booted("packages.install", "ping -V", &["iputils"]),
    booted("packages.kernel", "uname -r", &["-cloud-amd64"]),
    booted(
        "packages.recommends",
        "dpkg-query -W -f '${Status}' keel-more; grep -c keel-more /etc/keel/common.toml",
        &["install ok installed", "0"],
    ),
    booted(
        "packages.exclude",
        "ls /usr/share/doc/bash /usr/share/man/man1/bash.1.gz",
        &[
            "'/usr/share/doc/bash': No such file",
            "'/usr/share/man/man1/bash.1.gz': No such file",
        ],
    ),
    booted(
        "users.<user>.normal",
        "grep ada /etc/subuid; stat -c '%a %U' /srv/ada",
        &["ada:", "700 ada"],
    ),
    booted(
        "users.<user>.system",
        "id -u robot | grep -x '[1-9][0-9][0-9]' && getent passwd robot",
        &["/usr/sbin/nologin"],
    ),
    booted("users.<user>.uid", "id -u ada", &["1815"]),
    booted("users.<user>.group", "id -gn ada", &["crew"]),
    booted("users.<user>.groups", "id -Gn ada", &["sudo"]),
    booted(
        "users.<user>.description",
        "getent passwd ada | cut -d: -f5",
        &["Ada L"],
    ),
    booted("users.<user>.home", "su - ada -c pwd", &["/srv/ada"]),
    booted("users.<user>.shell", "su - ada -c 'echo $0'", &["dash"]),
    booted(
        "users.<user>.hashed_password_file",
        "getent shadow ada",
        &["ada:$6$keel$"],
    ),
    booted(
        "users.<user>.ssh_keys",
        "ssh -o StrictHostKeyChecking=no -o BatchMode=yes -i /root/ada.pem ada@127.0.0.1 id -un",
        &["ada"],
    ),
    // Nobody has logged in as ada but by the rows above, which end again.
    booted(
        "users.<user>.linger",
        "loginctl show-user ada -p Linger -p State; systemctl is-active user@1815.service",
        &["Linger=yes", "\nactive"],
    ),
    booted(
        "users.<user>.packages",
        "tree --version; tr -d ' \\n' </run/current-system/packages.json | grep -o '\"name\":\"tree\"[^}]*'",
        &["tree v", "[\"ada\"]"],
    ),
    booted("groups.<group>.gid", "getent group crew", &["crew:x:2500:"]),
    booted(
        "groups.<group>.system",
        "getent group band | cut -d: -f3 | grep -cx '[1-9][0-9][0-9]'",
        &["1"],
    ),
    booted("groups.<group>.members", "id -Gn ada", &["band"]),
    booted(
        "services.openssh.enable",
        "systemctl is-active ssh; ls /etc/ssh/ssh_host_ed25519_key",
        &["active", "ssh_host_ed25519_key"],
    ),
    booted(
        "services.openssh.ports",
        "ss -Hltn 'sport = 22 or sport = 2022'",
        &["0.0.0.0:22 ", "0.0.0.0:2022 "],
    ),
    booted(
        "services.openssh.password_authentication",
        "ssh -o StrictHostKeyChecking=no -o BatchMode=yes -o PubkeyAuthentication=no ada@127.0.0.1 id",
        &["Permission denied (publickey)"],
    ),
    booted(
        "services.openssh.permit_root_login",
        "sshd -T | grep permitrootlogin",
        &["permitrootlogin no"],
    ),
    booted(
        "services.openssh.settings.<keyword>",
        "sshd -T | grep maxauthtries",
        &["maxauthtries 3"],
    ),
    booted(
        "services.timesyncd.enable",
        "systemctl is-active systemd-timesyncd",
        &["active"],
    ),
    booted(
        "services.timesyncd.servers",
        "timedatectl show-timesync -p SystemNTPServers",
        &["192.0.2.123"],
    ),
    switched(
        "networking.firewall.enable",
        "nft list tables | grep -c 'inet keel'; systemctl is-active nftables",
        &["0", "inactive"],
    ),
    booted(
        "networking.firewall.allowed_tcp_ports",
        "ip netns exec other timeout 20 bash -c 'head -c 8 </dev/tcp/192.0.2.1/2022'; echo; \
         ip netns exec other timeout 5 bash -c ': </dev/tcp/192.0.2.1/7000'; echo \"closed: $?\"",
        &["SSH-2.0-", "closed: 124"],
    ),
    // Nobody listens: the answer says so, when the packet isn't dropped.
    booted(
        "networking.firewall.allowed_udp_ports",
        "for port in 7003 7002; do ip netns exec other bash -c \
         \"exec 3<>/dev/udp/192.0.2.1/$port; for i in 1 2 3 4 5 6 7 8 9; do echo word >&3 || exit; sleep 0.2; done; \
         echo no answer\" 2>&1 | sed \"s/.*refused/refused/; s/^/$port /\"; done",
        &["7003 refused", "7002 no answer"],
    ),
    booted(
        "networking.firewall.allow_ping",
        "ip netns exec other ping -c 2 -W 2 192.0.2.1",
        &["100% packet loss"],
    ),
    booted(
        "networking.firewall.trusted_interfaces",
        "ip netns exec other timeout 20 bash -c ': </dev/tcp/198.51.100.1/7000'",
        &["refused"],
    ),
    booted(
        "networking.firewall.extra_input_rules",
        "ip netns exec other timeout 20 bash -c ': </dev/tcp/192.0.2.1/7004'",
        &["refused"],
    ),
    booted(
        "networking.networkmanager.enable",
        "nmcli --terse --fields RUNNING general",
        &["running"],
    ),
    second(
        "networking.networkd.enable",
        "ip -brief address show words; systemctl is-active systemd-networkd; networkctl status words",
        &["198.51.100.1/24", "\nactive", "configured"],
    ),
    booted(
        "networking.hosts.<address>",
        "getent hosts nas.example.org",
        &["192.0.2.80"],
    ),
    second(
        "networking.nameservers",
        "cat /etc/resolv.conf",
        &["nameserver 192.0.2.53"],
    ),
    booted(
        "programs.starship.enable",
        "env -u PS1 bash -ic 'type -t starship_precmd'",
        &["function"],
    ),
    booted(
        "programs.starship.settings",
        "env -u PS1 bash -ic 'starship print-config scan_timeout'",
        &["47"],
    ),
    booted(
        "programs.bash.interactive_shell_init",
        "env -u PS1 bash -ic 'echo interactive $KEEL_INTERACTIVE'",
        &["interactive yes"],
    ),
    booted(
        "programs.bash.login_shell_init",
        "bash -lc 'echo login $KEEL_LOGIN'",
        &["login yes"],
    ),
    booted(
        "programs.bash.aliases.<alias>",
        "env -u PS1 bash -ic 'alias shout'",
        &["echo LOUD"],
    ),
    booted("programs.git.enable", "git --version", &["git version"]),
    booted(
        "programs.git.settings",
        "git config init.defaultBranch",
        &["trunk"],
    ),
    booted("units.<unit>.enable", "systemctl is-active idle", &["inactive"]),
    booted(
        "units.<unit>.mask",
        "systemctl start e2scrub_all.timer; systemctl is-enabled e2scrub_all.timer",
        &["is masked", "\nmasked"],
    ),
    booted(
        "units.<unit>.text",
        "systemctl start idle; systemctl show -p ExecStart idle; systemctl stop idle",
        &["/usr/bin/sleep infinity"],
    ),
    booted(
        "units.<unit>.sections.<section>.<key>",
        "cat /run/greeted; systemctl show -p Type greet",
        &["greeted", "Type=oneshot"],
    ),
    booted(
        "units.<unit>.drop_ins.<dropin>",
        "systemctl show -p Environment ssh",
        &["KEEL_DROP_IN=seen"],
    ),
    booted(
        "units.<unit>.wanted_by",
        "systemctl show -p WantedBy greet",
        &["multi-user.target"],
    ),
    switched(
        "units.<unit>.restart_triggers",
        "cmp -s /run/before/watcher /run/after/watcher || echo restarted; systemctl is-active watcher",
        &["restarted", "active"],
    ),
    switched(
        "units.<unit>.reload_triggers",
        "ls /run/reloaded; cmp /run/before/reloader /run/after/reloader && echo the same process",
        &["/run/reloaded\n", "the same process"],
    ),
    switched(
        "units.<unit>.switch",
        "cmp /run/before/stubborn /run/after/stubborn && echo kept; systemctl show -p Environment stubborn; \
         cmp -s /run/before/plain /run/after/plain || echo another is restarted",
        &["kept", "WORD=two", "another is restarted"],
    ),
    booted("etc.<file>.text", "cat /etc/words/text", &["written"]),
    booted("etc.<file>.source", "cat /etc/words/source", &["copied"]),
    booted(
        "etc.<file>.link",
        "readlink /etc/words/link",
        &["/usr/share/zoneinfo"],
    ),
    booted("etc.<file>.mode", "stat -c %a /etc/words/owned", &["640"]),
    booted("etc.<file>.user", "stat -c %U /etc/words/owned", &["robot"]),
    booted("etc.<file>.group", "stat -c %G /etc/words/owned", &["crew"]),
    booted("sysctl.<sysctl>", "cat /proc/sys/vm/swappiness", &["17"]),
    booted(
        "environment.<variable>",
        "su - ada -c 'echo $KEEL_WORD'",
        &["environment"],
    ),
    booted(
        "tmpfiles.rules",
        "stat -c '%a %U %G' /srv/made",
        &["751 robot crew"],
    ),
    second(
        "security.setuid.only",
        "stat -c '%a %n' /usr/bin/sudo /usr/bin/su /usr/bin/passwd /usr/bin/chfn",
        &[
            "4755 /usr/bin/sudo",
            "4755 /usr/bin/su",
            "\n755 /usr/bin/passwd",
            "\n755 /usr/bin/chfn",
        ],
    ),
    booted(
        "security.setuid.remove",
        "stat -c '%a %n' /usr/bin/passwd /usr/bin/chfn",
        &["4755 /usr/bin/passwd", "\n755 /usr/bin/chfn"],
    ),
    booted(
        "security.sudo.extra_rules",
        "su - ada -c 'sudo -n id -un; sudo -n true'",
        &["root", "password is required"],
    ),
    // Units are watched from the one phase until the other, in microseconds.
    switched(
        "health.settle",
        "perl -ne '$at{$2} = $1 if /\"usec\":(\\d+).*\"phase\":\"(health|confirm)\"/; \
         END { print $at{confirm} - $at{health} >= 9e6 ? \"long enough\" : \"too short\" }' /run/keel/switch/journal",
        &["long enough"],
    ),
    switched(
        "health.checks.<name>.command",
        "ls /run/checked-by-command",
        &["/run/checked-by-command"],
    ),
    failed(
        "health.checks.<name>.unit",
        "cat /run/said-failing",
        &["the health check absent failed: absent.service is inactive"],
    ),
    switched(
        "health.checks.<name>.tcp",
        "ls /run/checked-by-tcp",
        &["/run/checked-by-tcp"],
    ),
    switched(
        "health.checks.<name>.http",
        "cat /run/checked-by-http",
        &["GET /word HTTP/1.1"],
    ),
    failed(
        "health.checks.<name>.deadline",
        "cat /run/said-failing",
        &["(after 3 s)"],
    ),
    switched(
        "switch.keep",
        "cmp /run/before/kept /run/after/kept && echo kept; systemctl show -p Environment kept",
        &["kept", "WORD=two"],
    ),
    switched("switch.confirm", "cat /run/said-switch", &["keel confirm"]),
    booted(
        "overlay[].package",
        "dpkg-query -W keel-words; ls /usr/share/keel-words",
        &["keel-words", "/usr/share/keel-words"],
    ),
    booted("overlay[].deb", "cat /usr/share/keel-words", &["of the overlay"]),
    booted("overlay[].recipe", "cat /usr/share/recipe", &["built"]),
    booted("overlay[].path", "cat /usr/share/of-a-path", &["laid over"]),
];
