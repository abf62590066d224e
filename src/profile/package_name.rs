//! A package's name and version, as a store path's name gives them.

use std::fmt;

/// Name and version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PackageName {
    /// `hello`.
    pub name: String,
    /// `2.10`; empty when the path's name has none.
    pub version: String,
}

impl PackageName {
    /// The version starts after the first dash that no letter follows (Nix's manual, `builtins.parseDrvName`).
    pub fn parse(full: &str) -> Self {
        let dash = full.match_indices('-').map(|(at, _)| at).find(|at| {
            full.as_bytes()
                .get(at + 1)
                .is_some_and(|next| !next.is_ascii_alphabetic())
        });
        let (name, version) = match dash.and_then(|at| full.split_at_checked(at)) {
            Some((name, rest)) => (name, rest.get(1..).unwrap_or_default()),
            None => (full, ""),
        };
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
        }
    }
}

impl fmt::Display for PackageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if !self.version.is_empty() {
            write!(f, " {}", self.version)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_where_nix_splits_them() {
        // nix-instantiate --eval -E 'builtins.parseDrvName "hello-2.10"'
        for (full, name, version) in [
            ("hello-2.10", "hello", "2.10"),
            ("hello", "hello", ""),
            ("nix-bin-2.8.0-dev", "nix-bin", "2.8.0-dev"),
            ("a-b-c", "a-b-c", ""),
            ("x-", "x-", ""),
            ("a--2", "a", "-2"),
            ("gtk+3-3.24", "gtk+3", "3.24"),
        ] {
            let parsed = PackageName::parse(full);
            assert_eq!((parsed.name.as_str(), parsed.version.as_str()), (name, version));
        }
    }
}
