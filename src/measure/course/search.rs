//! The search for the largest load that keeps limits.

use serde::{Deserialize, Serialize};

use crate::measure::course::limits::Limits;
use crate::measure::course::next::{Found, Next};
use crate::measure::course::points::Shape;
use crate::measure::course::visit::{PointOutcome, Visit};
use crate::measure::load::{Arrivals, Load};

/// Times that the point which limits the result is measured again.
const AGAIN: usize = 1;
/// Times that a point without a decision is measured again: a server that compiles kernels for new shapes is disturbed some times.
const UNDECIDED_AGAIN: usize = 3;

/// The quantity that is searched.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Axis {
    /// Requests in flight of a closed loop.
    Concurrency,
    /// Requests a second of an open loop.
    Rate {
        /// Their distances.
        arrivals: Arrivals,
        /// Most requests in flight.
        most_in_flight: Option<u32>,
    },
}

impl Axis {
    /// Returns the load of a value.
    #[must_use]
    pub fn load(self, value: f64) -> Load {
        match self {
            Self::Concurrency => Load::Concurrency(to_count(value)),
            Self::Rate {
                arrivals,
                most_in_flight,
            } => Load::Rate {
                per_second: value,
                arrivals,
                most_in_flight,
            },
        }
    }

    /// Returns the value of a load; `None` for one of the other kind.
    #[must_use]
    pub fn value(self, load: &Load) -> Option<f64> {
        match (self, load) {
            (Self::Concurrency, Load::Concurrency(slots)) => Some(f64::from(*slots)),
            (Self::Rate { .. }, Load::Rate { per_second, .. }) => Some(*per_second),
            _ => None,
        }
    }

    /// Returns a value that can be measured.
    fn round(self, value: f64) -> f64 {
        match self {
            Self::Concurrency => f64::from(to_count(value)),
            // Three digits: a rate that a person reads.
            Self::Rate { .. } => {
                let scale = 10_f64.powf(2.0 - value.log10().floor());
                (value * scale).round() / scale
            }
        }
    }
}

/// A search for the largest load that keeps limits. It doubles or halves the load until one point keeps the limits and one misses
/// them, and then halves the distance. A larger load is taken to be no better than a smaller one. The load that limits the result has
/// missed them twice.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Search {
    /// The quantity.
    pub axis: Axis,
    /// The first value.
    pub from: f64,
    /// The least and the largest value.
    pub range: (f64, f64),
    /// The distance of the two last points at which it ends, as a share of the smaller one.
    pub precision: f64,
    /// The limits.
    pub limits: Limits,
    /// The extent of its points.
    pub shape: Shape,
}

impl Search {
    /// Returns the next thing to do.
    #[must_use]
    pub fn next(&self, visits: &[Visit]) -> Next {
        if let Some(again) = self.undecided(visits) {
            return again;
        }
        let values = |wanted: fn(&PointOutcome) -> bool| {
            self.last_outcomes(visits)
                .into_iter()
                .filter(move |(_, outcome)| wanted(outcome))
                .map(|(value, _)| value)
        };
        let misses = values(|outcome| matches!(outcome, PointOutcome::Misses(_))).reduce(f64::min);
        // A point above one that misses says nothing.
        let meets = values(|outcome| *outcome == PointOutcome::Meets)
            .filter(|value| misses.is_none_or(|misses| *value < misses))
            .reduce(f64::max);
        let (least, largest) = (self.axis.round(self.range.0), self.axis.round(self.range.1));
        let value = match (meets, misses) {
            (None, None) => self.from,
            (Some(meets), None) if meets >= largest => {
                return Next::Found(Found {
                    meets: Some(meets),
                    misses,
                });
            }
            (Some(meets), None) => meets * 2.0,
            (None, Some(misses)) if misses <= least => return self.found(visits, None, misses),
            (None, Some(misses)) => misses / 2.0,
            (Some(meets), Some(misses)) => match self.between(meets, misses) {
                Some(value) => value,
                None => return self.found(visits, Some(meets), misses),
            },
        };
        let value = self.axis.round(value.clamp(least, largest));
        Next::Measure(self.shape.stage(self.axis.load(value)))
    }

    /// Returns the end of the search, or the value that misses the limits once more if that did so only once: a server that was
    /// disturbed, such as by a kernel that it compiled, misses them for no reason of the load.
    fn found(&self, visits: &[Visit], meets: Option<f64>, misses: f64) -> Next {
        let load = self.axis.load(misses);
        let times = visits
            .iter()
            .filter(|visit| visit.load == load && matches!(visit.outcome, PointOutcome::Misses(_)));
        if times.count() > AGAIN {
            return Next::Found(Found {
                meets,
                misses: Some(misses),
            });
        }
        Next::Measure(self.shape.stage(load))
    }

    /// Returns each value with its last decided outcome.
    fn last_outcomes<'a>(&self, visits: &'a [Visit]) -> Vec<(f64, &'a PointOutcome)> {
        let decided = visits
            .iter()
            .filter(|visit| !matches!(visit.outcome, PointOutcome::Undecided(_)));
        let mut outcomes: Vec<(f64, &PointOutcome)> = Vec::new();
        for visit in decided {
            let Some(value) = self.axis.value(&visit.load) else {
                continue;
            };
            outcomes.retain(|(earlier, _)| (earlier - value).abs() > f64::EPSILON);
            outcomes.push((value, &visit.outcome));
        }
        outcomes
    }

    /// Returns a value between the two; `None` if they are near enough.
    fn between(&self, meets: f64, misses: f64) -> Option<f64> {
        if misses <= meets * (1.0 + self.precision) {
            return None;
        }
        let value = self.axis.round((meets * misses).sqrt());
        (meets < value && value < misses).then_some(value)
    }

    /// Returns the load of the last point once more if that has no decision, or the reason why it cannot go on.
    fn undecided(&self, visits: &[Visit]) -> Option<Next> {
        let PointOutcome::Undecided(reason) = &visits.last()?.outcome else {
            return None;
        };
        let load = visits.last()?.load;
        let without = visits
            .iter()
            .rev()
            .take_while(|visit| visit.load == load && matches!(visit.outcome, PointOutcome::Undecided(_)));
        Some(if without.count() > UNDECIDED_AGAIN {
            Next::Undecided(reason.clone())
        } else {
            Next::Measure(self.shape.stage(load))
        })
    }
}

