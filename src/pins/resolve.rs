//! From names of packages to packages: the base first, then all else on top of it.

use std::collections::{BTreeMap, BTreeSet};

use super::apt::{Apt, AptError, Plan, Question, empty_status};
use super::index::{Index, Listed};
use super::layering::Resolved;
use super::lock::Pin;
use super::required::PackageRequest;

/// Why packages can't be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// apt failed.
    #[error(transparent)]
    Apt(#[from] AptError),
    /// apt picked a package that the index doesn't tell enough about.
    #[error("the index has no size, hash or place for {0}")]
    Incomplete(String),
    /// What is locked isn't in any index that is here.
    #[error(
        "what {0} and others of the lock need isn't known here any more: `keel update` without names resolves everything anew"
    )]
    Forgotten(String),
}

/// What is resolved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resolve<'a> {
    /// The private root.
    pub(super) apt: &'a Apt,
    /// What its indexes say.
    pub(super) index: &'a Index<'a>,
    /// What the packages of the old lock were, when they aren't in the indexes any more.
    pub(super) remembered: &'a [Listed],
    /// What is asked for; all of it is there.
    pub(super) requests: &'a [PackageRequest],
    /// Whether recommended packages come along.
    pub(super) recommends: bool,
}

/// The installed state that a step begins with: names to their paragraphs and packages.
type State<'a> = BTreeMap<String, (&'a str, Pin)>;

impl<'a> Resolve<'a> {
    /// Names of the base and of the rest, those that the suite does without left out.
    fn names(&self) -> (Vec<String>, Vec<String>) {
        let mut base: BTreeSet<String> = self.index.required().into_iter().map(str::to_owned).collect();
        let mut rest = BTreeSet::new();
        for request in self.requests {
            if request.if_there && self.index.named(&request.name).is_empty() {
                continue;
            }
            let set = if request.base { &mut base } else { &mut rest };
            let _new = set.insert(request.name.clone());
        }
        (base.into_iter().collect(), rest.into_iter().collect())
    }

    /// Everything anew.
    ///
    /// # Errors
    /// See [`ResolveError`].
    pub(super) fn all(&self) -> Result<Vec<Resolved>, ResolveError> {
        let (base_names, rest_names) = self.names();
        let base = self.step(&State::new(), &base_names, &[], false)?;
        let all = self.step(&base, &rest_names, &[], false)?;
        let is_kept = |(name, (_, pin)): (&String, &(&str, Pin))| {
            all.get(name).is_some_and(|(_, now)| now.version == pin.version)
        };
        if base.iter().all(is_kept) {
            return Ok(resolved(&all, &|name| base.contains_key(name)));
        }
        // Something doesn't go together with the base as it would be for itself: there is only this machine's own.
        let together = [base_names, rest_names].concat();
        let all = self.step(&State::new(), &together, &[], false)?;
        Ok(resolved(&all, &|_| true))
    }

