//! Scales of axes: from zero, with round steps.

/// Most steps of an axis. A label has room on a telephone.
const MOST_STEPS: f64 = 5.0;

/// Steps of an axis of seconds, in seconds.
const SECONDS: [f64; 13] = [
    1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 21_600.0,
];

/// Numbers from zero to a round one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    step: f64,
    top: f64,
}

impl Scale {
    /// Returns the scale that holds the values. What is no number, or below zero, does not count.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let most = most_of(values);
        let least_step = most / MOST_STEPS;
        let magnitude = 10_f64.powf(least_step.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|factor| factor * magnitude)
            .find(|step| *step >= least_step * 0.999)
            .unwrap_or(least_step);
        let top = (most / step - 0.001).ceil() * step;
        Self { step, top }
    }

    /// Returns the scale of the seconds of a run, which ends where the run ends.
    pub(super) fn of_seconds(seconds: f64) -> Self {
        let top = most_of([seconds]);
        let step = SECONDS.into_iter().find(|step| top / step <= MOST_STEPS + 1.0);
        // A run of more days has steps of days.
        let days = 86_400.0 * (top / 86_400.0 / MOST_STEPS).ceil();
        Self {
            step: step.unwrap_or(days),
            top,
        }
    }

    /// Returns the place of a value as a share of 0 to 1.
    pub(super) fn place_value(&self, value: f64) -> f64 {
        let share = value / self.top;
        if share.is_finite() {
            share.clamp(0.0, 1.0)
        } else {
            0.0
        }
    }

    /// Returns the value of each step.
    pub(super) fn ticks(&self) -> Vec<f64> {
        let (step, top) = (self.step, self.top);
        (0_u8..=7)
            .map(|index| f64::from(index) * step)
            .filter(|value| *value <= top * 1.001)
            .collect()
    }

    /// Returns the label of a step.
    pub(super) fn label(&self, value: f64) -> String {
        let (divisor, unit) = match self.top {
            top if top >= 1e15 => return format!("{value:.0e}"),
            top if top >= 1e10 => (1e9, "G"),
            top if top >= 1e7 => (1e6, "M"),
            top if top >= 1e4 => (1e3, "k"),
            _ => (1.0, ""),
        };
        let decimals = match self.step / divisor {
            step if step >= 0.999 => 0,
            step if step >= 0.0999 => 1,
            step if step >= 0.00999 => 2,
            _ => 3,
        };
        // Zero needs no unit.
        let unit = if value > 0.0 { unit } else { "" };
        format!("{:.decimals$}{unit}", value / divisor)
    }

    /// Returns the label of a step of seconds.
    pub(super) fn label_seconds(&self, value: f64) -> String {
        match self.step {
            step if step >= 3600.0 => format!("{:.0} h", value / 3600.0),
            step if step >= 60.0 => format!("{:.0} min", value / 60.0),
            _ => format!("{value:.0} s"),
        }
    }
}

/// Returns the greatest of the values that an axis can show; 1 without any.
fn most_of(values: impl IntoIterator<Item = f64>) -> f64 {
    let usable = values.into_iter().filter(|value| (1e-9..=1e300).contains(value));
    usable
        .fold(None, |most: Option<f64>, value| {
            Some(most.map_or(value, |most| most.max(value)))
        })
        .unwrap_or(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_hold_all_values() {
        for (most, ticks) in [
            (16.0, vec!["0", "5", "10", "15", "20"]),
            (1648.0, vec!["0", "500", "1000", "1500", "2000"]),
            (52_000.0, vec!["0", "20k", "40k", "60k"]),
            (0.35, vec!["0.0", "0.1", "0.2", "0.3", "0.4"]),
            (100.0, vec!["0", "20", "40", "60", "80", "100"]),
        ] {
            let scale = Scale::of([1e-3, most]);
            let labels: Vec<String> = scale.ticks().into_iter().map(|tick| scale.label(tick)).collect();
            assert_eq!(labels, ticks);
            assert!(scale.place_value(most) <= 1.0 && scale.place_value(most) > 0.5);
        }
    }

    #[test]
    fn values_that_are_no_figures_do_no_harm() {
        for hostile in [
            vec![],
            vec![f64::NAN],
            vec![f64::INFINITY, -3.0],
            vec![1e300],
            vec![f64::MIN_POSITIVE],
        ] {
            let scale = Scale::of(hostile.clone());
            assert!(
                !scale.ticks().is_empty() && scale.ticks().len() <= 8,
                "{hostile:?}"
            );
            let place = scale.place_value(f64::NAN);
            assert!((0.0..=1.0).contains(&place));
        }
    }

    #[test]
    fn seconds_have_steps_of_a_clock() {
        let labels = |seconds| {
            let scale = Scale::of_seconds(seconds);
            scale
                .ticks()
                .into_iter()
                .map(|tick| scale.label_seconds(tick))
                .collect::<Vec<_>>()
        };
        assert_eq!(labels(28.7), ["0 s", "5 s", "10 s", "15 s", "20 s", "25 s"]);
        assert_eq!(
            labels(700.0),
            ["0 min", "2 min", "4 min", "6 min", "8 min", "10 min"]
        );
        assert_eq!(labels(86_400.0).last().map(String::as_str), Some("24 h"));
        assert!(labels(1e9).len() <= 7);
    }
}
