//! Running the programs that the suite needs, and saying what they said when they fail.

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// A program and its arguments.
///
/// It runs under setpriv(1), which asks the kernel to end it when the suite ends, however that happens: nothing is left
/// behind by Ctrl-C, a panic or a kill.
pub(crate) struct Tool {
    command: Command,
    name: String,
    input: Option<Vec<u8>>,
}

impl Tool {
    /// A program, by name or path.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Tool {
        Tool {
            command: tied(program.as_ref()),
            name: Path::new(&program)
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            input: None,
        }
    }

    /// Adds an argument.
    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Tool {
        let _ = self.command.arg(argument);
        self
    }

    /// Adds arguments.
    pub(crate) fn args<T: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = T>) -> Tool {
        let _ = self.command.args(arguments);
        self
    }

    /// Sets a variable of the environment.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Tool {
        let _ = self.command.env(name, value);
        self
    }

    /// Runs in `directory`.
    pub(crate) fn within(mut self, directory: &Path) -> Tool {
        let _ = self.command.current_dir(directory);
        self
    }

    /// What the program reads.
    pub(crate) fn input(mut self, bytes: impl Into<Vec<u8>>) -> Tool {
        self.input = Some(bytes.into());
        self
    }

    /// Runs to the end; a failure carries what was said.
    pub(crate) fn run(self) -> Result<()> {
        let _ = self.output()?;
        Ok(())
    }

    /// Runs to the end and gives what was said on standard output.
    pub(crate) fn output(self) -> Result<String> {
        let name = self.name.clone();
        let output = self.finish()?;
        if !output.status.success() {
            bail!("{name} failed ({}):\n{}", output.status, said(&output));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs to the end, whatever that is.
    pub(crate) fn finish(mut self) -> Result<Output> {
        let name = self.name;
        let stdin = if self.input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        };
        let mut child = self
            .command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{name} can't be started"))?;
        if let (Some(mut pipe), Some(input)) = (child.stdin.take(), self.input) {
            // A program that doesn't read to the end says why by its exit code.
            let _ = pipe.write_all(&input);
        }
        child
            .wait_with_output()
            .with_context(|| format!("{name} can't be waited for"))
    }
}

/// A command that ends with the suite.
pub(crate) fn tied(program: &OsStr) -> Command {
    let mut command = Command::new("setpriv");
    let _ = command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

fn said(output: &Output) -> String {
    let both = [
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    ]
    .concat();
    let lines: Vec<&str> = both.lines().filter(|line| !line.trim().is_empty()).collect();
    lines
        .get(lines.len().saturating_sub(60)..)
        .unwrap_or_default()
        .join("\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_failure_names_the_program_and_what_it_said() {
        let error = Tool::new("sh")
            .args(["-c", "echo reason >&2; exit 3"])
            .run()
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("sh failed") && error.contains("reason"),
            "{error}"
        );
    }

    #[test]
    fn input_reaches_the_program() {
        assert_eq!(Tool::new("cat").input("text").output().unwrap(), "text");
    }
}
