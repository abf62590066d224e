use super::Check;

/// Texts that are taken, and texts that are refused.
const TABLE: &[(Check, &[&str], &[&str])] = &[
    (Check::Line, &["", "a b\tc"], &["a\nb", "\x1b"]),
    (Check::Filled, &["a"], &["", " ", "a\n"]),
    (
        Check::HostName,
        &["nixie", "a-1", "web.example.org", "x"],
        &["", "a b", "-a", "a-", "Nixie", "a_b", "a..b", "ä", ".a"],
    ),
    (
        Check::TimeZone,
        &[
            "Asia/Kolkata",
            "UTC",
            "Etc/GMT+3",
            "America/Argentina/Ushuaia",
            "Etc/UTC",
        ],
        &[
            "",
            "/etc/passwd",
            "Asia/../x",
            "Asai/Kolkata",
            "Asia/",
            "Kolkata",
            "Asia/Kol kata",
        ],
    ),
    (
        Check::Locale,
        &[
            "en_US.UTF-8",
            "C.UTF-8",
            "C",
            "POSIX",
            "de_DE",
            "de_DE.UTF-8@euro",
            "ast_ES.UTF-8",
        ],
        &["", "english", "en-US", "en_US.", "en_us.UTF-8", "en_US.UTF-8; rm"],
    ),
    (
        Check::Keymap,
        &["us", "de-latin1", "pt-latin9"],
        &["", "../x", "a b"],
    ),
    (
        Check::KernelParameter,
        &["quiet", "console=ttyS0,115200", "a=\"b c\""],
        &[
            "",
            "a b",
            "a\n",
            "root=/dev/sda1",
            "init=/bin/sh",
            "keel.system=/x",
        ],
    ),
    (Check::Module, &["nvme", "dm-crypt", "8021q"], &["", "a/b", "a b"]),
    (Check::MappingName, &["root", "luks-1"], &["", "a/b", "a b", ".."]),
    (
        Check::Device,
        &["/dev/vg/root", "UUID=abc", "/dev/disk/by-uuid/2b6c", "LABEL=x"],
        &[
            "",
            "sda",
            "/etc",
            "/dev/disk/by-path/x",
            "/dev/../etc",
            "/dev/a b",
        ],
    ),
    (
        Check::MountSource,
        &[
            "tmpfs",
            "/dev/sda1",
            "server:/export",
            "//server/share",
            "/srv/data",
        ],
        &["", "a b", "a\tb"],
    ),
    (
        Check::FileSystemType,
        &["ext4", "fuse.sshfs"],
        &["", "ext 4", "a/b"],
    ),
    (Check::MountOption, &["noatime", "size=1G"], &["", "a,b", "a b"]),
    (
        Check::AbsolutePath,
        &["/", "/a/b"],
        &["", "a", "/a/../b", "/a\n", "//a", "/a/"],
    ),
    (
        Check::SwapPlace,
        &["/dev/vg/swap", "UUID=x", "/swapfile"],
        &["", "swap", "/a/../b"],
    ),
    (
        Check::EtcPath,
        &["motd", "a/b.conf"],
        &["", "/etc/motd", "../x", "a//b", "a/", "passwd", "./a"],
    ),
    (Check::FilePath, &["a", "../a", "/a/b"], &["", "a\n", "a/"]),
    (
        Check::StorePath,
        &["/nix/store/7rjj86a15146cq1d3qy068lml7n7ykzm-x-1.0"],
        &["", "/usr", "/nix/store/x"],
    ),
    (
        Check::Uuid,
        &["2b6c2f3e-0000-4000-8000-000000000001"],
        &[
            "",
            "2b6c2f3e",
            "2b6c2f3e-0000-4000-8000-00000000000g",
            "UUID=2b6c2f3e-0000-4000-8000-000000000001",
        ],
    ),
    (
        Check::KeyFile,
        &["/etc/key", "/key:UUID=abc"],
        &["", "key", "/a b", "/key:sda"],
    ),
    (
        Check::Mode,
        &["0644", "644", "4755"],
        &["", "0o644", "888", "00644", "64"],
    ),
    (
        Check::Suite,
        &["trixie", "trixie-backports", "stable/updates"],
        &["", "a b", "Trixie"],
    ),
    (
        Check::Component,
        &["main", "non-free-firmware"],
        &["", "a b", "-a"],
    ),
    (
        Check::Package,
        &["vim", "g++", "libc6:amd64", "linux-image-6.12.1"],
        &["", "Vim", "v", "a b", "a_b", "vim=1"],
    ),
    (
        Check::Mirror,
        &[
            "http://a/debian",
            "https://a/b",
            "file:/srv/x",
            "[signed-by=/k.asc] http://a",
        ],
        &["", "ftp://a/", "a", "http://", "http://a b"],
    ),
    (
        Check::Source,
        &["deb http://a b main", "deb [trusted=yes] file:/x ./"],
        &["", "http://a", "deb", "deb a\nb"],
    ),
    (Check::PathPattern, &["/usr/share/doc/*"], &["", "usr/share"]),
    (
        Check::User,
        &["kirans", "_apt", "www-data", "a.b"],
        &["", "1a", "a b", "A", "-a", "a:b", "root$"],
    ),
    (Check::FullName, &["", "Kiran S"], &["a:b", "a\n"]),
    (
        Check::SshKey,
        &[
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJcs/dYkAkO7CK4+mjOtHkBNhzcaHqcIb8ZLjSZXBBhe me@x",
            "from=\"10.*\" ssh-rsa AAAAB3NzaC1yc2E=",
        ],
        &[
            "",
            "AAAA",
            "ssh-ed25519",
            "ssh-ed25519 !!",
            "ssh-dsa2 AAAA",
            "a\nb",
        ],
    ),
    (Check::SshKeyword, &["X11Forwarding"], &["", "a b", "a-b"]),
    (Check::Address, &["127.0.0.1", "::1"], &["", "localhost", "1.2.3"]),
    (Check::Server, &["::1", "ntp.example.org"], &["", "a b"]),
    (
        Check::Interface,
        &["lo", "wlp0s20f3", "br-1"],
        &["", "a/b", "0123456789abcdef", "a b", ".."],
    ),
    (
        Check::Unit,
        &["a.service", "a@.service", "a@b.timer", "srv-x.mount"],
        &["", "a", "a.servic", "a/b.service", ".service", "a.device"],
    ),
    (
        Check::UnitPattern,
        &["a.service", "docker-*.scope"],
        &["", "a b", "a/b"],
    ),
    (
        Check::Section,
        &["Service", "X-Keel"],
        &["", "a]b", "service", "a b"],
    ),
    (
        Check::UnitKey,
        &["ExecStart", "X-Switch", "IPAddressAllow"],
        &["", "a b", "exec", "A=B"],
    ),
    (Check::DropIn, &["10-limits"], &["", "a/b", "10-limits.conf", "."]),
    (
        Check::Sysctl,
        &[
            "net.ipv4.ip_forward",
            "kernel/domainname",
            "net.ipv4.conf.*.rp_filter",
        ],
        &["", "a b", "a=b", ".a"],
    ),
    (Check::Variable, &["EDITOR", "_x1"], &["", "1a", "a-b", "a b"]),
    (
        Check::Alias,
        &["ll", "..", "g+"],
        &["", "a b", "a=b", "a/b", "$x", "a;b"],
    ),
    (
        Check::TmpfilesRule,
        &[
            "d /srv/www 0755 root root -",
            "L+ /a - - - - b",
            "f= /a",
            "#",
            "d %t/x",
        ],
        &["", "d", "d srv", "dd/ /a", "1 /a", "d /a\nd /b"],
    ),
    (Check::Name, &["web", "a-b_c.1"], &["", "a b", "a/b", "."]),
];

#[test]
fn what_is_taken_and_what_is_refused() {
    for (check, good, bad) in TABLE {
        for text in *good {
            assert_eq!(check.fault(text), None, "{check:?} {text:?}");
        }
        for text in *bad {
            assert!(check.fault(text).is_some(), "{check:?} {text:?}");
        }
        if *check != Check::Line {
            assert!(check.fault("a\0b").is_some(), "{check:?}");
        }
    }
}
