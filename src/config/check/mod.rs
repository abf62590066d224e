//! What a text has to be like to be the value, or the name, of something.

mod names;
mod places;
mod texts;

pub(super) use names::{GROUPS, USERS};

/// A kind of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Whatever it is, lines included.
    Any,
    /// One line without control characters.
    Line,
    /// A line that isn't empty.
    Filled,
    /// hostname(5).
    HostName,
    /// A name of the time zone database.
    TimeZone,
    /// locale(7).
    Locale,
    /// A console keymap.
    Keymap,
    /// A word of the kernel's command line.
    KernelParameter,
    /// A kernel module.
    Module,
    /// A name below `/dev/mapper`.
    MappingName,
    /// What early boot finds by itself.
    Device,
    /// What is mounted: a device, or what a file system without one takes.
    MountSource,
    /// A type of file system.
    FileSystemType,
    /// A mount option, or one of crypttab(5).
    MountOption,
    /// An absolute path without `..`.
    AbsolutePath,
    /// A device or file that is swapped to.
    SwapPlace,
    /// A path below `/etc`.
    EtcPath,
    /// The path of a file beside the configuration.
    FilePath,
    /// A path of the store.
    StorePath,
    /// A keyfile, as `rd.luks.key=` names it.
    KeyFile,
    /// Permissions in octal.
    Mode,
    /// A suite of Debian.
    Suite,
    /// A component of Debian.
    Component,
    /// A Debian package.
    Package,
    /// A mirror's URI.
    Mirror,
    /// A line of sources.list(5).
    Source,
    /// A pattern of dpkg's `path-exclude`.
    PathPattern,
    /// A user.
    User,
    /// A group.
    Group,
    /// The GECOS field.
    FullName,
    /// A line of `authorized_keys`.
    SshKey,
    /// A keyword of sshd_config(5).
    SshKeyword,
    /// An IP address.
    Address,
    /// A host name or an IP address.
    Server,
    /// A network interface.
    Interface,
    /// A unit of systemd.
    Unit,
    /// A unit of systemd, or a pattern of them.
    UnitPattern,
    /// A section of a unit.
    Section,
    /// A key of a unit.
    UnitKey,
    /// A name of a drop-in, without `.conf`.
    DropIn,
    /// A key of sysctl.d(5).
    Sysctl,
    /// An environment variable.
    Variable,
    /// A shell's alias.
    Alias,
    /// A line of tmpfiles.d(5).
    TmpfilesRule,
    /// A name that somebody chose.
    Name,
}

impl Check {
    /// What it is, with its article: `a host name`.
    pub fn words(self) -> &'static str {
        match self {
            Check::Any => "a text",
            Check::Line | Check::Filled => "a line",
            Check::HostName => "a host name",
            Check::TimeZone => "a time zone",
            Check::Locale => "a locale",
            Check::Keymap => "a keymap",
            Check::KernelParameter => "a kernel parameter",
            Check::Module => "a kernel module",
            Check::MappingName => "a name of a mapping",
            Check::Device => "a device",
            Check::MountSource => "a device or another source of a mount",
            Check::FileSystemType => "a type of file system",
            Check::MountOption => "an option",
            Check::AbsolutePath => "an absolute path",
            Check::SwapPlace => "a swap device or file",
            Check::EtcPath => "a path below /etc",
            Check::FilePath => "a path of a file",
            Check::StorePath => "a path of the store",
            Check::KeyFile => "a keyfile",
            Check::Mode => "a mode",
            Check::Suite => "a suite",
            Check::Component => "a component",
            Check::Package => "a name of a package",
            Check::Mirror => "a URI of a mirror",
            Check::Source => "a line of sources.list(5)",
            Check::PathPattern => "a pattern of paths",
            Check::User => "a user name",
            Check::Group => "a group name",
            Check::FullName => "a full name",
            Check::SshKey => "a line of authorized_keys",
            Check::SshKeyword => "a keyword of sshd_config(5)",
            Check::Address => "an IP address",
            Check::Server => "a host name or an IP address",
            Check::Interface => "a network interface",
            Check::Unit => "a name of a unit",
            Check::UnitPattern => "a name or pattern of units",
            Check::Section => "a section of a unit",
            Check::UnitKey => "a key of a unit",
            Check::DropIn => "a name of a drop-in",
            Check::Sysctl => "a key of sysctl.d(5)",
            Check::Variable => "an environment variable",
            Check::Alias => "a name of an alias",
            Check::TmpfilesRule => "a line of tmpfiles.d(5)",
            Check::Name => "a name",
        }
    }

    /// What is wrong with `text`: words that go on after "isn't a host name: ".
    pub fn fault(self, text: &str) -> Option<String> {
        if text.contains('\0') {
            return Some("a NUL can't be written anywhere".to_owned());
        }
        match self {
            Check::Any => None,
            Check::Line => texts::one_line(text),
            Check::Filled => texts::filled(text),
            Check::HostName => names::host(text),
            Check::TimeZone => texts::time_zone(text),
            Check::Locale => texts::locale(text),
            Check::Keymap => texts::keymap(text),
            Check::KernelParameter => texts::kernel_parameter(text),
            Check::Module => names::module(text),
            Check::MappingName => names::mapping(text),
            Check::Device => places::device(text),
            Check::MountSource => places::mount_source(text),
            Check::FileSystemType => names::file_system_type(text),
            Check::MountOption => texts::mount_option(text),
            Check::AbsolutePath => places::absolute(text),
            Check::SwapPlace => places::swap(text),
            Check::EtcPath => places::below_etc(text),
            Check::FilePath => places::file(text),
            Check::StorePath => places::store_path(text),
            Check::KeyFile => places::key_file(text),
            Check::Mode => texts::mode(text),
            Check::Suite => names::suite(text),
            Check::Component => names::component(text),
            Check::Package => names::package(text),
            Check::Mirror => texts::mirror(text),
            Check::Source => texts::source(text),
            Check::PathPattern => places::pattern(text),
            Check::User | Check::Group => names::account(text),
            Check::FullName => texts::full_name(text),
            Check::SshKey => texts::ssh_key(text),
            Check::SshKeyword => names::ssh_keyword(text),
            Check::Address => texts::address(text),
            Check::Server => texts::address(text).and_then(|_| names::host(text)),
            Check::Interface => names::interface(text),
            Check::Unit => names::unit(text),
            Check::UnitPattern => names::unit_pattern(text),
            Check::Section => names::section(text),
            Check::UnitKey => names::unit_key(text),
            Check::DropIn => names::drop_in(text),
            Check::Sysctl => names::sysctl(text),
            Check::Variable => names::variable(text),
            Check::Alias => names::alias(text),
            Check::TmpfilesRule => texts::tmpfiles(text),
            Check::Name => names::plain(text),
        }
    }
}

/// The fault unless the text is as it should be.
fn unless(is_good: bool, fault: &str) -> Option<String> {
    (!is_good).then(|| fault.to_owned())
}

#[cfg(test)]
mod tests {
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
}
