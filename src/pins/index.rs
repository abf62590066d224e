//! What the indexes of the sources say: packages, what they provide, and where they are.

use std::collections::{BTreeMap, BTreeSet};

use super::deb822::{Paragraph, paragraphs};
use super::lock::Pin;

/// An index (`Packages`) and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The URI that its packages' paths are below.
    pub uri: String,
    /// The suite that it's of.
    pub suite: String,
    /// Whether its packages are named by their paths alone: the mirrors are known.
    pub is_mirror: bool,
    /// Its text.
    pub text: String,
}

/// A package as an index has it.
#[derive(Clone, Copy, Debug)]
pub struct Package<'a> {
    /// Its name.
    pub name: &'a str,
    /// All that's said of it.
    pub paragraph: Paragraph<'a>,
    /// The index that says it.
    pub listed: &'a Listed,
}

impl<'a> Package<'a> {
    /// Its version.
    pub fn version(&self) -> &'a str {
        self.paragraph.get("Version").unwrap_or_default()
    }

    /// Debian's name of its architecture.
    pub fn architecture(&self) -> &'a str {
        self.paragraph.get("Architecture").unwrap_or_default()
    }

    /// What it's for, on one line.
    pub fn summary(&self) -> &'a str {
        let text = self.paragraph.get("Description").unwrap_or_default();
        text.lines().next().unwrap_or_default()
    }

    /// Whether Debian wants it on every machine: essential, or of the priority `required` (Debian policy, sections 2.5 and 3.8).
    pub fn is_required(&self) -> bool {
        let is = |name: &str, value: &str| self.paragraph.get(name) == Some(value);
        is("Essential", "yes") || is("Priority", "required")
    }

    /// The names of the virtual packages that it provides.
    pub fn provides(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let all = self.paragraph.get("Provides").unwrap_or_default();
        all.split(',').filter_map(|one| one.split_whitespace().next())
    }

    /// As a lock has it; nothing when the index doesn't say enough, or says what can't be.
    pub fn pin(&self) -> Option<Pin> {
        let path = self.paragraph.get("Filename")?;
        let path = path.strip_prefix("./").unwrap_or(path);
        let place = if self.listed.is_mirror {
            path.to_owned()
        } else {
            format!("{}/{path}", self.listed.uri.trim_end_matches('/'))
        };
        let pin = Pin {
            name: self.name.to_owned(),
            version: self.paragraph.get("Version")?.to_owned(),
            architecture: self.paragraph.get("Architecture")?.to_owned(),
            size: self.paragraph.get("Size")?.parse().ok()?,
            sha256: self.paragraph.get("SHA256")?.to_ascii_lowercase(),
            place,
            layer: 0,
        };
        pin.check().is_ok().then_some(pin)
    }
}

/// The packages of all sources, by name; those of one name in the order of the sources.
#[derive(Clone, Debug, Default)]
pub struct Index<'a> {
    packages: BTreeMap<&'a str, Vec<Package<'a>>>,
}

impl<'a> Index<'a> {
    /// Reads indexes.
    pub fn new(lists: &'a [Listed]) -> Self {
        let mut packages: BTreeMap<&str, Vec<Package<'_>>> = BTreeMap::new();
        for listed in lists {
            for paragraph in paragraphs(&listed.text) {
                if let Some(name) = paragraph.get("Package").filter(|name| !name.is_empty()) {
                    packages.entry(name).or_default().push(Package {
                        name,
                        paragraph,
                        listed,
                    });
                }
            }
        }
        Self { packages }
    }

    /// All packages, by name.
    pub fn all(&self) -> impl Iterator<Item = &Package<'a>> {
        self.packages.values().flatten()
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.packages.keys().copied()
    }

    /// The packages of a name.
    pub fn named(&self, name: &str) -> &[Package<'a>] {
        self.packages.get(name).map_or(&[], Vec::as_slice)
    }

    /// The package of this name, version and architecture; the first source that has it.
    pub fn exactly(&self, name: &str, version: &str, architecture: &str) -> Option<&Package<'a>> {
        self.named(name)
            .iter()
            .find(|package| package.version() == version && package.architecture() == architecture)
    }

    /// The names that Debian wants on every machine.
    pub fn required(&self) -> BTreeSet<&'a str> {
        self.all()
            .filter(|package| package.is_required())
            .map(|package| package.name)
            .collect()
    }

    /// The names of the packages that provide a virtual one.
    pub fn providers(&self, name: &str) -> BTreeSet<&'a str> {
        // Nearly no paragraph has the word at all: a search is cheaper than the fields.
        self.all()
            .filter(|package| package.paragraph.text().contains(name))
            .filter(|package| package.provides().any(|provided| provided == name))
            .map(|package| package.name)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    // Paragraphs of Debian 13's index, shortened.
    const TEXT: &str = "Package: vim\nVersion: 2:9.1.1230-2\nArchitecture: amd64\nProvides: editor, vim-python (= 1)\n\
        Description: Vi IMproved - enhanced vi editor\nFilename: pool/main/v/vim/vim_9.1.1230-2_amd64.deb\nSize: 1859892\n\
        SHA256: 0000000000000000000000000000000000000000000000000000000000000000\nPriority: optional\n\n\
        Package: bash\nEssential: yes\nVersion: 5.2.37-2+b3\nArchitecture: amd64\nFilename: pool/b.deb\nSize: x\n\n\
        Package: apt\nPriority: required\nVersion: 3.0.3\nArchitecture: amd64\n";

    fn listed(is_mirror: bool) -> [Listed; 1] {
        [Listed {
            uri: "http://mirror.example/debian/".to_owned(),
            suite: "trixie".to_owned(),
            is_mirror,
            text: TEXT.to_owned(),
        }]
    }

    #[test]
    fn packages_are_found_by_name_and_by_what_they_provide() {
        let lists = listed(true);
        let index = Index::new(&lists);
        assert_eq!(
            index.named("vim")[0].summary(),
            "Vi IMproved - enhanced vi editor"
        );
        assert_eq!(index.providers("editor"), BTreeSet::from(["vim"]));
        assert_eq!(index.providers("vim-python"), BTreeSet::from(["vim"]));
        assert_eq!(index.required(), BTreeSet::from(["apt", "bash"]));
        assert!(index.exactly("vim", "2:9.1.1230-2", "amd64").is_some());
        assert!(index.exactly("vim", "2:9.1.1230-2", "arm64").is_none());
        assert!(index.named("emacs").is_empty());
    }

    #[test]
    fn places_are_below_the_mirror_or_whole() {
        for (is_mirror, place) in [
            (true, "pool/main/v/vim/vim_9.1.1230-2_amd64.deb"),
            (
                false,
                "http://mirror.example/debian/pool/main/v/vim/vim_9.1.1230-2_amd64.deb",
            ),
        ] {
            let lists = listed(is_mirror);
            let index = Index::new(&lists);
            let pin = index.named("vim")[0].pin().unwrap();
            assert_eq!((pin.place.as_str(), pin.size), (place, 1_859_892));
            assert!(index.named("bash")[0].pin().is_none(), "its size is no number");
        }
    }
}
