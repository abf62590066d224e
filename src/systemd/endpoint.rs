//! Where the service manager is reached: its own socket, or the system bus.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};

use super::error::Error;
use super::relay;

/// PID 1's own socket, for root only. It works without a bus, hence while dbus is being replaced.
pub const PRIVATE_SOCKET: &str = "/run/systemd/private";
/// The system bus, unless the environment names another.
const SYSTEM_BUS: &str = "unix:path=/run/dbus/system_bus_socket";

/// A place to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// A manager's own socket: no bus, no names, every signal comes unasked.
    Private(PathBuf),
    /// A bus, by its D-Bus address.
    Bus(String),
}

impl Endpoint {
    /// The system bus, honouring `DBUS_SYSTEM_BUS_ADDRESS`.
    pub(super) fn system_bus() -> Self {
        let address = std::env::var("DBUS_SYSTEM_BUS_ADDRESS")
            .ok()
            .filter(|address| !address.is_empty());
        Self::Bus(address.unwrap_or_else(|| SYSTEM_BUS.to_owned()))
    }

    /// The socket that zbus gets to work on.
    pub(super) fn open(&self) -> Result<UnixStream, Error> {
        match self {
            Self::Private(path) => UnixStream::connect(path)
                .and_then(relay::in_front_of)
                .map_err(|source| Error::Connect {
                    endpoint: self.to_string(),
                    source,
                }),
            Self::Bus(address) => {
                let sockets = sockets_of(address).ok_or_else(|| Error::BusAddress {
                    address: address.clone(),
                })?;
                connect_first(&sockets).map_err(|source| Error::NoBus {
                    endpoint: self.to_string(),
                    source,
                })
            }
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Private(path) => write!(f, "{}", path.display()),
            Self::Bus(address) => f.write_str(address),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Socket {
    Path(Vec<u8>),
    Abstract(Vec<u8>),
}

fn connect_first(sockets: &[Socket]) -> io::Result<UnixStream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for socket in sockets {
        let connected = match socket {
            Socket::Path(path) => UnixStream::connect(Path::new(OsStr::from_bytes(path))),
            Socket::Abstract(name) => {
                SocketAddr::from_abstract_name(name).and_then(|address| UnixStream::connect_addr(&address))
            }
        };
        match connected {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The Unix sockets among the addresses of a list (D-Bus specification, "Server Addresses"); nothing when there is
/// none.
fn sockets_of(list: &str) -> Option<Vec<Socket>> {
    let sockets: Vec<Socket> = list
        .split(';')
        .filter_map(|address| address.strip_prefix("unix:"))
        .filter_map(|keys| {
            keys.split(',')
                .filter_map(|pair| pair.split_once('='))
                .find_map(|(key, value)| match key {
                    "path" => unescape(value).map(Socket::Path),
                    "abstract" => unescape(value).map(Socket::Abstract),
                    _ => None,
                })
        })
        .collect();
    (!sockets.is_empty()).then_some(sockets)
}

/// Undoes `%2f`.
fn unescape(value: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
            let (high, low) = (digit()?, digit()?);
            out.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            out.push(byte);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_sockets_are_found_in_address_lists() {
        assert_eq!(
            sockets_of(SYSTEM_BUS),
            Some(vec![Socket::Path(b"/run/dbus/system_bus_socket".to_vec())])
        );
        assert_eq!(
            sockets_of("tcp:host=a,port=1;unix:guid=00,abstract=/tmp/x%2dy;unix:path=/b"),
            Some(vec![
                Socket::Abstract(b"/tmp/x-y".to_vec()),
                Socket::Path(b"/b".to_vec())
            ])
        );
        for bad in ["", "tcp:host=a", "unix:dir=/tmp", "unix:path=/a%2"] {
            assert_eq!(sockets_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_absent_bus_is_an_error_that_callers_may_ignore() {
        let error = Endpoint::Bus("unix:path=/nonexistent/bus".into()).open().err();
        assert!(error.as_ref().is_some_and(Error::is_absent), "{error:?}");
    }
}
