//! The run over time: requests in flight and tokens a second, the window of the figures, and failures.

use super::frame::{close_frame, down, draw_column, draw_line, draw_rows, open_frame, open_stretched};
use super::markup::{Markup, Value};
use super::numbers::figure;
use super::path::{PathData, UNITS};
use super::scale::Scale;
use crate::report::{Measurement, Second, Trust};

/// Height of each plot in pixels.
const HEIGHT: f64 = 130.0;

/// Most columns: more are narrower than a pixel of a telephone.
const MOST_COLUMNS: usize = 240;

/// Least part of its last second that a run needs, so that the rates of this part are a figure.
const LEAST_PART: f64 = 0.1;

/// Seconds of a run that are drawn as one.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Column {
    from_s: f64,
    to_s: f64,
    in_flight: f64,
    tokens_per_s: f64,
    ended: u64,
    failed: u64,
}

/// Writes both plots.
pub(super) fn write_timeline(markup: &mut Markup, measurement: &Measurement) {
    let columns = join_seconds(&measurement.timeline, measurement.run_s);
    let Some(end) = columns.last().map(|column| column.to_s) else {
        markup.raw("<p class=\"muted\">The file has no timeline.</p>\n");
        return;
    };
    let time = Scale::of_seconds(end);
    let window = measurement
        .warm_up_s
        .zip(measurement.window_s)
        .map(|(from, length)| (time.place_value(from), time.place_value(from + length)));
    let failures: u64 = columns.iter().map(|column| column.failed).sum();
    let is_usable = measurement.trust < Trust::Untrusted;
    let mean = measurement
        .figures
        .as_ref()
        .filter(|_| is_usable && window.is_some());
    markup.raw("<p class=\"legend\">");
    if window.is_some() {
        markup.raw("<span><span class=\"key window\"></span>the window of the figures</span>");
    }
    if mean.is_some() {
        markup.raw("<span><span class=\"key mean\"></span>the figure of the window</span>");
    }
    if failures > 0 {
        markup.raw("<span><span class=\"key failure\"></span>");
        markup.text(&format!("requests failed ({failures} in all)"));
        markup.raw("</span>");
    }
    markup.raw("</p>\n");
    for (title, about, of, line) in [
        (
            "<figcaption>Requests in flight</figcaption>\n",
            "Requests in flight in each second of the run",
            (|column: &Column| column.in_flight) as fn(&Column) -> f64,
            mean.map(|figures| figures.concurrency),
        ),
        (
            "<figcaption>Output tokens a second</figcaption>\n",
            "Output tokens of each second of the run",
            |column: &Column| column.tokens_per_s,
            mean.map(|figures| figures.output_throughput),
        ),
    ] {
        markup.raw("<figure>");
        markup.raw(title);
        write_plot(markup, about, &columns, (&time, window), of, line);
        markup.raw("</figure>\n");
    }
}