fn to_count(value: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast of a float saturates"
    )]
    let count = value.round() as u32;
    count.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::course::limits::Percentile;
    use crate::measure::load::Extent;

    const RATE: Axis = Axis::Rate {
        arrivals: Arrivals::Poisson,
        most_in_flight: None,
    };

    fn search(axis: Axis, from: f64, range: (f64, f64)) -> Search {
        Search {
            axis,
            from,
            range,
            precision: 0.05,
            limits: Limits {
                ttft_ms: Some(1.0),
                tpot_ms: None,
                e2e_ms: None,
                percentile: Percentile::P90,
            },
            shape: Shape {
                extent: Extent {
                    requests: 64,
                    least_s: 1,
                    most_s: None,
                    stall_s: 1,
                    warm_up: true,
                    ramp_s: 0,
                },
                waves: 5,
            },
        }
    }

    /// Searches a server that keeps the limits up to `limit`, and returns the values that were measured and the result.
    fn run(search: &Search, limit: f64) -> (Vec<f64>, Found) {
        let mut visits = Vec::new();
        for _ in 0..60 {
            match search.next(&visits) {
                Next::Measure(stage) => {
                    let value = search.axis.value(&stage.load).unwrap();
                    let outcome = if value <= limit {
                        PointOutcome::Meets
                    } else {
                        PointOutcome::Misses("slow".to_owned())
                    };
                    visits.push(Visit {
                        load: stage.load,
                        outcome,
                    });
                }
                Next::Found(found) => {
                    let values = visits.iter().map(|visit| search.axis.value(&visit.load).unwrap());
                    return (values.collect(), found);
                }
                other => panic!("{other:?}"),
            }
        }
        panic!("no end: {visits:?}");
    }

    #[test]
    fn the_search_doubles_then_halves_the_distance() {
        let closed = search(Axis::Concurrency, 16.0, (1.0, 4096.0));
        let (values, found) = run(&closed, 100.0);
        assert_eq!(values, [16.0, 32.0, 64.0, 128.0, 91.0, 108.0, 99.0, 103.0, 103.0]);
        assert_eq!((found.meets, found.misses), (Some(99.0), Some(103.0)));
        let (values, found) = run(&closed, 3.0);
        assert_eq!(values, [16.0, 8.0, 4.0, 2.0, 3.0, 4.0]);
        assert_eq!((found.meets, found.misses), (Some(3.0), Some(4.0)));
    }

    #[test]
    fn the_ends_of_the_range_are_results() {
        let closed = search(Axis::Concurrency, 16.0, (8.0, 40.0));
        assert_eq!(
            run(&closed, 1000.0).1,
            Found {
                meets: Some(40.0),
                misses: None
            }
        );
        assert_eq!(
            run(&closed, 1.0).1,
            Found {
                meets: None,
                misses: Some(8.0)
            }
        );
    }

    #[test]
    fn a_point_without_a_decision_is_measured_again() {
        let closed = search(Axis::Concurrency, 16.0, (1.0, 64.0));
        let undecided = Visit {
            load: Load::Concurrency(16),
            outcome: PointOutcome::Undecided("client: slow".to_owned()),
        };
        let Next::Measure(stage) = closed.next(std::slice::from_ref(&undecided)) else {
            panic!("no second try");
        };
        assert_eq!(stage.load, Load::Concurrency(16));
        let all = vec![undecided; 4];
        assert!(matches!(closed.next(&all[..3]), Next::Measure(_)));
        assert_eq!(closed.next(&all), Next::Undecided("client: slow".to_owned()));
    }

    #[test]
    fn a_load_that_missed_by_a_disturbance_is_measured_again() {
        let closed = search(Axis::Concurrency, 16.0, (1.0, 64.0));
        let visit = |slots, outcome| Visit {
            load: Load::Concurrency(slots),
            outcome,
        };
        let misses = || PointOutcome::Misses("slow".to_owned());
        let mut visits = vec![visit(16, PointOutcome::Meets), visit(17, misses())];
        let next = |visits: &[Visit]| match closed.next(visits) {
            Next::Measure(stage) => stage.load.slots().unwrap(),
            other => panic!("{other:?}"),
        };
        assert_eq!(next(&visits), 17);
        visits.push(visit(17, PointOutcome::Meets));
        assert_eq!(next(&visits), 34);
    }

    proptest::proptest! {
        #[test]
        fn a_search_ends_beside_the_limit(from in 0.01_f64..500.0, limit in 0.02_f64..900.0) {
            for axis in [Axis::Concurrency, RATE] {
                let search = search(axis, from, (0.01, 1000.0));
                let (_, found) = run(&search, limit);
                if let (Some(meets), Some(misses)) = (found.meets, found.misses) {
                    proptest::prop_assert!(meets <= limit && limit < misses);
                    let is_near = misses <= meets * 1.06 || misses - meets <= 1.0;
                    proptest::prop_assert!(is_near, "{} {}", meets, misses);
                }
            }
        }
    }
}
