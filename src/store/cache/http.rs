//! A cache on a web server: `http://` and `https://`, read only.

use std::fs;
use std::io::{self, Read};
use std::sync::OnceLock;
use std::time::Duration;

use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Body, http};

use super::Cache;
use super::resolve::SystemResolver;
use super::stream::read_small;

/// How long a connection may take to come about, an answer to begin, and each piece of it to come.
const CONNECT: Duration = Duration::from_secs(15);
const ANSWER: Duration = Duration::from_mins(1);
const PIECE: Duration = Duration::from_mins(1);
/// The authorities that the machine trusts, in the order in which they're looked for.
const AUTHORITIES: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/cert.pem"];

/// A cache on a web server.
#[derive(Debug)]
pub(super) struct Http {
    url: String,
    agent: OnceLock<Agent>,
}

impl Http {
    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.trim_end_matches('/').to_owned(),
            agent: OnceLock::new(),
        }
    }

    fn agent(&self) -> &Agent {
        self.agent.get_or_init(|| {
            let tls = TlsConfig::builder().root_certs(authorities()).build();
            let config = Agent::config_builder()
                .tls_config(tls)
                .http_status_as_error(false)
                .max_redirects(5)
                .timeout_resolve(Some(CONNECT))
                .timeout_connect(Some(CONNECT))
                .timeout_recv_response(Some(ANSWER))
                .timeout_per_read(Some(PIECE))
                .user_agent(concat!("keel/", env!("CARGO_PKG_VERSION")))
                .build();
            Agent::with_parts(config, DefaultConnector::default(), SystemResolver)
        })
    }

    fn get(&self, name: &str, from: u64) -> io::Result<http::Response<Body>> {
        let mut request = self.agent().get(format!("{}/{name}", self.url));
        if from > 0 {
            request = request.header("Range", format!("bytes={from}-"));
        }
        request.call().map_err(ureq::Error::into_io)
    }
}

fn authorities() -> RootCerts {
    let pem = AUTHORITIES
        .iter()
        .find_map(|path| fs::read(path).ok())
        .unwrap_or_default();
    let certificates: Vec<_> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    RootCerts::new_with_certs(&certificates)
}

fn refused(status: http::StatusCode) -> io::Error {
    let kind = match status.as_u16() {
        404 | 410 => io::ErrorKind::NotFound,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, format!("the server answers {status}"))
}

impl Cache for Http {
    fn name(&self) -> &str {
        &self.url
    }

    fn file(&self, name: &str, most: u64) -> io::Result<Option<Vec<u8>>> {
        let answer = self.get(name, 0)?;
        match answer.status().as_u16() {
            200 => read_small(answer.into_body().into_reader(), most).map(Some),
            // Object storage says 403 of what isn't there.
            403 | 404 | 410 => Ok(None),
            _ => Err(refused(answer.status())),
        }
    }

    fn open(&self, name: &str, from: u64) -> io::Result<Box<dyn Read + Send>> {
        let answer = self.get(name, from)?;
        let status = answer.status();
        let mut body = answer.into_body().into_reader();
        match status.as_u16() {
            206 if from > 0 => {}
            200 => {
                // A server that knows no ranges begins anew.
                let skipped = io::copy(&mut Read::by_ref(&mut body).take(from), &mut io::sink())?;
                if skipped < from {
                    return Err(io::Error::other("the file became shorter meanwhile"));
                }
            }
            _ => return Err(refused(status)),
        }
        Ok(Box::new(body))
    }
}
