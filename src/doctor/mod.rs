//! Verdicts over facts: what a host is fit for, and what stands in the way of a plan.
//!
//! Pure rules. An unknown fact passes and is listed as not checked. Not in this module tree: gathering facts
//! (`effects::host`, `effects::docker`).

pub(crate) mod blockers;
mod finding;
mod findings;
mod gpu;

pub use blockers::{Blocker, PYTHON_MIN};
pub use finding::{Finding, Verdict};
pub use findings::findings;
