//! A result, and the name of its file.

use crate::report::Measurement;

/// A result, and the name of its file.
#[derive(Debug, Clone, Copy)]
pub struct KeptResult<'a> {
    /// The name of its file.
    pub file: &'a str,
    /// The result.
    pub measurement: &'a Measurement,
}
