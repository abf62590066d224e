//! `[etc]` and `[[overlay]]`: what stands in for what, and files beside the configuration.

use std::collections::BTreeMap;

use super::{Outcome, View};
use crate::config::check::{GROUPS, USERS};
use crate::config::place::Remark;
use crate::config::{Config, EtcFile};

pub(super) fn check(view: &View<'_>, config: &Config, outcome: &mut Outcome) {
    for (path, file) in &config.etc {
        etc(view, (path, file), outcome);
        owner(view, config, (path, file), outcome);
        beneath_a_file(view, config, path, outcome);
    }
    overlays(view, config, outcome);
}

fn etc(view: &View<'_>, (path, file): (&str, &EtcFile), outcome: &mut Outcome) {
    let has = [
        ("text", file.text.is_some()),
        ("source", file.source.is_some()),
        ("link", file.link.is_some()),
    ];
    one_of(view, &["etc", path], &has, outcome);
    if let Some(source) = &file.source {
        read_source(view, &["etc", path, "source"], source, outcome);
    }
}

/// Tells unless exactly one of some keys is there.
fn one_of(view: &View<'_>, at: &[&str], has: &[(&str, bool)], outcome: &mut Outcome) {
    let name = crate::config::dotted(&at.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>());
    let words: Vec<&str> = has.iter().map(|(key, _)| *key).collect();
    let help = format!("it takes one of {}", words.join(", "));
    let given: Vec<&str> = has.iter().filter(|(_, is)| *is).map(|(key, _)| *key).collect();
    let place = |key: &str| {
        let mut path = at.to_vec();
        path.push(key);
        view.place(&path)
    };
    match given.as_slice() {
        [_] => {}
        [] => {
            let is_told = view.is_broken(at)
                || words.iter().any(|key| {
                    let mut path = at.to_vec();
                    path.push(key);
                    view.is_broken(&path)
                });
            if !is_told {
                outcome
                    .problems
                    .push(Remark::new(view.place(at), format!("{name} has nothing in it")).help(help));
            }
        }
        [first, rest @ ..] => {
            let mut remark =
                Remark::new(place(first), format!("{name} has {}", given.join(" and "))).help(help);
            for other in rest {
                remark = remark.also(format!("{other} is at"), place(other));
            }
            outcome.problems.push(remark);
        }
    }
}

fn read_source(view: &View<'_>, at: &[&str], source: &str, outcome: &mut Outcome) {
    let path = view.sources.base().join(source);
    match (view.sources.read)(&path) {
        Ok(bytes) => {
            let _same = outcome.sources.insert(source.to_owned(), bytes);
        }
        Err(error) => outcome.problem(
            view.place(at),
            format!("{} can't be read: {error}", path.display()),
        ),
    }
}

fn owner(view: &View<'_>, config: &Config, (path, file): (&str, &EtcFile), outcome: &mut Outcome) {
    if !USERS.contains(&file.user.as_str()) && !config.users.contains_key(&file.user) {
        let message = format!("nobody declares the user {}: a package has to make it", file.user);
        outcome.note(view.place(&["etc", path, "user"]), message);
    }
    let is_declared = config.groups.contains_key(&file.group) || config.users.contains_key(&file.group);
    if !GROUPS.contains(&file.group.as_str()) && !is_declared {
        let message = format!(
            "nobody declares the group {}: a package has to make it",
            file.group
        );
        outcome.note(view.place(&["etc", path, "group"]), message);
    }
}

/// A file can't be a directory at once.
fn beneath_a_file(view: &View<'_>, config: &Config, path: &str, outcome: &mut Outcome) {
    for (at, _) in path.match_indices('/') {
        let above = path.get(..at).unwrap_or_default();
        if config.etc.contains_key(above) {
            outcome.problems.push(
                Remark::new(
                    view.place(&["etc", path]),
                    format!("etc.\"{path}\" lies below etc.\"{above}\", which is a file"),
                )
                .also("it's at", view.place(&["etc", above])),
            );
        }
    }
}

fn overlays(view: &View<'_>, config: &Config, outcome: &mut Outcome) {
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, overlay) in config.overlay.iter().enumerate() {
        let number = index.to_string();
        let at = ["overlay", number.as_str()];
        let has = [
            ("deb", overlay.deb.is_some()),
            ("recipe", overlay.recipe.is_some()),
            ("path", overlay.path.is_some()),
        ];
        one_of(view, &at, &has, outcome);
        if let Some(first) = known.insert(&overlay.package, index) {
            outcome.problems.push(
                Remark::new(
                    view.place(&at),
                    format!("two overlays take the place of {}", overlay.package),
                )
                .also("the other is at", view.place(&["overlay", &first.to_string()])),
            );
        }
        if let Some(recipe) = &overlay.recipe {
            read_source(view, &["overlay", &number, "recipe"], recipe, outcome);
        }
        if let Some(deb) = &overlay.deb {
            let path = view.sources.base().join(deb);
            if !(view.sources.exists)(&path) {
                let message = format!("{} isn't there, or is no file", path.display());
                outcome.problem(view.place(&["overlay", &number, "deb"]), message);
            }
        }
    }
}
