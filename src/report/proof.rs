//! The engine's own word on the arguments of a plan.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A field on which dsr1 and the engine differ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Name of the field.
    pub field: String,
    /// dsr1's value.
    pub planned: Value,
    /// The engine's value.
    pub engine: Value,
}

/// The verdict of an installed SGLang.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    /// Its version.
    pub sglang: String,
    /// Image or Python of the SGLang that was asked.
    pub source: String,
    /// Packages of kernels that had a stand-in.
    pub stood_in: Vec<String>,
    /// True if the answer is that of an earlier run with the same inputs.
    #[serde(default)]
    pub cached: bool,
    /// The reason why it refuses the arguments.
    pub refused: Option<String>,
    /// The reason why it could not be asked.
    pub failed: Option<String>,
    /// Number of values that were compared with the plan; 0 on a CPU.
    pub compared: usize,
    /// The values that are not as planned.
    pub differences: Vec<Difference>,
}
