//! `[services]`: sshd and the clock.

use std::fmt::Write as _;

use super::contribution::Contribution;
use super::people::AUTHORIZED_KEYS;
use crate::config::{OpenSsh, Services, Timesyncd};

/// Makes the host keys that aren't there: they belong to the machine, and no generation holds them.
const HOST_KEYS: &str = "keel-ssh-keys.service";
const HOST_KEYS_UNIT: &str = "[Unit]
Description=Make the SSH host keys of this machine
ConditionPathExists=|!/etc/ssh/ssh_host_ed25519_key
ConditionPathExists=|!/etc/ssh/ssh_host_ecdsa_key
ConditionPathExists=|!/etc/ssh/ssh_host_rsa_key
Before=ssh.service ssh.socket

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/ssh-keygen -A
";
/// Below `/etc`: Debian's sshd_config includes it first, and the first value of a keyword counts.
const SSHD: &str = "ssh/sshd_config.d/10-keel.conf";

/// What `[services]` adds.
pub fn contribute(services: &Services, made: &mut Contribution) {
    if services.openssh.enable {
        openssh(&services.openssh, made);
    }
    if services.timesyncd.enable {
        timesyncd(&services.timesyncd, made);
    }
}

fn openssh(ssh: &OpenSsh, made: &mut Contribution) {
    const OPTION: &str = "services.openssh";
    let mut text = String::new();
    for port in &ssh.ports {
        let _ = writeln!(text, "Port {port}");
    }
    let passwords = if ssh.password_authentication { "yes" } else { "no" };
    let _ = writeln!(text, "PasswordAuthentication {passwords}");
    if !ssh.password_authentication {
        // PAM would ask for the same passwords by another way.
        text.push_str("KbdInteractiveAuthentication no\n");
    }
    let _ = writeln!(text, "PermitRootLogin {}", ssh.permit_root_login);
    let own_keys = ssh
        .settings
        .keys()
        .any(|key| key.eq_ignore_ascii_case("AuthorizedKeysFile"));
    if !own_keys {
        let _ = writeln!(
            text,
            "AuthorizedKeysFile .ssh/authorized_keys .ssh/authorized_keys2 /etc/{AUTHORIZED_KEYS}/%u"
        );
    }
    for (key, value) in &ssh.settings {
        let _ = writeln!(text, "{key} {value}");
    }
    made.stamped(SSHD, OPTION, &text);
    made.stamped(format!("systemd/system/{HOST_KEYS}"), OPTION, HOST_KEYS_UNIT);
    made.drop_in(
        "ssh.service",
        "50-keel",
        OPTION,
        &format!("[Unit]\nWants={HOST_KEYS}\nAfter={HOST_KEYS}\nX-Reload-Triggers=/etc/{SSHD}\n"),
    );
    made.enable("ssh.service", "multi-user.target.wants", OPTION);
    made.link(
        "systemd/system/sshd.service",
        OPTION,
        "/usr/lib/systemd/system/ssh.service",
    );
}

fn timesyncd(timesyncd: &Timesyncd, made: &mut Contribution) {
    const OPTION: &str = "services.timesyncd";
    const UNIT: &str = "systemd-timesyncd.service";
    made.enable(UNIT, "sysinit.target.wants", OPTION);
    made.link(
        "systemd/system/dbus-org.freedesktop.timesync1.service",
        OPTION,
        format!("/usr/lib/systemd/system/{UNIT}"),
    );
    if !timesyncd.servers.is_empty() {
        made.stamped(
            "systemd/timesyncd.conf.d/10-keel.conf",
            OPTION,
            &format!("[Time]\nNTP={}\n", timesyncd.servers.join(" ")),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sshd_without_passwords_on_two_ports() {
        let services = Services {
            openssh: OpenSsh {
                enable: true,
                ports: vec![22, 2222],
                password_authentication: false,
                settings: [("X11Forwarding".to_owned(), "no".to_owned())].into(),
                ..OpenSsh::default()
            },
            ..Services::default()
        };
        let mut made = Contribution::new();
        contribute(&services, &mut made);
        assert!(made.text(SSHD).ends_with(
            "Port 22\nPort 2222\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin prohibit-password\nAuthorizedKeysFile .ssh/authorized_keys .ssh/authorized_keys2 \
             /etc/ssh/authorized_keys.d/%u\nX11Forwarding no\n"
        ));
        assert!(
            made.text("systemd/system/ssh.service.d/50-keel.conf")
                .contains("X-Reload-Triggers=/etc/ssh/sshd_config.d")
        );
        assert_eq!(
            made.text("systemd/system/multi-user.target.wants/ssh.service"),
            "-> /usr/lib/systemd/system/ssh.service"
        );
        assert!(
            !made.etc.keys().any(|path| path.contains("host_")),
            "no key is made here"
        );
    }

    #[test]
    fn nothing_is_enabled_that_nobody_asked_for() {
        let mut made = Contribution::new();
        contribute(&Services::default(), &mut made);
        assert_eq!(made, Contribution::new());
    }

    #[test]
    fn the_clock() {
        let services = Services {
            timesyncd: Timesyncd {
                enable: true,
                servers: vec!["ntp.example".into(), "192.0.2.1".into()],
            },
            ..Services::default()
        };
        let mut made = Contribution::new();
        contribute(&services, &mut made);
        assert!(
            made.text("systemd/timesyncd.conf.d/10-keel.conf")
                .ends_with("[Time]\nNTP=ntp.example 192.0.2.1\n")
        );
    }
}
