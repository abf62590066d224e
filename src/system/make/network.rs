//! `[networking]`: names and addresses, who configures the interfaces. The firewall is [`super::firewall`]'s.

use std::fmt::Write as _;

use super::contribution::Contribution;
use crate::config::{Config, Networking};

/// Ethernet by DHCP, for machines on which nothing else is said: any file that sorts before it wins.
const DHCP: &str = "[Match]\nType=ether\nKind=!*\n\n[Network]\nDHCP=yes\n";

/// What `[networking]` adds, without the firewall.
pub fn contribute(config: &Config, made: &mut Contribution) {
    let networking = &config.networking;
    hosts(config, made);
    nameservers(networking, made);
    if networking.networkmanager.enable {
        network_manager(made);
    }
    if networking.networkd.enable {
        networkd(made);
    }
}

fn hosts(config: &Config, made: &mut Contribution) {
    let mut text = "127.0.0.1 localhost\n".to_owned();
    if !config.system.hostname.is_empty() {
        // Debian's address for the machine's own name (Debian Reference, section 5.1.1).
        let _ = writeln!(text, "127.0.1.1 {}", config.system.hostname);
    }
    text.push_str("::1 localhost ip6-localhost ip6-loopback\nff02::1 ip6-allnodes\nff02::2 ip6-allrouters\n");
    for (address, names) in &config.networking.hosts {
        let _ = writeln!(text, "{address} {}", names.join(" "));
    }
    made.stamped("hosts", "networking.hosts", &text);
}

fn nameservers(networking: &Networking, made: &mut Contribution) {
    const OPTION: &str = "networking.nameservers";
    if networking.nameservers.is_empty() {
        return;
    }
    if networking.networkmanager.enable {
        // NetworkManager.conf(5): it writes resolv.conf, with these servers whatever connections say.
        made.stamped(
            "NetworkManager/conf.d/10-keel-dns.conf",
            OPTION,
            &format!(
                "[global-dns-domain-*]\nservers={}\n",
                networking.nameservers.join(",")
            ),
        );
        return;
    }
    let mut text = String::new();
    for server in &networking.nameservers {
        let _ = writeln!(text, "nameserver {server}");
    }
    made.stamped("resolv.conf", OPTION, &text);
}

fn network_manager(made: &mut Contribution) {
    const OPTION: &str = "networking.networkmanager";
    const UNIT: &str = "NetworkManager.service";
    made.enable(UNIT, "multi-user.target.wants", OPTION);
    made.enable(
        "NetworkManager-wait-online.service",
        "network-online.target.wants",
        OPTION,
    );
    made.link(
        "systemd/system/dbus-org.freedesktop.nm-dispatcher.service",
        OPTION,
        "/usr/lib/systemd/system/NetworkManager-dispatcher.service",
    );
}

fn networkd(made: &mut Contribution) {
    const OPTION: &str = "networking.networkd";
    made.enable("systemd-networkd.service", "multi-user.target.wants", OPTION);
    made.enable("systemd-networkd.socket", "sockets.target.wants", OPTION);
    made.enable(
        "systemd-networkd-wait-online.service",
        "network-online.target.wants",
        OPTION,
    );
    made.link(
        "systemd/system/dbus-org.freedesktop.network1.service",
        OPTION,
        "/usr/lib/systemd/system/systemd-networkd.service",
    );
    made.stamped("systemd/network/99-keel-dhcp.network", OPTION, DHCP);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Enable;

    fn made(change: impl Fn(&mut Config)) -> Contribution {
        let mut config = Config::default();
        change(&mut config);
        let mut made = Contribution::new();
        contribute(&config, &mut made);
        made
    }

    #[test]
    fn hosts_know_the_machine_and_what_is_added() {
        let made = made(|config| {
            config.system.hostname = "nixie".into();
            let _new = config
                .networking
                .hosts
                .insert("192.0.2.7".into(), vec!["db".into(), "db.example".into()]);
        });
        let text = made.text("hosts");
        assert!(text.contains("\n127.0.1.1 nixie\n") && text.ends_with("\n192.0.2.7 db db.example\n"));
        assert_eq!(made.etc.len(), 1);
    }

    #[test]
    fn nameservers_go_to_whoever_writes_resolv_conf() {
        let servers =
            |config: &mut Config| config.networking.nameservers = vec!["192.0.2.1".into(), "::2".into()];
        let plain = made(servers);
        assert!(
            plain
                .text("resolv.conf")
                .ends_with("nameserver 192.0.2.1\nnameserver ::2\n")
        );
        let managed = made(|config| {
            servers(config);
            config.networking.networkmanager = Enable { enable: true };
        });
        assert_eq!(managed.text("resolv.conf"), "no resolv.conf");
        assert!(
            managed
                .text("NetworkManager/conf.d/10-keel-dns.conf")
                .ends_with("servers=192.0.2.1,::2\n")
        );
    }

    #[test]
    fn managers_are_enabled() {
        let made = made(|config| {
            config.networking.networkmanager.enable = true;
            config.networking.networkd.enable = true;
        });
        for path in [
            "systemd/system/multi-user.target.wants/NetworkManager.service",
            "systemd/system/multi-user.target.wants/systemd-networkd.service",
            "systemd/network/99-keel-dhcp.network",
        ] {
            assert!(made.etc.contains_key(path), "{path}");
        }
    }
}
