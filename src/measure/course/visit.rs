//! A point of a course that was measured.

use crate::measure::load::Load;

/// The outcome of a point beside the limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PointOutcome {
    /// There are no limits.
    Measured,
    /// All limits are kept.
    Meets,
    /// A limit is missed, with the reason.
    Misses(String),
    /// The figures say neither, with the reason.
    Undecided(String),
}

/// A point that was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Visit {
    /// The load.
    pub load: Load,
    /// The outcome.
    pub outcome: PointOutcome,
}
