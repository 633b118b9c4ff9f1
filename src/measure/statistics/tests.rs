//! Series for the tests of this folder, and simulations with a seeded generator.

use std::f64::consts::TAU;

use proptest::collection::vec;
use proptest::prelude::*;

use super::number::as_number;
use super::*;

/// Values with ties.
pub(super) const TIED: [f64; 12] = [3.0, 3.0, 2.0, 4.0, 4.0, 4.0, 3.0, 5.0, 5.0, 4.0, 6.0, 5.0];
/// Values that fall, and alternate about their line.
pub(super) const FALLING: [f64; 12] = [9.5, 9.1, 9.3, 8.7, 8.8, 8.1, 8.4, 7.9, 7.2, 7.5, 7.1, 6.8];
/// An AR(1) series with a coefficient of .7, without a trend: numpy 2.4.6, `default_rng(7)`, rounded.
pub(super) const AUTOCORRELATED: [f64; 30] = [
    20.0, 20.13, 19.97, 19.6, 19.52, 19.24, 19.5, 20.22, 19.94, 19.69, 20.0, 20.15, 20.15, 19.71, 19.78,
    20.15, 19.53, 19.47, 18.82, 18.62, 18.24, 18.67, 18.53, 19.08, 19.43, 19.52, 18.58, 18.78, 19.12, 19.44,
];
/// An AR(1) series with a coefficient of .8 on a rising line, of the same generator.
pub(super) const RISING_WITH_MEMORY: [f64; 24] = [
    18.8, 18.8, 18.7, 18.6, 19.5, 19.3, 19.5, 20.1, 20.0, 20.0, 20.2, 20.4, 19.9, 20.1, 20.9, 20.2, 20.8,
    20.9, 20.6, 21.7, 21.9, 21.2, 21.3, 21.6,
];
/// The first 60 years of the annual flow of the Nile at Aswan from 1871 (Cobb 1978), as statsmodels has it.
pub(super) const NILE: [f64; 60] = [
    1120.0, 1160.0, 963.0, 1210.0, 1160.0, 1160.0, 813.0, 1230.0, 1370.0, 1140.0, 995.0, 935.0, 1110.0,
    994.0, 1020.0, 960.0, 1180.0, 799.0, 958.0, 1140.0, 1100.0, 1210.0, 1150.0, 1250.0, 1260.0, 1220.0,
    1030.0, 1100.0, 774.0, 840.0, 874.0, 694.0, 940.0, 833.0, 701.0, 916.0, 692.0, 1020.0, 1050.0, 969.0,
    831.0, 726.0, 456.0, 824.0, 702.0, 1120.0, 1100.0, 832.0, 764.0, 821.0, 768.0, 845.0, 864.0, 862.0,
    698.0, 845.0, 744.0, 796.0, 1040.0, 759.0,
];

/// Returns a value between -1 and 1 without a trend.
pub(super) fn ripple(index: u32) -> f64 {
    (f64::from(index) * 2.4).sin()
}

/// A seeded source of normal values: `SplitMix64` (Steele, Lea and Flood 2014) and the transform of Box and Muller.
struct Noise(u64);

impl Noise {
    fn next_bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Returns a value above 0 and below 1.
    fn next_share(&mut self) -> f64 {
        let bits = u32::try_from(self.next_bits() >> 32).unwrap();
        (f64::from(bits) + 0.5) / 4_294_967_296.0
    }

    fn next_normal(&mut self) -> f64 {
        (-2.0 * self.next_share().ln()).sqrt() * (TAU * self.next_share()).cos()
    }

    /// Returns a stationary AR(1) series about 1.
    fn series(&mut self, count: usize, coefficient: f64, variation: f64) -> Vec<f64> {
        let fresh = (1.0 - coefficient * coefficient).sqrt();
        let mut value = self.next_normal();
        (0..count)
            .map(|_| {
                let now = 1.0 + variation * value;
                value = coefficient * value + fresh * self.next_normal();
                now
            })
            .collect()
    }
}

