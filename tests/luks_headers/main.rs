//! LUKS headers of every kind that the installed cryptsetup writes, whole and damaged: keel opens what cryptsetup opens,
//! to the same volume key, and refuses what it refuses. cryptsetup must be installed; device-mapper isn't needed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    unused_results
)]

mod damaged;
mod detached;
#[path = "../../src/block/luks/fixture.rs"]
mod fixture;
mod keyfile;
mod written;

use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs `judge` on all cases, on two threads more than there are processors: most of the time is cryptsetup's.
fn for_all<C: Sync>(cases: &[C], judge: impl Fn(&C) + Sync) {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(4, |count| count.get() + 2);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    judge(case);
                }
            });
        }
    });
}
