//! What is offered when the boot can't go on.

use std::fmt::Write as _;

use super::picker::{ascii, cut};

/// What somebody chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureChoice {
    /// Try the failed step again.
    Retry,
    /// Open the picker.
    OtherGeneration,
    /// Restart the machine.
    Reboot,
    /// Switch the machine off.
    PowerOff,
    /// A shell; only where the initrd was built with one.
    Shell,
}

/// The menu of a failure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailureMenu {
    /// What failed, on what, why, and what can be done; one line or several.
    pub reason: String,
    /// There are other generations to choose from.
    pub other_generations: bool,
    /// The initrd holds a shell.
    pub shell: bool,
    /// Seconds until the machine reboots by itself, on a trial boot.
    pub reboot_after: Option<u32>,
}

impl FailureMenu {
    fn choices(&self) -> Vec<(char, &'static str, FailureChoice)> {
        let all = [
            (true, 'r', "retry", FailureChoice::Retry),
            (
                self.other_generations,
                'g',
                "another generation",
                FailureChoice::OtherGeneration,
            ),
            (self.shell, 's', "shell", FailureChoice::Shell),
            (true, 'b', "reboot", FailureChoice::Reboot),
            (true, 'p', "power off", FailureChoice::PowerOff),
        ];
        all.into_iter()
            .filter(|(offered, ..)| *offered)
            .map(|(_, key, name, choice)| (key, name, choice))
            .collect()
    }

    /// The reason, the choices, and the line to type behind (without an end): a text for
    /// [`Prompt::new`](super::Prompt::new).
    pub fn render(&self) -> String {
        let mut text = String::from("\nThe boot can't go on.\n");
        for line in self.reason.lines() {
            text.push_str(&wrapped(&ascii(line)));
        }
        text.push('\n');
        for (key, name, _) in self.choices() {
            let _ = writeln!(text, "  {key}  {name}");
        }
        if let Some(seconds) = self.reboot_after {
            let _ = writeln!(
                text,
                "\nThis is a trial boot: without an answer it reboots in {seconds} s."
            );
        }
        let keys: Vec<String> = self.choices().iter().map(|(key, ..)| key.to_string()).collect();
        let (last, others) = keys
            .split_last()
            .map_or(("", &[][..]), |(last, others)| (last, others));
        let _ = write!(text, "\n{} or {last}: ", others.join(", "));
        text
    }

    /// What the line typed stands for: the first letter, or the whole word. An error is one line to show.
    pub fn parse(&self, line: &[u8]) -> Result<FailureChoice, String> {
        let typed = ascii(&String::from_utf8_lossy(line)).trim().to_ascii_lowercase();
        let found = self
            .choices()
            .into_iter()
            .find(|(key, name, _)| typed == key.to_string() || typed == *name);
        found.map(|(_, _, choice)| choice).ok_or_else(|| {
            let known: Vec<String> = self
                .choices()
                .iter()
                .map(|(key, name, _)| format!("{key} ({name})"))
                .collect();
            let wrong = if typed.is_empty() {
                String::new()
            } else {
                format!("\"{}\"? ", cut(&typed, 10))
            };
            cut(&format!("{wrong}Type {}.", known.join(", ")), 79)
        })
    }
}

/// The line broken at blanks, so that it fits on 80 columns, continued with two blanks before.
fn wrapped(line: &str) -> String {
    let mut text = String::new();
    let mut column = 0;
    for word in line.split(' ') {
        let mut word = word;
        if column > 0 && column + 1 + word.len() > 79 {
            text.push_str("\n  ");
            column = 2;
        } else if column > 0 {
            text.push(' ');
            column += 1;
        }
        // A word longer than a line: ASCII, so that any position is the border of a character.
        while let Some((head, tail)) = word
            .split_at_checked(79 - column)
            .filter(|(_, tail)| !tail.is_empty())
        {
            text.push_str(head);
            text.push_str("\n  ");
            column = 2;
            word = tail;
        }
        text.push_str(word);
        column += word.len();
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_menu() {
        let menu = FailureMenu {
            reason: "/dev/vg/root did not appear: volume group vg lacks the physical volume \
                     a1b2c3-0000-0000. Connect the missing disk, then retry."
                .to_owned(),
            other_generations: true,
            shell: false,
            reboot_after: Some(60),
        };
        let expected = "
The boot can't go on.
/dev/vg/root did not appear: volume group vg lacks the physical volume
  a1b2c3-0000-0000. Connect the missing disk, then retry.

  r  retry
  g  another generation
  b  reboot
  p  power off

This is a trial boot: without an answer it reboots in 60 s.

r, g, b or p: ";
        assert_eq!(menu.render(), expected);
        for (typed, choice) in [
            ("r", FailureChoice::Retry),
            (" G ", FailureChoice::OtherGeneration),
            ("reboot", FailureChoice::Reboot),
            ("power off", FailureChoice::PowerOff),
        ] {
            assert_eq!(menu.parse(typed.as_bytes()), Ok(choice));
        }
        let known = "Type r (retry), g (another generation), b (reboot), p (power off).";
        assert_eq!(menu.parse(b"").unwrap_err(), known);
        assert_eq!(menu.parse(b"s").unwrap_err(), format!("\"s\"? {known}"));
    }

    #[test]
    fn offers_only_what_there_is() {
        let menu = FailureMenu::default();
        assert!(menu.render().ends_with("r, b or p: "));
        assert!(menu.parse(b"g").is_err() && menu.parse(b"s").is_err());
        let menu = FailureMenu { shell: true, ..menu };
        assert_eq!(menu.parse(b"s"), Ok(FailureChoice::Shell));
    }

    proptest! {
        #[test]
        fn ascii_and_80_columns_whatever_the_reason(reason in ".{0,400}", line in proptest::collection::vec(any::<u8>(), 0..40)) {
            let menu = FailureMenu { reason, other_generations: true, shell: true, reboot_after: None };
            let text = menu.render();
            prop_assert!(text.is_ascii() && text.lines().all(|l| l.len() < 80), "{}", text);
            if let Err(why) = menu.parse(&line) {
                prop_assert!(why.is_ascii() && why.len() < 80 && !why.contains('\n'));
            }
        }
    }
}
