//! `[programs]` and `[environment]`: shells and what they start.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::contribution::Contribution;
use crate::config::{Bash, Git, Programs, Starship};

/// Debian's file for interactive shells. Login shells read it by way of /etc/profile.
const BASHRC: &str = "bash.bashrc";
/// Begins what is put at its end: /etc/profile may be read by shells that aren't interactive.
const INTERACTIVE: &str = "\n# Made by keel from system.toml.\nfor keel_file in /etc/bash.bashrc.d/*.sh; do\n    \
[ -r \"$keel_file\" ] && . \"$keel_file\"\ndone\nunset keel_file\n";

/// A value of a table that has no place in the file that it's meant for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("programs.git.settings.{key}: {why}")]
pub struct GitError {
    key: String,
    why: &'static str,
}

/// What `[programs]` adds.
pub fn contribute(programs: &Programs, made: &mut Contribution) -> Result<(), GitError> {
    starship(&programs.starship, made);
    bash(&programs.bash, made);
    git(&programs.git, made)
}

/// What `[environment]` adds: for whatever PAM opens a session for, and for users' services.
pub fn environment(variables: &BTreeMap<String, String>, made: &mut Contribution) {
    const OPTION: &str = "environment";
    if variables.is_empty() {
        return;
    }
    let (mut pam, mut systemd) = (String::new(), String::new());
    for (name, value) in variables {
        // pam_env(8) reads a value as it is, between quotes.
        let _ = writeln!(pam, "{name}=\"{value}\"");
        // environment.d(5) expands variables.
        let _ = writeln!(
            systemd,
            "{name}=\"{}\"",
            value
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('$', "\\$")
        );
    }
    made.stamped("environment", OPTION, &pam);
    made.stamped("environment.d/50-keel.conf", OPTION, &systemd);
}

fn starship(starship: &Starship, made: &mut Contribution) {
    const OPTION: &str = "programs.starship";
    if !starship.enable {
        return;
    }
    // Only tables and plain values: what was read as TOML can be written as TOML.
    let settings = toml::to_string(&starship.settings).unwrap_or_default();
    made.stamped("starship.toml", OPTION, &settings);
    // A user's own file counts, when there is one.
    let text = "if [ -z \"$STARSHIP_CONFIG\" ] && [ ! -e \"${XDG_CONFIG_HOME:-$HOME/.config}/starship.toml\" ]; then\n    \
                export STARSHIP_CONFIG=/etc/starship.toml\nfi\n\
                if [ \"$TERM\" != dumb ] && command -v starship >/dev/null; then\n    \
                eval \"$(starship init bash)\"\nfi\n";
    made.stamped("bash.bashrc.d/60-starship.sh", OPTION, text);
    interactive(made, OPTION);
}

fn bash(bash: &Bash, made: &mut Contribution) {
    if !bash.aliases.is_empty() {
        let mut text = String::new();
        for (name, value) in &bash.aliases {
            let _ = writeln!(text, "alias -- {}={}", quote(name), quote(value));
        }
        made.stamped("bash.bashrc.d/40-aliases.sh", "programs.bash.aliases", &text);
        interactive(made, "programs.bash.aliases");
    }
    if !bash.interactive_shell_init.is_empty() {
        const OPTION: &str = "programs.bash.interactive_shell_init";
        made.stamped(
            "bash.bashrc.d/70-init.sh",
            OPTION,
            &ended(&bash.interactive_shell_init),
        );
        interactive(made, OPTION);
    }
    if !bash.login_shell_init.is_empty() {
        // Other shells read /etc/profile, too.
        let text = format!(
            "if [ -n \"$BASH_VERSION\" ]; then\n{}fi\n",
            ended(&bash.login_shell_init)
        );
        made.stamped("profile.d/keel.sh", "programs.bash.login_shell_init", &text);
    }
}

fn interactive(made: &mut Contribution, option: &str) {
    if !made.etc.contains_key(BASHRC) {
        made.append(BASHRC, option, INTERACTIVE);
    }
}

fn git(git: &Git, made: &mut Contribution) -> Result<(), GitError> {
    if git.settings.is_empty() {
        return Ok(());
    }
    let mut text = String::new();
    for (section, value) in &git.settings {
        let fault = |key: String, why| GitError { key, why };
        let table = value
            .as_table()
            .ok_or_else(|| fault(section.clone(), "a section of gitconfig is a table of keys"))?;
        let (plain, nested): (Vec<_>, Vec<_>) = table.iter().partition(|(_, value)| !value.is_table());
        git_section(&mut text, &format!("[{section}]"), section, &plain)?;
        for (name, value) in nested {
            let keys: Vec<_> = value.as_table().into_iter().flatten().collect();
            let name = name.replace('\\', "\\\\").replace('"', "\\\"");
            git_section(&mut text, &format!("[{section} \"{name}\"]"), section, &keys)?;
        }
    }
    made.stamped("gitconfig", "programs.git.settings", &text);
    Ok(())
}

