//! A relay between zbus and the service manager's private socket.
//!
//! PID 1 names itself `org.freedesktop.systemd1` in the SENDER field of everything it sends over its private socket
//! (`sd_bus_set_sender` in systemd's `src/core/dbus.c`). The D-Bus specification wants a unique name there, and zbus
//! drops the connection. The relay stands between the two and takes the field out; nothing else is touched. File
//! descriptors aren't passed on: no call made here carries any.

mod filter;
mod frame;
#[cfg(test)]
mod tests;

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread;

use self::filter::Filter;

/// How much is read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Puts a relay in front of `server`, and returns the end for the client. It lasts until either side closes.
///
/// # Errors
/// When sockets or threads can't be made.
pub(super) fn in_front_of(server: UnixStream) -> io::Result<UnixStream> {
    let (client, inner) = UnixStream::pair()?;
    let (server_read, inner_write) = (server.try_clone()?, inner.try_clone()?);
    let _detached = thread::Builder::new()
        .name("dbus-out".into())
        .spawn(move || copy_out(inner, server))?;
    let _detached = thread::Builder::new()
        .name("dbus-in".into())
        .spawn(move || copy_in(server_read, inner_write))?;
    Ok(client)
}

/// From the client to the manager, unchanged.
fn copy_out(mut client: UnixStream, mut server: UnixStream) {
    // Either side may close at any time. The other one learns it from the end of its stream, so there is nothing to
    // report here.
    let _end = io::copy(&mut client, &mut server);
    close(&client, &server);
}

/// From the manager to the client, without SENDER.
fn copy_in(mut server: UnixStream, mut client: UnixStream) {
    if let Err(error) = filter_all(&mut server, &mut client) {
        log::debug!("the connection to the service manager ends: {error}");
    }
    close(&client, &server);
}

fn filter_all(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut filter = Filter::default();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut out = Vec::new();
    loop {
        let length = match from.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let filtered = filter.feed(chunk.get(..length).unwrap_or_default(), &mut out);
        // What was whole goes on even when what follows is broken.
        to.write_all(&out)?;
        out.clear();
        filtered.map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault))?;
    }
}

/// Ends both connections, so that the thread of the other direction ends as well. What was written before can still be
/// read at the far ends.
fn close(client: &UnixStream, server: &UnixStream) {
    for stream in [client, server] {
        // It fails when the stream is closed already, which is what it is for.
        let _closed = stream.shutdown(Shutdown::Both);
    }
}
