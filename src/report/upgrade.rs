//! The replacement of a server by another plan.

use serde::{Deserialize, Serialize};

use crate::report::Benchmark;

/// A server that was replaced, or that runs from its old plan again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Upgraded {
    /// Always [`Upgraded::SCHEMA`].
    pub schema: String,
    /// Name of the server.
    pub server: String,
    /// Profile and stack before, as in `fp8-high-throughput on guide`.
    pub from: String,
    /// Profile and stack of the upgrade.
    pub to: String,
    /// True if the server runs from the new plan.
    pub kept: bool,
    /// Seconds for which nobody answered.
    pub down_s: f64,
    /// Measurement before; `None` without one.
    pub before: Option<Benchmark>,
    /// Measurement after; `None` without one.
    pub after: Option<Benchmark>,
}

impl Upgraded {
    /// Version of the JSON form.
    pub const SCHEMA: &str = "dsr1.upgrade/1";

    /// Returns the change of generated tokens per second as a factor; `None` without both measurements.
    #[must_use]
    pub fn speed(&self) -> Option<f64> {
        let (before, after) = (self.before.as_ref()?, self.after.as_ref()?);
        (before.output_throughput > 0.0).then(|| after.output_throughput / before.output_throughput)
    }
}