/// Returns a series times a function of the share of the run, 0 to 1.
fn shape(series: &[f64], of: impl Fn(f64) -> f64) -> Vec<f64> {
    let last = as_number(series.len() - 1);
    series
        .iter()
        .enumerate()
        .map(|(index, value)| value * of(as_number(index) / last))
        .collect()
}

/// Returns the share of 200 runs of these blocks, autocorrelation and variation whose verdict passes.
fn share_of_runs(
    (count, coefficient, variation): (usize, f64, f64),
    of: impl Fn(f64) -> f64,
    is_right: impl Fn(Verdict) -> bool,
) -> f64 {
    let mut noise = Noise(u64::try_from(count).unwrap());
    let passed = (0..200)
        .map(|_| shape(&noise.series(count, coefficient, variation), &of))
        .filter(|blocks| is_right(judge_steadiness(blocks).verdict))
        .count();
    as_number(passed) / 200.0
}

fn is_plateau(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Plateau { .. })
}

#[test]
fn a_steady_series_is_a_plateau() {
    for setting in [
        (60, 0.5, 0.03),
        (100, 0.5, 0.03),
        (30, 0.5, 0.015),
        (30, 0.0, 0.05),
    ] {
        let share = share_of_runs(setting, |_| 1.0, is_plateau);
        assert!(share >= 0.98, "{setting:?}: {share}");
    }
}

#[test]
fn a_drift_of_a_tenth_is_found() {
    for setting in [
        (100, 0.5, 0.03),
        (40, 0.5, 0.015),
        (40, 0.0, 0.03),
        (30, 0.0, 0.01),
    ] {
        let up = share_of_runs(
            setting,
            |at| 1.0 + 0.1 * at,
            |verdict| verdict == Verdict::DriftingUp,
        );
        let down = share_of_runs(
            setting,
            |at| 1.0 - 0.1 * at,
            |verdict| verdict == Verdict::DriftingDown,
        );
        assert!(up >= 0.95 && down >= 0.95, "{setting:?}: {up}, {down}");
    }
}

#[test]
fn a_step_of_a_fifth_is_found_at_its_place() {
    for setting in [
        (100, 0.5, 0.03),
        (40, 0.5, 0.03),
        (30, 0.5, 0.015),
        (60, 0.5, 0.05),
    ] {
        for (place, factor) in [(0.5, 1.2), (0.5, 0.8), (0.3, 1.2), (0.75, 1.2)] {
            let expected = (0..setting.0).find(|index| as_number(*index) / as_number(setting.0 - 1) >= place);
            let is_found = |verdict| match verdict {
                Verdict::Staircase { at } => at.abs_diff(expected.unwrap()) <= 2,
                _ => false,
            };
            let share = share_of_runs(setting, |at| if at < place { 1.0 } else { factor }, is_found);
            assert!(share >= 0.95, "{setting:?} {place} {factor}: {share}");
        }
    }
}

#[test]
fn a_start_is_cropped_and_no_more() {
    type Shape = fn(f64) -> f64;
    let shapes: [(&str, Shape); 4] = [
        ("a low start", |at| if at < 0.15 { 0.8 } else { 1.0 }),
        ("a high start", |at| 1.0 + 0.8 * (-at * 20.0).exp()),
        ("a curve", |at| 1.0 - 0.5 * (-at * 15.0).exp()),
        ("a ramp", |at| (0.6 + 1.33 * at).min(1.0)),
    ];
    for (subject, of) in shapes {
        for setting in [(40, 0.5, 0.015), (100, 0.5, 0.03)] {
            let is_cropped = |verdict| match verdict {
                Verdict::Plateau { from, to } => from > 0 && from <= setting.0 / 2 && to == setting.0,
                _ => false,
            };
            let share = share_of_runs(setting, of, is_cropped);
            assert!(share >= 0.95, "{subject} {setting:?}: {share}");
        }
    }
}

