//! `apt`, `apt-get`, `aptitude` and `dpkg` of a machine that keel built: what would change packages is told how that's done here;
//! for everything else the real program takes over.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use super::output::errln;
use crate::system::own::{PACKAGE_TOOLS, REAL_TOOLS};

/// The exit code of apt's for an error.
const FAILED: u8 = 100;

/// What somebody wants to do with packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Install,
    Remove,
    Upgrade,
    /// Something that only makes sense with one of the above.
    Other,
}

/// Stands in for one of the tools when this program is called by its name.
pub(super) fn instead(arguments: &[OsString]) -> Option<ExitCode> {
    let (name, rest) = arguments.split_first()?;
    let name = Path::new(name).file_name()?.to_str()?;
    let tool = PACKAGE_TOOLS.into_iter().find(|tool| *tool == name)?;
    let words: Vec<String> = rest
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let elsewhere = std::env::var_os("APT_CONFIG").is_some() || std::env::var_os("DPKG_ROOT").is_some();
    if let Some((wish, packages)) = wish(tool, &words).filter(|_| !elsewhere) {
        errln!("{}", advice(tool, wish, &packages));
        return Some(ExitCode::from(FAILED));
    }
    let real = Path::new(REAL_TOOLS).join(tool);
    let error = Command::new(&real).arg0(tool).args(rest).exec();
    errln!("{tool}: {} can't be executed: {error}", real.display());
    Some(ExitCode::from(FAILED))
}

// What the words ask for, and for which packages; nothing when they change nothing of this machine.
fn wish(tool: &str, words: &[String]) -> Option<(Wish, Vec<String>)> {
    if tool == "dpkg" {
        wish_of_dpkg(words)
    } else {
        wish_of_apt(words)
    }
}

fn wish_of_apt(words: &[String]) -> Option<(Wish, Vec<String>)> {
    let mut plain = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        // Of another root, or only told.
        let harmless = [
            "-s",
            "--simulate",
            "--just-print",
            "--dry-run",
            "--print-uris",
            "-d",
            "--download-only",
        ];
        if harmless.contains(&word.as_str())
            || word.contains("Dir=")
            || word.contains("RootDir=")
            || word.contains("Dir::")
        {
            return None;
        }
        if matches!(
            word.as_str(),
            "-o" | "-c" | "-t" | "-a" | "--option" | "--config-file" | "--target-release"
        ) {
            let value = words.next()?;
            if value.starts_with("Dir") || value.starts_with("RootDir") || word.contains('c') {
                return None;
            }
        } else if !word.starts_with('-') {
            plain.push(word.clone());
        }
    }
    let (verb, packages) = plain.split_first()?;
    let wish = match verb.as_str() {
        "install" | "reinstall" | "build-dep" | "satisfy" => Wish::Install,
        "remove" | "purge" | "autoremove" | "autopurge" => Wish::Remove,
        "upgrade" | "full-upgrade" | "dist-upgrade" | "safe-upgrade" | "dselect-upgrade" => Wish::Upgrade,
        _ => return None,
    };
    Some((wish, packages.to_vec()))
}

fn wish_of_dpkg(words: &[String]) -> Option<(Wish, Vec<String>)> {
    let elsewhere = [
        "--root",
        "--instdir",
        "--admindir",
        "--dry-run",
        "--no-act",
        "--simulate",
    ];
    if words
        .iter()
        .any(|word| elsewhere.iter().any(|start| word.starts_with(start)))
    {
        return None;
    }
    let action = words.iter().find_map(|word| match word.as_str() {
        "-i" | "--install" | "--unpack" => Some(Wish::Install),
        "-r" | "--remove" | "-P" | "--purge" => Some(Wish::Remove),
        "--configure"
        | "--triggers-only"
        | "--record-avail"
        | "--set-selections"
        | "--clear-selections"
        | "--add-architecture"
        | "--remove-architecture" => Some(Wish::Other),
        _ => None,
    })?;
    let packages = words.iter().filter(|word| !word.starts_with('-')).cloned();
    Some((action, packages.collect()))
}

fn advice(tool: &str, wish: Wish, packages: &[String]) -> String {
    let (files, names): (Vec<&String>, Vec<&String>) = packages
        .iter()
        .partition(|name| name.contains('/') || name.ends_with(".deb"));
    let quoted = |names: &[&String]| {
        let names: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
        names.join(", ")
    };
    let mut lines = vec![format!(
        "{tool}: the packages of this machine are those of /etc/keel/system.toml, and /usr is read-only."
    )];
    match wish {
        Wish::Install => {
            if !names.is_empty() || files.is_empty() {
                let list = if names.is_empty() {
                    "…".to_owned()
                } else {
                    quoted(&names)
                };
                lines.push(format!("Add to it:\n\n    [packages]\n    install = [{list}]\n"));
            }
            for file in files {
                let package = Path::new(file)
                    .file_name()
                    .and_then(|name| name.to_str())
                    .unwrap_or(file);
                let package = package.split(['_', '.']).next().unwrap_or(package);
                lines.push(format!(
                    "Add to it:\n\n    [[overlay]]\n    package = \"{package}\"\n    deb = \"{file}\"\n"
                ));
            }
            lines.push("Then: keel update && keel switch".to_owned());
        }
        Wish::Remove => {
            lines.push(format!(
                "Take {} out of its `packages.install`, then: keel update && keel switch",
                if names.is_empty() {
                    "what isn't wanted".to_owned()
                } else {
                    quoted(&names)
                }
            ));
        }
        Wish::Upgrade => lines.push("To have newer versions: keel update && keel switch".to_owned()),
        Wish::Other => lines
            .push("Packages are unpacked and configured when a generation is built: keel switch".to_owned()),
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn what_changes_packages_is_known_and_nothing_else() {
        for (tool, text, expected) in [
            ("apt", "install htop", Some(Wish::Install)),
            (
                "apt-get",
                "-y -o APT::Install-Recommends=0 install htop",
                Some(Wish::Install),
            ),
            ("apt", "full-upgrade", Some(Wish::Upgrade)),
            ("aptitude", "purge htop", Some(Wish::Remove)),
            ("apt", "show htop", None),
            ("apt", "update", None),
            ("apt-get", "-s install htop", None),
            ("apt-get", "-o Dir=/tmp/root install htop", None),
            ("apt-get", "download htop", None),
            ("apt", "--version", None),
            ("dpkg", "-i ./htop_1_amd64.deb", Some(Wish::Install)),
            ("dpkg", "--configure -a", Some(Wish::Other)),
            ("dpkg", "--root=/tmp/root -i x.deb", None),
            ("dpkg", "-l", None),
            ("dpkg", "--compare-versions 1 lt 2", None),
            ("dpkg", "-S /bin/ls", None),
        ] {
            let found = wish(tool, &words(text)).map(|(wish, _)| wish);
            assert_eq!(found, expected, "{tool} {text}");
        }
    }

    #[test]
    fn the_advice_has_the_line_for_the_configuration() {
        let text = advice("apt", Wish::Install, &words("htop tree"));
        assert!(
            text.contains("    [packages]\n    install = [\"htop\", \"tree\"]\n"),
            "{text}"
        );
        let text = advice("dpkg", Wish::Install, &words("./htop_3.4_amd64.deb"));
        assert!(
            text.contains("package = \"htop\"\n    deb = \"./htop_3.4_amd64.deb\"")
                && !text.contains("install = ["),
            "{text}"
        );
        let text = advice("apt", Wish::Remove, &words("htop"));
        assert!(text.contains("Take \"htop\" out of"), "{text}");
    }
}
