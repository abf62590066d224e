//! What must not reach the store, which is readable by all and the same on every machine: secrets, what belongs to one
//! machine, and caches.

/// What happens to a file of a root file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It becomes part of the system.
    Keep,
    /// It is left out, and the user is told why.
    LeaveOut(&'static str),
    /// It is left out without a word: a cache or a lock, made again when it is needed.
    Forget,
    /// Read for `accounts.json`, then left out, and the user is told.
    Account,
}

use Verdict::{Account, Forget, Keep, LeaveOut};

const HOST_KEY: &str = "SSH host key: each machine makes its own";
const MACHINE_ID: &str = "identifies one machine: made at its first boot";
const SEED: &str = "random seed: each machine makes its own";
const PASSWORDS: &str = "passwords and accounts stay on the machine; the accounts travel in accounts.json";
const SECRET: &str = "holds secrets, and the store is readable by all";
const STATE: &str = "state of one machine";

/// Judges a file or link at `path` (relative to the root, `/` between names). Directories are always kept: their
/// owners and modes matter to the services that use them.
pub fn judge(path: &str) -> Verdict {
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    let below = |prefix: &str| {
        path.strip_prefix(prefix)
            .is_some_and(|rest| rest.starts_with('/'))
    };
    match path {
        "etc/passwd" | "etc/group" | "etc/shadow" => return Account,
        "etc/gshadow"
        | "etc/subuid"
        | "etc/subgid"
        | "etc/passwd-"
        | "etc/group-"
        | "etc/shadow-"
        | "etc/gshadow-"
        | "etc/subuid-"
        | "etc/subgid-"
        | "etc/security/opasswd" => return LeaveOut(PASSWORDS),
        "etc/.pwd.lock" | "etc/.updated" | "var/.updated" => {
            return LeaveOut("a lock or mark, made again when needed");
        }
        "etc/machine-id"
        | "var/lib/dbus/machine-id"
        | "etc/nvme/hostid"
        | "etc/nvme/hostnqn"
        | "etc/iscsi/initiatorname.iscsi" => return LeaveOut(MACHINE_ID),
        "var/lib/systemd/random-seed" | "var/lib/urandom/random-seed" => return LeaveOut(SEED),
        "var/lib/systemd/credential.secret"
        | "var/lib/NetworkManager/secret_key"
        | "etc/krb5.keytab"
        | "etc/apt/auth.conf"
        | "var/cache/debconf/passwords.dat" => return LeaveOut(SECRET),
        "etc/ssl/certs/ssl-cert-snakeoil.pem" => return LeaveOut("certificate of one machine"),
        "var/lib/systemd/catalog/database" | "var/cache/ldconfig/aux-cache" | "var/lib/logrotate/status" => {
            return Forget;
        }
        _ => {}
    }
    if directory == "etc/ssh" && name.starts_with("ssh_host_") {
        return LeaveOut(HOST_KEY);
    }
    let secret_directories = [
        "etc/ssl/private",
        "etc/apt/auth.conf.d",
        "etc/cryptsetup-keys.d",
        "etc/credstore",
        "etc/credstore.encrypted",
        "etc/NetworkManager/system-connections",
        "etc/wireguard",
    ];
    if secret_directories.iter().any(|prefix| below(prefix)) {
        return LeaveOut(SECRET);
    }
    if directory == "var/backups" {
        return LeaveOut("backups of one machine, password files among them");
    }
    let states = [
        "var/lib/systemd/timers",
        "var/lib/systemd/backlight",
        "var/lib/systemd/rfkill",
        "var/lib/systemd/coredump",
        "var/lib/systemd/pstore",
        "var/lib/systemd/timesync",
        "var/lib/wtmpdb",
        "var/crash",
    ];
    if states.iter().any(|prefix| below(prefix)) || (below("var/lib/dhcp") && name.contains("lease")) {
        return LeaveOut(STATE);
    }
    if matches!(name, ".bash_history" | ".python_history" | ".lesshst") && !below("usr") {
        return LeaveOut(STATE);
    }
    let caches = [
        "var/cache/apt",
        "var/lib/apt/lists",
        "var/log",
        "var/tmp",
        "tmp",
        "run",
        "dev",
        "proc",
        "sys",
    ];
    let pyc = below("var")
        && name
            .rsplit_once('.')
            .is_some_and(|(_, extension)| extension == "pyc");
    if caches.iter().any(|prefix| below(prefix)) || pyc {
        return Forget;
    }
    Keep
}

