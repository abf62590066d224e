//! Names of hosts to addresses, by `/etc/hosts` and the servers of `/etc/resolv.conf` (RFC 1035). The C library's own
//! `getaddrinfo` loads modules while it runs, which a static program can't rely on.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

const HOSTS: &str = "/etc/hosts";
const SERVERS: &str = "/etc/resolv.conf";
/// How long a server may take; then the next one is asked.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often all servers are asked.
const ROUNDS: usize = 2;
const PORT: u16 = 53;
/// Largest answer by UDP that is asked for (RFC 6891).
const ANSWER_MAX: u16 = 4096;
/// Types of records, and their class.
const A: u16 = 1;
const AAAA: u16 = 28;
const OPT: u16 = 41;
const IN: u16 = 1;
/// Addresses that ureq takes.
const ADDRESSES_MAX: usize = 16;

/// Resolves as a plain resolv.conf(5) says.
#[derive(Debug)]
pub(super) struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve(
        &self,
        uri: &Uri,
        _config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().ok_or(ureq::Error::HostNotFound)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(match uri.scheme_str() {
            Some("https") => 443,
            _ => 80,
        });
        let deadline = Instant::now() + *timeout.after;
        let found = addresses(host, deadline).map_err(ureq::Error::Io)?;
        let mut all = self.empty();
        for address in found.into_iter().take(ADDRESSES_MAX) {
            all.push(SocketAddr::new(address, port));
        }
        if all.is_empty() {
            return Err(ureq::Error::HostNotFound);
        }
        Ok(all)
    }
}

fn addresses(host: &str, deadline: Instant) -> io::Result<Vec<IpAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let known = in_hosts(&fs::read_to_string(HOSTS).unwrap_or_default(), host);
    if !known.is_empty() {
        return Ok(known);
    }
    // RFC 6761: never asked of a server.
    if host == "localhost" || host.ends_with(".localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let servers = servers(&fs::read_to_string(SERVERS).unwrap_or_default());
    let mut last = io::Error::other(format!("no server in {SERVERS} answers"));
    for server in servers.iter().cycle().take(servers.len() * ROUNDS) {
        let (mut found, mut answered) = (Vec::new(), false);
        for kind in [A, AAAA] {
            match ask(*server, host, kind, deadline) {
                Ok(addresses) => {
                    answered = true;
                    found.extend(addresses);
                }
                Err(error) => last = error,
            }
        }
        if answered {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            break;
        }
    }
    Err(last)
}

/// Addresses that hosts(5) gives a name.
fn in_hosts(text: &str, host: &str) -> Vec<IpAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split('#').next()?.split_whitespace();
            let address = words.next()?.parse().ok()?;
            words
                .any(|name| name.eq_ignore_ascii_case(host))
                .then_some(address)
        })
        .collect()
}

/// Servers that resolv.conf(5) names; the machine itself when it names none.
fn servers(text: &str) -> Vec<SocketAddr> {
    let named: Vec<_> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("nameserver"))
                .then(|| words.next())??
                .parse()
                .ok()
        })
        .map(|address: IpAddr| SocketAddr::new(address, PORT))
        .collect();
    if named.is_empty() {
        vec![(Ipv4Addr::LOCALHOST, PORT).into()]
    } else {
        named
    }
}

fn ask(server: SocketAddr, host: &str, kind: u16, deadline: Instant) -> io::Result<Vec<IpAddr>> {
    let local: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((local, 0))?;
    // Nobody else's answers are received.
    socket.connect(server)?;
    let mut id = [0u8; 2];
    crate::sys::random::fill(&mut id)?;
    let _sent = socket.send(&question(id, host, kind)?)?;
    let until = deadline.min(Instant::now() + PATIENCE);
    let mut buffer = vec![0; usize::from(ANSWER_MAX)];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("the name server {server} doesn't answer"),
            ));
        }
        socket.set_read_timeout(Some(left))?;
        let count = match socket.recv(&mut buffer) {
            Ok(count) => count,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                continue;
            }
            Err(error) => return Err(error),
        };
        let answer = buffer.get(..count).unwrap_or_default();
        if answer.get(..2) == Some(&id[..]) {
            return answers(answer, kind).ok_or_else(|| {
                io::Error::other(format!("the name server {server} gives no answer for {host}"))
            });
        }
    }
}

