//! What a text has to be like to be the value, or the name, of something.

mod names;
mod places;
#[cfg(test)]
mod tests;
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
    /// The UUID of a LUKS volume.
    Uuid,
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
    /// A value of sshd_config(5).
    SshValue,
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
    /// A value of sysctl.d(5).
    SysctlValue,
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
            Check::Uuid => "a UUID",
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
            Check::SshValue => "a value of sshd_config(5)",
            Check::Address => "an IP address",
            Check::Server => "a host name or an IP address",
            Check::Interface => "a network interface",
            Check::Unit => "a name of a unit",
            Check::UnitPattern => "a name or pattern of units",
            Check::Section => "a section of a unit",
            Check::UnitKey => "a key of a unit",
            Check::DropIn => "a name of a drop-in",
            Check::Sysctl => "a key of sysctl.d(5)",
            Check::SysctlValue => "a value of sysctl.d(5)",
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
            Check::Line | Check::SysctlValue => texts::one_line(text),
            Check::Filled | Check::SshValue => texts::filled(text),
            Check::HostName => names::host(text),
            Check::TimeZone => texts::time_zone(text),
            Check::Locale => texts::locale(text),
            Check::Keymap => texts::keymap(text),
            Check::KernelParameter => texts::kernel_parameter(text),
            Check::Module => names::module(text),
            Check::MappingName => names::mapping(text),
            Check::Device => places::device(text),
            Check::Uuid => names::uuid(text),
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
