#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;
use std::os::unix::net::UnixListener;
use std::thread;

#[test]
fn a_call_is_laid_out_as_the_specification_says() {
    let message = method_call("SwitchRoot", ["/sysroot", ""]).unwrap();
    let mut expected = b"l\x01\0\x01\x16\0\0\0\x01\0\0\0\x9f\0\0\0".to_vec();
    expected.extend_from_slice(b"\x01\x01o\0\x19\0\0\0/org/freedesktop/systemd1\0\0\0\0\0\0\0");
    expected.extend_from_slice(b"\x02\x01s\0\x20\0\0\0org.freedesktop.systemd1.Manager\0\0\0\0\0\0\0\0");
    expected.extend_from_slice(b"\x03\x01s\0\x0a\0\0\0SwitchRoot\0\0\0\0\0\0");
    expected.extend_from_slice(b"\x06\x01s\0\x18\0\0\0org.freedesktop.systemd1\0\0\0\0\0\0\0\0");
    expected.extend_from_slice(b"\x08\x01g\0\x02ss\0");
    let fields = u32::try_from(expected.len() - FIXED_BYTES).unwrap();
    let _ = expected.splice(12..16, fields.to_le_bytes());
    expected.extend_from_slice(b"\x08\0\0\0/sysroot\0\0\0\0\0\0\0\0\0");
    let body = 4 + 8 + 1 + 3 + 4 + 1_u32;
    let _ = expected.splice(4..8, body.to_le_bytes());
    assert_eq!(message, expected);
    assert!(method_call("SwitchRoot", ["a\0b", ""]).is_err());
}

/// A message as PID 1 sends it: with the field SENDER, which names no unique name.
fn message(kind: u8, serial: u32, error: Option<(&str, &str)>) -> Vec<u8> {
    let mut body = Vec::new();
    let mut fields = vec![FIELD_REPLY_SERIAL, 1, b'u', 0];
    fields.extend_from_slice(&serial.to_le_bytes());
    fields.extend_from_slice(&[7, 1, b's', 0]);
    push_string(&mut fields, "org.freedesktop.systemd1").unwrap();
    if let Some((name, text)) = error {
        pad(&mut fields, 8);
        fields.extend_from_slice(&[FIELD_ERROR_NAME, 1, b's', 0]);
        push_string(&mut fields, name).unwrap();
        pad(&mut fields, 8);
        fields.extend_from_slice(&[FIELD_SIGNATURE, 1, b'g', 0, 1, b's', 0]);
        push_string(&mut body, text).unwrap();
    }
    let mut message = vec![b'l', kind, 1, 1];
    message.extend_from_slice(&length(&body).unwrap().to_le_bytes());
    message.extend_from_slice(&7_u32.to_le_bytes());
    message.extend_from_slice(&length(&fields).unwrap().to_le_bytes());
    message.extend_from_slice(&fields);
    pad(&mut message, 8);
    message.extend_from_slice(&body);
    message
}

/// A manager that says `replies` to the first call, and the result of that call.
fn against(replies: Vec<Vec<u8>>) -> Result<(), CallError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("private");
    let listener = UnixListener::bind(&path).unwrap();
    let manager = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // sd-bus reads BEGIN with what is there, and overlooks a call that is there as well.
        let mut read = [0; 256];
        let length = stream.read(&mut read).unwrap();
        assert_eq!(read.get(..length).unwrap(), b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n");
        stream.write_all(b"OK 0123456789abcdef\r\n").unwrap();
        let call = read_message(&mut stream).unwrap();
        assert_eq!(call.get(1), Some(&METHOD_CALL));
        for reply in replies {
            stream.write_all(&reply).unwrap();
        }
    });
    let result = call(&path, "SwitchRoot", ["/sysroot", ""]);
    manager.join().unwrap();
    result
}

#[test]
fn signals_and_other_answers_are_passed_over() {
    let signal = message(4, 0, None);
    let other = message(METHOD_RETURN, 9, None);
    against(vec![signal, other, message(METHOD_RETURN, SERIAL, None)]).unwrap();
}

#[test]
fn a_refusal_says_what_systemd_says() {
    let error = ("org.freedesktop.DBus.Error.FileNotFound", "not an OS tree");
    let refused = against(vec![message(ERROR, SERIAL, Some(error))]).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "systemd refuses SwitchRoot: not an OS tree (org.freedesktop.DBus.Error.FileNotFound)"
    );
}

#[test]
fn a_connection_that_ends_is_told() {
    let error = against(Vec::new()).unwrap_err();
    assert!(matches!(error, CallError::Connection { .. }), "{error}");
    let none = call(Path::new("/nonexistent"), "StartUnit", ["a", "b"]).unwrap_err();
    assert!(none.to_string().contains("StartUnit"), "{none}");
}

proptest! {
    #[test]
    fn damaged_messages_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in 0usize..200) {
        let mut bytes = message(ERROR, SERIAL, Some(("a.b", "text")));
        let at = at.index(bytes.len());
        let _ = bytes.splice(at..=at, [byte]);
        bytes.truncate(cut.max(FIXED_BYTES));
        let _ = answer(&bytes);
        let _ = read_message(&mut bytes.as_slice());
    }
}
