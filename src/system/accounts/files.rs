//! The six files, and how their lines look.

use std::fmt;

/// One of the files of accounts below `/etc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileName {
    /// passwd(5).
    Passwd,
    /// group(5).
    Group,
    /// shadow(5).
    Shadow,
    /// gshadow(5).
    Gshadow,
    /// subuid(5).
    Subuid,
    /// subgid(5).
    Subgid,
}

impl FileName {
    /// All, in the order in which they are replaced: shadows first, so that no account is ever listed without its
    /// (locked) password entry.
    pub const ALL: [Self; 6] = [
        Self::Gshadow,
        Self::Group,
        Self::Shadow,
        Self::Passwd,
        Self::Subgid,
        Self::Subuid,
    ];

    /// Name below `/etc`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passwd => "passwd",
            Self::Group => "group",
            Self::Shadow => "shadow",
            Self::Gshadow => "gshadow",
            Self::Subuid => "subuid",
            Self::Subgid => "subgid",
        }
    }

    /// Whether it holds passwords: readable by root and the group `shadow` alone.
    pub fn is_secret(self) -> bool {
        matches!(self, Self::Shadow | Self::Gshadow)
    }

    /// Fields of a line.
    pub(super) fn fields(self) -> usize {
        match self {
            Self::Passwd => 7,
            Self::Group | Self::Gshadow => 4,
            Self::Shadow => 9,
            Self::Subuid | Self::Subgid => 3,
        }
    }

    /// Which fields are numbers of 32 bits.
    pub(super) fn numbers(self) -> &'static [usize] {
        match self {
            Self::Passwd => &[2, 3],
            Self::Group => &[2],
            Self::Shadow | Self::Gshadow => &[],
            Self::Subuid | Self::Subgid => &[1, 2],
        }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/etc/{}", self.as_str())
    }
}

/// The texts of the six files. Bytes, because old entries may be in any encoding, and come back as they were. A file
/// that doesn't exist is empty.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// passwd(5).
    pub passwd: Vec<u8>,
    /// group(5).
    pub group: Vec<u8>,
    /// shadow(5).
    pub shadow: Vec<u8>,
    /// gshadow(5).
    pub gshadow: Vec<u8>,
    /// subuid(5).
    pub subuid: Vec<u8>,
    /// subgid(5).
    pub subgid: Vec<u8>,
}

impl Files {
    /// The text of one.
    pub fn get(&self, file: FileName) -> &[u8] {
        match file {
            FileName::Passwd => &self.passwd,
            FileName::Group => &self.group,
            FileName::Shadow => &self.shadow,
            FileName::Gshadow => &self.gshadow,
            FileName::Subuid => &self.subuid,
            FileName::Subgid => &self.subgid,
        }
    }

    /// The text of one, to be replaced.
    pub fn get_mut(&mut self, file: FileName) -> &mut Vec<u8> {
        match file {
            FileName::Passwd => &mut self.passwd,
            FileName::Group => &mut self.group,
            FileName::Shadow => &mut self.shadow,
            FileName::Gshadow => &mut self.gshadow,
            FileName::Subuid => &mut self.subuid,
            FileName::Subgid => &mut self.subgid,
        }
    }
}

impl fmt::Debug for Files {
    /// Without the texts: they hold password hashes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lengths = f.debug_struct("Files");
        for file in FileName::ALL {
            let _ = lengths.field(file.as_str(), &format_args!("{} bytes", self.get(file).len()));
        }
        lengths.finish()
    }
}
