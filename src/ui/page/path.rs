//! The outline of a shape of SVG.

use std::fmt::Write;

/// Units of the width of a plot in an outline; a browser stretches them to the width that it has.
pub(super) const UNITS: f64 = 1000.0;

/// Points, by the share of the width that they have, and their distance in pixels from the top.
#[derive(Debug, Clone, Default)]
pub(super) struct PathData(String);

impl PathData {
    /// Adds a point: the first one begins the outline, and each other one is joined to the one before it.
    pub(super) fn add_point(&mut self, share: f64, y: f64) {
        let command = if self.0.is_empty() { 'M' } else { 'L' };
        let (x, y) = ((share * UNITS).clamp(-UNITS, 2.0 * UNITS), y.clamp(-UNITS, UNITS));
        // Writing to a String cannot fail.
        let _ = write!(self.0, "{command}{x:.1} {y:.1}");
    }

    /// Returns the outline as the attribute `d` has it.
    pub(super) fn data(&self) -> &str {
        &self.0
    }
}
