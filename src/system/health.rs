//! What tells whether a machine that runs a system is healthy: `health.json` of the system, the table `[health]` of its
//! configuration.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Longest time that checks may take together, and that a machine is watched, in seconds.
const LONGEST: u64 = 3600;

/// Checks by name, and how long the machine is watched after a switch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// How long units are watched after a switch, in seconds.
    #[serde(default = "default_settle")]
    pub settle: u64,
    /// What has to succeed.
    #[serde(default)]
    pub checks: BTreeMap<String, Check>,
}

fn default_settle() -> u64 {
    5
}

impl Default for Health {
    fn default() -> Self {
        Self {
            settle: default_settle(),
            checks: BTreeMap::new(),
        }
    }
}

/// A check. It's tried again until it succeeds or its deadline passes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// What is looked at.
    #[serde(flatten)]
    pub kind: CheckKind,
    /// Seconds until it has failed.
    #[serde(default = "default_deadline")]
    pub deadline: u64,
}

fn default_deadline() -> u64 {
    30
}

/// What a check looks at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckKind {
    /// A program and its arguments, which has to end with 0.
    Command(Vec<String>),
    /// A unit, which has to be active.
    Unit(String),
    /// `HOST:PORT`, where a TCP connection has to succeed. The host is an address, or `localhost`.
    Tcp(String),
    /// `http://HOST[:PORT]/PATH`, which has to answer with a status of 200 to 399.
    Http(String),
}

/// What is wrong with a `[health]` table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HealthError {
    /// It can't be read.
    #[error("{0}")]
    Syntax(String),
    /// A time that is no time.
    #[error("[health] {name}: {seconds} seconds aren't between 1 and {LONGEST}")]
    Time {
        /// The check, or `settle`.
        name: String,
        /// What is given.
        seconds: u64,
    },
    /// A check that can't be made.
    #[error("[health.checks.{name}]: {why}")]
    Check {
        /// The check.
        name: String,
        /// What is wrong.
        why: &'static str,
    },
}

/// The file that holds a `[health]` table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    health: Health,
}

impl Health {
    /// Reads a TOML text with the table `[health]`.
    pub fn from_toml(text: &str) -> Result<Self, HealthError> {
        let file: File = toml::from_str(text)
            .map_err(|error| HealthError::Syntax(error.to_string().trim_end().to_owned()))?;
        file.health.check()?;
        Ok(file.health)
    }

    /// Reads `health.json`.
    pub fn parse(bytes: &[u8]) -> Result<Self, HealthError> {
        let health: Self =
            serde_json::from_slice(bytes).map_err(|error| HealthError::Syntax(error.to_string()))?;
        health.check()?;
        Ok(health)
    }

    fn check(&self) -> Result<(), HealthError> {
        match self.faults().into_iter().next() {
            Some((_, fault)) => Err(fault),
            None => Ok(()),
        }
    }

    /// All that is wrong, by the name of the check, or `settle`.
    pub(crate) fn faults(&self) -> Vec<(String, HealthError)> {
        let mut faults = Vec::new();
        if self.settle > LONGEST {
            let name = "settle".to_owned();
            let seconds = self.settle;
            faults.push((name.clone(), HealthError::Time { name, seconds }));
        }
        for (name, check) in &self.checks {
            let seconds = check.deadline;
            if !(1..=LONGEST).contains(&seconds) {
                let name = name.clone();
                faults.push((name.clone(), HealthError::Time { name, seconds }));
            }
            if let Some(why) = check.kind.fault() {
                let name = name.clone();
                faults.push((name.clone(), HealthError::Check { name, why }));
            }
        }
        faults
    }
}

impl CheckKind {
    fn fault(&self) -> Option<&'static str> {
        match self {
            CheckKind::Command(words) => match words.first() {
                Some(program) if program.starts_with('/') => None,
                _ => Some("command is a list that begins with the absolute path of a program"),
            },
            CheckKind::Unit(unit) => {
                (!unit.contains('.') || unit.contains('/')).then_some("unit is a name such as nginx.service")
            }
            CheckKind::Tcp(address) => {
                (!is_address(address)).then_some("tcp is HOST:PORT, the host an address or localhost")
            }
            CheckKind::Http(url) => match http_parts(url) {
                Some((address, _)) if is_address(&address) => None,
                _ => Some("http is http://HOST[:PORT]/PATH, the host an address or localhost"),
            },
        }
    }
}

/// Address and path of an `http://` URL: `127.0.0.1:80`, `/path`.
pub fn http_parts(url: &str) -> Option<(String, String)> {
    let rest = url.strip_prefix("http://")?;
    let (host, path) = match rest.split_once('/') {
        Some((host, path)) => (host, format!("/{path}")),
        None => (rest, "/".to_owned()),
    };
    if host.is_empty() || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let address = if has_port {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    Some((address, path))
}

/// The socket address of `HOST:PORT`; names other than `localhost` are not looked up.
pub fn socket_address(text: &str) -> Option<std::net::SocketAddr> {
    match text.strip_prefix("localhost:") {
        Some(port) => Some(std::net::SocketAddr::from(([127, 0, 0, 1], port.parse().ok()?))),
        None => text.parse().ok(),
    }
}

fn is_address(text: &str) -> bool {
    socket_address(text).is_some()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const EXAMPLE: &str = r#"
[health]
settle = 10
[health.checks.web]
http = "http://127.0.0.1:8080/status"
deadline = 20
[health.checks.db]
unit = "postgresql.service"
[health.checks.ssh]
tcp = "localhost:22"
[health.checks.own]
command = ["/usr/bin/test", "-e", "/srv/ready"]
"#;

    #[test]
    fn a_table_is_read_and_survives_json() {
        let health = Health::from_toml(EXAMPLE).unwrap();
        assert_eq!(health.settle, 10);
        assert_eq!(health.checks.len(), 4);
        let json = serde_json::to_vec(&health).unwrap();
        assert_eq!(Health::parse(&json).unwrap(), health);
        assert_eq!(Health::parse(b"{}").unwrap(), Health::default());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("[health]\nsettel = 1", "settel"),
            (
                "[health.checks.x]\nunit = \"nginx\"",
                "[health.checks.x]: unit is a name",
            ),
            ("[health.checks.x]\ntcp = \"example.org:80\"", "tcp is HOST:PORT"),
            (
                "[health.checks.x]\nhttp = \"https://127.0.0.1/\"",
                "http is http://",
            ),
            ("[health.checks.x]\ncommand = []", "command is a list"),
            (
                "[health.checks.x]\nunit = \"a.service\"\ndeadline = 0",
                "0 seconds",
            ),
            ("[health]\nsettle = 100000", "settle"),
        ] {
            let error = Health::from_toml(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn addresses_of_urls() {
        let parts = |url| http_parts(url).map(|(address, path)| format!("{address} {path}"));
        assert_eq!(parts("http://127.0.0.1").as_deref(), Some("127.0.0.1:80 /"));
        assert_eq!(parts("http://[::1]:81/a?b").as_deref(), Some("[::1]:81 /a?b"));
        assert_eq!(parts("http://127.0.0.1/a b"), None);
    }
}