/// Writes one plot. `mean` is the figure of the window.
fn write_plot(
    markup: &mut Markup,
    about: &str,
    columns: &[Column],
    (time, window): (&Scale, Option<(f64, f64)>),
    of: fn(&Column) -> f64,
    mean: Option<f64>,
) {
    let scale = Scale::of(columns.iter().map(of).chain(mean));
    open_frame(markup, HEIGHT, about);
    if let Some((from, to)) = window {
        let attributes = [
            ("class", Value::Word("window")),
            ("x", Value::Share(from)),
            ("width", Value::Share(to - from)),
            ("y", Value::Number(0.0)),
            ("height", Value::Number(HEIGHT)),
        ];
        markup.shape("rect", &attributes);
    }
    draw_rows(markup, &scale, HEIGHT);
    for tick in time.ticks() {
        draw_column(markup, time.place_value(tick), &time.label_seconds(tick), HEIGHT);
    }
    open_stretched(markup, HEIGHT);
    let (mut line, mut area) = (PathData::default(), PathData::default());
    area.add_point(0.0, HEIGHT);
    for column in columns {
        let y = down(&scale, of(column), HEIGHT);
        for share in [time.place_value(column.from_s), time.place_value(column.to_s)] {
            line.add_point(share, y);
            area.add_point(share, y);
        }
    }
    area.add_point(
        columns.last().map_or(0.0, |column| time.place_value(column.to_s)),
        HEIGHT,
    );
    markup.shape(
        "path",
        &[("class", Value::Word("area")), ("d", Value::Path(&area))],
    );
    markup.shape(
        "path",
        &[("class", Value::Word("line")), ("d", Value::Path(&line))],
    );
    markup.close("svg");
    if let (Some(mean), Some((from, to))) = (mean, window) {
        let y = down(&scale, mean, HEIGHT);
        draw_line(markup, "mean", (from, y), (to, y));
    }
    for column in columns.iter().filter(|column| column.failed > 0) {
        let middle = time.place_value(column.from_s.midpoint(column.to_s));
        draw_line(markup, "failure", (middle, 0.0), (middle, HEIGHT));
        let attributes = [
            ("class", Value::Word("failure")),
            ("cx", Value::Share(middle)),
            ("cy", Value::Number(0.0)),
            ("r", Value::Number(3.5)),
        ];
        markup.shape("circle", &attributes);
    }
    open_stretched(markup, HEIGHT);
    for column in columns {
        let (from, to) = (time.place_value(column.from_s), time.place_value(column.to_s));
        let attributes = [
            ("class", Value::Word("touch")),
            ("x", Value::Number(from * UNITS)),
            ("width", Value::Number((to - from) * UNITS)),
            ("height", Value::Number(HEIGHT)),
        ];
        markup.titled("rect", &attributes, &describe_column(column));
    }
    markup.close("svg");
    close_frame(markup);
}

fn describe_column(column: &Column) -> String {
    let failed = match column.failed {
        0 => String::new(),
        failed => format!(", {failed} failed"),
    };
    format!(
        "{:.0} s: {} in flight, {} tokens/s, {} ended{failed}",
        column.from_s,
        figure(column.in_flight),
        figure(column.tokens_per_s),
        column.ended,
    )
}

/// Returns the seconds as at most [`MOST_COLUMNS`] columns of equal length; a part of a second at the end of the run has the
/// rates of this part.
fn join_seconds(seconds: &[Second], run_s: f64) -> Vec<Column> {
    let each = seconds.len().div_ceil(MOST_COLUMNS).max(1);
    let columns = seconds.chunks(each).map(|part| {
        let from_s = part.first().map_or(0.0, |second| second.at_s);
        let last_s = part.last().map_or(0.0, |second| second.at_s);
        let to_s = run_s.clamp(last_s + LEAST_PART, last_s + 1.0);
        let length = to_s - from_s;
        let sum = |of: fn(&Second) -> f64| part.iter().map(of).sum::<f64>() / length;
        Column {
            from_s,
            to_s,
            in_flight: sum(|second| second.in_flight),
            tokens_per_s: sum(|second| second.tokens),
            ended: part.iter().map(|second| u64::from(second.ended)).sum(),
            failed: part.iter().map(|second| u64::from(second.failed)).sum(),
        }
    });
    columns.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list_seconds(count: u32) -> Vec<Second> {
        let second = |index| Second {
            at_s: f64::from(index),
            in_flight: 8.0,
            tokens: 100.0,
            ended: 2,
            failed: 1,
        };
        (0..count).map(second).collect()
    }

    #[test]
    fn a_long_run_has_columns_of_several_seconds() {
        let columns = join_seconds(&list_seconds(1000), 1000.0);
        assert_eq!(columns.len(), 200);
        assert_eq!((columns[0].from_s, columns[0].to_s), (0.0, 5.0));
        assert!(
            columns
                .iter()
                .all(|column| (column.tokens_per_s - 100.0).abs() < 1e-9)
        );
        assert_eq!(columns.iter().map(|column| column.failed).sum::<u64>(), 1000);
    }

    #[test]
    fn the_last_second_is_a_part_of_one() {
        let mut seconds = list_seconds(2);
        seconds[1] = Second {
            in_flight: 4.0,
            tokens: 50.0,
            ..seconds[1]
        };
        let columns = join_seconds(&seconds, 1.5);
        assert_eq!(
            (columns[1].in_flight, columns[1].tokens_per_s, columns[1].to_s),
            (8.0, 100.0, 1.5)
        );
        assert_eq!(join_seconds(&[], 1.0), []);
    }
}
