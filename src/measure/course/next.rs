//! The next thing to do in a course.

use serde::{Deserialize, Serialize};

use crate::measure::load::Stage;

/// The next thing to do in a course.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// A point is to be measured.
    Measure(Stage),
    /// All given points are measured.
    Done,
    /// The search has ended.
    Found(Found),
    /// The search cannot go on.
    Undecided(String),
}

/// The result of a search.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// The largest value that keeps the limits; `None` if the least one misses them.
    pub meets: Option<f64>,
    /// The least value that misses them; `None` if the largest one keeps them.
    pub misses: Option<f64>,
}
