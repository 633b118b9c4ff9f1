//! Courses over several loads: given points, or a search for the largest load that keeps limits.
//!
//! | module | subject |
//! |---|---|
//! | `combine` | sweeps of several servers as one, and the points that no other one beats |
//! | `early` | the end of a point before its extent, when its outcome is certain |
//! | `fixture` | a measurement for tests |
//! | `limits` | limits of times, and the outcome of a point beside them |
//! | `next` | the next thing to do, and the result of a search |
//! | `points` | points that are given |
//! | `preset` | points and lengths of published benchmarks |
//! | `search` | the search for the largest load within limits |
//! | `table` | the points as a result, and back |
//! | `visit` | a point that was measured |
//!
//! A course is a function of the points that were measured so far: kept results go on where they ended.
//!
//! Not in this module tree: the measurement of a point (`effects::serve::measure`), and how a course looks (`ui`).

mod combine;
mod early;
#[cfg(test)]
mod fixture;
mod limits;
mod next;
mod points;
mod preset;
mod search;
mod table;
mod visit;

use serde::{Deserialize, Serialize};

pub use combine::{combine, is_per_gpu, speed_of, throughput_of};
pub use early::{Early, is_piling_up};
pub use limits::{Attained, Limits, Percentile, judge_point};
pub use next::{Found, Next};
pub use points::{Points, Shape};
pub use preset::{Preset, PresetPoints};
pub use search::{Axis, Search};
pub use table::{describe_limits, describe_point, sum_up, visit_of};
pub use visit::{PointOutcome, Visit};

/// A course.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Course {
    /// Points that are given.
    Points(Points),
    /// A search.
    Search(Search),
}

impl Course {
    /// Returns the next thing to do after those points.
    #[must_use]
    pub fn next(&self, visits: &[Visit]) -> Next {
        match self {
            Self::Points(points) => points.stage(visits.len()).map_or(Next::Done, Next::Measure),
            Self::Search(search) => search.next(visits),
        }
    }

    /// Returns the limits of a search; `None` of given points.
    #[must_use]
    pub const fn limits(&self) -> Option<&Limits> {
        match self {
            Self::Points(_) => None,
            Self::Search(search) => Some(&search.limits),
        }
    }

    /// Returns the number of points, if it is known.
    #[must_use]
    pub fn length(&self) -> Option<usize> {
        match self {
            Self::Points(points) => Some(points.length()),
            Self::Search(_) => None,
        }
    }
}
