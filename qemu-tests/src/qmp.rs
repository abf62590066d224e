//! QEMU's machine protocol: screenshots, buttons, the end (QEMU, docs/interop/qmp-spec.rst).

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// How long QEMU may take to answer.
const ANSWER: Duration = Duration::from_mins(1);

/// A connection to one QEMU.
pub(crate) struct Qmp {
    reader: BufReader<UnixStream>,
}

impl Qmp {
    /// Takes the greeting and turns commands on.
    pub(crate) fn new(stream: UnixStream) -> Result<Qmp> {
        stream
            .set_read_timeout(Some(ANSWER))
            .context("the QMP socket takes no deadline")?;
        let mut qmp = Qmp {
            reader: BufReader::new(stream),
        };
        let greeting = qmp.receive()?;
        if greeting.get("QMP").is_none() {
            bail!("QEMU greets with {greeting} instead of QMP");
        }
        let _ = qmp.execute("qmp_capabilities", &Value::Null)?;
        Ok(qmp)
    }

    /// Runs a command and gives its result. Events that come in between are left out.
    pub(crate) fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let mut message = json!({ "execute": command });
        if !arguments.is_null()
            && let Some(object) = message.as_object_mut()
        {
            let _ = object.insert("arguments".to_owned(), arguments.clone());
        }
        self.reader
            .get_ref()
            .write_all(format!("{message}\n").as_bytes())
            .with_context(|| format!("QEMU can't be told to {command}"))?;
        loop {
            let answer = self
                .receive()
                .with_context(|| format!("QEMU doesn't answer to {command}"))?;
            if let Some(result) = answer.get("return") {
                return Ok(result.clone());
            }
            if let Some(error) = answer.get("error") {
                bail!("QEMU refuses {command}: {error}");
            }
        }
    }

    /// Writes the screen as a PNG picture.
    pub(crate) fn screenshot(&mut self, path: &Path) -> Result<()> {
        let _ = self.execute("screendump", &json!({ "filename": path, "format": "png" }))?;
        Ok(())
    }

    /// The instruction pointers and flags of all processors, and whether each waits for an interrupt.
    pub(crate) fn registers(&mut self) -> Result<String> {
        let answer = self.execute(
            "human-monitor-command",
            &json!({ "command-line": "info registers -a" }),
        )?;
        let lines = answer.as_str().unwrap_or_default().lines();
        Ok(lines
            .filter(|line| line.starts_with("CPU#") || line.starts_with("RIP=") || line.starts_with("CR0="))
            .collect::<Vec<_>>()
            .join("; "))
    }

    /// Plugs a USB stick in, whose bytes are in an image file.
    pub(crate) fn plug_in(
        &mut self,
        image: &Path,
        format: &str,
        serial: &str,
        read_only: bool,
    ) -> Result<()> {
        let node = json!({
            "driver": format, "node-name": serial, "read-only": read_only,
            "file": { "driver": "file", "filename": image },
        });
        let _ = self.execute("blockdev-add", &node)?;
        let device = json!({ "driver": "usb-storage", "drive": serial, "id": serial, "serial": serial });
        let _ = self.execute("device_add", &device)?;
        Ok(())
    }

    /// Writes all memory of the guest into a file, as an ELF core.
    pub(crate) fn dump_memory(&mut self, path: &Path) -> Result<()> {
        let protocol = format!("file:{}", path.display());
        let _ = self.execute(
            "dump-guest-memory",
            &json!({ "paging": false, "protocol": protocol }),
        )?;
        Ok(())
    }

    /// Stops the machine and writes its memory and devices to `path`; their disks stay as they are then.
    pub(crate) fn save(&mut self, path: &Path) -> Result<()> {
        let _ = self.execute("stop", &Value::Null)?;
        let uri = format!("exec:cat >'{}'", path.display());
        let _ = self.execute("migrate", &json!({ "uri": uri }))?;
        let deadline = Instant::now() + ANSWER;
        loop {
            let state = self.execute("query-migrate", &Value::Null)?;
            match state.get("status").and_then(Value::as_str) {
                Some("completed") => return Ok(()),
                Some("failed" | "cancelled") => bail!("QEMU can't write the machine's state: {state}"),
                _ if Instant::now() > deadline => {
                    bail!("QEMU doesn't finish writing the machine's state: {state}")
                }
                // QEMU tells of the end by an event only when asked to; a state of a gigabyte takes seconds.
                _ => {}
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Lets a machine that was started from a saved state go on.
    pub(crate) fn go_on(&mut self) -> Result<()> {
        let deadline = Instant::now() + ANSWER;
        loop {
            let state = self.execute("query-status", &Value::Null)?;
            match state.get("status").and_then(Value::as_str) {
                Some("running") => return Ok(()),
                Some("inmigrate") if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Some("inmigrate") => bail!("QEMU doesn't finish reading the machine's state"),
                _ => {
                    let _ = self.execute("cont", &Value::Null)?;
                }
            }
        }
    }

    /// Presses keys together, and lets them go again. Returns once they're let go.
    pub(crate) fn press(&mut self, keys: &[&str]) -> Result<()> {
        for down in [true, false] {
            let event = |key: &&str| json!({ "type": "key", "data": { "down": down, "key": { "type": "qcode", "data": key } } });
            let mut events: Vec<Value> = keys.iter().map(event).collect();
            if !down {
                events.reverse();
            }
            let _ = self.execute("input-send-event", &json!({ "events": events }))?;
        }
        Ok(())
    }

    /// Presses the power button.
    pub(crate) fn press_power_button(&mut self) -> Result<()> {
        let _ = self.execute("system_powerdown", &Value::Null)?;
        Ok(())
    }

    fn receive(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self
            .reader
            .read_line(&mut line)
            .context("QEMU's answer can't be read")?
            == 0
        {
            bail!("QEMU has ended");
        }
        serde_json::from_str(&line).with_context(|| format!("QEMU says what isn't JSON: {line:?}"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn events_before_an_answer_are_passed_over() {
        let (ours, mut qemu) = UnixStream::pair().unwrap();
        qemu.write_all(b"{\"QMP\": {}}\n{\"return\": {}}\n{\"event\": \"RESET\"}\n{\"return\": {\"status\": \"running\"}}\n")
            .unwrap();
        let mut qmp = Qmp::new(ours).unwrap();
        assert_eq!(
            qmp.execute("query-status", &Value::Null).unwrap(),
            json!({ "status": "running" })
        );
    }

    #[test]
    fn a_refusal_is_an_error_that_names_the_command() {
        let (ours, mut qemu) = UnixStream::pair().unwrap();
        qemu.write_all(b"{\"QMP\": {}}\n{\"return\": {}}\n{\"error\": {\"class\": \"GenericError\"}}\n")
            .unwrap();
        let error = Qmp::new(ours)
            .unwrap()
            .execute("screendump", &Value::Null)
            .unwrap_err();
        assert!(error.to_string().contains("screendump"), "{error}");
    }
}
