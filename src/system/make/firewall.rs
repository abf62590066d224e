//! `[networking.firewall]`: a table of nftables(8) that drops what isn't asked for.

use std::fmt::Write as _;

use super::contribution::Contribution;
use crate::config::Firewall;

/// What Debian's `nftables.service` loads.
const RULES: &str = "nftables.conf";

/// What `[networking.firewall]` adds.
pub fn contribute(firewall: &Firewall, made: &mut Contribution) {
    const OPTION: &str = "networking.firewall";
    if !firewall.enable {
        return;
    }
    made.stamped_with_mode(RULES, OPTION, &rules(firewall), 0o644);
    made.enable("nftables.service", "sysinit.target.wants", OPTION);
    made.drop_in(
        "nftables.service",
        "50-keel",
        OPTION,
        &format!("[Unit]\nX-Reload-Triggers=/etc/{RULES}\n"),
    );
}

/// The rules. Tables of others (containers, virtual machines) stay: keel's alone is made anew, in one transaction.
fn rules(firewall: &Firewall) -> String {
    let mut input = String::new();
    let mut rule = |text: &str| {
        input.push_str("        ");
        input.push_str(text);
        input.push('\n');
    };
    rule("ct state established,related accept");
    rule("ct state invalid drop");
    rule("iif \"lo\" accept");
    for interface in &firewall.trusted_interfaces {
        rule(&format!("iifname \"{interface}\" accept"));
    }
    // RFC 4890: without these IPv6 doesn't work, and paths with a small MTU break.
    rule(
        "meta l4proto ipv6-icmp icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem, \
         nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, ind-neighbor-solicit, \
         ind-neighbor-advert, mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report } accept",
    );
    rule("meta l4proto icmp icmp type { destination-unreachable, time-exceeded, parameter-problem } accept");
    if firewall.allow_ping {
        rule("meta l4proto icmp icmp type echo-request accept");
        rule("meta l4proto ipv6-icmp icmpv6 type echo-request accept");
    }
    rule("ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept comment \"DHCPv6\"");
    for (protocol, ports) in [
        ("tcp", &firewall.allowed_tcp_ports),
        ("udp", &firewall.allowed_udp_ports),
    ] {
        if !ports.is_empty() {
            rule(&format!("{protocol} dport {{ {} }} accept", list(ports)));
        }
    }
    for line in firewall
        .extra_input_rules
        .lines()
        .filter(|line| !line.trim().is_empty())
    {
        rule(line.trim());
    }
    let mut text = "table inet keel\ndelete table inet keel\ntable inet keel {\n".to_owned();
    let _ = writeln!(
        text,
        "    chain input {{\n        type filter hook input priority filter; policy drop;\n{input}    }}\n}}"
    );
    text
}

fn list(ports: &[u16]) -> String {
    let mut ports = ports.to_vec();
    ports.sort_unstable();
    ports.dedup();
    let texts: Vec<String> = ports.iter().map(u16::to_string).collect();
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn firewall() -> Firewall {
        Firewall {
            allowed_tcp_ports: vec![443, 22, 22],
            allowed_udp_ports: vec![51820],
            trusted_interfaces: vec!["wg0".into()],
            extra_input_rules: "tcp dport 9000-9010 ip saddr 192.0.2.0/24 accept\n\n".into(),
            ..Firewall::default()
        }
    }

    #[test]
    fn ports_interfaces_and_own_rules() {
        let mut made = Contribution::new();
        contribute(&firewall(), &mut made);
        let text = made.text(RULES);
        for line in [
            "policy drop;",
            "ct state established,related accept",
            "iif \"lo\" accept",
            "iifname \"wg0\" accept",
            "tcp dport { 22, 443 } accept",
            "udp dport { 51820 } accept",
            "tcp dport 9000-9010 ip saddr 192.0.2.0/24 accept",
            "echo-request accept",
        ] {
            assert!(text.contains(line), "{line} isn't in {text}");
        }
        let quiet = rules(&Firewall {
            allow_ping: false,
            ..Firewall::default()
        });
        assert!(!quiet.contains("echo-request") && !quiet.contains("dport {"));
    }

    #[test]
    fn switched_off_it_adds_nothing() {
        let mut made = Contribution::new();
        contribute(
            &Firewall {
                enable: false,
                ..firewall()
            },
            &mut made,
        );
        assert_eq!(made, Contribution::new());
    }
}
