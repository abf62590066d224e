//! The picker: a plain numbered list of generations, in ASCII, for any terminal.

use std::fmt::Write;

/// A line of the picker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PickerItem {
    /// Number of the generation.
    pub number: u64,
    /// What it is.
    pub label: String,
    /// What should be known about it: `default`, or why it can't be started.
    pub note: String,
    /// Whether it can be started.
    pub selectable: bool,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The default.
    Default,
    /// The generation with this number.
    Number(u64),
    /// Nothing that can be done; says why.
    Invalid(String),
}

/// The list.
#[derive(Clone, Debug)]
pub struct Picker {
    items: Vec<PickerItem>,
    default: Option<u64>,
}

impl Picker {
    /// A picker of `items`, in their order.
    pub fn new(items: Vec<PickerItem>, default: Option<u64>) -> Picker {
        Picker { items, default }
    }

    /// The list as text.
    pub fn render(&self) -> String {
        let mut text = "\nPick a generation:\n".to_owned();
        let width = self
            .items
            .iter()
            .map(|item| item.number.to_string().len())
            .max()
            .unwrap_or(1);
        for item in &self.items {
            let mark = if self.default == Some(item.number) {
                '*'
            } else {
                ' '
            };
            let label: String = item
                .label
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .take(48)
                .collect();
            let note = if item.note.is_empty() {
                String::new()
            } else {
                format!("  ({})", item.note)
            };
            let _ = writeln!(text, "{mark} {:>width$}  {label}{note}", item.number);
        }
        text
    }

    /// The line below the list.
    pub fn prompt(&self) -> String {
        match self.default {
            Some(number) => format!("Number, or Enter for {number}: "),
            None => "Number: ".to_owned(),
        }
    }

    /// Reads an answer.
    pub fn parse(&self, line: &[u8]) -> Choice {
        let text = String::from_utf8_lossy(line);
        let text = text.trim();
        if text.is_empty() {
            return match self.default {
                Some(_) => Choice::Default,
                None => Choice::Invalid("There is no default: enter one of the numbers.".to_owned()),
            };
        }
        let Ok(number) = text.parse() else {
            return Choice::Invalid("Enter one of the numbers on the left.".to_owned());
        };
        match self.items.iter().find(|item| item.number == number) {
            Some(item) if item.selectable => Choice::Number(number),
            Some(item) => Choice::Invalid(format!("Generation {number} can't be started: {}.", item.note)),
            None => Choice::Invalid(format!("There is no generation {number}.")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picker() -> Picker {
        let item = |number, note: &str, selectable| PickerItem {
            number,
            label: "Debian 13".to_owned(),
            note: note.to_owned(),
            selectable,
        };
        Picker::new(
            vec![item(12, "", true), item(3, "libc is missing", false)],
            Some(12),
        )
    }

    #[test]
    fn the_list_is_aligned_and_marks_the_default() {
        assert_eq!(
            picker().render(),
            "\nPick a generation:\n* 12  Debian 13\n   3  Debian 13  (libc is missing)\n"
        );
    }

    #[test]
    fn answers_are_numbers_or_nothing() {
        assert_eq!(picker().parse(b""), Choice::Default);
        assert_eq!(picker().parse(b" 12 "), Choice::Number(12));
        assert!(matches!(picker().parse(b"3"), Choice::Invalid(why) if why.contains("libc is missing")));
        assert!(matches!(picker().parse(b"4"), Choice::Invalid(_)));
        assert!(matches!(picker().parse(b"\xff"), Choice::Invalid(_)));
        assert!(matches!(
            picker().parse(b"99999999999999999999999"),
            Choice::Invalid(_)
        ));
    }
}
