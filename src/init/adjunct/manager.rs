//! Calls of systemd's manager on PID 1's own socket (D-Bus Specification, "Message Protocol" and "Authentication
//! Protocol"; systemd, org.freedesktop.systemd1(5)).
//!
//! Two methods, both of two strings, are all that early boot calls. zbus would add some 900 kB to `keel-init` and needs a
//! relay on this socket (`systemd/relay`).

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Where PID 1 listens, bus or no bus.
const SOCKET: &str = "/run/systemd/private";
/// As long as libdbus and sd-bus wait for an answer.
const PATIENCE: Duration = Duration::from_secs(25);
/// A longer line of the authentication isn't one.
const LINE_MAX: usize = 256;
/// Answers of the methods called here have some hundred bytes; signals may come before them.
const MESSAGE_MAX: u32 = 1 << 20;
/// Messages that are passed over before the answer.
const OTHERS_MAX: usize = 1000;

/// The serial number of the only call on a connection.
const SERIAL: u32 = 1;

// Message types and header fields (D-Bus Specification, "Message Format").
const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;
const FIELD_PATH: u8 = 1;
const FIELD_INTERFACE: u8 = 2;
const FIELD_MEMBER: u8 = 3;
const FIELD_ERROR_NAME: u8 = 4;
const FIELD_REPLY_SERIAL: u8 = 5;
const FIELD_DESTINATION: u8 = 6;
const FIELD_SIGNATURE: u8 = 8;
/// What stands before the header fields.
const FIXED_BYTES: usize = 16;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The connection.
    #[error("systemd can't be asked for {member} on {SOCKET}: {source}")]
    Connection {
        /// The method.
        member: &'static str,
        /// Why.
        source: io::Error,
    },
    /// systemd said nothing.
    #[error("systemd doesn't answer {member} on {SOCKET} within {} seconds", PATIENCE.as_secs())]
    Silent {
        /// The method.
        member: &'static str,
    },
    /// systemd said no.
    #[error("systemd refuses {member}: {text} ({name})")]
    Refused {
        /// The method.
        member: &'static str,
        /// The name of the D-Bus error.
        name: String,
        /// What systemd says of it.
        text: String,
    },
}

/// Makes `root` the root and executes `init` there; the root's own systemd, with this one's state, when it is empty.
/// PID 1 ends every other process then, this one as well.
pub(super) fn switch_root(root: &str, init: &str) -> Result<(), CallError> {
    call(Path::new(SOCKET), "SwitchRoot", [root, init])
}

/// Starts a unit; `mode` is that of `systemctl --job-mode=`.
pub(super) fn start_unit(unit: &str, mode: &str) -> Result<(), CallError> {
    call(Path::new(SOCKET), "StartUnit", [unit, mode])
}

fn call(socket: &Path, member: &'static str, arguments: [&str; 2]) -> Result<(), CallError> {
    let answer = exchange(socket, member, arguments).map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => CallError::Silent { member },
        _ => CallError::Connection { member, source },
    })?;
    match answer {
        Answer::Done => Ok(()),
        Answer::Refused { name, text } => Err(CallError::Refused { member, name, text }),
    }
}

fn exchange(socket: &Path, member: &str, arguments: [&str; 2]) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    authenticate(&mut stream)?;
    stream.write_all(&method_call(member, arguments)?)?;
    for _ in 0..OTHERS_MAX {
        if let Some(answer) = answer(&read_message(&mut stream)?)? {
            return Ok(answer);
        }
    }
    Err(invalid("it says much, but doesn't answer"))
}

/// SASL `EXTERNAL`: the socket itself says who we are.
fn authenticate(stream: &mut (impl Read + Write)) -> io::Result<()> {
    // The user's number as text, in hexadecimal digits of its characters: early boot is root. BEGIN goes with it, as
    // sd-bus's own clients do: PID 1 doesn't look at a call that it reads together with BEGIN before more comes, and the
    // boot would wait until somebody gives up.
    stream.write_all(b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n")?;
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        line.extend_from_slice(&byte);
        if line.len() > LINE_MAX {
            return Err(invalid("its authentication makes no sense"));
        }
    }
    if !line.starts_with(b"OK ") {
        let line = String::from_utf8_lossy(&line);
        return Err(invalid(&format!("it doesn't let us in: {}", line.trim_end())));
    }
    Ok(())
}

