//! Points that are given: loads one after the other, and all of them again.

use serde::{Deserialize, Serialize};

use crate::measure::load::{Extent, Load, Stage};

/// The extent of each point of a course.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// The extent without a load; `requests` is the least number for all of them.
    pub extent: Extent,
    /// Measured requests of each slot of a closed loop, at least.
    pub waves: u32,
}

impl Shape {
    /// Returns the stage of a load.
    #[must_use]
    pub fn stage(&self, load: Load) -> Stage {
        let slots = load.slots().unwrap_or(0);
        Stage {
            load,
            extent: Extent {
                requests: self.extent.requests.max(slots.saturating_mul(self.waves)),
                ..self.extent
            },
        }
    }
}

/// Points that are given. All of them are measured, then all again: what changes on the host meanwhile then changes each of them,
/// and is in the interval of each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Points {
    /// The stages, in their order.
    pub stages: Vec<Stage>,
    /// Times that each is measured.
    pub repeats: u32,
}

impl Points {
    /// Returns the stage of that number, from 0.
    #[must_use]
    pub fn stage(&self, number: usize) -> Option<Stage> {
        let index = number.checked_rem(self.stages.len())?;
        (number < self.length()).then(|| self.stages[index])
    }

    /// Returns the number of measurements.
    #[must_use]
    pub fn length(&self) -> usize {
        self.stages
            .len()
            .saturating_mul(usize::try_from(self.repeats).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTENT: Extent = Extent {
        requests: 11,
        least_s: 5,
        most_s: None,
        stall_s: 60,
        warm_up: true,
        ramp_s: 0,
    };

    #[test]
    fn all_points_are_measured_then_all_again() {
        let shape = Shape {
            extent: EXTENT,
            waves: 5,
        };
        let stages = [1, 4, 16].map(|slots| shape.stage(Load::Concurrency(slots)));
        let points = Points {
            stages: stages.to_vec(),
            repeats: 2,
        };
        let order: Vec<_> = (0..).map_while(|number| points.stage(number)).collect();
        assert_eq!(order.len(), points.length());
        let slots: Vec<_> = order
            .iter()
            .map(|stage| stage.load.most_in_flight().unwrap())
            .collect();
        assert_eq!(slots, [1, 4, 16, 1, 4, 16]);
        let requests: Vec<_> = order[..3].iter().map(|stage| stage.extent.requests).collect();
        assert_eq!(requests, [11, 20, 80]);
        assert_eq!(
            Points {
                stages: Vec::new(),
                repeats: 3
            }
            .stage(0),
            None
        );
    }
}
