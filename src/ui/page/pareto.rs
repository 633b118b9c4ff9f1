//! Several runs in one plot: the tokens of all users against the tokens of one.

use super::frame::{close_frame, down, draw_column, draw_line, draw_rows, open_frame, open_stretched};
use super::kept::KeptResult;
use super::markup::{Markup, Value};
use super::numbers::figure;
use super::path::PathData;
use super::scale::Scale;
use super::series::{Point, Series, gpus_of_all, list_series};
use crate::report::Trust;

/// Height of the plot in pixels.
const HEIGHT: f64 = 320.0;

/// Colours of series, which the style sheet has; more of them begin again.
const COLOURS: usize = 6;

/// Most series with a name in the legend.
const MOST_NAMES: usize = 24;

/// Writes the plot with its legend.
pub(super) fn write_pareto(markup: &mut Markup, runs: &[KeptResult<'_>]) {
    let (all, without) = list_series(runs);
    let unit = if gpus_of_all(runs).is_some() {
        "GPU"
    } else {
        "server"
    };
    markup.raw("<h2>Throughput against speed</h2>\n");
    if all.is_empty() {
        markup.raw("<p class=\"muted\">No run has a median of TPOT.</p>\n");
        return;
    }
    write_legend(markup, &all);
    markup.raw("<figure><figcaption>");
    markup.text(&format!("Output tokens a second per {unit}"));
    markup.raw("</figcaption>\n");
    write_plot(markup, &all, runs);
    markup.raw("<p class=\"axis\">Output tokens a second of one user (1000 / TPOT in ms)</p></figure>\n");
    markup.raw("<p class=\"muted\">");
    markup.raw("A point is at the median of TPOT; its bar ends at MLPerf's measure, the 90th percentile, where the samples ");
    markup.raw("claim it. Its label is the number of requests in flight, or the requests a second. A curve joins the runs that ");
    markup.raw("no other run of the series beats in both directions.");
    if unit == "server" {
        markup.raw(
            " The number of GPUs of some server is not known, so that the rates are those of whole servers.",
        );
    }
    for index in without {
        markup.text(&format!(
            " {} has no median of TPOT, and no point.",
            runs[index].file
        ));
    }
    markup.raw("</p>\n");
}

fn write_legend(markup: &mut Markup, all: &[Series]) {
    markup.raw("<p class=\"legend\">");
    for (index, series) in all.iter().enumerate().take(MOST_NAMES) {
        if !series.name.is_empty() {
            markup.raw("<span>");
            markup.open(
                "span",
                &[("class", Value::Numbered("key series-", index % COLOURS))],
            );
            markup.raw("</span>");
            markup.text(&series.name);
            markup.raw("</span>");
        }
    }
    if all.len() > MOST_NAMES {
        markup.text(&format!("and {} more", all.len() - MOST_NAMES));
    }
    let has = |trust| {
        all.iter()
            .flat_map(|series| &series.points)
            .any(|point| point.trust == trust)
    };
    if has(Trust::Doubtful) {
        markup.raw("<span><span class=\"key hollow\"></span>doubtful</span>");
    }
    if has(Trust::Untrusted) {
        markup.raw("<span><span class=\"key dead\"></span>not trusted, in no curve</span>");
    }
    markup.raw("</p>\n");
}

fn write_plot(markup: &mut Markup, all: &[Series], runs: &[KeptResult<'_>]) {
    let points = || all.iter().flat_map(|series| &series.points);
    let across = Scale::of(points().map(|point| point.per_user));
    let upward = Scale::of(points().map(|point| point.rate));
    open_frame(
        markup,
        HEIGHT,
        "Throughput against the speed of one user, a point for each run",
    );
    draw_rows(markup, &upward, HEIGHT);
    for tick in across.ticks() {
        draw_column(markup, across.place_value(tick), &across.label(tick), HEIGHT);
    }
    open_stretched(markup, HEIGHT);
    for (index, series) in all.iter().enumerate() {
        let mut line = PathData::default();
        for point in series.frontier() {
            line.add_point(
                across.place_value(point.per_user),
                down(&upward, point.rate, HEIGHT),
            );
        }
        let attributes = [
            ("class", Value::Numbered("line series-", index % COLOURS)),
            ("d", Value::Path(&line)),
        ];
        markup.shape("path", &attributes);
    }
    markup.close("svg");
    for (index, series) in all.iter().enumerate() {
        markup.open("g", &[("class", Value::Numbered("series-", index % COLOURS))]);
        for point in &series.points {
            let place = (
                across.place_value(point.per_user),
                down(&upward, point.rate, HEIGHT),
            );
            let slow = point.per_user_p90.map(|slow| across.place_value(slow));
            write_point(markup, point, place, slow, runs[point.run].file);
        }
        markup.close("g");
    }
    close_frame(markup);
}

fn write_point(markup: &mut Markup, point: &Point, (x, y): (f64, f64), slow: Option<f64>, file: &str) {
    let class = match point.trust {
        Trust::Trusted | Trust::Unknown => "point",
        Trust::Doubtful => "point hollow",
        Trust::Untrusted => "point dead",
    };
    if let Some(slow) = slow.filter(|_| point.trust < Trust::Untrusted) {
        draw_line(markup, "bar", (slow, y), (x, y));
        draw_line(markup, "bar", (slow, y - 4.0), (slow, y + 4.0));
    }
    let attributes = [
        ("class", Value::Word(class)),
        ("cx", Value::Share(x)),
        ("cy", Value::Number(y)),
        ("r", Value::Number(5.0)),
    ];
    let title = if point.trust == Trust::Untrusted {
        format!("{file}: {}, not trusted", point.label)
    } else {
        let (user, rate) = (figure(point.per_user), figure(point.rate));
        format!(
            "{file}: {}, {user} tokens/s of a user, {rate} tokens/s",
            point.label
        )
    };
    markup.titled("circle", &attributes, &title);
    let class = if x > 0.9 { "label last" } else { "label" };
    let attributes = [
        ("class", Value::Word(class)),
        ("x", Value::Share(x)),
        ("y", Value::Number(y - 10.0)),
    ];
    markup.leaf("text", &attributes, &point.label);
}
