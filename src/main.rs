//! `keel`, and `activate` under its second name.

use std::process::ExitCode;

fn main() -> ExitCode {
    keel::cli::main()
}
