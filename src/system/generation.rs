//! Generations of a profile, and whether a system is intact.
