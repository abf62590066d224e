//! `keel --help`: the verbs in groups, in the order in which people come to need them.

use std::fmt::Write as _;

use clap::Command;

/// Verbs by what they are for.
const GROUPS: [(&str, &[&str]); 5] = [
    (
        "The machine's configuration",
        &[
            "generate-config",
            "check",
            "options",
            "search",
            "update",
            "build",
            "passwd",
        ],
    ),
    (
        "Going to a system",
        &[
            "switch", "test", "boot", "dry-run", "rollback", "confirm", "rehearse",
        ],
    ),
    ("What there is", &["status", "generations", "diff", "etc"]),
    ("The store", &["store", "gc", "copy", "key", "profile"]),
    ("Parts and pages", &["import", "initrd", "completion", "man"]),
];

/// Puts the verbs into groups.
pub(super) fn grouped(command: Command) -> Command {
    let verbs = text(&command);
    command.help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n{verbs}\nOptions:\n{{options}}\n\n\
         `keel VERB --help` has more. Exit codes of a switch: 0 done, 100 done and a reboot brings the rest, 5 came back to the \
         old system.\n"
    ))
}

fn text(command: &Command) -> String {
    let width = GROUPS.iter().flat_map(|(_, verbs)| *verbs).map(|verb| verb.len());
    let width = width.max().unwrap_or(0);
    let mut text = String::new();
    for (name, verbs) in GROUPS {
        // Writing to a string can't fail.
        let _ = writeln!(text, "\n{name}:");
        for verb in verbs {
            let about = command.find_subcommand(verb).and_then(Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(text, "  {verb:<width$}  {about}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_verb_is_in_one_group_and_says_what_it_does() {
        let command = crate::cli::Cli::command();
        let mut shown: Vec<&str> = GROUPS.iter().flat_map(|(_, verbs)| *verbs).copied().collect();
        shown.sort_unstable();
        let visible = command.get_subcommands().filter(|verb| !verb.is_hide_set());
        let mut there: Vec<&str> = visible.map(Command::get_name).collect();
        there.sort_unstable();
        assert_eq!(shown, there);
        for line in text(&command).lines().filter(|line| line.starts_with("  ")) {
            assert!(line.trim().contains("  "), "{line}");
        }
    }
}