#[test]
fn two_alternating_levels_are_no_drift() {
    for gap in [0.001, 0.05, 0.1, 0.3] {
        for (period, low) in [(2, 1), (3, 1), (3, 2), (5, 2), (8, 4)] {
            for count in 30..90 {
                let blocks: Vec<f64> = (0..count)
                    .map(|index| if index % period < low { 1.0 } else { 1.0 + gap })
                    .collect();
                let verdict = judge_steadiness(&blocks).verdict;
                assert!(
                    is_plateau(verdict) || verdict == Verdict::None,
                    "{gap} {period} {low} {count}: {verdict:?}"
                );
            }
        }
    }
    // Levels by the toss of a coin.
    let mut noise = Noise(1);
    for _ in 0..200 {
        let blocks: Vec<f64> = (0..60)
            .map(|_| if noise.next_share() < 0.5 { 1.0 } else { 1.1 })
            .collect();
        let verdict = judge_steadiness(&blocks).verdict;
        assert!(is_plateau(verdict), "{verdict:?}");
    }
}

#[test]
fn blocks_that_scatter_have_no_level() {
    let share = share_of_runs((60, 0.0, 0.25), |_| 1.0, |verdict| verdict == Verdict::None);
    assert!(share >= 0.95, "{share}");
}

#[test]
fn few_blocks_and_infinite_ones_have_no_verdict() {
    assert_eq!(judge_steadiness(&[]).verdict, Verdict::TooShort);
    assert_eq!(judge_steadiness(&[1.0; 29]).verdict, Verdict::TooShort);
    assert_eq!(
        judge_steadiness(&[1.0; 30]).verdict,
        Verdict::Plateau { from: 0, to: 30 }
    );
    assert_eq!(judge_steadiness(&[f64::NAN; 40]).verdict, Verdict::TooShort);
}

#[test]
fn an_interval_of_batches_covers_the_mean() {
    for (count, coefficient) in [(60, 0.5), (200, 0.5), (1000, 0.8), (100, 0.0)] {
        let mut noise = Noise(9);
        let covered = (0..500)
            .filter(|_| {
                let values = noise.series(count, coefficient, 0.1);
                batch_interval(&values).unwrap().contains(1.0)
            })
            .count();
        let naive = (0..500)
            .filter(|_| {
                let values = noise.series(count, coefficient, 0.1);
                repeat_interval(&values).unwrap().contains(1.0)
            })
            .count();
        let (covered, naive) = (as_number(covered) / 500.0, as_number(naive) / 500.0);
        assert!(
            (0.90..=0.98).contains(&covered),
            "{count} {coefficient}: {covered}"
        );
        assert!(
            coefficient == 0.0 || naive < 0.82,
            "{count} {coefficient}: {naive}"
        );
    }
    assert_eq!(batch_interval(&[1.0; 19]), None);
}

proptest! {
    #[test]
    fn a_percentile_lies_among_the_values_and_rises(
        mut values in vec(-1e6..1e6, 1..40),
        low in 0.0..100.0,
        high in 0.0..100.0,
    ) {
        values.sort_by(f64::total_cmp);
        let at = |percentile| interpolated_percentile(&values, percentile).unwrap();
        let (low, high) = (at(f64::min(low, high)), at(f64::max(low, high)));
        prop_assert!(values[0] <= low && low <= high + 1e-9 && high <= values[values.len() - 1]);
    }

    #[test]
    fn a_reversed_series_has_the_opposite_trend(values in vec(0_u8..20, 4..40)) {
        let values: Vec<f64> = values.into_iter().map(|value| f64::from(value) + 1.0).collect();
        let reversed: Vec<f64> = values.iter().rev().copied().collect();
        let (forward, backward) = (test_trend(&values).unwrap(), test_trend(&reversed).unwrap());
        prop_assert_eq!(forward.score, -backward.score);
        prop_assert!((forward.slope + backward.slope).abs() < 1e-12);
        prop_assert!((0.0..=1.0).contains(&forward.p));
    }

    #[test]
    fn a_verdict_does_not_depend_on_the_unit(values in vec(0.5..2.0, 0..80)) {
        let scaled: Vec<f64> = values.iter().map(|value| value * 1024.0).collect();
        prop_assert_eq!(judge_steadiness(&values).verdict, judge_steadiness(&scaled).verdict);
    }
}