    /// Only what is named, what is new in the configuration, and what those need; what the configuration doesn't ask for any
    /// more goes.
    ///
    /// # Errors
    /// See [`ResolveError`].
    pub(super) fn some(&self, old: &[Pin], only: &[String]) -> Result<Vec<Resolved>, ResolveError> {
        let (base_names, rest_names) = self.names();
        let mut locked = State::new();
        for pin in old {
            let paragraph = self
                .paragraph(pin)
                .ok_or_else(|| ResolveError::Forgotten(pin.name.clone()))?;
            let _none = locked.insert(pin.name.clone(), (paragraph, pin.clone()));
        }
        let in_base: BTreeSet<&str> = old
            .iter()
            .filter(|pin| pin.layer == 0)
            .map(|pin| pin.name.as_str())
            .collect();
        let (old_base, old_rest): (State<'_>, State<'_>) = locked
            .into_iter()
            .partition(|(name, _)| in_base.contains(name.as_str()));
        let new = |names: &[String]| -> Vec<String> {
            let is_new = |name: &&String| !old_base.contains_key(*name) && !old_rest.contains_key(*name);
            names.iter().filter(is_new).cloned().collect()
        };
        let mut of_base: Vec<String> = only
            .iter()
            .filter(|name| in_base.contains(name.as_str()))
            .cloned()
            .collect();
        of_base.extend(new(&base_names));
        let mut of_rest: Vec<String> = only
            .iter()
            .filter(|name| !in_base.contains(name.as_str()))
            .cloned()
            .collect();
        of_rest.extend(new(&rest_names));

        // What the rest needs of the base is changed in the base by itself, so that the base needs nothing but itself. Each round
        // names at least one more package.
        loop {
            let base = self.step(&old_base, &of_base, &base_names, true)?;
            let mut together = base.clone();
            together.extend(old_rest.clone());
            let wanted = [base_names.clone(), rest_names.clone()].concat();
            let all = self.step(&together, &of_rest, &wanted, true)?;
            let moved: Vec<String> = base
                .iter()
                .filter(|(name, (_, pin))| all.get(*name).is_some_and(|(_, now)| now.version != pin.version))
                .map(|(name, _)| name.clone())
                .filter(|name| !of_base.contains(name))
                .collect();
            if moved.is_empty() {
                let is_kept = |(name, (_, pin)): (&String, &(&str, Pin))| {
                    all.get(name).is_none_or(|(_, now)| now.version == pin.version)
                };
                let is_base = base.iter().all(is_kept);
                return Ok(resolved(&all, &|name| !is_base || base.contains_key(name)));
            }
            of_base.extend(moved);
        }
    }

    /// What there is after `names` were installed over `before`. `manual` stay, whoever needs them.
    fn step(
        &self,
        before: &State<'a>,
        names: &[String],
        manual: &[String],
        remove_unneeded: bool,
    ) -> Result<State<'a>, ResolveError> {
        if names.is_empty() && !remove_unneeded {
            return Ok(before.clone());
        }
        let mut status = empty_status();
        for (paragraph, _) in before.values() {
            // Status comes first: paragraphs of indexes don't have it.
            status.push_str("Status: install ok installed\n");
            status.push_str(paragraph.trim_end());
            status.push_str("\n\n");
        }
        let kept: BTreeSet<&str> = manual.iter().chain(names).map(String::as_str).collect();
        let automatic: Vec<String> = before
            .keys()
            .filter(|name| !kept.contains(name.as_str()))
            .cloned()
            .collect();
        let plan = self.apt.plan(&Question {
            status: &status,
            automatic: &automatic,
            install: names,
            remove_unneeded,
            recommends: self.recommends,
        })?;
        self.after(before, &plan)
    }

    fn after(&self, before: &State<'a>, plan: &Plan) -> Result<State<'a>, ResolveError> {
        let mut state = before.clone();
        state.retain(|name, _| !plan.remove.contains(name));
        for (name, version, architecture) in &plan.install {
            let incomplete = || ResolveError::Incomplete(format!("{name} {version}"));
            let package = self
                .index
                .exactly(name, version, architecture)
                .ok_or_else(incomplete)?;
            let pin = package.pin().ok_or_else(incomplete)?;
            let _old = state.insert(name.clone(), (package.paragraph.text(), pin));
        }
        Ok(state)
    }

    fn paragraph(&self, pin: &Pin) -> Option<&'a str> {
        if let Some(package) = self.index.exactly(&pin.name, &pin.version, &pin.architecture) {
            return Some(package.paragraph.text());
        }
        self.remembered.iter().find_map(|listed| {
            super::deb822::paragraphs(&listed.text)
                .find(|paragraph| {
                    paragraph.get("Package") == Some(&pin.name)
                        && paragraph.get("Version") == Some(&pin.version)
                        && paragraph.get("Architecture") == Some(&pin.architecture)
                })
                .map(|paragraph| paragraph.text())
        })
    }
}

fn resolved(state: &State<'_>, is_base: &dyn Fn(&str) -> bool) -> Vec<Resolved> {
    state
        .iter()
        .map(|(name, (_, pin))| Resolved {
            pin: pin.clone(),
            base: is_base(name),
        })
        .collect()
}
