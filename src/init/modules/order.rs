//! In which order modules are loaded: what is ready now, and what waits for what.

use std::collections::BTreeSet;

use super::table::Module;
use super::urgency::Urgency;

/// Its place among what can be loaded: the more urgent first, else in the order in which modules were asked for.
type Rank = (Urgency, u64);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    NotRequested,
    Waiting,
    Ready,
    Running,
    Loaded,
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// When it fails, so does the module that needs it.
    Hard,
    Soft,
}

#[derive(Debug, Default)]
struct Node {
    state: State,
    /// The first of those for whom it was asked for.
    rank: Rank,
    /// What this module still waits for.
    waits: Vec<(usize, Need)>,
    /// Who waits for this module, or once did.
    dependents: Vec<usize>,
}

/// The state of all modules. Does no loading itself.
#[derive(Debug)]
pub(super) struct Order {
    modules: Vec<Module>,
    nodes: Vec<Node>,
    ready: BTreeSet<(Rank, usize)>,
    /// How often modules were asked for.
    requests: u64,
    running: usize,
    /// Requested and neither loaded nor failed.
    open: usize,
    failures: Vec<(usize, String)>,
}

impl Order {
    pub(super) fn new(modules: Vec<Module>) -> Order {
        let nodes = modules.iter().map(|_| Node::default()).collect();
        Order {
            modules,
            nodes,
            ready: BTreeSet::new(),
            requests: 0,
            running: 0,
            open: 0,
            failures: Vec::new(),
        }
    }

    pub(super) fn module(&self, index: usize) -> Option<&Module> {
        self.modules.get(index)
    }

    /// Asks for a module and all it needs. What was asked for before may become more urgent.
    pub(super) fn request(&mut self, index: usize, urgency: Urgency) {
        self.requests += 1;
        let rank = (urgency, self.requests);
        self.hurry(index, rank);
        self.enlist(index, rank);
        self.break_cycles();
    }

    /// The next module to load now; [`Order::finish`] must follow.
    pub(super) fn next(&mut self) -> Option<usize> {
        let (_, index) = self.ready.pop_first()?;
        if let Some(node) = self.nodes.get_mut(index) {
            node.state = State::Running;
            self.running += 1;
        }
        Some(index)
    }

    /// Takes in how loading a module ended.
    pub(super) fn finish(&mut self, index: usize, result: Result<(), String>) {
        self.running = self.running.saturating_sub(1);
        let loaded = result.is_ok();
        self.settle(index, result);
        if loaded {
            let rank = self.nodes.get(index).map(|node| node.rank).unwrap_or_default();
            for after in self
                .modules
                .get(index)
                .map(|module| module.soft_after.clone())
                .unwrap_or_default()
            {
                self.enlist(after, rank);
            }
        }
        self.break_cycles();
    }

    /// Whether everything that was asked for is loaded or has failed.
    pub(super) fn is_idle(&self) -> bool {
        self.open == 0
    }

