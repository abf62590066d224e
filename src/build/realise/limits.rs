//! What a build may not exceed.

use std::time::Duration;

use crate::build::Limits;

/// What a build may not exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildLimits {
    /// From its start to its end.
    pub time: Duration,
    /// Without a word.
    pub silence: Duration,
    /// Bytes of its log.
    pub log_bytes: u64,
    /// Bytes of all its outputs; no single file that it writes may be larger, either.
    pub output_bytes: u64,
    /// Bytes of memory that its processes may use together.
    pub memory_bytes: Option<u64>,
}

/// A year: as good as none, and still a number that can be added to the time.
const NONE: Duration = Duration::from_hours(365 * 24);

impl Default for BuildLimits {
    fn default() -> Self {
        Self {
            time: NONE,
            silence: NONE,
            log_bytes: 256 << 20,
            output_bytes: 64 << 30,
            memory_bytes: None,
        }
    }
}

impl BuildLimits {
    pub(super) fn of_run(&self) -> Limits {
        Limits {
            time: self.time,
            silence: self.silence,
            log_bytes: self.log_bytes,
        }
    }
}
