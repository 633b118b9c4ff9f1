//! dsr1.
#![doc = ""]

pub mod engine;
pub mod error;
pub mod event;
pub mod facts;
pub mod plan;
pub mod profile;
pub mod rehearsal;
pub mod report;
pub mod secret;
pub mod units;
