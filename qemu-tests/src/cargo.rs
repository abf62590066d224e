//! What cargo checks: formatting, tests, lints. Tests are built as the user who called sudo, and run as root: some start a
//! systemd of their own.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::process::Tool;

/// How something went.
pub(crate) struct Outcome {
    /// Tests, or 1.
    pub passed: usize,
    /// Tests, or 1.
    pub failed: usize,
    /// What is to be shown when something failed.
    pub said: String,
}

impl Outcome {
    /// One that failed as a whole.
    pub(crate) fn failure(said: String) -> Outcome {
        Outcome {
            passed: 0,
            failed: 1,
            said,
        }
    }
}

/// Something that cargo does: its name, what it shows, and how it's run.
type Check = (&'static str, &'static str, fn() -> Result<Outcome>);

/// All, in their order.
pub(crate) const ALL: [Check; 3] = [
    ("fmt", "the code is formatted", format),
    ("unit", "unit and behaviour tests", run_tests),
    ("clippy", "no lint is violated", lints),
];

fn format() -> Result<Outcome> {
    whole(&["fmt", "--all", "--check"])
}

fn lints() -> Result<Outcome> {
    whole(&[
        "clippy",
        "--locked",
        "--release",
        "--workspace",
        "--all-targets",
        "--quiet",
        "--",
        "--deny",
        "warnings",
    ])
}

/// A command that succeeds or fails as a whole.
fn whole(arguments: &[&str]) -> Result<Outcome> {
    let output = Tool::cargo().args(arguments).finish()?;
    if output.status.success() {
        return Ok(Outcome {
            passed: 1,
            failed: 0,
            said: String::new(),
        });
    }
    Ok(Outcome::failure(text(&output.stdout, &output.stderr)))
}

/// A line of cargo's messages, as far as it matters (cargo-build(1), `--message-format=json`).
#[derive(Deserialize)]
struct Message {
    reason: String,
    manifest_path: Option<String>,
    executable: Option<String>,
    #[serde(default)]
    profile: Profile,
}

#[derive(Default, Deserialize)]
struct Profile {
    test: bool,
}

fn run_tests() -> Result<Outcome> {
    let built = Tool::cargo()
        .args([
            "test",
            "--locked",
            "--release",
            "--workspace",
            "--quiet",
            "--no-run",
        ])
        .arg("--message-format=json-render-diagnostics")
        .finish()?;
    if !built.status.success() {
        return Ok(Outcome::failure(text(&[], &built.stderr)));
    }
    let mut outcome = Outcome {
        passed: 0,
        failed: 0,
        said: String::new(),
    };
    for line in String::from_utf8_lossy(&built.stdout).lines() {
        let message: Message = serde_json::from_str(line).with_context(|| format!("cargo said {line}"))?;
        let is_test = message.reason == "compiler-artifact" && message.profile.test;
        let (true, Some(program), Some(manifest)) = (is_test, message.executable, message.manifest_path)
        else {
            continue;
        };
        let directory = Path::new(&manifest)
            .parent()
            .context("a manifest without a directory")?;
        let output = Tool::new(program).arg("--quiet").within(directory).finish()?;
        outcome.add(output.status.success(), &text(&output.stdout, &output.stderr));
    }
    let examples = Tool::cargo()
        .args(["test", "--locked", "--release", "--workspace", "--quiet", "--doc"])
        .finish()?;
    outcome.add(
        examples.status.success(),
        &text(&examples.stdout, &examples.stderr),
    );
    Ok(outcome)
}

impl Outcome {
    fn add(&mut self, is_fine: bool, said: &str) {
        let (passed, failed) = counts(said);
        self.passed += passed;
        if !is_fine {
            self.failed += failed.max(1);
            self.said.push_str(said);
        }
    }
}

fn text(stdout: &[u8], stderr: &[u8]) -> String {
    [stdout, stderr].map(String::from_utf8_lossy).concat()
}

/// Adds up the closing lines of cargo's test runs: `test result: ok. 12 passed; 0 failed; …`
fn counts(said: &str) -> (usize, usize) {
    let count = |line: &str, word: &str| -> usize {
        let before = line.split(word).next().unwrap_or_default();
        before
            .split_whitespace()
            .last()
            .and_then(|number| number.parse().ok())
            .unwrap_or(0)
    };
    said.lines()
        .filter(|line| line.starts_with("test result:"))
        .map(|line| (count(line, " passed"), count(line, " failed")))
        .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_added_up() {
        let said = "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured\nnoise\n\
                    test result: FAILED. 3 passed; 2 failed; 0 ignored\n";
        assert_eq!(counts(said), (15, 2));
    }
}