fn git_section(
    text: &mut String,
    head: &str,
    section: &str,
    keys: &[(&String, &toml::Value)],
) -> Result<(), GitError> {
    if keys.is_empty() {
        return Ok(());
    }
    let _ = writeln!(text, "{head}");
    for (key, value) in keys {
        let values = match value {
            toml::Value::Array(values) => values.iter().collect(),
            value => vec![*value],
        };
        for value in values {
            let value = match value {
                toml::Value::String(value) => value.clone(),
                toml::Value::Boolean(value) => value.to_string(),
                toml::Value::Integer(value) => value.to_string(),
                _ => {
                    return Err(GitError {
                        key: format!("{section}.{key}"),
                        why: "a value is a text, a number, true or false, or a list of them",
                    });
                }
            };
            let value = value
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            let _ = writeln!(text, "\t{key} = \"{value}\"");
        }
    }
    Ok(())
}

fn ended(text: &str) -> String {
    format!("{}\n", text.trim_end())
}

fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::process::Command;

    fn made(text: &str) -> Contribution {
        let mut made = Contribution::new();
        contribute(&toml::from_str(text).unwrap(), &mut made).unwrap();
        made
    }

    #[test]
    fn the_founding_example() {
        let made = made(
            "starship.enable = true\nstarship.settings.add_newline = false\n\
             bash.interactive_shell_init = \"fastfetch --logo debian\"\n",
        );
        assert!(made.text("starship.toml").ends_with("\nadd_newline = false\n"));
        assert!(
            made.text("bash.bashrc.d/60-starship.sh")
                .contains("starship init bash")
        );
        assert!(
            made.text("bash.bashrc.d/70-init.sh")
                .ends_with("\nfastfetch --logo debian\n")
        );
        // Both need the loop, and it's there once.
        assert_eq!(made.text(BASHRC).matches("for keel_file").count(), 1);
    }

    #[test]
    fn a_shell_runs_what_is_written() {
        let made = made(
            "[bash]\ninteractive_shell_init = \"echo hello\"\nlogin_shell_init = \"echo login\"\n\
             aliases = { ll = \"ls -l\", it = \"echo 'it''s'\" }\n",
        );
        let place = tempfile::tempdir().unwrap();
        let etc = place.path().join("bash.bashrc.d");
        std::fs::create_dir(&etc).unwrap();
        for name in ["40-aliases.sh", "70-init.sh"] {
            std::fs::write(etc.join(name), made.text(&format!("bash.bashrc.d/{name}"))).unwrap();
        }
        let rc = made
            .text(BASHRC)
            .trim_start_matches('+')
            .replace("/etc/bash.bashrc.d", etc.to_str().unwrap());
        let script = format!("{rc}\n{}\nalias ll\n", made.text("profile.d/keel.sh"));
        let output = Command::new("bash").args(["-ec", &script]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(
            said,
            "hello\nlogin\nalias ll='ls -l'\n",
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    #[test]
    fn git_reads_what_is_written() {
        let made = made(
            "[git.settings]\ncore.pager = 'le\"ss \\ x'\nuser.useConfigOnly = true\n\
             url.\"ssh://git@host/\".insteadOf = [\"https://host/\", \"h:\"]\n",
        );
        let text = made.text("gitconfig");
        assert!(text.contains("[core]\n\tpager = \"le\\\"ss \\\\ x\"\n"), "{text}");
        assert!(
            text.contains(
                "[url \"ssh://git@host/\"]\n\tinsteadOf = \"https://host/\"\n\tinsteadOf = \"h:\"\n"
            ),
            "{text}"
        );
        let mut made = Contribution::new();
        let wrong = toml::from_str("[git.settings]\nuser = 1\n").unwrap();
        assert_eq!(
            contribute(&wrong, &mut made).unwrap_err().to_string(),
            "programs.git.settings.user: a section of gitconfig is a table of keys"
        );
    }

    #[test]
    fn variables_for_pam_and_systemd() {
        let mut made = Contribution::new();
        environment(&[("EDITOR".into(), "vim -c \"x\" $y".into())].into(), &mut made);
        assert!(made.text("environment").ends_with("EDITOR=\"vim -c \"x\" $y\"\n"));
        assert!(
            made.text("environment.d/50-keel.conf")
                .ends_with("EDITOR=\"vim -c \\\"x\\\" \\$y\"\n")
        );
    }
}
