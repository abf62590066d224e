//! Work on many things that need each other: several at once, the result of each only once what it needs is settled.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;

/// An order of `0..needs.len()` in which everything comes after what it needs.
///
/// # Errors
/// One that needs itself by way of others.
pub(super) fn in_order(needs: &[Vec<usize>]) -> Result<Vec<usize>, usize> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; needs.len()];
    let mut order = Vec::with_capacity(needs.len());
    for top in 0..needs.len() {
        // Without recursion: chains are as long as somebody made them.
        let mut open = vec![(top, 0)];
        while let Some((this, next)) = open.pop() {
            let mark = marks.get(this).copied().unwrap_or(Mark::Done);
            if next == 0 {
                match mark {
                    Mark::Done => continue,
                    Mark::Open => return Err(this),
                    Mark::New => {}
                }
                if let Some(slot) = marks.get_mut(this) {
                    *slot = Mark::Open;
                }
            }
            if let Some(&need) = needs.get(this).and_then(|needs| needs.get(next)) {
                open.push((this, next + 1));
                if marks.get(need) != Some(&Mark::Done) {
                    if marks.get(need) == Some(&Mark::Open) {
                        return Err(need);
                    }
                    open.push((need, 0));
                }
            } else {
                if let Some(slot) = marks.get_mut(this) {
                    *slot = Mark::Done;
                }
                order.push(this);
            }
        }
    }
    Ok(order)
}

/// Does `work` on everything in `order` with `jobs` threads; `settle` gets what is done, in this thread, once all that it
/// needs was settled or is settled with it. The first error stops what hasn't begun; what is done until then is settled.
///
/// # Errors
/// The first one, of `work` or `settle`.
pub(super) fn run<T: Send, E: Send>(
    order: &[usize],
    needs: &[Vec<usize>],
    jobs: usize,
    work: &(dyn Fn(usize) -> Result<T, E> + Sync),
    settle: &mut dyn FnMut(Vec<(usize, T)>) -> Result<(), E>,
) -> Result<(), E> {
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let (done_in, done) = channel();
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(order.len()).max(1) {
            let done_in = done_in.clone();
            let (next, stop) = (&next, &stop);
            let _worker = scope.spawn(move || {
                while !stop.load(Ordering::Relaxed)
                    && let Some(&index) = order.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    if done_in.send((index, work(index))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done_in);
        let mut settled = vec![false; needs.len()];
        let mut waiting: BTreeMap<usize, T> = BTreeMap::new();
        let mut failure = None;
        while let Ok(first) = done.recv() {
            for (index, result) in std::iter::once(first).chain(done.try_iter()) {
                match result {
                    Ok(value) => drop(waiting.insert(index, value)),
                    Err(error) => {
                        stop.store(true, Ordering::Relaxed);
                        failure = failure.or(Some(error));
                    }
                }
            }
            let ready = ready(&mut settled, &waiting, order, needs);
            if ready.is_empty() {
                continue;
            }
            let batch = ready
                .into_iter()
                .filter_map(|index| Some((index, waiting.remove(&index)?)))
                .collect();
            if let Err(error) = settle(batch) {
                stop.store(true, Ordering::Relaxed);
                failure = failure.or(Some(error));
            }
        }
        failure.map_or(Ok(()), Err)
    })
}

/// What can be settled now, marked as settled.
fn ready<T>(
    settled: &mut [bool],
    waiting: &BTreeMap<usize, T>,
    order: &[usize],
    needs: &[Vec<usize>],
) -> Vec<usize> {
    let mut ready = Vec::new();
    for &index in order {
        let is_settled = |&need: &usize| settled.get(need) == Some(&true);
        if waiting.contains_key(&index) && needs.get(index).is_some_and(|needs| needs.iter().all(is_settled))
        {
            if let Some(slot) = settled.get_mut(index) {
                *slot = true;
            }
            ready.push(index);
        }
    }
    ready
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn everything_is_settled_once_and_after_what_it_needs(
            needs in proptest::collection::vec(proptest::collection::vec(0usize..1000, 0..4), 1..30),
            jobs in 1usize..4,
        ) {
            // Each needs some of those before it: no circles.
            let needs: Vec<Vec<usize>> = needs
                .into_iter()
                .enumerate()
                .map(|(index, needs)| if index == 0 { vec![] } else { needs.into_iter().map(|need| need % index).collect() })
                .collect();
            let order = in_order(&needs).unwrap();
            prop_assert_eq!(order.len(), needs.len());
            let mut seen: Vec<usize> = Vec::new();
            run(&order, &needs, jobs, &|index| Ok::<_, ()>(index), &mut |batch| {
                seen.extend(batch.iter().map(|(index, _)| *index));
                Ok(())
            })
            .unwrap();
            prop_assert_eq!(seen.len(), needs.len());
            for (place, index) in seen.iter().enumerate() {
                for need in &needs[*index] {
                    prop_assert!(seen[..place].contains(need));
                }
            }
        }
    }

    #[test]
    fn a_circle_is_named_and_an_error_stops_the_rest() {
        assert!(in_order(&[vec![1], vec![2], vec![0]]).is_err());
        assert!(in_order(&[vec![0]]).is_err());
        let needs = vec![vec![], vec![0], vec![1]];
        let mut settled = Vec::new();
        let result = run(
            &[0, 1, 2],
            &needs,
            1,
            &|index| if index == 1 { Err("no") } else { Ok(index) },
            &mut |batch| {
                settled.extend(batch);
                Ok(())
            },
        );
        assert_eq!((result, settled), (Err("no"), vec![(0, 0)]));
    }
}
