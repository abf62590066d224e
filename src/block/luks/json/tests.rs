//! What can be told without a device; the rest is compared with cryptsetup in the module's tests.
#![allow(clippy::unwrap_used)]

use super::*;

fn area(text: &str) -> Vec<u8> {
    let mut area = text.as_bytes().to_vec();
    area.resize(0x3000, 0);
    area
}

#[test]
fn faults_are_named() {
    assert_eq!(parse(b"").unwrap_err(), JsonError::NotAnObject);
    assert_eq!(parse(&area("[]")).unwrap_err(), JsonError::NotAnObject);
    assert_eq!(parse(b"{}").unwrap_err(), JsonError::NotTerminated);
    assert_eq!(parse(&area("{}\0x")).unwrap_err(), JsonError::Trailing(3));
    assert!(matches!(
        parse(&area("{\"a\"}")).unwrap_err(),
        JsonError::Syntax(_)
    ));
    let why = "the section is missing".to_owned();
    assert_eq!(
        parse(&area("{}")).unwrap_err(),
        JsonError::Invalid {
            object: "config".to_owned(),
            why
        }
    );
}

#[test]
fn numbers_are_canonical() {
    let config = r#""config":{"json_size":"12288","keyslots_size":"0"}"#;
    let text =
        format!(r#"{{"keyslots":{{"00":{{}}}},"tokens":{{}},"segments":{{}},"digests":{{}},{config}}}"#);
    let why = "the name \"00\" is no plain number".to_owned();
    assert_eq!(
        parse(&area(&text)).unwrap_err(),
        JsonError::Invalid {
            object: "keyslots".to_owned(),
            why
        }
    );
}