/// Whether a directory (and so all below) is left out: mount points of the kernel, and places for temporary files.
pub fn forget_below(path: &str) -> bool {
    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
    matches!(directory, "tmp" | "run" | "dev" | "proc" | "sys" | "var/tmp") || path == "lost+found"
}

/// Whether files below this are looked through for private keys: not what packages ship as documentation and tests.
pub fn may_hold_keys(path: &str) -> bool {
    let top = path.split('/').next().unwrap_or_default();
    matches!(top, "etc" | "var" | "root" | "home" | "opt" | "srv") || path.starts_with("usr/local/")
}

/// What is said of a private key.
pub const PRIVATE_KEY: &str =
    "a private key: the store is readable by all; bring it to the machine by other means";

/// Whether `bytes` hold a private key in PEM form (RFC 7468) or that of OpenSSH.
pub fn holds_private_key(bytes: &[u8]) -> bool {
    const BEGIN: &[u8] = b"-----BEGIN ";
    bytes
        .windows(BEGIN.len())
        .enumerate()
        .filter(|(_, window)| *window == BEGIN)
        .any(|(at, _)| {
            let line = bytes
                .get(at..)
                .and_then(|rest| rest.split(|&byte| byte == b'\n').next())
                .unwrap_or_default();
            line.trim_ascii_end().ends_with(b"PRIVATE KEY-----")
                || line.starts_with(b"-----BEGIN PGP PRIVATE KEY BLOCK")
        })
}

/// Whether a file of `/etc` that others can't read is known to hold no secret all the same.
pub fn readable_anyway(path: &str) -> bool {
    path == "etc/sudoers"
        || [
            "etc/sudoers.d/",
            "etc/polkit-1/",
            "etc/audit/",
            "etc/default/",
            "etc/cron",
            "etc/nftables.conf",
        ]
        .iter()
        .any(|prefix| path.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        unused_results
    )]
    use super::*;

    #[test]
    fn secrets_and_state_are_left_out() {
        for path in [
            "etc/ssh/ssh_host_ed25519_key",
            "etc/ssh/ssh_host_ed25519_key.pub",
            "etc/machine-id",
            "var/lib/dbus/machine-id",
            "var/lib/systemd/random-seed",
            "etc/ssl/private/ssl-cert-snakeoil.key",
            "etc/gshadow",
            "etc/subuid-",
            "etc/.pwd.lock",
            "etc/NetworkManager/system-connections/home.nmconnection",
            "var/backups/shadow.bak",
            "root/.bash_history",
        ] {
            assert!(matches!(judge(path), LeaveOut(_)), "{path}");
        }
        for path in ["etc/passwd", "etc/group", "etc/shadow"] {
            assert_eq!(judge(path), Account);
        }
        for path in [
            "var/cache/apt/pkgcache.bin",
            "var/log/dpkg.log",
            "var/lib/x/__pycache__/a.pyc",
            "tmp/x",
        ] {
            assert_eq!(judge(path), Forget, "{path}");
        }
    }

    #[test]
    fn configuration_and_programs_are_kept() {
        for path in [
            "etc/ssh/sshd_config",
            "etc/hostname",
            "usr/bin/su",
            "var/lib/dpkg/status",
            "etc/ssl/certs/ca.pem",
            "usr/lib/python3/a.pyc",
            "etc/ssh_host_x",
            "var/logs/x",
        ] {
            assert_eq!(judge(path), Keep, "{path}");
        }
    }

    #[test]
    fn private_keys_are_known_by_their_first_line() {
        for text in [
            "-----BEGIN PRIVATE KEY-----\nx",
            "junk\n-----BEGIN OPENSSH PRIVATE KEY-----\r\n",
            "-----BEGIN RSA PRIVATE KEY-----",
            "-----BEGIN PGP PRIVATE KEY BLOCK-----\n",
        ] {
            assert!(holds_private_key(text.as_bytes()), "{text}");
        }
        for text in [
            "-----BEGIN CERTIFICATE-----\nPRIVATE KEY-----",
            "a PRIVATE KEY-----",
            "",
        ] {
            assert!(!holds_private_key(text.as_bytes()), "{text}");
        }
    }
}
