#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use proptest::prelude::*;

use super::filter::Filter;
use super::frame::{FrameError, MAX_FIELDS_BYTES, append_without_sender, message_length};
use super::in_front_of;

/// What PID 1 of Debian 12 (systemd 252.38) answered on /run/systemd/private to
/// `org.freedesktop.DBus.Properties.Get("org.freedesktop.systemd1.Manager", "Version")`.
const VERSION_REPLY: &str = "6c020101190000000100000037000000050175000100000007017300180000006f72672e667265656465736b\
    746f702e73797374656d64310000000000000000080167000176000001730000100000003235322e33382d317e6465623132753100";
/// The same without SENDER.
const VERSION_REPLY_CLEAN: &str = "6c02010119000000010000000f0000000501750001000000080167000176000001730000\
    100000003235322e33382d317e6465623132753100";
/// What it answered to `GetUnit("nonesuch.service")`.
const NO_SUCH_UNIT: &str = "6c030101260000000400000067000000050175000400000004017300230000006f72672e6672656564657\
    36b746f702e73797374656d64312e4e6f53756368556e6974000000000007017300180000006f72672e667265656465736b746f702e737973\
    74656d64310000000000000000080167000173000021000000556e6974206e6f6e65737563682e73657276696365206e6f74206c6f61646564\
    2e00";
/// What it answered to `Reload`: no body, and SENDER is the last field.
const RELOAD_REPLY: &str = "6c02010100000000390000002900000005017500050000000701730018000000\
    6f72672e667265656465736b746f702e73797374656d643100000000\
    00000000";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().filter(|c| !c.is_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap())
        .collect()
}

fn clean(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    append_without_sender(message, &mut out).unwrap();
    out
}

/// A message with the given fields, in big or little order.
fn message(big: bool, fields: &[(u8, &str, &str)], body: &[u8]) -> Vec<u8> {
    let word = |n: usize| {
        if big {
            (n as u32).to_be_bytes()
        } else {
            (n as u32).to_le_bytes()
        }
    };
    let mut array = Vec::new();
    for (code, kind, value) in fields {
        array.resize(array.len().next_multiple_of(8), 0);
        array.extend_from_slice(&[*code, 1, kind.as_bytes()[0], 0]);
        match *kind {
            "g" => array.push(value.len() as u8),
            _ => array.extend_from_slice(&word(value.len())),
        }
        array.extend_from_slice(value.as_bytes());
        array.push(0);
    }
    let mut out = vec![if big { b'B' } else { b'l' }, 4, 0, 1];
    for number in [body.len(), 7, array.len()] {
        out.extend_from_slice(&word(number));
    }
    array.resize(array.len().next_multiple_of(8), 0);
    out.extend(array);
    out.extend_from_slice(body);
    out
}

#[test]
fn sender_in_the_middle_of_a_captured_reply_goes() {
    assert_eq!(clean(&bytes(VERSION_REPLY)), bytes(VERSION_REPLY_CLEAN));
}

#[test]
fn sender_at_the_end_of_a_captured_reply_goes() {
    let captured = bytes(RELOAD_REPLY);
    assert_eq!(message_length(&captured), Ok(Some(captured.len())));
    let expected = bytes("6c02010100000000390000000800000005017500 05000000");
    assert_eq!(clean(&captured), expected);
}

#[test]
fn errors_keep_their_name_and_text() {
    let out = clean(&bytes(NO_SUCH_UNIT));
    let text = String::from_utf8_lossy(&out);
    assert!(
        text.contains("org.freedesktop.systemd1.NoSuchUnit") && text.contains("not loaded."),
        "{text}"
    );
    assert_eq!(message_length(&out), Ok(Some(out.len())));
    assert_eq!(clean(&out), out);
}

#[test]
fn big_endian_messages_are_understood() {
    let fields = [
        (1, "o", "/x"),
        (7, "s", "org.freedesktop.systemd1"),
        (8, "g", "s"),
    ];
    let expected = message(true, &[fields[0], fields[2]], b"body");
    assert_eq!(clean(&message(true, &fields, b"body")), expected);
}

