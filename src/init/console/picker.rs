//! The list of generations to choose from: plain ASCII, 80 columns, as usable over a serial line as on a screen.

/// Generations shown at first: what fits on 25 lines together with messages above.
const SHOWN_AT_FIRST: usize = 16;
const COLUMNS: usize = 79;

/// A generation in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PickerItem {
    /// Number of the generation.
    pub number: u64,
    /// What it is called: `Debian 13 (Linux 6.12.57)`.
    pub label: String,
    /// When it was made: `2026-11-22 18:03`.
    pub date: String,
    /// What else there is to say: `default`, `last good`, `not intact: missing /nix/store/...`.
    pub note: String,
    /// False for one that can't be booted; the note says why.
    pub selectable: bool,
}

/// What somebody chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The generation with this number.
    Generation(u64),
    /// The whole list, [`Picker::render_all`].
    ShowAll,
    /// Nothing: why, in one line.
    Unclear(String),
}

/// A numbered list of generations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picker {
    items: Vec<PickerItem>,
    default: Option<u64>,
}

impl Picker {
    /// The list, newest first whatever the order given. `default` is taken when nobody types a number; one that isn't
    /// in the list, or can't be booted, is none.
    pub fn new(mut items: Vec<PickerItem>, default: u64) -> Self {
        items.sort_by_key(|item| std::cmp::Reverse(item.number));
        let default = items
            .iter()
            .any(|item| item.number == default && item.selectable)
            .then_some(default);
        Self { items, default }
    }

    /// The newest generations and the default, and the line to type behind (without an end): a text for
    /// [`Prompt::new`](super::Prompt::new).
    pub fn render(&self) -> String {
        self.text(SHOWN_AT_FIRST)
    }

    /// Every generation.
    pub fn render_all(&self) -> String {
        self.text(usize::MAX)
    }

    fn text(&self, newest: usize) -> String {
        let mut lines = vec!["Pick a generation".to_owned(), String::new()];
        let shown =
            |(index, item): &(usize, &PickerItem)| *index < newest || Some(item.number) == self.default;
        let items: Vec<&PickerItem> = self
            .items
            .iter()
            .enumerate()
            .filter(shown)
            .map(|(_, item)| item)
            .collect();
        let width = |text: fn(&PickerItem) -> usize| items.iter().map(|item| text(item)).max().unwrap_or(0);
        let numbers = width(|item| item.number.to_string().len());
        let dates = width(|item| ascii(&item.date).len());
        let labels = width(|item| ascii(&item.label).len()).min(36);
        for item in &items {
            let mark = if Some(item.number) == self.default {
                '*'
            } else {
                ' '
            };
            let label = cut(&ascii(&item.label), labels);
            let (number, date, note) = (item.number, ascii(&item.date), ascii(&item.note));
            let line = format!("{mark} {number:numbers$}  {date:dates$}  {label:labels$}  {note}");
            lines.push(cut(line.trim_end(), COLUMNS));
        }
        let hidden = self.items.len() - items.len();
        lines.push(String::new());
        if hidden > 0 {
            lines.push(format!("{hidden} older: type a number, or a to list all."));
        }
        lines.push(match self.default {
            Some(default) => format!("Number (Enter for {default}): "),
            None => "Number: ".to_owned(),
        });
        lines.join("\n")
    }

    /// What the line typed stands for.
    pub fn parse(&self, line: &[u8]) -> Choice {
        let typed = ascii(&String::from_utf8_lossy(line));
        let typed = typed.trim();
        let number = match (typed, self.default) {
            ("", Some(default)) => return Choice::Generation(default),
            ("", None) => return Choice::Unclear("Type the number of a generation.".to_owned()),
            ("a" | "A", _) => return Choice::ShowAll,
            (typed, _) => typed.trim_start_matches('#').parse::<u64>().ok(),
        };
        match self.items.iter().find(|item| Some(item.number) == number) {
            Some(item) if item.selectable => Choice::Generation(item.number),
            Some(item) => Choice::Unclear(cut(
                &format!(
                    "Generation {} can't be booted: {}",
                    item.number,
                    ascii(&item.note)
                ),
                COLUMNS,
            )),
            None => Choice::Unclear(match number {
                Some(number) => format!("There is no generation {number}."),
                None => format!("\"{}\" is not the number of a generation.", cut(typed, 20)),
            }),
        }
    }
}

