//! Results beside each other: their differences, the ratios of their figures, and the gate over these.
//!
//! | module | subject |
//! |---|---|
//! | `side` | one side: a result, or several runs of one load |
//! | `fact` | the facts of a result that can explain another figure, by weight |
//! | `difference` | the facts that differ between two sides, and those that are missing |
//! | `ratio` | the ratio of a figure of two sides, and its interval |
//! | `comparison` | all of that, or the reasons against ratios |
//! | `gate` | a regression beyond noise and tolerance |
//! | `flags` | the options of `dsr1 bench` that make a load again |
//!
//! Not in this module tree: reading the files (`effects::results`), measuring now (`commands::bench::gate`), tables (`ui`).

mod comparison;
mod difference;
mod fact;
mod flags;
mod gate;
mod ratio;
mod side;
#[cfg(test)]
mod tests;

pub use comparison::compare_sides;
pub use difference::list_missing;
pub use fact::{NOT_ARGUMENTS, commit_of_path, deciding_arguments};
pub use flags::flags_of_load;
pub use gate::{Tolerances, judge_change, judge_replacement};
pub use side::{Side, refuse_same_run};