#[test]
fn sizes_beyond_the_protocol_are_refused_before_anything_is_kept() {
    let mut head = bytes(VERSION_REPLY)[..16].to_vec();
    head[12..16].copy_from_slice(&(MAX_FIELDS_BYTES + 1).to_le_bytes());
    assert_eq!(
        message_length(&head),
        Err(FrameError::FieldsTooLong(MAX_FIELDS_BYTES + 1))
    );
    head[12..16].copy_from_slice(&0u32.to_le_bytes());
    head[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(
        message_length(&head),
        Err(FrameError::MessageTooLong(u64::from(u32::MAX) + 16))
    );
    head[4..8].copy_from_slice(&((1u32 << 27) - 16).to_le_bytes());
    assert_eq!(message_length(&head), Ok(Some(1 << 27)));
    head[3] = 2;
    assert_eq!(message_length(&head), Err(FrameError::Version(2)));
    assert_eq!(message_length(b"x"), Err(FrameError::ByteOrder(b'x')));
}

#[test]
fn fields_that_lie_about_their_length_are_refused() {
    let mut captured = bytes(VERSION_REPLY);
    // The length of SENDER's string.
    captured[28..32].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(
        append_without_sender(&captured, &mut Vec::new()),
        Err(FrameError::FieldOverrun)
    );
    let mut captured = bytes(VERSION_REPLY);
    captured[18] = b'a';
    assert_eq!(
        append_without_sender(&captured, &mut Vec::new()),
        Err(FrameError::FieldType('a'))
    );
}

#[test]
fn authentication_passes_and_messages_after_it_are_cleaned() {
    let mut stream = b"OK ce7abff68cbc43b7aa2007e31852df03\r\nAGREE_UNIX_FD\r\n".to_vec();
    let handshake = stream.clone();
    stream.extend(bytes(VERSION_REPLY));
    stream.extend(bytes(NO_SUCH_UNIT));
    let expected = [handshake, bytes(VERSION_REPLY_CLEAN), clean(&bytes(NO_SUCH_UNIT))].concat();
    for size in [1, 2, 3, 7, 16, 64, stream.len()] {
        let (mut filter, mut out) = (Filter::default(), Vec::new());
        for piece in stream.chunks(size) {
            filter.feed(piece, &mut out).unwrap();
        }
        assert_eq!(out, expected, "in pieces of {size} bytes");
    }
}

#[test]
fn a_big_message_goes_through_the_sockets() {
    let (server, mut manager) = UnixStream::pair().unwrap();
    let mut client = in_front_of(server).unwrap();
    let body = vec![b'x'; 5 << 20];
    let fields = [(7, "s", "org.freedesktop.systemd1"), (8, "g", "ay")];
    let sent = message(false, &fields, &body);
    let expected = message(false, &fields[1..], &body);
    let writer = std::thread::spawn(move || {
        manager.write_all(&sent).unwrap();
        let mut asked = [0; 4];
        manager.read_exact(&mut asked).unwrap();
        assert_eq!(&asked, b"ping");
        // Drop: the end of the stream must reach the client.
    });
    client.write_all(b"ping").unwrap();
    let mut received = Vec::new();
    assert!(client.read_to_end(&mut received).unwrap() > 0);
    assert!(
        received == expected,
        "{} bytes instead of {}",
        received.len(),
        expected.len()
    );
    writer.join().unwrap();
}

#[test]
fn the_manager_sees_that_the_client_left() {
    let (server, mut manager) = UnixStream::pair().unwrap();
    let client = in_front_of(server).unwrap();
    client.shutdown(Shutdown::Both).unwrap();
    assert_eq!(manager.read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn what_is_no_message_ends_the_connection() {
    let (server, mut manager) = UnixStream::pair().unwrap();
    let mut client = in_front_of(server).unwrap();
    manager.write_all(&bytes(VERSION_REPLY)).unwrap();
    manager.write_all(b"no message at all").unwrap();
    let mut received = Vec::new();
    assert!(client.read_to_end(&mut received).is_ok());
    assert_eq!(received, bytes(VERSION_REPLY_CLEAN));
}

proptest! {
    #[test]
    fn noise_neither_panics_nor_grows(noise in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut out = Vec::new();
        let mut input = b"l\x04\x00\x01".to_vec();
        input.extend(&noise);
        let _verdict = Filter::default().feed(&input, &mut out);
        prop_assert!(out.len() <= input.len());
    }

    #[test]
    fn damaged_replies_neither_panic_nor_grow(at in 0usize..97, value in any::<u8>()) {
        let mut captured = bytes(VERSION_REPLY);
        captured[at] = value;
        let mut out = Vec::new();
        let _verdict = append_without_sender(&captured, &mut out);
        prop_assert!(out.len() <= captured.len());
    }

    #[test]
    fn any_fields_in_any_pieces(
        big in any::<bool>(),
        codes in proptest::collection::vec((1u8..10, "[a-z]{0,20}"), 0..8),
        body in proptest::collection::vec(any::<u8>(), 0..100),
        cuts in proptest::collection::vec(1usize..50, 1..20),
    ) {
        let all: Vec<_> =
            codes.iter().map(|(code, value)| (*code, if *code == 8 { "g" } else { "s" }, value.as_str())).collect();
        let kept: Vec<_> = all.iter().copied().filter(|(code, ..)| *code != 7).collect();
        let sent = [message(big, &all, &body), message(big, &all, &body)].concat();
        let expected = [message(big, &kept, &body), message(big, &kept, &body)].concat();
        let (mut filter, mut out, mut rest) = (Filter::default(), Vec::new(), sent.as_slice());
        for cut in cuts.iter().cycle() {
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            filter.feed(piece, &mut out).unwrap();
            rest = after;
            if rest.is_empty() { break }
        }
        prop_assert_eq!(out, expected);
    }
}
