//! The interval of a share of successes, of independent trials and of trials in groups.

/// The value that a standard normal one exceeds with a probability of 2.5 %.
const Z: f64 = 1.959_963_984_540_054;

/// Returns the 95 % Wilson score interval of a share (Wilson 1927). Near 0 and 1 it is right; the usual interval is not.
#[must_use]
pub fn share_interval(share: f64, trials: f64) -> (f64, f64) {
    let n = trials.max(1.0);
    let denominator = 1.0 + Z * Z / n;
    let centre = (share + Z * Z / (2.0 * n)) / denominator;
    let half = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt() / denominator;
    ((centre - half).max(0.0), (centre + half).min(1.0))
}

/// Returns the share of successes in groups of trials, and its 95 % interval; `None` of no trial.
///
/// The trials of a group are alike: answers to one question tell less than answers to as many questions. The interval is that of
/// Wilson for the number of independent trials with the same variance (Korn and Graubard 1998), where the variance is that of the
/// groups' shares. With one trial in each group it is that of all trials; with equal shares in all groups, that of the groups.
#[must_use]
pub fn grouped_share_interval(groups: &[(u32, u32)]) -> Option<(f64, (f64, f64))> {
    let sum = |of: fn(&(u32, u32)) -> u32| groups.iter().map(|group| f64::from(of(group))).sum::<f64>();
    let (successes, trials) = (sum(|group| group.0), sum(|group| group.1));
    if trials < 1.0 {
        return None;
    }
    let share = successes / trials;
    let squares: f64 = groups
        .iter()
        .map(|(right, count)| (f64::from(*right) - share * f64::from(*count)).powi(2))
        .sum();
    let filled = groups.iter().filter(|(_, count)| *count > 0).count();
    let filled = f64::from(u32::try_from(filled).unwrap_or(u32::MAX));
    let independent = if squares > 0.0 {
        share * (1.0 - share) * trials * trials / squares
    } else {
        filled
    };
    Some((share, share_interval(share, independent.clamp(1.0, trials))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_a_share_matches_the_published_table() {
        // 1316 questions at 0.959.
        let (low, high) = share_interval(0.959, 1316.0);
        assert!(
            (low - 0.947).abs() < 0.001 && (high - 0.968).abs() < 0.001,
            "{low} {high}"
        );
        assert!(share_interval(0.0, 8.0).0.abs() < f64::EPSILON);
        // By its formula with 20 digits: 8 of 10.
        let (low, high) = share_interval(0.8, 10.0);
        assert!(
            (low - 0.490_162).abs() < 1e-5 && (high - 0.943_318).abs() < 1e-5,
            "{low} {high}"
        );
    }

    #[test]
    fn answers_to_one_question_count_less_than_answers_to_many() {
        let interval = |groups: &[(u32, u32)]| grouped_share_interval(groups).unwrap().1;
        let is_near = |one: (f64, f64), other: (f64, f64)| {
            (one.0 - other.0).abs() < 1e-9 && (one.1 - other.1).abs() < 1e-9
        };
        let alone: Vec<(u32, u32)> = (0..10).map(|index| (u32::from(index < 8), 1)).collect();
        let (share, _) = grouped_share_interval(&alone).unwrap();
        assert!((share - 0.8).abs() < 1e-12);
        assert!(is_near(interval(&alone), share_interval(0.8, 10.0)));
        // The same answer ten times: no more than ten trials.
        let repeated: Vec<(u32, u32)> = alone.iter().map(|(right, _)| (right * 10, 10)).collect();
        assert!(is_near(interval(&repeated), share_interval(0.8, 10.0)));
        // Each question by chance: as many trials as answers.
        let mixed = [(4, 5), (4, 5), (3, 5), (5, 5)];
        assert!(is_near(interval(&mixed), share_interval(0.8, 20.0)));
        // All right: the questions count.
        assert!(is_near(interval(&[(8, 8); 30]), share_interval(1.0, 30.0)));
        assert_eq!(grouped_share_interval(&[]), None);
        assert_eq!(grouped_share_interval(&[(0, 0)]), None);
    }

    proptest::proptest! {
        #[test]
        fn the_interval_holds_the_share(groups in proptest::collection::vec((0_u32..9, 0_u32..9), 0..40)) {
            let groups: Vec<(u32, u32)> = groups.into_iter().map(|(right, more)| (right, right + more)).collect();
            if let Some((share, (low, high))) = grouped_share_interval(&groups) {
                proptest::prop_assert!((0.0..=1.0).contains(&low) && high <= 1.0);
                proptest::prop_assert!(low <= share + 1e-12 && share <= high + 1e-12);
            }
        }
    }
}
