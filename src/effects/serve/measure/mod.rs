//! Measurements of a server by dsr1's own client, with what the server and the host say meanwhile.
//!
//! | module | subject |
//! |---|---|
//! | `course` | several loads one after the other, each with a result |
//! | `kept` | the file of a sweep over servers, until all of them are measured |
//! | `run` | a run on a thread of its own, its progress, and its stages |
//! | `single` | one load |
//! | `sitting` | what all loads of a sitting share, and the result of each |
//!
//! Not in this module tree: the client (`effects::load`), the meaning of its times (`measure`).

mod course;
mod kept;
mod run;
mod single;
mod sitting;

pub(in crate::effects) use course::measure_course;
pub use kept::{KeptSweep, kept_points};
pub(in crate::effects) use single::measure_load;
pub(in crate::effects) use sitting::Place;
pub(in crate::effects::serve) use sitting::first_model;
