//! `keel check`, `keel options`, `keel completion`, `keel man`: the real binary on files in a temporary directory.
#![cfg(feature = "tools")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::path::Path;
use std::process::{Command, Output};

const SYSTEM: &str = include_str!("../src/config/tests/fixtures/system.toml");
const HARDWARE: &str = include_str!("../src/config/tests/fixtures/hardware.toml");

fn keel(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_keel"))
        .args(arguments)
        .current_dir(directory)
        .env_remove("NO_COLOR")
        .output()
        .unwrap()
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

fn founding_example() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("system.toml"), SYSTEM).unwrap();
    std::fs::write(directory.path().join("hardware.toml"), HARDWARE).unwrap();
    directory
}

#[test]
fn the_founding_example_can_be_used() {
    let directory = founding_example();
    let output = keel(directory.path(), &["check", "--config", "system.toml"]);
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert_eq!(stdout, "system.toml can be used\n");
    assert!(
        stderr.contains("note: wheel is called sudo on Debian"),
        "{stderr}"
    );
}

#[test]
fn the_resolved_configuration_is_a_configuration() {
    let directory = founding_example();
    let arguments = [
        "check",
        "--resolved",
        "--option",
        "system.hostname=other",
        "--config",
    ];
    let resolved = |name: &str| texts(&keel(directory.path(), &[&arguments[..], &[name]].concat())).0;
    let first = resolved("system.toml");
    assert!(first.contains("hostname = \"other\"\n"), "{first}");
    std::fs::write(directory.path().join("again.toml"), &first).unwrap();
    assert_eq!(resolved("again.toml"), first);
}

#[test]
fn problems_are_shown_with_their_lines() {
    let directory = founding_example();
    let text = "[system]\nhostnam = \"a\"\ntime_zone = \"Asai/Kolkata\"\n";
    std::fs::write(directory.path().join("hardware.toml"), text).unwrap();
    let output = keel(directory.path(), &["check", "--config", "system.toml"]);
    let (stdout, stderr) = texts(&output);
    assert_eq!((output.status.code(), stdout.as_str()), (Some(1), ""));
    let shown = format!(
        "error: [system] has no key \"hostnam\"\n --> {}/hardware.toml:2:1\n2 | hostnam = \"a\"\n  | ^^^^^^^\n  = help: did \
         you mean \"hostname\"?\n",
        directory.path().display()
    );
    assert!(stderr.contains(&shown), "{stderr}");
    assert!(
        stderr.contains("3 | time_zone = \"Asai/Kolkata\"\n  |             ^^^^^^^^^^^^^^\n"),
        "{stderr}"
    );
    assert!(
        stderr.ends_with("keel: check: system.toml has 2 problems; nothing was changed\n"),
        "{stderr}"
    );

    // For programs.
    let output = keel(directory.path(), &["check", "--json", "--config", "system.toml"]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!((&told[0]["line"], &told[0]["column"]), (&2.into(), &1.into()));
    assert_eq!(told[0]["severity"], "error");
}

#[test]
fn colour_is_for_who_wants_it() {
    let directory = founding_example();
    let coloured = |arguments: &[&str], no_color: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keel"));
        let output = command
            .args(["check", "--config", "system.toml"])
            .args(arguments)
            .env("NO_COLOR", no_color)
            .current_dir(directory.path())
            .output();
        texts(&output.unwrap()).1.contains('\x1b')
    };
    // Standard error is no terminal here.
    assert!(!coloured(&[], ""));
    assert!(coloured(&["--color", "always"], ""));
    assert!(coloured(&["--color", "always"], "1"));
    assert!(!coloured(&["--color", "never"], ""));
}

#[test]
fn options_are_found_by_their_words() {
    let here = Path::new("/");
    let (stdout, _) = texts(&keel(here, &["options", "firewall", "TCP"]));
    assert!(
        stdout.starts_with("networking.firewall.allowed_tcp_ports\n    TCP ports that are open.\n"),
        "{stdout}"
    );
    let all = texts(&keel(here, &["options"])).0;
    assert!(all.lines().count() > 100, "{all}");
    let json: serde_json::Value =
        serde_json::from_slice(&keel(here, &["options", "--json", "system.hostname"]).stdout).unwrap();
    assert_eq!(json[0]["default"], "\"debian\"");
    let schema: serde_json::Value =
        serde_json::from_slice(&keel(here, &["options", "--schema"]).stdout).unwrap();
    assert_eq!(
        schema["properties"]["boot"]["properties"]["generations"]["default"],
        10
    );
    let output = keel(here, &["options", "nonsense"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(texts(&output).1.contains("no option has the words \"nonsense\""));
}

#[test]
fn the_list_in_docs_is_the_list() {
    let (stdout, _) = texts(&keel(Path::new("/"), &["options", "--markdown"]));
    let documented = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/options.md");
    assert!(
        stdout == std::fs::read_to_string(documented).unwrap(),
        "docs/options.md is behind: keel options --markdown > docs/options.md"
    );
}

#[test]
fn shells_complete_verbs_and_options() {
    for shell in ["bash", "zsh", "fish"] {
        let (script, _) = texts(&keel(Path::new("/"), &["completion", shell]));
        for word in ["switch", "system.hostname=", "generations", "resolved"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        // Verbs that only keel calls aren't offered.
        assert!(!script.contains("build-stage"), "{shell}");
    }
}

#[test]
fn bash_reads_its_completion() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("keel");
    std::fs::write(&script, keel(Path::new("/"), &["completion", "bash"]).stdout).unwrap();
    let ask = "source $0; COMP_WORDS=(keel check --option system.h); COMP_CWORD=3; _keel keel system.h --option; \
               echo \"${COMPREPLY[*]}\"";
    let output = Command::new("bash")
        .args(["-c", ask])
        .arg(&script)
        .output()
        .unwrap();
    assert_eq!(texts(&output).0, "system.hostname=\n", "{}", texts(&output).1);
}

#[test]
fn there_is_a_page_for_every_verb_and_for_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let output = keel(directory.path(), &["man", "man"]);
    assert!(output.status.success(), "{}", texts(&output).1);
    let page = |name: &str| std::fs::read_to_string(directory.path().join("man").join(name)).unwrap();
    assert!(
        page("man1/keel.1").contains("keel\\-check(1)"),
        "{}",
        page("man1/keel.1")
    );
    assert!(page("man1/keel-check.1").contains("\\-\\-resolved"));
    assert!(page("man5/keel-system.toml.5").contains("allowed_tcp_ports"));
    assert!(!directory.path().join("man/man1/keel-execute.1").exists());
}