/// A call of the manager with two strings, in little-endian order.
fn method_call(member: &str, arguments: [&str; 2]) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    for argument in arguments {
        push_string(&mut body, argument)?;
    }
    let mut fields = Vec::new();
    for (code, kind, value) in [
        (FIELD_PATH, b'o', "/org/freedesktop/systemd1"),
        (FIELD_INTERFACE, b's', "org.freedesktop.systemd1.Manager"),
        (FIELD_MEMBER, b's', member),
        (FIELD_DESTINATION, b's', "org.freedesktop.systemd1"),
    ] {
        pad(&mut fields, 8);
        fields.extend_from_slice(&[code, 1, kind, 0]);
        push_string(&mut fields, value)?;
    }
    pad(&mut fields, 8);
    fields.extend_from_slice(&[FIELD_SIGNATURE, 1, b'g', 0, 2, b's', b's', 0]);

    let mut message = vec![b'l', METHOD_CALL, 0, 1];
    message.extend_from_slice(&length(&body)?.to_le_bytes());
    message.extend_from_slice(&SERIAL.to_le_bytes());
    message.extend_from_slice(&length(&fields)?.to_le_bytes());
    message.extend_from_slice(&fields);
    pad(&mut message, 8);
    message.extend_from_slice(&body);
    Ok(message)
}

fn push_string(bytes: &mut Vec<u8>, text: &str) -> io::Result<()> {
    if text.contains('\0') {
        return Err(invalid("a name for it holds a NUL byte"));
    }
    pad(bytes, 4);
    bytes.extend_from_slice(&length(text.as_bytes())?.to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
    Ok(())
}

fn pad(bytes: &mut Vec<u8>, alignment: usize) {
    bytes.resize(bytes.len().next_multiple_of(alignment), 0);
}

fn length(bytes: &[u8]) -> io::Result<u32> {
    u32::try_from(bytes.len()).map_err(io::Error::other)
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn read_message(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut message = vec![0; FIXED_BYTES];
    stream.read_exact(&mut message)?;
    let sizes = word(&message, 4).zip(word(&message, 12));
    let (body, fields) = sizes
        .filter(|(body, fields)| {
            message.first() == Some(&b'l') && *body <= MESSAGE_MAX && *fields <= MESSAGE_MAX
        })
        .ok_or_else(|| invalid("its message makes no sense"))?;
    let rest = u64::from(fields).next_multiple_of(8) + u64::from(body);
    let read = stream.take(rest).read_to_end(&mut message)?;
    if u64::try_from(read).is_ok_and(|read| read == rest) {
        Ok(message)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Done,
    Refused { name: String, text: String },
}

/// What a message says about the call. `None` when it is about something else.
fn answer(message: &[u8]) -> io::Result<Option<Answer>> {
    let damaged = || invalid("its message is damaged");
    let kind = *message.get(1).ok_or_else(damaged)?;
    let end = word(message, 12)
        .and_then(|length| FIXED_BYTES.checked_add(usize::try_from(length).ok()?))
        .ok_or_else(damaged)?;
    let fields = Fields::read(message.get(..end).ok_or_else(damaged)?).ok_or_else(damaged)?;
    if fields.reply_serial != Some(SERIAL) {
        return Ok(None);
    }
    match kind {
        METHOD_RETURN => Ok(Some(Answer::Done)),
        ERROR => {
            let at = end.next_multiple_of(8);
            let text = if fields.signature.starts_with('s') {
                string(message, at).map(|(text, _)| text)
            } else {
                None
            };
            Ok(Some(Answer::Refused {
                name: fields.error_name,
                text: text.unwrap_or_else(|| "it doesn't say why".to_owned()),
            }))
        }
        _ => Ok(None),
    }
}

#[derive(Debug, Default)]
struct Fields {
    reply_serial: Option<u32>,
    error_name: String,
    signature: String,
}

impl Fields {
    /// Reads the header fields up to the end of `message`. `None` when they are damaged.
    fn read(message: &[u8]) -> Option<Fields> {
        let mut fields = Fields::default();
        let mut at = FIXED_BYTES;
        while at < message.len() {
            at = at.next_multiple_of(8);
            let &[code, 1, kind, 0] = message.get(at..at.checked_add(4)?)? else {
                return None;
            };
            at += 4;
            match kind {
                b'u' => {
                    let value = word(message, at)?;
                    if code == FIELD_REPLY_SERIAL {
                        fields.reply_serial = Some(value);
                    }
                    at += 4;
                }
                b'g' => {
                    let end = at.checked_add(1)?.checked_add(usize::from(*message.get(at)?))?;
                    let value = str::from_utf8(message.get(at + 1..end)?).ok()?;
                    if code == FIELD_SIGNATURE {
                        value.clone_into(&mut fields.signature);
                    }
                    at = end + 1;
                }
                b's' | b'o' => {
                    let (value, end) = string(message, at)?;
                    if code == FIELD_ERROR_NAME {
                        fields.error_name = value;
                    }
                    at = end;
                }
                _ => return None,
            }
        }
        Some(fields)
    }
}

/// The string at `at`, and what comes behind it.
fn string(message: &[u8], at: usize) -> Option<(String, usize)> {
    let start = at.checked_add(4)?;
    let end = start.checked_add(usize::try_from(word(message, at)?).ok()?)?;
    let text = String::from_utf8_lossy(message.get(start..end)?).into_owned();
    Some((text, end + 1))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
#[path = "manager_tests.rs"]
mod tests;
