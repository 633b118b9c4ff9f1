//! The replacement of a server by another plan.

use serde::{Deserialize, Serialize};

use crate::report::Gated;

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
    /// The measurements before and after beside each other; `None` without both. If those before must not be used, there is none
    /// after.
    pub compared: Option<Gated>,
}

impl Upgraded {
    /// Version of the JSON form.
    pub const SCHEMA: &str = "dsr1.upgrade/1";
}
