//! Inputs of several texts.

/// Parts of an input: what stands behind `=== ` on a line, and the bytes from the next line to the next such line. What
/// stands before the first one belongs to an empty title.
pub(crate) fn parts(data: &[u8]) -> Vec<(&str, &[u8])> {
    const MARK: &[u8] = b"=== ";
    let mut parts = Vec::new();
    let (mut title, mut begin, mut at) = ("", 0, 0);
    while let Some(rest) = data.get(at..).filter(|rest| !rest.is_empty()) {
        let length = rest
            .iter()
            .position(|&byte| byte == b'\n')
            .map_or(rest.len(), |end| end + 1);
        if let Some(next) = rest[..length].strip_prefix(MARK) {
            parts.push((title, &data[begin..at]));
            title = std::str::from_utf8(next.trim_ascii()).unwrap_or("?");
            begin = at + length;
        }
        at += length;
    }
    parts.push((title, &data[begin..]));
    if parts[0] == ("", &[][..]) {
        let _empty = parts.remove(0);
    }
    parts
}

/// What an error or a warning says must stay on its line, whatever a disk holds: a second line could pass for another
/// message.
pub(crate) fn check_line(text: &impl ToString) {
    let text = text.to_string();
    assert!(!text.is_empty(), "a message without words");
    assert!(
        !text.contains(['\n', '\r']),
        "a message of several lines: {text:?}"
    );
}
