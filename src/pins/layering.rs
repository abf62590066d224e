//! Which layer a package goes into, so that as little as possible is built again.

use std::collections::BTreeMap;

use super::lock::Pin;

/// The most layers: each costs time to unpack and space for its own tree.
pub const LAYERS_MAX: u32 = 8;

/// A package that was resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The package; its layer isn't known yet.
    pub pin: Pin,
    /// Whether it belongs to the base.
    pub base: bool,
}

/// Gives every package its layer, and sorts them by layer and name.
///
/// What lies below the lowest layer that loses or changes a package stays as it is. Everything above becomes one layer; when that's
/// the base, the base and one layer above. Packages that are only added form a new layer on top. A layer's packages need nothing
/// but what lies in it and below it: that holds since what was resolved first (the base) needs nothing else, and since
/// everything new lies above all that stays.
pub fn layered(old: &[Pin], new: Vec<Resolved>) -> Vec<Pin> {
    let by_name: BTreeMap<&str, &Pin> = new
        .iter()
        .map(|resolved| (resolved.pin.name.as_str(), &resolved.pin))
        .collect();
    let layers: BTreeMap<String, u32> = old.iter().map(|pin| (pin.name.clone(), pin.layer)).collect();
    let mut lowest_changed = old
        .iter()
        .filter(|pin| by_name.get(pin.name.as_str()).is_none_or(|now| !same(pin, now)))
        .map(|pin| pin.layer)
        .min();
    if old.is_empty() {
        lowest_changed = Some(0);
    }
    let top = old.iter().map(|pin| pin.layer + 1).max().unwrap_or(0);
    let adds = new
        .iter()
        .any(|resolved| !layers.contains_key(&resolved.pin.name));
    if lowest_changed.is_none() && adds && top >= LAYERS_MAX {
        lowest_changed = Some(1);
    }
    let mut pins: Vec<Pin> = new
        .into_iter()
        .map(|Resolved { pin, base }| {
            let before = layers.get(&pin.name).copied();
            let layer = match (lowest_changed, before) {
                (None, Some(layer)) => layer,
                (None, None) => top,
                (Some(changed), Some(layer)) if layer < changed => layer,
                (Some(0), _) => u32::from(!base),
                (Some(changed), _) => changed,
            };
            Pin { layer, ..pin }
        })
        .collect();
    pins.sort_by(|a, b| (a.layer, &a.name).cmp(&(b.layer, &b.name)));
    close_gaps(&mut pins);
    pins
}

/// Whether a layer that has the one may keep it for the other. Where it's fetched from doesn't matter.
fn same(a: &Pin, b: &Pin) -> bool {
    (&a.version, &a.architecture, &a.sha256, a.size) == (&b.version, &b.architecture, &b.sha256, b.size)
}

// A layer whose packages all went away.
fn close_gaps(pins: &mut [Pin]) {
    let mut next = 0;
    let mut current = None;
    for pin in pins {
        if let Some(layer) = current
            && layer != pin.layer
        {
            next += 1;
        }
        current = Some(pin.layer);
        pin.layer = next;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn pin(name: &str, version: &str) -> Pin {
        Pin {
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: "all".to_owned(),
            size: 1,
            sha256: format!("{name}{version}"),
            place: format!("pool/{name}_{version}.deb"),
            layer: 0,
        }
    }

    /// `name=version`, `*` at its end for the base.
    fn resolved(text: &str) -> Vec<Resolved> {
        text.split_whitespace()
            .map(|word| {
                let (word, base) = word.strip_suffix('*').map_or((word, false), |word| (word, true));
                let (name, version) = word.split_once('=').unwrap();
                Resolved {
                    pin: pin(name, version),
                    base,
                }
            })
            .collect()
    }

    fn shown(pins: &[Pin]) -> String {
        let words: Vec<_> = pins
            .iter()
            .map(|pin| format!("{}:{}={}", pin.layer, pin.name, pin.version))
            .collect();
        words.join(" ")
    }

    #[test]
    fn layers_grow_and_collapse() {
        let first = layered(&[], resolved("vim=1 libc=1* bash=1*"));
        assert_eq!(shown(&first), "0:bash=1 0:libc=1 1:vim=1");
        let more = layered(&first, resolved("vim=1 libc=1* bash=1* tree=1 git=1"));
        assert_eq!(shown(&more), "0:bash=1 0:libc=1 1:vim=1 2:git=1 2:tree=1");
        let again = layered(&more, resolved("vim=1 libc=1* bash=1* tree=1 git=1"));
        assert_eq!(again, more);
        let newer = layered(&more, resolved("vim=2 libc=1* bash=1* tree=1 git=1"));
        assert_eq!(shown(&newer), "0:bash=1 0:libc=1 1:git=1 1:tree=1 1:vim=2");
        let fewer = layered(&more, resolved("vim=1 libc=1* bash=1* tree=1"));
        assert_eq!(shown(&fewer), "0:bash=1 0:libc=1 1:vim=1 2:tree=1");
        let none = layered(&more, resolved("vim=1 libc=1* bash=1*"));
        assert_eq!(shown(&none), "0:bash=1 0:libc=1 1:vim=1");
        let base = layered(&more, resolved("vim=1 libc=2* bash=1* tree=1 git=1"));
        assert_eq!(shown(&base), "0:bash=1 0:libc=2 1:git=1 1:tree=1 1:vim=1");
    }

    #[test]
    fn there_are_not_too_many() {
        let mut text = "libc=1*".to_owned();
        let mut pins = layered(&[], resolved(&text));
        for count in 0..40 {
            text = format!("{text} p{count}=1");
            pins = layered(&pins, resolved(&text));
            assert!(pins.iter().all(|pin| pin.layer < LAYERS_MAX));
        }
        assert_eq!(pins.len(), 41);
    }

    #[test]
    fn another_mirror_builds_nothing_again() {
        let old = layered(&[], resolved("vim=1 libc=1*"));
        let mut new = resolved("vim=1 libc=1*");
        for one in &mut new {
            one.pin.place = "elsewhere".to_owned();
        }
        let pins = layered(&old, new);
        assert!(pins.iter().all(|pin| pin.place == "elsewhere"));
        assert_eq!(shown(&pins), shown(&old));
    }

    proptest! {
        /// Every package has one layer, layers have no gaps, and a layer below all changes is exactly what it was.
        #[test]
        fn what_is_below_a_change_stays(steps in proptest::collection::vec(
            proptest::collection::btree_map("[a-h]", 1u32..3, 1..8), 1..6)) {
            let mut old: Vec<Pin> = Vec::new();
            for step in steps {
                let new: Vec<_> = step
                    .iter()
                    .map(|(name, version)| Resolved { pin: pin(name, &version.to_string()), base: name.as_str() < "c" })
                    .collect();
                let pins = layered(&old, new.clone());
                prop_assert_eq!(pins.len(), new.len());
                let top = pins.iter().map(|pin| pin.layer).max().unwrap_or(0);
                for layer in 0..=top {
                    prop_assert!(pins.iter().any(|pin| pin.layer == layer));
                }
                let changed = old.iter().filter(|pin| !pins.iter().any(|now| now.name == pin.name && same(now, pin)));
                let lowest = changed.map(|pin| pin.layer).min().unwrap_or(u32::MAX);
                for pin in old.iter().filter(|pin| pin.layer < lowest.min(1)) {
                    prop_assert!(pins.contains(pin));
                }
                old = pins;
            }
        }
    }
}
