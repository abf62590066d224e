//! A difference as text: aligned, with the letters that nvd and dix use: U upgraded, D downgraded, C changed, A added,
//! R removed.

use std::fmt::Write as _;

use crate::cli::output::color::{Ink, Style};
use crate::cli::units::shown_bytes;
use crate::diff::accounts::Kind as Common;
use crate::diff::packages::{Kind, PackageChange};
use crate::diff::units::UnitChange;
use crate::diff::version;
use crate::diff::{Closure, Diff};

/// Units that run other code and differ in nothing else are counted; so many are named.
const NAMED_MAX: usize = 6;
/// So many changed files of a unit are named.
const FILES_MAX: usize = 3;

/// The whole text, with a newline at its end.
pub(in crate::cli) fn render(diff: &Diff, style: Style) -> String {
    let mut text = String::new();
    let (from, to) = (diff.from.name(), diff.to.name());
    line(
        &mut text,
        format_args!(
            "{} -> {}",
            style.paint(Ink::Bold, from),
            style.paint(Ink::Bold, to)
        ),
    );
    if diff.is_empty() {
        line(&mut text, format_args!("nothing differs"));
    }
    packages(&mut text, &diff.packages, style);
    boot(&mut text, diff, style);
    units(&mut text, &diff.units, style);
    let etc = diff.etc.iter();
    let rows = etc.map(|change| {
        let path = format!("/etc/{}", change.path.display());
        (change.change, path, change.details.join(", "))
    });
    table(&mut text, "Files", rows.collect(), style);
    let accounts = diff.accounts.iter();
    let rows = accounts.map(|change| (change.change, change.account.clone(), change.details.join(", ")));
    table(&mut text, "Accounts", rows.collect(), style);
    closure(&mut text, &diff.closure, style);
    for warning in &diff.warnings {
        line(
            &mut text,
            format_args!("{} {warning}", style.paint(Ink::Yellow, "warning:")),
        );
    }
    text
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string can't fail.
    let _ = writeln!(text, "{arguments}");
}

fn heading(text: &mut String, name: &str, counts: &str, style: Style) {
    let separator = if counts.is_empty() { "" } else { ": " };
    line(
        text,
        format_args!("\n{}{separator}{counts}", style.paint(Ink::Bold, name)),
    );
}

fn letter(kind: Kind) -> (char, Ink) {
    match kind {
        Kind::Upgraded => ('U', Ink::Cyan),
        Kind::Downgraded => ('D', Ink::Yellow),
        Kind::Rebuilt => ('C', Ink::Magenta),
        Kind::Added => ('A', Ink::Green),
        Kind::Removed => ('R', Ink::Red),
    }
}

fn packages(text: &mut String, changes: &[PackageChange], style: Style) {
    if changes.is_empty() {
        return;
    }
    let count = |kinds: &[Kind]| {
        changes
            .iter()
            .filter(|change| kinds.contains(&change.change))
            .count()
    };
    let counts = [
        (count(&[Kind::Upgraded]), "upgraded"),
        (count(&[Kind::Downgraded]), "downgraded"),
        (count(&[Kind::Rebuilt]), "changed"),
        (count(&[Kind::Added]), "added"),
        (count(&[Kind::Removed]), "removed"),
    ];
    let counts: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let growth = changes.iter().map(PackageChange::growth).sum();
    heading(
        text,
        "Packages",
        &format!("{} ({} installed)", counts.join(", "), signed(growth)),
        style,
    );
    let version = |version: &Option<crate::diff::packages::Version>| {
        version
            .as_ref()
            .map_or_else(String::new, |version| version.version.clone())
    };
    let name = |change: &PackageChange| {
        // The architecture tells two of one name apart.
        let is_double = changes
            .iter()
            .any(|other| other.name == change.name && other.architecture != change.architecture);
        if is_double {
            format!("{}:{}", change.name, change.architecture)
        } else {
            change.name.clone()
        }
    };
    let width = |of: &dyn Fn(&PackageChange) -> String| {
        let widths = changes.iter().map(|change| of(change).chars().count());
        widths.max().unwrap_or(0)
    };
    let names = width(&name);
    let froms = width(&|change| version(&change.from));
    let tos = width(&|change| version(&change.to));
    for change in changes {
        let (letter, ink) = letter(change.change);
        let (from, to) = (version(&change.from), version(&change.to));
        let arrow = if from.is_empty() || to.is_empty() {
            "  "
        } else {
            "->"
        };
        let (from, to) = coloured(&from, &to, (froms, tos), style);
        let users = match change.users.join(", ") {
            users if users.is_empty() => users,
            users => format!("  {}", style.paint(Ink::Dim, format_args!("for {users}"))),
        };
        line(
            text,
            format_args!(
                "  {}  {:<names$}  {from} {arrow} {to}  {:>10}{users}",
                style.paint(ink, letter),
                name(change),
                signed(change.growth()),
            ),
        );
    }
}

/// Two versions, padded, with only the part coloured in which they differ.
fn coloured(from: &str, to: &str, widths: (usize, usize), style: Style) -> (String, String) {
    let (here, there) = match (from, to) {
        ("", _) | (_, "") => (0..from.len(), 0..to.len()),
        _ => version::difference(from, to),
    };
    let one = |version: &str, range: std::ops::Range<usize>, ink, width: usize| {
        let part = |range: std::ops::Range<usize>| version.get(range).unwrap_or_default();
        let mut text = part(0..range.start).to_owned();
        if !range.is_empty() {
            let _ = write!(text, "{}", style.paint(ink, part(range.clone())));
        }
        text.push_str(part(range.end..version.len()));
        let padding = width.saturating_sub(version.chars().count());
        text.extend(std::iter::repeat_n(' ', padding));
        text
    };
    (
        one(from, here, Ink::Red, widths.0),
        one(to, there, Ink::Green, widths.1),
    )
}

