//! Commands in a guest's root shell, on its serial console.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::console::Console;
use crate::texts;

/// How long a command may take under emulation, unless said otherwise.
pub(crate) const COMMAND: Duration = Duration::from_mins(4);

/// A root shell on a console.
pub(crate) struct Shell<'a> {
    console: &'a Console,
    next: u32,
}

impl<'a> Shell<'a> {
    /// Takes over the shell whose prompt appears on the console: turns echo, line editing and prompt off.
    pub(crate) fn take_over(console: &'a Console, within: Duration) -> Result<Shell<'a>> {
        let _ = console
            .expect_any(&texts::SHELL_PROMPTS, within)
            .context("no root shell appears")?;
        let mut shell = Shell { console, next: 0 };
        // dash has no line editing, whose control sequences would be in the output.
        // The mark shows that bash has read the line: what is typed from then on is dash's.
        console.send_line("stty -echo -onlcr cols 500; printf '<keel-''shell>'; PS1= PS2= exec dash 2>&1")?;
        let _ = console.expect("<keel-shell>", COMMAND)?;
        let _ = shell.finish(
            "dmesg -n 1; export SYSTEMD_PAGER= SYSTEMD_COLORS=0 LC_ALL=C.UTF-8",
            COMMAND,
        )?;
        Ok(shell)
    }

    /// The shell of a machine that was saved after it was taken over; `run` tells how many commands it had seen.
    pub(crate) fn resumed(console: &'a Console) -> Shell<'a> {
        Shell { console, next: 1000 }
    }

    /// Runs a command; gives its exit code and its output, errors included.
    pub(crate) fn sh(&mut self, command: &str) -> Result<(i32, String)> {
        self.finish(command, COMMAND)
            .with_context(|| format!("in the guest: {command}"))
    }

    /// The same for a command that may take longer, or less.
    pub(crate) fn sh_within(&mut self, command: &str, within: Duration) -> Result<(i32, String)> {
        self.finish(command, within)
            .with_context(|| format!("in the guest: {command}"))
    }

    /// The output of a command that must succeed.
    pub(crate) fn run(&mut self, command: &str) -> Result<String> {
        let (code, output) = self.sh(command)?;
        if code != 0 {
            bail!("in the guest, `{command}` ended with {code}:\n{output}");
        }
        Ok(output)
    }

    /// Sends a command whose end can't be seen, such as `poweroff`.
    pub(crate) fn send(&mut self, command: &str) -> Result<()> {
        self.console.send_line(command)
    }

    fn finish(&mut self, command: &str, within: Duration) -> Result<(i32, String)> {
        self.next += 1;
        let number = self.next;
        // Put together by the shell, so that an echo of the command isn't taken for its output.
        let begin = format!("<keel-{number}>");
        let end = format!("<keel-end-{number} ");
        self.console.send_line(&format!(
            "printf '%s\\n' '<keel-''{number}>'; {{ {command}\n}} 2>&1; printf '%s%s>\\n' '<keel-end-''{number} ' $?"
        ))?;
        let _ = self.console.expect(&format!("{begin}\n"), within)?;
        let output = self.console.expect(&end, within)?.before;
        let code = self.console.expect(">", within)?.before;
        let code = code
            .trim()
            .parse()
            .with_context(|| format!("the shell's exit code reads {code:?}"))?;
        Ok((code, output.trim_end().to_owned()))
    }
}
