//! `[networking]`.

use super::Preset::{Is, Unset};
use super::{Kind, Spec, option};
use crate::config::check::Check;

pub(super) const OPTIONS: &[Spec] = &[
    option(
        "networking.firewall.enable",
        Kind::Bool,
        Is("true"),
        "true",
        "Whether incoming connections are dropped unless they're allowed (nftables).",
    ),
    option(
        "networking.firewall.allowed_tcp_ports",
        Kind::Ints(1, 65_535),
        Is("[]"),
        "[22, 443]",
        "TCP ports that are open.",
    ),
    option(
        "networking.firewall.allowed_udp_ports",
        Kind::Ints(1, 65_535),
        Is("[]"),
        "[51820]",
        "UDP ports that are open.",
    ),
    option(
        "networking.firewall.allow_ping",
        Kind::Bool,
        Is("true"),
        "false",
        "Whether echo requests are answered.",
    ),
    option(
        "networking.firewall.trusted_interfaces",
        Kind::List(Check::Interface),
        Is("[]"),
        "[\"wg0\"]",
        "Interfaces on which everything is allowed.",
    ),
    option(
        "networking.firewall.extra_input_rules",
        Kind::Text(Check::Any),
        Is("\"\""),
        "\"ip saddr 192.0.2.0/24 tcp dport 80 accept\"",
        "Further rules of the chain input, as nft(8) takes them.",
    ),
    option(
        "networking.networkmanager.enable",
        Kind::Bool,
        Is("false"),
        "true",
        "Whether NetworkManager sets up the network.",
    ),
    option(
        "networking.networkd.enable",
        Kind::Bool,
        Is("false"),
        "true",
        "Whether systemd-networkd sets up the network, by files such as [etc.\"systemd/network/20-lan.network\"].",
    ),
    option(
        "networking.hosts.<address>",
        Kind::List(Check::HostName),
        Unset,
        "[\"nas\", \"nas.example.org\"]",
        "Names of an address: a line of hosts(5).",
    ),
    option(
        "networking.nameservers",
        Kind::List(Check::Address),
        Is("[]"),
        "[\"192.0.2.53\"]",
        "Servers that names are looked up by.",
    ),
];
