//! Running the checks of a system's `health.json`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::system::health::{Check, CheckKind, Health, http_parts, socket_address};
use crate::systemd::Manager;

/// How long after a failed try the next one begins.
const AGAIN: Duration = Duration::from_millis(500);
/// Bytes of a program's output that a failure shows.
const SHOWN: usize = 400;

/// A check that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// Its name.
    pub check: String,
    /// What the last try ended with.
    pub why: String,
}

/// Runs all checks side by side, each until it succeeds or its deadline passes. Returns those that failed.
pub(super) fn run(health: &Health) -> Vec<Failure> {
    thread::scope(|scope| {
        let running: Vec<_> = health
            .checks
            .iter()
            .map(|(name, check)| (name, scope.spawn(|| until_deadline(check))))
            .collect();
        running
            .into_iter()
            .filter_map(|(name, thread)| {
                let result = thread
                    .join()
                    .unwrap_or_else(|_| Err("the check itself failed".to_owned()));
                let why = result.err()?;
                let check = name.clone();
                Some(Failure { check, why })
            })
            .collect()
    })
}

fn until_deadline(check: &Check) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(check.deadline);
    loop {
        let why = match try_once(&check.kind, deadline) {
            Ok(()) => return Ok(()),
            Err(why) => why,
        };
        if Instant::now() + AGAIN >= deadline {
            return Err(format!("{why} (after {} s)", check.deadline));
        }
        thread::sleep(AGAIN);
    }
}

fn try_once(kind: &CheckKind, deadline: Instant) -> Result<(), String> {
    match kind {
        CheckKind::Command(words) => command(words, deadline),
        CheckKind::Unit(name) => unit(name),
        CheckKind::Tcp(address) => connect(address, deadline).map(drop),
        CheckKind::Http(url) => http(url, deadline),
    }
}

fn unit(name: &str) -> Result<(), String> {
    let mut manager = Manager::connect().map_err(|error| error.to_string())?;
    let found = manager.unit(name).map_err(|error| error.to_string())?;
    if found.active_state == "active" {
        Ok(())
    } else {
        Err(format!("{name} is {} ({})", found.active_state, found.sub_state))
    }
}

fn remaining(deadline: Instant) -> Duration {
    deadline
        .saturating_duration_since(Instant::now())
        .max(Duration::from_millis(1))
}

fn connect(address: &str, deadline: Instant) -> Result<TcpStream, String> {
    let socket = socket_address(address).ok_or_else(|| format!("{address} is no address"))?;
    TcpStream::connect_timeout(&socket, remaining(deadline)).map_err(|error| format!("{address}: {error}"))
}

fn http(url: &str, deadline: Instant) -> Result<(), String> {
    let (address, path) = http_parts(url).ok_or_else(|| format!("{url} is no http URL"))?;
    let mut stream = connect(&address, deadline)?;
    let failed = |error: std::io::Error| format!("{url}: {error}");
    stream
        .set_read_timeout(Some(remaining(deadline)))
        .map_err(failed)?;
    // In one piece: a server may answer, and close, before it has read a second one.
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: keel\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut answer = Vec::new();
    let _ = stream.take(1024).read_to_end(&mut answer).map_err(failed)?;
    let line =
        String::from_utf8_lossy(answer.split(|byte| *byte == b'\r').next().unwrap_or_default()).into_owned();
    // RFC 9112, section 4: HTTP-version SP status-code
    let status = line
        .strip_prefix("HTTP/")
        .and_then(|rest| rest.split(' ').nth(1)?.parse::<u16>().ok());
    match status {
        Some(200..=399) => Ok(()),
        _ => Err(format!("{url} answers '{line}'")),
    }
}

fn command(words: &[String], deadline: Instant) -> Result<(), String> {
    let Some((program, arguments)) = words.split_first() else {
        return Err("no program is named".to_owned());
    };
    // A file, not a pipe: what the program leaves behind may keep a pipe open for ever.
    let output = tempfile().map_err(|error| format!("{program}: {error}"))?;
    let copy = |file: &std::fs::File| file.try_clone().map_err(|error| format!("{program}: {error}"));
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(copy(&output)?)
        .stderr(copy(&output)?)
        .process_group(0)
        .spawn()
        .map_err(|error| format!("{program}: {error}"))?;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
            Ok(None) => {
                if let Ok(group) = i32::try_from(child.id()) {
                    let _ = nix::sys::signal::killpg(
                        nix::unistd::Pid::from_raw(group),
                        nix::sys::signal::SIGKILL,
                    );
                }
                let _ = child.wait();
                return Err(format!("{program} doesn't end"));
            }
            Err(error) => return Err(format!("{program}: {error}")),
        }
    };
    if status.success() {
        return Ok(());
    }
    let said = last_words(output);
    Err(format!("{program}: {status}{said}"))
}

fn tempfile() -> std::io::Result<std::fs::File> {
    let fd = nix::sys::memfd::memfd_create(c"keel-check", nix::sys::memfd::MFdFlags::MFD_CLOEXEC)?;
    Ok(std::fs::File::from(fd))
}

fn last_words(mut output: std::fs::File) -> String {
    use std::io::Seek;
    let mut bytes = Vec::new();
    let read = output
        .rewind()
        .and_then(|()| output.take(1 << 20).read_to_end(&mut bytes));
    let tail = bytes.get(bytes.len().saturating_sub(SHOWN)..).unwrap_or_default();
    let text = String::from_utf8_lossy(tail);
    let text: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    match (read, text.is_empty()) {
        (Ok(_), false) => format!(", says: {}", text.join(" | ")),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use std::net::TcpListener;

    fn health(toml: &str) -> Health {
        Health::from_toml(toml).unwrap()
    }

    #[test]
    fn commands_succeed_fail_and_hang() {
        let failures = run(&health(
            r#"
[health.checks.good]
command = ["/bin/true"]
[health.checks.bad]
command = ["/bin/sh", "-c", "echo no good; exit 3"]
deadline = 1
[health.checks.hangs]
command = ["/bin/sh", "-c", "sleep 600 & wait"]
deadline = 1
[health.checks.absent]
command = ["/nonexistent"]
deadline = 1
"#,
        ));
        let names: Vec<_> = failures.iter().map(|failure| failure.check.as_str()).collect();
        assert_eq!(names, ["absent", "bad", "hangs"]);
        assert!(failures[1].why.contains("says: no good"), "{failures:?}");
        assert!(failures[2].why.contains("doesn't end"));
    }

    #[test]
    fn ports_and_pages() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            for (stream, answer) in listener.incoming().zip([
                "",
                "HTTP/1.1 204 No Content\r\n\r\n",
                "HTTP/1.1 500 x\r\n\r\n",
                "HTTP/1.1 500 x\r\n\r\n",
            ]) {
                let mut stream = stream.unwrap();
                if !answer.is_empty() {
                    let mut request = [0; 512];
                    let _ = stream.read(&mut request).unwrap();
                    stream.write_all(answer.as_bytes()).unwrap();
                }
            }
        });
        let deadline = || Instant::now() + Duration::from_secs(5);
        assert_eq!(
            try_once(&CheckKind::Tcp(format!("127.0.0.1:{port}")), deadline()),
            Ok(())
        );
        let page = CheckKind::Http(format!("http://127.0.0.1:{port}/x"));
        assert_eq!(try_once(&page, deadline()), Ok(()));
        assert!(try_once(&page, deadline()).unwrap_err().contains("500"));
        drop(server);
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(try_once(&CheckKind::Tcp(closed.to_string()), deadline()).is_err());
    }
}
