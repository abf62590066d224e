//! Checking the root file system before it's mounted. Afterwards it's too late: the upper directory of `/etc` needs it
//! writable before systemd starts, and systemd-fsck-root only checks what is mounted read-only.

use std::path::Path;
use std::process::Command;

use super::cmdline::{FsckMode, FsckRepair};
use super::program::{last_line, last_lines, run};

/// The checker in the image.
pub(super) const E2FSCK: &str = "/usr/sbin/e2fsck";

/// What a check found. The bits are those of fsck(8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing to do: the file system is clean, or was made so.
    Clean {
        /// In plain words, for the report.
        summary: String,
    },
    /// Not checked, and why.
    Skipped {
        /// In plain words, for the report.
        reason: String,
    },
    /// The checker changed something that asks for a restart of the machine (fsck(8), bit 2).
    RebootNeeded,
    /// Errors are left that the checker won't mend by itself.
    ErrorsLeft {
        /// Last lines of the checker.
        output: String,
    },
    /// The checker itself failed.
    Failed {
        /// Why.
        reason: String,
    },
}

/// How to check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Check {
    /// `fsck.mode=`
    pub mode: FsckMode,
    /// `fsck.repair=`
    pub repair: FsckRepair,
    /// `rd.skipfsck`: the root file system isn't checked, whatever the mode.
    pub skips_root: bool,
}

/// Checks the file system of type `kind` on `device`; `on_line` gets each line of the checker as it comes.
pub(super) fn check(device: &Path, kind: &str, check: Check, mut on_line: impl FnMut(&str)) -> Outcome {
    let said = match check {
        Check { skips_root: true, .. } => Some("rd.skipfsck"),
        Check {
            mode: FsckMode::Skip, ..
        } => Some("fsck.mode=skip"),
        _ => None,
    };
    if let Some(said) = said {
        return Outcome::Skipped {
            reason: said.to_owned(),
        };
    }
    if !matches!(kind, "ext2" | "ext3" | "ext4") {
        return Outcome::Skipped {
            reason: format!("{kind} checks itself when it's mounted"),
        };
    }
    if !Path::new(E2FSCK).exists() {
        return Outcome::Skipped {
            reason: format!("{E2FSCK} isn't in this initrd image"),
        };
    }
    let mut command = Command::new(E2FSCK);
    let _ = command.args(arguments(check)).arg(device);
    match run(command, &mut on_line) {
        Ok((Some(code), output)) => judge(code, &output),
        Ok((None, output)) => Outcome::Failed {
            reason: format!("e2fsck was ended by a signal: {}", last_lines(&output)),
        },
        Err(error) => Outcome::Failed {
            reason: format!("e2fsck can't be run: {error}"),
        },
    }
}

fn arguments(check: Check) -> Vec<&'static str> {
    let mut arguments = vec![match check.repair {
        FsckRepair::Preen => "-p",
        FsckRepair::Yes => "-y",
        FsckRepair::No => "-n",
    }];
    if check.mode == FsckMode::Force {
        arguments.push("-f");
    }
    arguments
}

fn judge(code: i32, output: &str) -> Outcome {
    match code {
        0 => Outcome::Clean {
            summary: last_line(output),
        },
        1 => Outcome::Clean {
            summary: format!("errors were corrected: {}", last_line(output)),
        },
        2 | 3 => Outcome::RebootNeeded,
        code if code & 4 != 0 => Outcome::ErrorsLeft {
            output: last_lines(output),
        },
        code => Outcome::Failed {
            reason: format!("e2fsck ended with {code}: {}", last_line(output)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_read_as_fsck_8_defines_them() {
        assert!(matches!(
            judge(0, "root: clean, 12/400 files"),
            Outcome::Clean { .. }
        ));
        assert!(matches!(judge(1, "fixed"), Outcome::Clean { summary } if summary.contains("corrected")));
        assert_eq!(judge(3, ""), Outcome::RebootNeeded);
        assert!(matches!(
            judge(4, "UNEXPECTED INCONSISTENCY"),
            Outcome::ErrorsLeft { .. }
        ));
        assert!(matches!(judge(12, ""), Outcome::ErrorsLeft { .. }));
        assert!(matches!(judge(8, ""), Outcome::Failed { .. }));
    }

    #[test]
    fn what_isnt_to_be_checked_isnt() {
        let (line, _) = super::super::cmdline::CommandLine::parse("fsck.mode=force rd.skipfsck");
        let outcome = check(Path::new("/dev/null"), "ext4", line.fsck, |_| {});
        assert_eq!(
            outcome,
            Outcome::Skipped {
                reason: "rd.skipfsck".to_owned()
            }
        );
    }

    #[test]
    fn the_parameters_become_arguments_of_e2fsck() {
        let of = |mode, repair| {
            arguments(Check {
                mode,
                repair,
                skips_root: false,
            })
        };
        assert_eq!(of(FsckMode::Auto, FsckRepair::Preen), ["-p"]);
        assert_eq!(of(FsckMode::Force, FsckRepair::Yes), ["-y", "-f"]);
        assert_eq!(of(FsckMode::Auto, FsckRepair::No), ["-n"]);
    }
}