/// The text with anything but printable ASCII replaced: a serial line may end at a terminal of another encoding.
pub(super) fn ascii(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' })
        .collect()
}

/// At most `columns` characters; a cut is shown by three dots.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let kept: String = text.chars().take(columns.saturating_sub(3)).collect();
    kept + "..."
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn item(number: u64, note: &str, selectable: bool) -> PickerItem {
        PickerItem {
            number,
            label: "Debian 13 (Linux 6.12.57)".to_owned(),
            date: "2026-11-22 18:03".to_owned(),
            note: note.to_owned(),
            selectable,
        }
    }

    fn three() -> Picker {
        let missing = "not intact: missing /nix/store/0123456789abcdfghijklmnpqrsvwxyz-usr";
        Picker::new(
            vec![
                item(9, "last good", true),
                item(42, "", true),
                item(41, missing, false),
            ],
            42,
        )
    }

    #[test]
    fn a_list_of_three() {
        let expected = "\
Pick a generation

* 42  2026-11-22 18:03  Debian 13 (Linux 6.12.57)
  41  2026-11-22 18:03  Debian 13 (Linux 6.12.57)  not intact: missing /nix/...
   9  2026-11-22 18:03  Debian 13 (Linux 6.12.57)  last good

Number (Enter for 42): ";
        assert_eq!(three().render(), expected);
        assert_eq!(three().render_all(), expected);
    }

    #[test]
    fn answers() {
        let table: [(&str, Choice); 10] = [
            ("", Choice::Generation(42)),
            ("  ", Choice::Generation(42)),
            ("9", Choice::Generation(9)),
            (" 042 ", Choice::Generation(42)),
            ("#9", Choice::Generation(9)),
            ("a", Choice::ShowAll),
            ("7", Choice::Unclear("There is no generation 7.".to_owned())),
            (
                "ö",
                Choice::Unclear("\"?\" is not the number of a generation.".to_owned()),
            ),
            (
                "-1",
                Choice::Unclear("\"-1\" is not the number of a generation.".to_owned()),
            ),
            (
                "41",
                Choice::Unclear(
                    "Generation 41 can't be booted: not intact: missing /nix/store/0123456789abcd..."
                        .to_owned(),
                ),
            ),
        ];
        for (line, choice) in table {
            assert_eq!(three().parse(line.as_bytes()), choice, "{line}");
        }
        assert_eq!(Picker::new(vec![item(1, "", false)], 1).parse(b"").clone(), {
            Choice::Unclear("Type the number of a generation.".to_owned())
        });
    }

    #[test]
    fn a_long_list_shows_the_newest_and_the_default() {
        let picker = Picker::new((1..=40).map(|number| item(number, "", true)).collect(), 3);
        let text = picker.render();
        assert!(text.contains("\n* 3") || text.contains("\n*  3"), "{text}");
        assert!(
            text.contains("23 older: type a number, or a to list all."),
            "{text}"
        );
        assert!(!text.contains("\n  24 ") && text.contains("\n  25 "), "{text}");
        assert_eq!(picker.parse(b"10"), Choice::Generation(10));
        assert_eq!(picker.render_all().lines().count(), 44);
    }

    proptest! {
        #[test]
        fn ascii_and_80_columns_whatever_the_names(label in "\\PC{0,90}", note in ".{0,90}", line in proptest::collection::vec(any::<u8>(), 0..40)) {
            let picker = Picker::new(vec![PickerItem { number: u64::MAX, label, date: "x".to_owned(), note, selectable: false }], 1);
            let text = picker.render();
            prop_assert!(text.is_ascii() && text.lines().all(|l| l.len() < 80));
            if let Choice::Unclear(why) = picker.parse(&line) {
                prop_assert!(why.is_ascii() && why.len() < 80 && !why.contains('\n'));
            }
        }
    }
}