    /// Whether a module that was asked for is loaded or has failed.
    pub(super) fn is_settled(&self, index: usize) -> bool {
        matches!(self.state(index), State::Loaded | State::Failed)
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Modules that failed, with the reason.
    pub(super) fn failures(&self) -> impl Iterator<Item = (&str, &str)> {
        self.failures
            .iter()
            .map(|(index, reason)| (self.name(*index), reason.as_str()))
    }

    fn name(&self, index: usize) -> &str {
        self.modules.get(index).map_or("?", |module| module.name.as_str())
    }

    fn state(&self, index: usize) -> State {
        // A table made in memory isn't checked as a parsed one is: what isn't there fails.
        self.nodes.get(index).map_or(State::Failed, |node| node.state)
    }

    /// Moves a module that waits, and all that it waits for, to a better place.
    fn hurry(&mut self, index: usize, rank: Rank) {
        let mut stack = vec![index];
        while let Some(index) = stack.pop() {
            let Some(node) = self.nodes.get_mut(index) else {
                continue;
            };
            if !matches!(node.state, State::Waiting | State::Ready) || node.rank <= rank {
                continue;
            }
            if self.ready.remove(&(node.rank, index)) {
                let _ = self.ready.insert((rank, index));
            }
            node.rank = rank;
            stack.extend(node.waits.iter().map(|(need, _)| *need));
        }
    }

    fn enlist(&mut self, index: usize, rank: Rank) {
        let mut stack = vec![index];
        while let Some(index) = stack.pop() {
            if self.state(index) != State::NotRequested {
                self.hurry(index, rank);
                continue;
            }
            let needs = self.needs(index);
            let failed = needs
                .iter()
                .find(|(need, kind)| *kind == Need::Hard && self.state(*need) == State::Failed);
            let failed = failed.map(|(need, _)| self.dependency_failed(*need));
            let waits: Vec<_> = needs
                .into_iter()
                .filter(|(need, _)| !matches!(self.state(*need), State::Loaded | State::Failed))
                .collect();
            let Some(node) = self.nodes.get_mut(index) else {
                continue;
            };
            node.state = State::Waiting;
            node.rank = rank;
            self.open += 1;
            if let Some(reason) = failed {
                self.settle(index, Err(reason));
                continue;
            }
            node.waits.clone_from(&waits);
            for (need, _) in waits.into_iter().rev() {
                if let Some(node) = self.nodes.get_mut(need) {
                    node.dependents.push(index);
                }
                stack.push(need);
            }
            self.make_ready(index);
        }
    }

    /// What a module waits for, each once; a dependency that is also a soft one is a dependency.
    fn needs(&self, index: usize) -> Vec<(usize, Need)> {
        let Some(module) = self.modules.get(index) else {
            return Vec::new();
        };
        let hard = module.depends.iter().map(|need| (*need, Need::Hard));
        let soft = module.soft_before.iter().map(|need| (*need, Need::Soft));
        let mut seen = std::collections::BTreeSet::new();
        hard.chain(soft).filter(|(need, _)| seen.insert(*need)).collect()
    }

    fn dependency_failed(&self, need: usize) -> String {
        format!("{}, which it depends on, isn't loaded", self.name(need))
    }

    fn make_ready(&mut self, index: usize) {
        if let Some(node) = self.nodes.get_mut(index)
            && node.state == State::Waiting
            && node.waits.is_empty()
        {
            node.state = State::Ready;
            let _ = self.ready.insert((node.rank, index));
        }
    }

    /// Records the end of a module, and what follows from it for those that wait for it.
    fn settle(&mut self, index: usize, result: Result<(), String>) {
        let mut settled = vec![(index, result)];
        while let Some((index, result)) = settled.pop() {
            let Some(node) = self.nodes.get_mut(index) else {
                continue;
            };
            if matches!(node.state, State::Loaded | State::Failed) {
                continue;
            }
            let loaded = result.is_ok();
            node.state = if loaded { State::Loaded } else { State::Failed };
            node.waits.clear();
            let dependents = std::mem::take(&mut node.dependents);
            self.open = self.open.saturating_sub(1);
            if let Err(reason) = result {
                self.failures.push((index, reason));
            }
            for dependent in dependents {
                match self.stop_waiting(dependent, index) {
                    Some(Need::Hard) if !loaded => {
                        // The end of its other needs must not make it ready any more.
                        if let Some(node) = self.nodes.get_mut(dependent) {
                            node.waits.clear();
                        }
                        settled.push((dependent, Err(self.dependency_failed(index))));
                    }
                    Some(_) => self.make_ready(dependent),
                    None => {}
                }
            }
        }
    }

    /// Removes `need` from what `index` waits for; `None` when it didn't wait for it (any more).
    fn stop_waiting(&mut self, index: usize, need: usize) -> Option<Need> {
        let waits = &mut self.nodes.get_mut(index)?.waits;
        let position = waits.iter().position(|(wait, _)| *wait == need)?;
        Some(waits.swap_remove(position).1)
    }

    /// When everything that is left waits for something else that is left, some of it waits in a circle: drops a soft
    /// dependency of the circle, or fails the modules of one that has none. Nobody would ever wake up otherwise.
    fn break_cycles(&mut self) {
        while self.open > 0 && self.running == 0 && self.ready.is_empty() {
            let Some(start) = self.nodes.iter().position(|node| node.state == State::Waiting) else {
                return;
            };
            let circle = self.circle(start);
            if let Some((index, need, _)) = circle.iter().find(|(_, _, kind)| *kind == Need::Soft) {
                let _ = self.stop_waiting(*index, *need);
                self.make_ready(*index);
                continue;
            }
            let names: Vec<_> = circle
                .iter()
                .map(|(index, _, _)| self.name(*index).to_owned())
                .collect();
            let reason = format!("modules depend on each other in a circle: {}", names.join(", "));
            // A waiting module that waits for nothing can't be; failing it still beats looping for ever.
            self.settle(circle.first().map_or(start, |(index, _, _)| *index), Err(reason));
        }
    }

    /// Follows waiting modules from `start` until one comes up again. Returns the circle: who, for whom, how.
    fn circle(&self, start: usize) -> Vec<(usize, usize, Need)> {
        let mut place = vec![None; self.nodes.len()];
        let mut path: Vec<(usize, usize, Need)> = Vec::new();
        let mut index = start;
        loop {
            if let Some(first) = place.get(index).copied().flatten() {
                return path.split_off(first);
            }
            let wait = self.nodes.get(index).and_then(|node| node.waits.first());
            let (Some((need, kind)), Some(place)) = (wait, place.get_mut(index)) else {
                return Vec::new();
            };
            *place = Some(path.len());
            path.push((index, *need, *kind));
            index = *need;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Modules by name, each with the modules that it depends on.
    fn order(modules: &[(&str, &[usize])]) -> Order {
        let module = |(name, depends): &(&str, &[usize])| Module {
            name: (*name).to_owned(),
            depends: depends.to_vec(),
            ..Module::default()
        };
        Order::new(modules.iter().map(module).collect())
    }

    /// Loads everything, one after the other.
    fn names(order: &mut Order) -> Vec<String> {
        let mut names = Vec::new();
        while let Some(index) = order.next() {
            names.push(order.name(index).to_owned());
            order.finish(index, Ok(()));
        }
        assert!(order.is_idle());
        names
    }

    #[test]
    fn a_disk_does_not_wait_for_what_was_asked_for_before() {
        let mut order = order(&[
            ("dm_mod", &[]),
            ("dm_crypt", &[0]),
            ("nvme_core", &[]),
            ("nvme", &[2]),
        ]);
        order.request(1, Urgency::Rest);
        order.request(3, Urgency::QuickDisk);
        assert_eq!(names(&mut order), ["nvme_core", "nvme", "dm_mod", "dm_crypt"]);
    }

    #[test]
    fn what_a_disk_needs_too_becomes_as_urgent() {
        let modules: [(&str, &[usize]); 5] = [
            ("a", &[]),
            ("crc", &[]),
            ("common", &[1]),
            ("file_system", &[0, 2]),
            ("disk", &[2]),
        ];
        let mut order = order(&modules);
        order.request(3, Urgency::Rest);
        order.request(4, Urgency::Disk);
        assert_eq!(names(&mut order), ["crc", "common", "disk", "a", "file_system"]);
    }

    #[test]
    fn equals_are_loaded_in_the_order_in_which_they_are_asked_for() {
        let mut order = order(&[("a", &[]), ("b", &[3]), ("c", &[]), ("d", &[])]);
        for index in [2, 1, 0] {
            order.request(index, Urgency::Disk);
        }
        assert_eq!(names(&mut order), ["c", "d", "b", "a"]);
    }
}
