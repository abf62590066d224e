//! D-Bus messages as bytes on a stream: where one ends, and how to take the SENDER field out of one.
//!
//! D-Bus specification, "Message Format" and "Marshaling (Wire Format)".

/// A message is at most 128 MiB long, header included.
pub(super) const MAX_MESSAGE_BYTES: u64 = 1 << 27;
/// The array of header fields, like any array, is at most 64 MiB long.
pub(super) const MAX_FIELDS_BYTES: u32 = 1 << 26;

/// The part of the header that has a fixed size, with the length of the field array at its end.
const FIXED: usize = 16;
/// The header field that says who sent a message.
const SENDER: u8 = 7;

/// Why a byte stream can't be one of D-Bus messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    /// The first byte is neither `l` nor `B`.
    #[error("a message begins with byte {0:#04x}, which names no byte order")]
    ByteOrder(u8),
    /// Only version 1 of the protocol exists.
    #[error("a message is of protocol version {0}; only 1 is known")]
    Version(u8),
    /// The field array is longer than an array may be.
    #[error("the header fields of a message claim {0} bytes, more than an array may have")]
    FieldsTooLong(u32),
    /// The message is longer than a message may be.
    #[error("a message claims {0} bytes, more than the 128 MiB that D-Bus allows")]
    MessageTooLong(u64),
    /// A header field reaches past the end of the field array.
    #[error("a header field reaches past the end of the header")]
    FieldOverrun,
    /// A header field has a type that can't be skipped here.
    #[error("a header field has the type {0:?}, which no header field has")]
    FieldType(char),
}

/// How the numbers of a message are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ByteOrder {
    Little,
    Big,
}

impl ByteOrder {
    fn of(mark: u8) -> Result<Self, FrameError> {
        match mark {
            b'l' => Ok(Self::Little),
            b'B' => Ok(Self::Big),
            other => Err(FrameError::ByteOrder(other)),
        }
    }

    fn u32_at(self, bytes: &[u8], at: usize) -> Option<u32> {
        let word: [u8; 4] = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(match self {
            Self::Little => u32::from_le_bytes(word),
            Self::Big => u32::from_be_bytes(word),
        })
    }

    fn bytes(self, word: u32) -> [u8; 4] {
        match self {
            Self::Little => word.to_le_bytes(),
            Self::Big => word.to_be_bytes(),
        }
    }
}

/// The lengths that a message's first sixteen bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lengths {
    order: ByteOrder,
    /// Bytes of the field array, without the padding after it.
    fields: u32,
    /// Bytes of the whole message.
    total: u64,
}

impl Lengths {
    /// Nothing while `head` is shorter than the fixed part.
    fn read(head: &[u8]) -> Result<Option<Self>, FrameError> {
        let Some(mark) = head.first() else { return Ok(None) };
        let order = ByteOrder::of(*mark)?;
        if let Some(version) = head.get(3)
            && *version != 1
        {
            return Err(FrameError::Version(*version));
        }
        let (Some(body), Some(fields)) = (order.u32_at(head, 4), order.u32_at(head, 12)) else {
            return Ok(None);
        };
        if fields > MAX_FIELDS_BYTES {
            return Err(FrameError::FieldsTooLong(fields));
        }
        let total = FIXED as u64 + u64::from(fields).next_multiple_of(8) + u64::from(body);
        if total > MAX_MESSAGE_BYTES {
            return Err(FrameError::MessageTooLong(total));
        }
        Ok(Some(Self { order, fields, total }))
    }
}

/// The length of the message that `head` begins with, in bytes; nothing while its first sixteen bytes aren't all
/// there.
///
/// # Errors
/// When these bytes can't begin a message that the protocol allows.
pub(super) fn message_length(head: &[u8]) -> Result<Option<usize>, FrameError> {
    Ok(Lengths::read(head)?.and_then(|lengths| usize::try_from(lengths.total).ok()))
}

/// Appends `message`, which is one whole message, to `out` without its SENDER fields. The other fields keep their
/// order, the body its bytes.
///
/// # Errors
/// When the header isn't well formed; `out` is then as it was.
pub(super) fn append_without_sender(message: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
    let lengths = Lengths::read(message)?.ok_or(FrameError::FieldOverrun)?;
    let order = lengths.order;
    let fields_bytes = lengths.fields as usize;
    let fields = message
        .get(FIXED..FIXED + fields_bytes)
        .ok_or(FrameError::FieldOverrun)?;
    let body = message
        .get(FIXED + fields_bytes.next_multiple_of(8)..)
        .ok_or(FrameError::FieldOverrun)?;

    // Every field begins at a multiple of eight, so fields can be moved without changing what is inside of them.
    let mut kept: Vec<u8> = Vec::with_capacity(fields_bytes);
    let mut at = 0;
    while at < fields.len() {
        let end = field_end(order, fields, at)?;
        let field = fields.get(at..end).ok_or(FrameError::FieldOverrun)?;
        if field.first() != Some(&SENDER) {
            kept.resize(kept.len().next_multiple_of(8), 0);
            kept.extend_from_slice(field);
        }
        at = end.next_multiple_of(8);
    }

    let length = u32::try_from(kept.len()).map_err(|_| FrameError::FieldsTooLong(u32::MAX))?;
    let fixed = message.get(..FIXED - 4).ok_or(FrameError::FieldOverrun)?;
    out.extend_from_slice(fixed);
    out.extend_from_slice(&order.bytes(length));
    kept.resize(kept.len().next_multiple_of(8), 0);
    out.append(&mut kept);
    out.extend_from_slice(body);
    Ok(())
}

/// Where the field that begins at `start` ends: a code, the signature of its value, its value.
fn field_end(order: ByteOrder, fields: &[u8], start: usize) -> Result<usize, FrameError> {
    let overrun = FrameError::FieldOverrun;
    let signature_length = usize::from(*fields.get(start + 1).ok_or(overrun)?);
    let kind = *fields.get(start + 2).ok_or(overrun)?;
    if signature_length != 1 {
        return Err(FrameError::FieldType(char::from(kind)));
    }
    // Code, length of the signature, the signature and the zero byte after it.
    let value = start + 4;
    let end = match kind {
        b'y' => value + 1,
        b'n' | b'q' => value.next_multiple_of(2) + 2,
        b'b' | b'i' | b'u' | b'h' => value.next_multiple_of(4) + 4,
        b'x' | b't' | b'd' => value.next_multiple_of(8) + 8,
        b's' | b'o' => {
            let length_at = value.next_multiple_of(4);
            let length = order.u32_at(fields, length_at).ok_or(overrun)? as usize;
            length_at
                .checked_add(4 + 1)
                .and_then(|at| at.checked_add(length))
                .ok_or(overrun)?
        }
        b'g' => value + 1 + usize::from(*fields.get(value).ok_or(overrun)?) + 1,
        other => return Err(FrameError::FieldType(char::from(other))),
    };
    if end > fields.len() { Err(overrun) } else { Ok(end) }
}
