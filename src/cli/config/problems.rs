//! A remark with the line that it's about.

use crate::cli::output::color::{Ink, Style};
use crate::cli::output::errln;
use crate::config::{Place, Remark, printable};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// The configuration can't be used.
    Error,
    /// It can.
    Note,
}

/// Shows a remark on standard error.
pub(super) fn show(severity: Severity, remark: &Remark, style: Style) {
    errln!("{}", rendered(severity, remark, style));
}

/// A remark's lines, an empty one at the end.
fn rendered(severity: Severity, remark: &Remark, style: Style) -> String {
    let (word, ink) = match severity {
        Severity::Error => ("error", Ink::Red),
        Severity::Note => ("note", Ink::Cyan),
    };
    let mut lines = vec![format!(
        "{}: {}",
        style.paint(ink, word),
        style.paint(Ink::Bold, printable(&remark.message))
    )];
    let places = || std::iter::once(&remark.place).chain(remark.also.iter().map(|(_, place)| place));
    let gutter = places()
        .map(|place| place.line().to_string().len())
        .max()
        .unwrap_or(1);
    excerpt(&mut lines, (&remark.place, ink), gutter, style);
    for (what, place) in &remark.also {
        lines.push(format!(
            "{:gutter$} {} {}",
            "",
            style.paint(Ink::Blue, "="),
            printable(what)
        ));
        excerpt(&mut lines, (place, Ink::Blue), gutter, style);
    }
    if let Some(help) = &remark.help {
        let help = printable(help);
        lines.push(format!(
            "{:gutter$} {} help: {help}",
            "",
            style.paint(Ink::Blue, "=")
        ));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// The place, its line, and carets below what is meant.
fn excerpt(lines: &mut Vec<String>, (place, ink): (&Place, Ink), gutter: usize, style: Style) {
    let bar = style.paint(Ink::Blue, "|");
    lines.push(format!("{:gutter$}{} {place}", "", style.paint(Ink::Blue, "-->")));
    let text = place.line_text();
    if text.trim().is_empty() {
        return;
    }
    let before: String = text.chars().take(place.column() - 1).collect();
    let meant: String = text
        .chars()
        .skip(place.column() - 1)
        .take(place.width())
        .collect();
    let indent = printable(&before).chars().count();
    let width = printable(&meant).chars().count().max(1);
    lines.push(format!(
        "{} {bar} {}",
        style.paint(Ink::Blue, format_args!("{:>gutter$}", place.line())),
        printable(text)
    ));
    lines.push(format!(
        "{:gutter$} {bar} {:indent$}{}",
        "",
        "",
        style.paint(ink, "^".repeat(width))
    ));
}
