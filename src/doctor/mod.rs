//! Verdicts over facts: the findings of `dsr1 doctor`, and the blockers of a plan.
//!
//! The rules are pure. An unknown fact blocks no plan, and `doctor` lists it as not checked. Not in this module tree:
//! gathering facts (`effects::host`, `effects::docker`).

pub(crate) mod blockers;
mod environment;
mod finding;
mod findings;
mod gpu;
mod health;
pub(crate) mod site;

pub use blockers::{Blocker, PYTHON_MIN};
pub use environment::{imported, not_imported};
pub use finding::{Finding, Verdict};
pub use findings::{Software, findings, remarks};
pub(crate) use gpu::{names, refusal};
