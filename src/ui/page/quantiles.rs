//! A distribution of times: each percentile with its time. The slow requests, which are few, have half of the width.

use super::frame::{close_frame, down, draw_column, draw_line, draw_rows, open_frame, open_stretched};
use super::markup::{Markup, Value};
use super::numbers::{figure, name_percentile};
use super::path::PathData;
use super::scale::Scale;
use crate::measure::statistics::minimum_samples;
use crate::report::{Times, Trust};

/// Height of the plot in pixels.
const HEIGHT: f64 = 170.0;

/// The percentiles of a result.
pub(super) const PERCENTILES: [f64; 6] = [50.0, 75.0, 90.0, 95.0, 99.0, 99.9];

/// Returns the claimed time at each of [`PERCENTILES`].
pub(super) fn list_percentiles(times: &Times) -> [(f64, Option<f64>); 6] {
    let values = [
        times.p50_ms,
        times.p75_ms,
        times.p90_ms,
        times.p95_ms,
        times.p99_ms,
        times.p99_9_ms,
    ];
    std::array::from_fn(|index| (PERCENTILES[index], values[index]))
}

/// Returns the place of a percentile: each further nine has a third of the width, as `HdrHistogram` draws them.
fn place_percentile(percentile: f64) -> f64 {
    (-(1.0 - percentile / 100.0).log10() / 3.0).clamp(0.0, 1.0)
}

/// Writes the plot of a distribution, of which a result has more than its percentiles only if it is of a later version.
pub(super) fn write_quantiles(
    markup: &mut Markup,
    about: &str,
    times: &Times,
    distribution: &[f64],
    trust: Trust,
) {
    let claimed: Vec<(f64, f64)> = list_percentiles(times)
        .into_iter()
        .filter_map(|(percentile, value)| Some((percentile, value?)))
        .collect();
    let points = join_points(times, &claimed, distribution);
    if points.len() < 2 {
        markup.raw("<p class=\"muted\">Too few samples for a plot.</p>\n");
        return;
    }
    let claimed_to = claimed.last().map_or(0.0, |(percentile, _)| *percentile);
    let scale = Scale::of(points.iter().map(|(_, value)| *value));
    open_frame(markup, HEIGHT, about);
    draw_rows(markup, &scale, HEIGHT);
    draw_column(markup, 0.0, "min", HEIGHT);
    for percentile in PERCENTILES {
        draw_column(
            markup,
            place_percentile(percentile),
            &name_percentile(percentile),
            HEIGHT,
        );
    }
    open_stretched(markup, HEIGHT);
    for (class, is_inside) in [
        (
            "line",
            (|percentile, to| percentile <= to) as fn(f64, f64) -> bool,
        ),
        ("line unclaimed", |percentile, to| percentile >= to),
    ] {
        let mut line = PathData::default();
        for (percentile, value) in points
            .iter()
            .filter(|(percentile, _)| is_inside(*percentile, claimed_to))
        {
            line.add_point(place_percentile(*percentile), down(&scale, *value, HEIGHT));
        }
        markup.shape(
            "path",
            &[("class", Value::Word(class)), ("d", Value::Path(&line))],
        );
    }
    markup.close("svg");
    for (percentile, value) in &claimed {
        let attributes = [
            ("class", Value::Word("point")),
            ("cx", Value::Share(place_percentile(*percentile))),
            ("cy", Value::Number(down(&scale, *value, HEIGHT))),
            ("r", Value::Number(4.0)),
        ];
        let name = name_percentile(*percentile);
        let title = if trust == Trust::Untrusted {
            format!("{name}: not to be used")
        } else {
            format!("{name}: {} ms", figure(*value))
        };
        markup.titled("circle", &attributes, &title);
    }
    write_bound(markup, claimed_to, times.count);
    close_frame(markup);
}

/// Marks the percentiles that the samples do not claim.
fn write_bound(markup: &mut Markup, claimed_to: f64, samples: u64) {
    let Some(next) = PERCENTILES
        .into_iter()
        .find(|percentile| *percentile > claimed_to)
    else {
        return;
    };
    let Some(needed) = minimum_samples(next).filter(|needed| *needed as u64 > samples) else {
        return;
    };
    let from = place_percentile(claimed_to);
    draw_line(markup, "bound", (from, 0.0), (from, HEIGHT));
    let attributes = [
        ("class", Value::Word("note")),
        ("x", Value::Share(1.0)),
        ("y", Value::Number(HEIGHT - 8.0)),
    ];
    markup.leaf(
        "text",
        &attributes,
        &format!("{} needs {needed} samples", name_percentile(next)),
    );
}

/// Returns percentiles with their times, ascending: those of the distribution, and the claimed ones.
fn join_points(times: &Times, claimed: &[(f64, f64)], distribution: &[f64]) -> Vec<(f64, f64)> {
    let last = u32::try_from(distribution.len().saturating_sub(1)).unwrap_or(0);
    let mut points: Vec<(f64, f64)> = if last == 0 {
        times.min_ms.map(|least| (0.0, least)).into_iter().collect()
    } else {
        let share = |index| f64::from(index) / f64::from(last) * 100.0;
        // The most is at no place of an axis without end.
        let inner = distribution.iter().take(distribution.len() - 1);
        (0_u32..).map(share).zip(inner.copied()).collect()
    };
    points.extend(claimed);
    points.retain(|(percentile, value)| *percentile <= 99.9 && value.is_finite());
    points.sort_by(|one, other| one.0.total_cmp(&other.0));
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_nine_has_a_third_of_the_width() {
        let places: Vec<f64> = [0.0, 90.0, 99.0, 99.9, 100.0]
            .into_iter()
            .map(place_percentile)
            .collect();
        for (place, expected) in places.iter().zip([0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0, 1.0]) {
            assert!((place - expected).abs() < 1e-9, "{places:?}");
        }
    }

    #[test]
    fn what_the_samples_do_not_claim_is_marked() {
        let write = |count| {
            let times = Times {
                count,
                p50_ms: Some(20.0),
                p90_ms: Some(30.0),
                min_ms: Some(10.0),
                ..Times::default()
            };
            let mut markup = Markup::default();
            write_quantiles(&mut markup, "TTFT", &times, &[10.0, 20.0, 40.0], Trust::Trusted);
            markup.finish()
        };
        let page = write(80);
        assert!(page.contains(">p95 needs 130 samples</text>"), "{page}");
        assert!(page.contains("<title>p90: 30.00 ms</title>"), "{page}");
        assert!(!write(1000).contains("needs"));
    }

    #[test]
    fn a_distribution_without_samples_is_no_plot() {
        let mut markup = Markup::default();
        write_quantiles(&mut markup, "TTFT", &Times::default(), &[], Trust::Trusted);
        assert!(markup.finish().contains("Too few samples"));
    }
}