fn boot(text: &mut String, diff: &Diff, style: Style) {
    let change = &diff.boot;
    if change.is_empty() {
        return;
    }
    heading(text, "Boot", "", style);
    if let Some((from, to)) = &change.kernel {
        let (from, to) = coloured(from, to, (0, 0), style);
        line(text, format_args!("  kernel     {from} -> {to}"));
    }
    if change.kernel_rebuilt {
        line(
            text,
            format_args!("  kernel     another build of the same version"),
        );
    }
    if change.initrd {
        line(text, format_args!("  initrd     another one"));
    }
    for (parameters, sign, ink) in [
        (&change.added_parameters, '+', Ink::Green),
        (&change.removed_parameters, '-', Ink::Red),
    ] {
        for parameter in parameters {
            line(
                text,
                format_args!("  parameter  {} {parameter}", style.paint(ink, sign)),
            );
        }
    }
}

fn units(text: &mut String, changes: &[UnitChange], style: Style) {
    let (code_only, others): (Vec<_>, Vec<_>) = changes.iter().partition(|change| change.is_code_only());
    let rows = others
        .iter()
        .map(|change| (change.change, change.unit.clone(), unit_details(change)));
    let rows: Vec<_> = rows.collect();
    let has_rows = !rows.is_empty();
    table(text, "Units", rows, style);
    if code_only.is_empty() {
        return;
    }
    if !has_rows {
        heading(text, "Units", "", style);
    }
    let named: Vec<&str> = code_only
        .iter()
        .take(NAMED_MAX)
        .map(|change| change.unit.as_str())
        .collect();
    let more = code_only.len() - named.len();
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let (units, verb) = if code_only.len() == 1 {
        ("unit", "runs")
    } else {
        ("units", "run")
    };
    line(
        text,
        format_args!(
            "  {}  {} {units} {verb} other code: {}{more}",
            style.paint(Ink::Magenta, 'C'),
            code_only.len(),
            named.join(", "),
        ),
    );
}

fn unit_details(change: &UnitChange) -> String {
    let mut details = Vec::new();
    match change.masked {
        Some(true) => details.push("masked".to_owned()),
        Some(false) => details.push("not masked any more".to_owned()),
        None => {}
    }
    if change.text && change.settings.is_empty() {
        details.push("its text, but no setting".to_owned());
    }
    details.extend(change.settings.iter().cloned());
    for (paths, what) in [(&change.configuration, "reads"), (&change.code, "runs")] {
        if !paths.is_empty() {
            details.push(format!("{what} {}", listed(paths)));
        }
    }
    details.join(", ")
}

fn listed(paths: &[String]) -> String {
    let named = paths
        .iter()
        .take(FILES_MAX)
        .cloned()
        .collect::<Vec<_>>()
        .join(" ");
    match paths.len().saturating_sub(FILES_MAX) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

fn table(text: &mut String, name: &str, rows: Vec<(Common, String, String)>, style: Style) {
    if rows.is_empty() {
        return;
    }
    heading(text, name, "", style);
    let width = rows.iter().map(|(_, name, _)| name.chars().count()).max();
    let width = width.unwrap_or(0).min(48);
    for (kind, name, details) in rows {
        let (letter, ink) = letter(kind.into());
        let row = format!("{name:<width$}  {}", style.paint(Ink::Dim, &details));
        let row = if details.is_empty() { name } else { row };
        line(text, format_args!("  {}  {row}", style.paint(ink, letter)));
    }
}

fn closure(text: &mut String, closure: &Closure, style: Style) {
    heading(text, "Store", "", style);
    let bytes = |bytes: u64| shown_bytes(bytes);
    let growth = i128::from(closure.after_bytes) - i128::from(closure.before_bytes);
    line(
        text,
        format_args!(
            "  closure    {} -> {} ({})",
            bytes(closure.before_bytes),
            bytes(closure.after_bytes),
            signed(growth)
        ),
    );
    line(
        text,
        format_args!(
            "  paths      {} new ({}), {} gone ({})",
            closure.added_paths,
            bytes(closure.added_bytes),
            closure.removed_paths,
            bytes(closure.removed_bytes)
        ),
    );
    line(
        text,
        format_args!(
            "  contents   {} new, {} gone (of files below /usr and /etc; equal ones are on the disk once)",
            bytes(closure.new_contents),
            bytes(closure.old_contents)
        ),
    );
}

/// `+1.5 MiB`
fn signed(bytes: i128) -> String {
    let size = shown_bytes(u64::try_from(bytes.unsigned_abs()).unwrap_or(u64::MAX));
    match bytes {
        0 => "0 B".to_owned(),
        1.. => format!("+{size}"),
        _ => format!("-{size}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_part_that_differs_is_coloured_and_widths_are_those_of_the_text() {
        let style = Style { is_coloured: true };
        let (from, to) = coloured("6.12.9-1", "6.12.13-1", (10, 10), style);
        assert_eq!(from, "6.12.\x1b[31m9\x1b[0m-1  ");
        assert_eq!(to, "6.12.\x1b[32m13\x1b[0m-1 ");
        let (from, to) = coloured("", "1.0", (3, 3), Style::default());
        assert_eq!((from.as_str(), to.as_str()), ("   ", "1.0"));
        assert_eq!(
            (signed(-2048), signed(0), signed(1)),
            ("-2.0 KiB".into(), "0 B".into(), "+1 B".into())
        );
    }
}
