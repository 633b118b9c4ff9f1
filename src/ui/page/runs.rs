//! The page of several runs: their table, their plot, and each run, closed.

use super::figures::{describe_failures, write_figure};
use super::kept::KeptResult;
use super::markup::{Markup, Value};
use super::numbers::{figure, figure_or_dash};
use super::pareto::write_pareto;
use super::run::write_body;
use super::series::{gpus_of_all, name_runs, per_user, sort_runs};
use super::words::{describe_load, trust_words};
use crate::report::{Times, Trust};

/// Writes all runs.
pub(super) fn write_runs(markup: &mut Markup, all: &[KeptResult<'_>]) {
    let all = &sort_runs(all)[..];
    markup.raw("<header>\n");
    markup.leaf("h1", &[], &format!("{} measurements", all.len()));
    markup.raw("<p class=\"sums\">");
    for trust in [Trust::Untrusted, Trust::Doubtful, Trust::Trusted] {
        let (word, _, class) = trust_words(trust);
        let number = all
            .iter()
            .filter(|run| trust_words(run.measurement.trust).0 == word)
            .count();
        if number > 0 {
            markup.raw("<span class=\"badge ");
            markup.raw(class);
            markup.raw("\">");
            markup.text(&format!("{number} {word}"));
            markup.raw("</span> ");
        }
    }
    let (common, names) = name_runs(all);
    markup.raw("</p>\n");
    markup.leaf("p", &[("class", Value::Word("muted"))], &common);
    markup.raw("</header>\n");
    write_table(markup, all, &names);
    write_pareto(markup, all);
    markup.raw("<h2>Each run</h2>\n");
    for (index, run) in all.iter().enumerate() {
        let (word, _, class) = trust_words(run.measurement.trust);
        markup.raw("<details class=\"run\"><summary><span class=\"badge ");
        markup.raw(class);
        markup.raw("\">");
        markup.raw(word);
        markup.raw("</span> ");
        markup.text(&format!("{}: {}", run.file, describe_load(&run.measurement.load)));
        markup.raw("</summary>\n");
        // A browser opens the part that a link leads into.
        markup.open("div", &[("id", Value::Numbered("run-", index + 1))]);
        write_body(markup, run.measurement);
        markup.close("div");
        markup.raw("</details>\n");
    }
}

/// Writes a row for each run. On a telephone a row becomes a card, whose lines have the name of their column.
fn write_table(markup: &mut Markup, all: &[KeptResult<'_>], names: &[String]) {
    let gpus = gpus_of_all(all);
    let rate = if gpus.is_some() {
        "tokens/s per GPU"
    } else {
        "tokens/s"
    };
    markup.raw("<table class=\"runs\"><thead><tr>");
    let titles = [
        "run",
        "load",
        rate,
        "tokens/s of a user",
        "by TPOT p90",
        "TTFT p50 ms",
        "TTFT p99 ms",
        "TPOT p50 ms",
        "failed",
    ];
    for title in titles {
        markup.leaf("th", &[("scope", Value::Word("col"))], title);
    }
    markup.raw("</tr></thead><tbody>\n");
    for (index, run) in all.iter().enumerate() {
        let measurement = run.measurement;
        let (word, _, class) = trust_words(measurement.trust);
        markup.raw("<tr><th scope=\"row\">");
        // The number behind `#run-` is that of the part.
        markup.open("a", &[("href", Value::Numbered("#run-", index + 1))]);
        markup.text(run.file);
        markup.raw("</a> <span class=\"badge ");
        markup.raw(class);
        markup.raw("\">");
        markup.raw(word);
        markup.raw("</span>");
        if !names[index].is_empty() {
            markup.leaf("span", &[("class", Value::Word("muted"))], &names[index]);
        }
        markup.raw("</th>");
        markup.open(
            "td",
            &[
                ("data-title", Value::Word(titles[1])),
                ("class", Value::Word("words")),
            ],
        );
        markup.text(&describe_load(&measurement.load));
        markup.raw("</td>");
        let figures = measurement.figures.as_ref();
        let divisor = gpus.as_ref().map_or(1.0, |gpus| f64::from(gpus[index]));
        let time = |of: fn(&Times) -> Option<f64>, is_tpot: bool| {
            figures.and_then(|figures| of(if is_tpot { &figures.tpot } else { &figures.ttft }))
        };
        let cells = [
            figures.map_or_else(
                || "-".to_owned(),
                |figures| figure(figures.output_throughput / divisor),
            ),
            figure_or_dash(per_user(time(|times| times.p50_ms, true))),
            figure_or_dash(per_user(time(|times| times.p90_ms, true))),
            figure_or_dash(time(|times| times.p50_ms, false)),
            figure_or_dash(time(|times| times.p99_ms, false)),
            figure_or_dash(time(|times| times.p50_ms, true)),
        ];
        for (title, cell) in titles[2..].iter().zip(cells) {
            markup.open("td", &[("data-title", Value::Word(title))]);
            write_figure(markup, &cell, measurement.trust);
            markup.raw("</td>");
        }
        markup.open("td", &[("data-title", Value::Word("failed"))]);
        markup.text(&describe_failures(measurement));
        markup.raw("</td></tr>\n");
    }
    markup.raw("</tbody></table>\n");
    markup.raw("<p class=\"muted\">A dash: too few samples for the claim, or nothing was measured.</p>\n");
}
