//! `[users]` and `[groups]`: what users have beside their accounts: homes, SSH keys, lingering.

use std::fmt::Write as _;

use super::contribution::Contribution;
use crate::config::{Config, User};

/// Where sshd finds the declared keys, beside the users' own.
pub const AUTHORIZED_KEYS: &str = "ssh/authorized_keys.d";

/// Home of a user that says none.
pub fn home_of(name: &str, user: &User) -> String {
    match &user.home {
        Some(home) => home.clone(),
        None if user.normal => format!("/home/{name}"),
        None => "/nonexistent".to_owned(),
    }
}

/// What users add to `/etc`; their accounts are [`super::accounts`]'s.
pub fn contribute(config: &Config, made: &mut Contribution) {
    let mut homes = String::new();
    let mut lingering = String::new();
    for (name, user) in &config.users {
        if user.normal {
            // Copied from the skeleton once; owner and mode are given when it's made, and are the user's later.
            let home = home_of(name, user);
            let (home, group) = (escape(&home), group_of(name, user));
            let _ = writeln!(homes, "C {home} :0700 :{name} :{group} - /etc/skel");
        }
        if user.linger {
            let path = escape(name);
            let _ = writeln!(lingering, "f /var/lib/systemd/linger/{path} 0644 root root");
        }
        if !user.ssh_keys.is_empty() {
            let mut lines = String::new();
            for key in &user.ssh_keys {
                lines.push_str(key.trim());
                lines.push('\n');
            }
            made.stamped(
                format!("{AUTHORIZED_KEYS}/{name}"),
                &format!("users.{name}.ssh_keys"),
                &lines,
            );
        }
    }
    if !homes.is_empty() {
        made.stamped("tmpfiles.d/keel-homes.conf", "users", &homes);
    }
    if !lingering.is_empty() {
        let lines = format!("d /var/lib/systemd/linger 0755 root root\n{lingering}");
        made.stamped("tmpfiles.d/keel-linger.conf", "users", &lines);
    }
}

/// The primary group of a user that says none has its name.
pub fn group_of<'a>(name: &'a str, user: &'a User) -> &'a str {
    user.group.as_deref().unwrap_or(name)
}

// tmpfiles.d(5): blanks are escaped as in C, and % begins a specifier.
fn escape(path: &str) -> String {
    path.replace('\\', "\\\\")
        .replace(' ', "\\x20")
        .replace('%', "%%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_keys_and_lingering() {
        let mut config = Config::default();
        let user = User {
            normal: true,
            linger: true,
            ssh_keys: vec!["ssh-ed25519 AAAA k@h".into(), "ssh-rsa BBBB\n".into()],
            ..User::default()
        };
        let _new = config.users.insert("kirans".into(), user);
        let other = User {
            normal: true,
            home: Some("/srv/big home".into()),
            group: Some("staff".into()),
            ..User::default()
        };
        let _new = config.users.insert("max".into(), other);
        let system = User {
            system: true,
            ..User::default()
        };
        let _new = config.users.insert("svc".into(), system);
        let mut made = Contribution::new();
        contribute(&config, &mut made);
        assert!(made.text("tmpfiles.d/keel-homes.conf").ends_with(
            "again.\nC /home/kirans :0700 :kirans :kirans - /etc/skel\nC /srv/big\\x20home :0700 :max :staff - /etc/skel\n"
        ));
        assert!(
            made.text("tmpfiles.d/keel-linger.conf")
                .ends_with("\nf /var/lib/systemd/linger/kirans 0644 root root\n")
        );
        assert!(
            made.text("ssh/authorized_keys.d/kirans")
                .ends_with("ssh-ed25519 AAAA k@h\nssh-rsa BBBB\n")
        );
        assert_eq!(made.etc.len(), 3);
    }
}