fn question(id: [u8; 2], host: &str, kind: u16) -> io::Result<Vec<u8>> {
    let bad = || {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("'{host}' is no name of a host"),
        )
    };
    // One question, recursion desired; one record that tells how large an answer may be.
    let mut message = id.to_vec();
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    let host = host.trim_end_matches('.');
    if host.is_empty() || host.len() > 253 {
        return Err(bad());
    }
    for label in host.split('.') {
        let length = u8::try_from(label.len())
            .ok()
            .filter(|length| (1..=63).contains(length));
        message.push(length.ok_or_else(bad)?);
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend(IN.to_be_bytes());
    message.push(0);
    message.extend(OPT.to_be_bytes());
    message.extend(ANSWER_MAX.to_be_bytes());
    message.extend([0; 6]);
    Ok(message)
}

/// The addresses in an answer, those behind aliases included; nothing when it's no answer. That a name has no address of
/// this type, or doesn't exist, is an empty answer.
fn answers(message: &[u8], kind: u16) -> Option<Vec<IpAddr>> {
    let number = |at: usize| Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?));
    let flags = number(2)?;
    // An answer, without a fault or about a name that doesn't exist.
    if flags & 0x8000 == 0 || !matches!(flags & 0xf, 0 | 3) {
        return None;
    }
    let mut at = 12;
    for _ in 0..number(4)? {
        at = after_name(message, at)? + 4;
    }
    let mut found = Vec::new();
    for _ in 0..number(6)? {
        at = after_name(message, at)?;
        let (this, length) = (number(at)?, usize::from(number(at + 8)?));
        at += 10;
        let data = message.get(at..at + length)?;
        at += length;
        if this != kind {
            continue;
        }
        if let Ok(bytes) = <[u8; 4]>::try_from(data) {
            found.push(Ipv4Addr::from(bytes).into());
        } else if let Ok(bytes) = <[u8; 16]>::try_from(data) {
            found.push(Ipv6Addr::from(bytes).into());
        }
    }
    Some(found)
}

/// Where a name ends: at its zero, or after the pointer to the rest of it.
fn after_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = usize::from(*message.get(at)?);
        match length {
            0 => return Some(at + 1),
            1..=63 => at += 1 + length,
            0xc0.. => return Some(at + 2),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn hosts_and_servers_are_read() {
        let hosts = "127.0.0.1 localhost\n# 10.0.0.1 cache\n10.0.0.2\tother cache.example # cache\n::1 cache.example\n";
        let found = in_hosts(hosts, "Cache.example");
        assert_eq!(
            found,
            ["10.0.0.2".parse::<IpAddr>().unwrap(), "::1".parse().unwrap()]
        );
        assert!(in_hosts(hosts, "cache").is_empty());
        let text = "search example\nnameserver 10.0.0.3\nnameserver fe80::1\nnameserver nonsense\n";
        assert_eq!(servers(text)[0], "10.0.0.3:53".parse().unwrap());
        assert_eq!(servers(text).len(), 2);
        assert_eq!(servers(""), ["127.0.0.1:53".parse().unwrap()]);
    }

    #[test]
    fn answers_are_read_through_aliases_and_never_beyond_their_end() {
        let mut message = question([7, 9], "cache.example", A).unwrap();
        message[2] = 0x81;
        message[3] = 0x80;
        message[7] = 2;
        message[11] = 0;
        message.truncate(message.len() - 11);
        // An alias, then the address behind it; both names are pointers.
        message.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 4, 1, b'x', 0xc0, 18]);
        message.extend([0xc0, 43, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 1, 2, 3]);
        assert_eq!(
            answers(&message, A).unwrap(),
            ["10.1.2.3".parse::<IpAddr>().unwrap()]
        );
        assert!(answers(&message, AAAA).unwrap().is_empty());
        for length in 0..message.len() {
            assert!(answers(&message[..length], A).is_none(), "{length}");
        }
        // No such name; a server that failed.
        let mut absent = message[..31].to_vec();
        absent[3] = 0x83;
        absent[7] = 0;
        assert_eq!(answers(&absent, A), Some(Vec::new()));
        absent[3] = 0x82;
        assert_eq!(answers(&absent, A), None);
    }

    #[test]
    fn a_name_that_no_host_has_is_refused() {
        for host in ["", ".", "a..b", &"a".repeat(64), &"a.".repeat(200)] {
            assert!(question([0, 0], host, A).is_err(), "{host}");
        }
    }
}
