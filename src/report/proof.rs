//! The engine's own word on the arguments of a plan.

use serde::Serialize;

use crate::sglang::resolve::Difference;

/// The verdict of an installed SGLang.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Proof {
    /// Its version.
    pub sglang: String,
    /// Image or Python of the SGLang that was asked.
    pub source: String,
    /// Packages of kernels that had a stand-in.
    pub stood_in: Vec<String>,
    /// The reason why it refuses the arguments.
    pub refused: Option<String>,
    /// Number of values that were compared with the plan; 0 on a CPU.
    pub compared: usize,
    /// The values that are not as planned.
    pub differences: Vec<Difference>,
}
