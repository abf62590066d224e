//! What has no effect, or another one than it looks like.

use super::{Outcome, View};
use crate::config::Config;
use crate::config::place::Remark;

pub(super) fn check(view: &View<'_>, config: &Config, outcome: &mut Outcome) {
    let firewall = &config.networking.firewall;
    if !firewall.enable {
        for key in [
            "allowed_tcp_ports",
            "allowed_udp_ports",
            "trusted_interfaces",
            "extra_input_rules",
        ] {
            let path = ["networking", "firewall", key];
            if view.is_said(&path) {
                outcome.note(
                    view.place(&path),
                    format!("networking.firewall.{key} has no effect: networking.firewall.enable is false"),
                );
            }
        }
    }
    let ssh = &config.services.openssh;
    if ssh.enable && firewall.enable && firewall.extra_input_rules.is_empty() {
        for port in ssh
            .ports
            .iter()
            .filter(|port| !firewall.allowed_tcp_ports.contains(port))
        {
            outcome.notes.push(
                Remark::new(
                    view.place(&["services", "openssh", "ports"]),
                    format!("sshd listens on port {port}, which the firewall drops"),
                )
                .help(format!(
                    "networking.firewall.allowed_tcp_ports = [{port}] opens it"
                )),
            );
        }
    }
    if ssh.enable && ssh.ports.is_empty() {
        outcome.problem(
            view.place(&["services", "openssh", "ports"]),
            "services.openssh.ports: sshd needs a port".to_owned(),
        );
    }
    let networking = &config.networking;
    if networking.networkmanager.enable && networking.networkd.enable {
        outcome.note(
            view.place(&["networking", "networkd", "enable"]),
            "NetworkManager and systemd-networkd both set up the network".to_owned(),
        );
    }
}
