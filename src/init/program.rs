//! Programs of the image that early boot runs and waits for: e2fsck, lvm.

use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

/// Bytes of a program's output that are kept.
const KEPT: usize = 64 << 10;

/// Runs a program to its end: its exit code (`None` when a signal ended it) and what it said. `on_line` gets each line
/// of both its outputs as it comes.
pub(super) fn run(mut command: Command, on_line: &mut impl FnMut(&str)) -> io::Result<(Option<i32>, String)> {
    let (mut reader, writer) = io::pipe()?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()?;
    // The command holds the writing ends too: with them open the pipe would never end.
    drop(command);
    let mut output = String::new();
    let mut pending = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let length = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        pending.extend_from_slice(buffer.get(..length).unwrap_or_default());
        while let Some(end) = pending.iter().position(|&byte| byte == b'\n' || byte == b'\r') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            take_line(&line, &mut output, on_line);
        }
        // A program without line ends must not fill the memory.
        if pending.len() > KEPT {
            pending.clear();
        }
    }
    take_line(&pending, &mut output, on_line);
    let status = child.wait()?;
    debug_assert!(status.code().is_some() || status.signal().is_some());
    Ok((status.code(), output))
}

fn take_line(line: &[u8], output: &mut String, on_line: &mut impl FnMut(&str)) {
    let line = String::from_utf8_lossy(line);
    let line = line.trim_end();
    if !line.is_empty() {
        on_line(line);
        if output.len() < KEPT {
            output.push_str(line);
            output.push('\n');
        }
    }
}

/// The last line of an output.
pub(super) fn last_line(output: &str) -> String {
    output.lines().last().unwrap_or("no output").trim().to_owned()
}

/// The last lines of an output, as one.
pub(super) fn last_lines(output: &str) -> String {
    let lines: Vec<&str> = output.lines().map(str::trim).collect();
    lines
        .get(lines.len().saturating_sub(4)..)
        .unwrap_or_default()
        .join("; ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_of_both_outputs_and_the_exit_code_are_taken() {
        let mut command = Command::new("sh");
        let _ = command.args(["-c", "printf 'one\\rtwo\\n\\n'; echo three >&2; exit 5"]);
        let mut lines = Vec::new();
        let (code, output) = run(command, &mut |line: &str| lines.push(line.to_owned())).unwrap();
        assert_eq!(code, Some(5));
        assert_eq!(lines, ["one", "two", "three"]);
        assert_eq!(last_lines(&output), "one; two; three");
        assert_eq!(last_line(&output), "three");
    }
}
