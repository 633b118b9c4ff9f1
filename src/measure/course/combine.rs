//! Sweeps of several servers as one, and the points that no other one beats.

use super::table::sum_up;
use crate::report::{Sweep, SweptCombination, SweptFigures, SweptPoint, Trust};

/// Adds a combination with its points to a sweep, in place of an earlier one of its name.
pub fn combine(sweep: &mut Sweep, combination: SweptCombination, points: Vec<SweptPoint>) {
    let name = &combination.name;
    sweep.combinations.retain(|earlier| earlier.name != *name);
    sweep
        .points
        .retain(|point| point.combination.as_ref() != Some(name));
    sweep.points.extend(points.into_iter().map(|point| SweptPoint {
        combination: Some(name.clone()),
        ..point
    }));
    sweep.combinations.push(combination);
    sweep.loads = sum_up(&sweep.points);
    mark_front(&mut sweep.points);
}

/// Returns the generated tokens a second of one user: 1000 over the median of TPOT; `None` without one.
#[must_use]
pub fn speed_of(figures: &SweptFigures) -> Option<f64> {
    figures.tpot_p50_ms.filter(|ms| *ms > 0.0).map(|ms| 1000.0 / ms)
}

/// Returns the throughput by which servers are compared: of all tokens for each GPU if `per_gpu`, which is `None` if their number is
/// not known, else of generated tokens.
#[must_use]
pub const fn throughput_of(figures: &SweptFigures, per_gpu: bool) -> Option<f64> {
    if per_gpu {
        figures.total_throughput_per_gpu
    } else {
        Some(figures.output_throughput)
    }
}

/// Returns true if points are compared by the throughput of each GPU, because servers may have different numbers of GPUs: the number is
/// known for all points that have figures, and there is one.
#[must_use]
pub fn is_per_gpu(points: &[SweptPoint]) -> bool {
    let mut figures = points
        .iter()
        .filter_map(|point| point.figures.as_ref())
        .peekable();
    figures.peek().is_some() && figures.all(|figures| figures.total_throughput_per_gpu.is_some())
}

/// Marks the Pareto front of throughput and speed. A point that must not be used is not on the front, and beats none.
fn mark_front(points: &mut [SweptPoint]) {
    let per_gpu = is_per_gpu(points);
    let place = |point: &SweptPoint| {
        let figures = point
            .figures
            .as_ref()
            .filter(|_| point.trust != Some(Trust::Untrusted))?;
        Some((throughput_of(figures, per_gpu)?, speed_of(figures)?))
    };
    let places: Vec<Option<(f64, f64)>> = points.iter().map(place).collect();
    for (point, own) in points.iter_mut().zip(&places) {
        point.is_on_front = own.is_some_and(|(throughput, speed)| {
            let beats = |(more, faster): &(f64, f64)| {
                *more >= throughput && *faster >= speed && (*more > throughput || *faster > speed)
            };
            !places.iter().flatten().any(beats)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(slots: u32, tokens: f64, tpot: f64, per_gpu: Option<f64>, trust: Trust) -> SweptPoint {
        SweptPoint {
            kind: "concurrency".to_owned(),
            max_concurrency: Some(slots),
            outcome: "measured".to_owned(),
            trust: Some(trust),
            figures: Some(SweptFigures {
                output_throughput: tokens,
                total_throughput_per_gpu: per_gpu,
                tpot_p50_ms: Some(tpot),
                ..SweptFigures::default()
            }),
            ..SweptPoint::default()
        }
    }

    fn named(name: &str) -> SweptCombination {
        SweptCombination {
            name: name.to_owned(),
            ..SweptCombination::default()
        }
    }

    fn front(sweep: &Sweep) -> Vec<bool> {
        sweep.points.iter().map(|point| point.is_on_front).collect()
    }

    #[test]
    fn points_that_no_other_one_beats_are_on_the_front() {
        let of = |slots, tokens, tpot| point(slots, tokens, tpot, None, Trust::Trusted);
        let mut sweep = Sweep::default();
        combine(
            &mut sweep,
            named("a"),
            vec![of(1, 100.0, 5.0), of(16, 500.0, 20.0)],
        );
        let bad = point(64, 9000.0, 1.0, None, Trust::Untrusted);
        combine(
            &mut sweep,
            named("b"),
            vec![of(1, 90.0, 6.0), of(16, 600.0, 20.0), bad],
        );
        assert_eq!(front(&sweep), [true, false, false, true, false]);
        // One load of two servers is not a repeat.
        assert_eq!(sweep.loads.len(), 5);
        assert_eq!(sweep.loads[0].combination.as_deref(), Some("a"));
    }

    #[test]
    fn servers_with_other_numbers_of_gpus_are_compared_for_each_gpu() {
        let of = |tokens, gpus| point(1, tokens, 5.0, Some(tokens / gpus), Trust::Trusted);
        let mut sweep = Sweep::default();
        combine(&mut sweep, named("four"), vec![of(400.0, 4.0)]);
        combine(&mut sweep, named("eight"), vec![of(600.0, 8.0)]);
        assert_eq!(front(&sweep), [true, false]);
        assert!(is_per_gpu(&sweep.points) && !is_per_gpu(&[]));
        let unknown = point(1, 100.0, 9.0, None, Trust::Trusted);
        combine(&mut sweep, named("unknown"), vec![unknown]);
        assert!(!is_per_gpu(&sweep.points));
        assert_eq!(front(&sweep), [false, true, false]);
    }

    #[test]
    fn a_point_that_is_equal_in_one_and_worse_in_the_other_is_not_on_the_front() {
        let of = |tokens, tpot| vec![point(1, tokens, tpot, None, Trust::Trusted)];
        let mut sweep = Sweep::default();
        for (name, tokens, tpot) in [
            ("a", 100.0, 5.0),
            ("b", 100.0, 6.0),
            ("c", 90.0, 5.0),
            ("d", 100.0, 5.0),
        ] {
            combine(&mut sweep, named(name), of(tokens, tpot));
        }
        assert_eq!(front(&sweep), [true, false, false, true]);
    }

    #[test]
    fn a_combination_takes_the_place_of_its_earlier_one() {
        let mut sweep = Sweep::default();
        let of = |tokens| vec![point(1, tokens, 5.0, None, Trust::Trusted)];
        for tokens in [1.0, 2.0] {
            combine(&mut sweep, named("a"), of(tokens));
        }
        assert_eq!((sweep.combinations.len(), sweep.points.len()), (1, 1));
        let throughput = sweep.points[0].figures.map(|figures| figures.output_throughput);
        assert_eq!(throughput, Some(2.0));
    }
}
