//! Where packages come from: sources.list(5), in both of its styles.

use std::path::Path;

use super::deb822::paragraphs;

/// A source of packages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Its options, without the brackets: `signed-by=… arch=…`.
    pub options: String,
    /// What its paths are below.
    pub uri: String,
    /// Its suite, or a path that ends with a slash.
    pub suite: String,
    /// Its components.
    pub components: Vec<String>,
}

impl Source {
    /// From a line of the one-line style; nothing for a comment, an empty line, or a source of source packages.
    pub fn from_line(line: &str) -> Option<Self> {
        let line = line.split('#').next().unwrap_or_default().trim();
        let rest = line.strip_prefix("deb")?;
        if !rest.starts_with([' ', '\t', '[']) {
            return None;
        }
        let (options, rest) = options_before(rest);
        let mut words = rest.split_whitespace();
        Some(Self {
            options,
            uri: words.next()?.to_owned(),
            suite: words.next()?.to_owned(),
            components: words.map(str::to_owned).collect(),
        })
    }

    /// From the text of a file in the deb822 style.
    pub fn from_deb822(text: &str) -> Vec<Self> {
        let mut all = Vec::new();
        for paragraph in paragraphs(text) {
            let is_off = paragraph
                .get("Enabled")
                .is_some_and(|value| matches!(value, "no" | "false" | "0" | "off"));
            if is_off || !paragraph.words("Types").any(|kind| kind == "deb") {
                continue;
            }
            // A key in the paragraph itself has no place in a line.
            let keyring = paragraph
                .get("Signed-By")
                .filter(|value| !value.contains('\n') && value.starts_with('/'));
            let options = keyring.map_or_else(String::new, |path| format!("signed-by={path}"));
            for uri in paragraph.words("URIs") {
                for suite in paragraph.words("Suites") {
                    all.push(Self {
                        options: options.clone(),
                        uri: uri.to_owned(),
                        suite: suite.to_owned(),
                        components: paragraph.words("Components").map(str::to_owned).collect(),
                    });
                }
            }
        }
        all
    }

    /// As a line of the one-line style.
    pub fn line(&self) -> String {
        let mut words = vec!["deb".to_owned()];
        if !self.options.is_empty() {
            words.push(format!("[{}]", self.options));
        }
        words.extend([self.uri.clone(), self.suite.clone()]);
        words.extend(self.components.iter().cloned());
        words.join(" ")
    }

    /// Whether it's an archive of Debian itself, as far as can be told without asking it: signed with Debian's keys, or named as
    /// Debian's mirrors are.
    pub fn is_debian(&self) -> bool {
        const SUITES: [&str; 13] = [
            "bookworm",
            "bullseye",
            "duke",
            "experimental",
            "forky",
            "oldoldstable",
            "oldstable",
            "sid",
            "stable",
            "testing",
            "trixie",
            "unstable",
            "buster",
        ];
        let base = self.suite.split(['-', '/']).next().unwrap_or_default();
        if !SUITES.contains(&base) || !self.components.iter().any(|name| name == "main") {
            return false;
        }
        if let Some(keyring) = self
            .options
            .split_whitespace()
            .find_map(|option| option.strip_prefix("signed-by="))
        {
            return keyring.contains("/debian-archive-");
        }
        let last = self.uri.trim_end_matches('/').rsplit('/').next();
        matches!(last, Some("debian" | "debian-security"))
    }
}

/// Options in brackets, and what follows them.
pub fn options_before(text: &str) -> (String, &str) {
    let text = text.trim_start();
    match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((options, rest)) => (
            options.split_whitespace().collect::<Vec<_>>().join(" "),
            rest.trim_start(),
        ),
        None => (String::new(), text),
    }
}

/// The sources of the apt whose configuration is in `directory` (`/etc/apt`). Files that can't be read are passed over, as apt's
/// own tools would.
pub fn of_machine(directory: &Path) -> Vec<Source> {
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    let lines = |text: &str| text.lines().filter_map(Source::from_line).collect::<Vec<_>>();
    let mut all = lines(&read(&directory.join("sources.list")));
    let parts = directory.join("sources.list.d");
    let mut paths: Vec<_> = std::fs::read_dir(parts)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    paths.sort();
    for path in paths {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("list") => all.extend(lines(&read(&path))),
            Some("sources") => all.extend(Source::from_deb822(&read(&path))),
            _ => {}
        }
    }
    all
}

/// The mirrors of Debian among sources, each once, in their order.
pub fn mirrors(sources: &[Source]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for source in sources.iter().filter(|source| source.is_debian()) {
        let uri = source.uri.trim_end_matches('/').to_owned();
        if !all.contains(&uri) {
            all.push(uri);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn lines_are_read_and_written() {
        for (line, options, suite, components) in [
            ("deb http://m.example/debian trixie main contrib", "", "trixie", 2),
            (
                "deb [ signed-by=/k.gpg  arch=amd64 ] http://m.example/x stable main # why",
                "signed-by=/k.gpg arch=amd64",
                "stable",
                1,
            ),
            ("deb [trusted=yes] file:/srv ./", "trusted=yes", "./", 0),
        ] {
            let source = Source::from_line(line).unwrap();
            assert_eq!((source.options.as_str(), source.suite.as_str()), (options, suite));
            assert_eq!(source.components.len(), components);
            assert_eq!(Source::from_line(&source.line()).unwrap(), source);
        }
        for line in [
            "",
            "# deb http://x y z",
            "deb-src http://m.example/debian trixie main",
            "deb",
            "deb http://x",
        ] {
            assert_eq!(Source::from_line(line), None, "{line}");
        }
    }

    #[test]
    fn the_newer_style_is_read() {
        let text = "Types: deb deb-src\nURIs: http://m.example/debian\nSuites: trixie trixie-updates\nComponents: main\n\
                    Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n\
                    Types: deb\nEnabled: no\nURIs: http://off.example\nSuites: x\nComponents: main\n";
        let all = Source::from_deb822(text);
        assert_eq!(all.len(), 2);
        assert_eq!(
            all[1].line(),
            "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://m.example/debian trixie-updates main"
        );
    }

    #[test]
    fn debian_is_told_from_others() {
        let of = |line: &str| Source::from_line(line).unwrap().is_debian();
        let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
        for (line, expected) in [
            (
                format!("deb [signed-by={keyring}] http://m.example/x bookworm main"),
                true,
            ),
            ("deb http://m.example/debian/ trixie main".to_owned(), true),
            (
                "deb http://m.example/debian-security trixie-security main".to_owned(),
                true,
            ),
            (
                "deb [signed-by=/usr/share/keyrings/other.gpg] http://apt.example bookworm main".to_owned(),
                false,
            ),
            ("deb http://apt.example/tools bookworm main".to_owned(), false),
            (
                "deb http://apt.example/debian cloud-bookworm main".to_owned(),
                false,
            ),
            ("deb http://apt.example/debian bookworm stable".to_owned(), false),
        ] {
            assert_eq!(of(&line), expected, "{line}");
        }
    }
}
