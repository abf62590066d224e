//! Several builds at once, each after what it needs.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::attempt;
use super::plan::Plan;
use super::{Failure, Realise, RealiseError, Report};
use crate::store::StorePath;

#[derive(Debug, Default)]
struct State {
    /// Builds that nothing is waited for, by index.
    ready: BTreeSet<usize>,
    /// For each build, how many that it needs aren't done.
    waits: Vec<usize>,
    running: usize,
    built: Vec<StorePath>,
    failure: Option<Box<Failure>>,
    /// A worker ended without a result: the others don't wait for it.
    is_broken: bool,
}

impl State {
    fn is_over(&self) -> bool {
        self.failure.is_some() || self.is_broken || (self.ready.is_empty() && self.running == 0)
    }
}

/// Builds all of a plan, and returns the derivations that were built; those that another process built meanwhile aren't among
/// them. After a failure nothing begins any more; what runs comes to its end and stays.
pub(super) fn run(
    realise: &Realise<'_>,
    plan: &Plan,
    report: &dyn Report,
) -> Result<Vec<StorePath>, RealiseError> {
    if plan.nodes.is_empty() {
        return Ok(Vec::new());
    }
    if !nix::unistd::geteuid().is_root() {
        return Err(RealiseError::NotRoot(plan.nodes.len()));
    }
    let mut dependents = vec![Vec::new(); plan.nodes.len()];
    let mut state = State::default();
    for (index, node) in plan.nodes.iter().enumerate() {
        state.waits.push(node.needs.len());
        if node.needs.is_empty() {
            let _new = state.ready.insert(index);
        }
        for &need in &node.needs {
            if let Some(slot) = dependents.get_mut(need) {
                slot.push(index);
            }
        }
    }
    let shared = Shared {
        state: Mutex::new(state),
        changed: Condvar::new(),
        dependents,
    };
    std::thread::scope(|scope| {
        for _ in 0..realise.jobs.clamp(1, plan.nodes.len()) {
            let _worker = scope.spawn(|| work(realise, plan, &shared, report));
        }
    });
    let state = shared.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    match state.failure {
        Some(failure) => Err(failure.into()),
        None => Ok(state.built),
    }
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// For each build those that need it.
    dependents: Vec<Vec<usize>>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<usize> {
        let mut state = self.state();
        loop {
            if state.is_over() {
                return None;
            }
            if let Some(index) = state.ready.pop_first() {
                state.running += 1;
                return Some(index);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn done(&self, index: usize, result: Result<Option<StorePath>, Box<Failure>>) {
        let mut state = self.state();
        state.running -= 1;
        match result {
            Ok(built) => {
                state.built.extend(built);
                for &dependent in self.dependents.get(index).into_iter().flatten() {
                    let Some(waits) = state.waits.get_mut(dependent) else {
                        continue;
                    };
                    *waits -= 1;
                    if *waits == 0 {
                        let _new = state.ready.insert(dependent);
                    }
                }
            }
            Err(failure) => state.failure = state.failure.take().or(Some(failure)),
        }
        drop(state);
        self.changed.notify_all();
    }
}

/// Tells the others when its worker panics.
struct Watched<'a>(&'a Shared);

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.state().is_broken = true;
            self.0.changed.notify_all();
        }
    }
}

fn work(realise: &Realise<'_>, plan: &Plan, shared: &Shared, report: &dyn Report) {
    let _watched = Watched(shared);
    while let Some(index) = shared.next() {
        let Some(node) = plan.nodes.get(index) else {
            // There is one: the indices are of this plan.
            continue;
        };
        let result = attempt::build(realise, &node.path, &node.derivation, report);
        shared.done(index, result.map(|made| made.then(|| node.path.clone())));
    }
}
