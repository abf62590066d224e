//! keel-system.toml(5).

use std::fmt::Write as _;

use super::{example, table_of};
use crate::config::options::{Preset, Spec, all};

/// What stands before the options: requests and text of man(7).
const HEAD: &str = r".SH NAME
keel\-system.toml \- what a machine is declared to be
.SH SYNOPSIS
/etc/keel/system.toml
.SH DESCRIPTION
The file describes a machine in TOML.
.B keel build
makes a generation of it,
.B keel switch
makes that the running one, and
.B keel check
only looks whether the file can be used. Every key is checked.
.SS Imports
.B imports
names further files, relative to the file that names them. Each is read once. Tables merge and lists add up, those of imported
files first; an element that several files have is there once. Two different values for one option are an error that names
both places.
.SS Priorities
A value may be written as
.B { default = VALUE }
or
.B { force = VALUE }.
Of several values for one option those with the highest priority count: the command line
.RB ( \-\-option ),
then force, then plain values, then default. A forced list replaces the others. Elements of [[\&...]] tables and values within free
tables (settings) have no priorities.
";

/// The manual page, for man(1).
pub fn manual() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut text = format!(".TH keel\\-system.toml 5 \"\" \"keel {version}\" \"keel\"\n{HEAD}.SH OPTIONS\n");
    let mut table = None;
    for spec in all() {
        let own = table_of(spec);
        if table.as_ref() != Some(&own) {
            let name = if own.is_empty() { "At the top" } else { &own };
            // Writing to a string can't fail.
            let _ = writeln!(text, ".SS \"{}\"", escaped(name));
            table = Some(own);
        }
        entry(&mut text, spec);
    }
    text.push_str(
        ".SH FILES\n.TP\n/etc/keel/system.toml\nThe configuration.\n.TP\n/etc/keel/keel.lock\nThe packages that it was resolved \
         to.\n.SH SEE ALSO\n.BR keel (1)\n",
    );
    text
}

fn entry(text: &mut String, spec: &Spec) {
    let key = spec.path.rsplit('.').next().unwrap_or(spec.path);
    let default = match spec.default {
        Preset::Is(value) => format!(" Default: {}.", escaped(value)),
        Preset::Required => " It has to be said.".to_owned(),
        Preset::Unset => String::new(),
    };
    let _ = write!(
        text,
        ".TP\n.B {}\n{}\n.br\nType: {}.{default}\n.br\nExample: {}\n",
        escaped(key),
        escaped(spec.description),
        escaped(&spec.kind.words()),
        escaped(&example(spec))
    );
}

/// A text that roff takes as it is.
fn escaped(text: &str) -> String {
    let text = text
        .replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('"', "\\(dq");
    if text.starts_with(['.', '\'']) {
        return format!("\\&{text}");
    }
    text
}
