//! Which devices are consoles.

/// Names below `/dev` of the consoles: those that the kernel uses (`/sys/class/tty/console/active`), then those that
/// the command line asks for and the kernel has not taken up. `foreground` is the content of
/// `/sys/class/tty/tty0/active`: the terminal that `tty0` stands for now, which must not be prompted twice.
pub(super) fn console_names(active: &str, asked: &[String], foreground: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in active
        .split_ascii_whitespace()
        .chain(asked.iter().map(String::as_str))
    {
        let unusable = name.is_empty() || name.contains('/') || matches!(name, "." | ".." | "ttynull");
        if !unusable && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    if names.iter().any(|name| name == "tty0") {
        names.retain(|name| name != foreground.trim());
    }
    names
}

#[cfg(test)]
mod tests {
    use super::console_names;

    #[test]
    fn each_console_once() {
        let table: [(&str, &[&str], &str, &[&str]); 6] = [
            ("tty0 ttyS0\n", &["tty0", "ttyS0"], "tty1\n", &["tty0", "ttyS0"]),
            ("ttyS0\n", &["hvc0"], "", &["ttyS0", "hvc0"]),
            ("tty0\n", &["tty1", "tty2"], "tty1\n", &["tty0", "tty2"]),
            ("", &["tty1"], "tty1\n", &["tty1"]),
            ("ttynull\n", &["../mem", "..", ""], "", &[]),
            ("", &[], "", &[]),
        ];
        for (active, asked, foreground, expected) in table {
            let asked: Vec<String> = asked.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(
                console_names(active, &asked, foreground),
                expected,
                "{active} {asked:?}"
            );
        }
    }
}
