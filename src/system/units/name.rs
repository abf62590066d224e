//! Names of units, and the names that drop-ins for them may have (systemd.unit(5), "Unit File Load Path").

use std::collections::BTreeSet;

/// The longest name that systemd takes is a byte shorter (`UNIT_NAME_MAX`).
const NAME_MAX: usize = 256;

/// What a unit is: the ending of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "systemd.unit(5) names them")]
pub enum Kind {
    Service,
    Socket,
    Target,
    Timer,
    Mount,
    Automount,
    Swap,
    Path,
    Slice,
    Scope,
    Device,
}

impl Kind {
    /// From the ending of a name, without the dot.
    pub fn from_suffix(suffix: &str) -> Option<Self> {
        Some(match suffix {
            "service" => Self::Service,
            "socket" => Self::Socket,
            "target" => Self::Target,
            "timer" => Self::Timer,
            "mount" => Self::Mount,
            "automount" => Self::Automount,
            "swap" => Self::Swap,
            "path" => Self::Path,
            "slice" => Self::Slice,
            "scope" => Self::Scope,
            "device" => Self::Device,
            _ => return None,
        })
    }

    /// The ending of such a unit's name, without the dot.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Socket => "socket",
            Self::Target => "target",
            Self::Timer => "timer",
            Self::Mount => "mount",
            Self::Automount => "automount",
            Self::Swap => "swap",
            Self::Path => "path",
            Self::Slice => "slice",
            Self::Scope => "scope",
            Self::Device => "device",
        }
    }

    /// The section of its own that such a unit has besides `[Unit]` and `[Install]`; systemd ignores all others.
    pub fn section(self) -> Option<&'static str> {
        match self {
            Self::Service => Some("Service"),
            Self::Socket => Some("Socket"),
            Self::Timer => Some("Timer"),
            Self::Mount => Some("Mount"),
            Self::Automount => Some("Automount"),
            Self::Swap => Some("Swap"),
            Self::Path => Some("Path"),
            Self::Slice => Some("Slice"),
            Self::Scope => Some("Scope"),
            Self::Target | Self::Device => None,
        }
    }
}

/// A valid name of a unit, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnitName<'a> {
    /// All of it.
    pub whole: &'a str,
    /// What stands before the `@` or the ending.
    pub prefix: &'a str,
    /// What stands behind the `@`: nothing for a plain unit, an empty text for a template.
    pub instance: Option<&'a str>,
    /// What the unit is.
    pub kind: Kind,
}

impl<'a> UnitName<'a> {
    /// Takes a name apart; nothing when systemd wouldn't take it for one.
    pub fn parse(whole: &'a str) -> Option<Self> {
        let (stem, suffix) = whole.rsplit_once('.')?;
        let kind = Kind::from_suffix(suffix)?;
        let allowed = |c: u8| c.is_ascii_alphanumeric() || b":-_.\\@".contains(&c);
        if whole.len() >= NAME_MAX || stem.is_empty() || !stem.bytes().all(allowed) {
            return None;
        }
        let (prefix, instance) = match stem.split_once('@') {
            Some((prefix, instance)) => (prefix, Some(instance)),
            None => (stem, None),
        };
        (!prefix.is_empty()).then_some(Self {
            whole,
            prefix,
            instance,
            kind,
        })
    }

    /// `foo@.service`.
    pub fn is_template(&self) -> bool {
        self.instance == Some("")
    }

    /// `foo@bar.service`.
    pub fn is_instance(&self) -> bool {
        self.instance.is_some_and(|instance| !instance.is_empty())
    }

    /// `foo@.service` for `foo@bar.service`.
    pub fn template(&self) -> Option<String> {
        self.is_instance()
            .then(|| format!("{}@.{}", self.prefix, self.kind.suffix()))
    }

    /// `foo@bar.service` for `foo@.service` and `bar`.
    pub fn with_instance(&self, instance: &str) -> String {
        format!("{}@{instance}.{}", self.prefix, self.kind.suffix())
    }

    /// The names whose `.d` directories hold drop-ins for this unit, the most specific first: its own, its template's,
    /// and those of its prefixes that end in a dash. (`service.d`, which is for all of a kind, is not among them.)
    pub fn drop_in_names(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut seen = BTreeSet::new();
        collect(self.whole, &mut seen, &mut found);
        found
    }
}

// The order is that of systemd's own recursion: a file of the same name in an earlier directory hides later ones.
fn collect(name: &str, seen: &mut BTreeSet<String>, found: &mut Vec<String>) {
    if !seen.insert(name.to_owned()) {
        return;
    }
    found.push(name.to_owned());
    let Some(parsed) = UnitName::parse(name) else {
        return;
    };
    if let Some(template) = parsed.template() {
        collect(&template, seen, found);
    }
    // A dash at the end is the prefix itself: the next one counts.
    let shorter = parsed.prefix.strip_suffix('-').unwrap_or(parsed.prefix);
    let Some(dash) = shorter.rfind('-').filter(|&dash| dash > 0) else {
        return;
    };
    let prefix = shorter.get(..=dash).unwrap_or_default();
    let suffix = parsed.kind.suffix();
    let next = match parsed.instance.filter(|instance| !instance.is_empty()) {
        Some(instance) => format!("{prefix}@{instance}.{suffix}"),
        None => format!("{prefix}.{suffix}"),
    };
    collect(&next, seen, found);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn takes_names_apart_as_systemd_does() {
        let name = UnitName::parse("getty@tty1.service").unwrap();
        assert_eq!(
            (name.prefix, name.instance, name.kind),
            ("getty", Some("tty1"), Kind::Service)
        );
        assert_eq!(name.template().unwrap(), "getty@.service");
        assert!(UnitName::parse("a@.mount").unwrap().is_template());
        assert!(UnitName::parse(r"dev-disk-by\x2duuid.swap").is_some());
        for bad in [
            "",
            "x",
            ".service",
            "@x.service",
            "a b.service",
            "a.conf",
            "ä.service",
        ] {
            assert!(UnitName::parse(bad).is_none(), "{bad}");
        }
        assert!(UnitName::parse(&format!("{}.service", "x".repeat(247))).is_some());
        assert!(UnitName::parse(&format!("{}.service", "x".repeat(248))).is_none());
    }

    #[test]
    fn drop_in_names_go_from_the_most_specific_to_the_most_general() {
        let names = |name| UnitName::parse(name).unwrap().drop_in_names();
        assert_eq!(
            names("foo-bar-waldo.service"),
            ["foo-bar-waldo.service", "foo-bar-.service", "foo-.service"]
        );
        assert_eq!(
            names("foo-bar@x.service"),
            [
                "foo-bar@x.service",
                "foo-bar@.service",
                "foo-.service",
                "foo-@x.service",
                "foo-@.service"
            ]
        );
        assert_eq!(names("-.mount"), ["-.mount"]);
        assert_eq!(names("-a-b.slice"), ["-a-b.slice", "-a-.slice"]);
        assert_eq!(names("plain.service"), ["plain.service"]);
        // Work stays proportional to the length of the name.
        assert!(names(&format!("{}@x.service", "a-".repeat(115))).len() < 500);
    }
}
