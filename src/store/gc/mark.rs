//! What is alive, and in which order the rest goes: pure, on the graph of references.

use crate::store::db::Graph;

/// Which derivations and outputs keep each other alive: Nix's settings `keep-derivations` and `keep-outputs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// The derivation that a living path was built from lives, too.
    pub derivations: bool,
    /// The outputs of a living derivation live, too.
    pub outputs: bool,
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            derivations: true,
            outputs: false,
        }
    }
}

/// What is known to be alive. It only ever grows.
#[derive(Debug)]
pub struct Living<'a> {
    graph: &'a Graph,
    alive: Vec<bool>,
    // Sorted: a path, and another that lives when it does, beyond its references.
    also: Vec<(u32, u32)>,
}

impl<'a> Living<'a> {
    /// Nothing is alive yet.
    pub fn new(graph: &'a Graph, keep: Keep) -> Self {
        let mut also = Vec::new();
        if keep.derivations {
            also.extend(
                graph
                    .outputs()
                    .iter()
                    .map(|&(derivation, output)| (output, derivation)),
            );
        }
        if keep.outputs {
            also.extend_from_slice(graph.declared_outputs());
        }
        also.sort_unstable();
        Self {
            graph,
            alive: vec![false; graph.len()],
            also,
        }
    }

    /// `root` is alive, with all that it reaches.
    pub fn mark(&mut self, root: u32) {
        let mut waiting = vec![root];
        while let Some(index) = waiting.pop() {
            let Some(alive @ false) = self.alive.get_mut(index as usize) else {
                continue;
            };
            *alive = true;
            waiting.extend_from_slice(self.graph.references(index));
            let start = self.also.partition_point(|&(first, _)| first < index);
            let own = self.also.get(start..).unwrap_or_default().iter();
            waiting.extend(
                own.take_while(|&&(first, _)| first == index)
                    .map(|&(_, second)| second),
            );
        }
    }

    /// Whether the path at `index` is alive.
    pub fn is_alive(&self, index: u32) -> bool {
        self.alive.get(index as usize).copied().unwrap_or(true)
    }

    /// All that are not, each after everything that refers to it. Paths in a circle, which Nix doesn't make, come last.
    pub fn dead_in_order(&self) -> Vec<u32> {
        let count = u32::try_from(self.graph.len()).unwrap_or(u32::MAX);
        let dead = || (0..count).filter(|&index| !self.is_alive(index));
        // By how many dead paths each is referred to that aren't in the order yet. A living path refers to no dead one.
        let mut referrers = vec![0u32; self.graph.len()];
        let others = |index: u32| {
            let references = self.graph.references(index).iter();
            references.copied().filter(move |&reference| reference != index)
        };
        for reference in dead().flat_map(others) {
            if let Some(count) = referrers.get_mut(reference as usize) {
                *count += 1;
            }
        }
        let is_free = |referrers: &[u32], index: u32| referrers.get(index as usize) == Some(&0);
        let mut order: Vec<u32> = dead().filter(|&index| is_free(&referrers, index)).collect();
        let mut at = 0;
        while let Some(&index) = order.get(at) {
            at += 1;
            for reference in others(index) {
                if let Some(count) = referrers.get_mut(reference as usize) {
                    *count = count.saturating_sub(1);
                }
                if is_free(&referrers, reference) && !self.is_alive(reference) {
                    order.push(reference);
                }
            }
        }
        order.extend(dead().filter(|&index| !is_free(&referrers, index)));
        order
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        unused_results
    )]
    use super::*;
    use crate::store::StorePath;
    use crate::store::db::{Database, PathInfo};
    use crate::store::nar::NarHash;

    const LETTERS: &[u8] = b"0123456789abcdfghijklmnpqrsvwxyz";

    fn path(n: usize) -> StorePath {
        let hash: String = std::iter::repeat_n(char::from(LETTERS[n]), 32).collect();
        StorePath::from_base_name(&format!("{hash}-p{n}")).unwrap()
    }

    fn graph(edges: &[(usize, usize)], built: &[(usize, usize)]) -> Graph {
        let dir = tempfile::tempdir().unwrap();
        let mut database = Database::open(dir.path(), "/nix/store").unwrap();
        let nar = NarHash {
            sha256: [1; 32],
            size: 1,
        };
        let all: Vec<_> = (0..LETTERS.len())
            .map(|n| {
                let references = edges.iter().filter(|edge| edge.0 == n).map(|edge| path(edge.1));
                let deriver = built.iter().find(|pair| pair.1 == n).map(|pair| path(pair.0));
                PathInfo {
                    deriver,
                    ..PathInfo::new(path(n), nar, references.collect())
                }
            })
            .collect();
        database.register(&all, 1).unwrap();
        for pair in built {
            database
                .register_outputs(&path(pair.0), &[("out".into(), path(pair.1))])
                .unwrap();
        }
        database.graph().unwrap()
    }

    fn alive(graph: &Graph, keep: Keep, root: u32) -> Vec<u32> {
        let mut living = Living::new(graph, keep);
        living.mark(root);
        (0..32).filter(|&n| living.is_alive(n)).collect()
    }

    #[test]
    fn derivations_and_outputs_keep_each_other_as_nix_is_told() {
        // 5 is built from 9, which refers to 10.
        let graph = graph(&[(9, 10), (5, 4)], &[(9, 5)]);
        let keep = |derivations, outputs| Keep { derivations, outputs };
        assert_eq!(alive(&graph, Keep::default(), 5), [4, 5, 9, 10]);
        assert_eq!(alive(&graph, keep(false, false), 5), [4, 5]);
        assert_eq!(alive(&graph, Keep::default(), 9), [9, 10]);
        assert_eq!(alive(&graph, keep(true, true), 9), [4, 5, 9, 10]);
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(24))]
        #[test]
        fn what_is_reached_lives_and_the_rest_goes_with_referrers_first(
            edges in proptest::collection::vec((0usize..32, 0usize..32), 0..60),
            roots in proptest::collection::vec(0u32..32, 0..4),
        ) {
            // Downwards or to itself: no circles.
            let edges: Vec<_> = edges.into_iter().map(|(a, b)| (a.max(b), a.min(b))).collect();
            let graph = graph(&edges, &[]);
            let mut living = Living::new(&graph, Keep::default());
            for &root in &roots {
                living.mark(root);
            }
            let mut expected: std::collections::BTreeSet<_> = roots.iter().map(|&n| n as usize).collect();
            for n in (0..32).rev() {
                if expected.contains(&n) {
                    expected.extend(edges.iter().filter(|edge| edge.0 == n).map(|edge| edge.1));
                }
            }
            let order: Vec<_> = living.dead_in_order().into_iter().map(|n| n as usize).collect();
            let mut sorted = order.clone();
            sorted.sort_unstable();
            let dead: Vec<_> = (0..32).filter(|n| !expected.contains(n)).collect();
            assert_eq!(sorted, dead);
            let place = |n| order.iter().position(|&m| m == n);
            for &(from, to) in edges.iter().filter(|edge| edge.0 != edge.1) {
                if let (Some(from), Some(to)) = (place(from), place(to)) {
                    assert!(from < to);
                }
            }
        }
    }
}
