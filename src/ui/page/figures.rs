//! The figures of a run: tiles and tables. Figures that must not be used are struck, each one.

use super::markup::{Markup, Value};
use super::numbers::{count, figure, figure_or_dash, name_percentile, percent};
use super::quantiles::{PERCENTILES, list_percentiles};
use super::series::per_user;
use crate::measure::statistics::minimum_samples;
use crate::report::{Conversations, Figures, Measurement, OtherFigures, Times, Trust, TurnFigures};

/// Writes a figure, struck if it must not be used.
pub(super) fn write_figure(markup: &mut Markup, text: &str, trust: Trust) {
    // A dash claims nothing.
    if trust == Trust::Untrusted && text != "-" {
        markup.raw("<s><span class=\"hidden\">not to be used: </span>");
        markup.text(text);
        markup.raw("</s>");
    } else {
        markup.text(text);
    }
}

/// Writes the figures that most readers look for.
pub(super) fn write_tiles(markup: &mut Markup, measurement: &Measurement, figures: &Figures) {
    let trust = measurement.trust;
    let per_gpu = measurement.server.gpus().filter(|gpus| *gpus > 1);
    let per_gpu = per_gpu.map(|gpus| figure(figures.output_throughput / f64::from(gpus)));
    let millis = |value: Option<f64>| figure_or_dash(value);
    markup.raw("<div class=\"tiles\">\n");
    for (title, value, unit) in [
        ("Output throughput", figure(figures.output_throughput), "tokens/s"),
        (
            "Request throughput",
            figure(figures.request_throughput),
            "requests/s",
        ),
        ("TTFT, median", millis(figures.ttft.p50_ms), "ms"),
        ("TPOT, median", millis(figures.tpot.p50_ms), "ms"),
        (
            "Speed of one user",
            figure_or_dash(per_user(figures.tpot.p50_ms)),
            "tokens/s",
        ),
    ] {
        write_tile(markup, title, &value, unit, trust);
    }
    if let Some(per_gpu) = per_gpu {
        write_tile(markup, "Output of one GPU", &per_gpu, "tokens/s", trust);
    }
    markup.raw("</div>\n");
}

fn write_tile(markup: &mut Markup, title: &str, value: &str, unit: &str, trust: Trust) {
    markup.raw("<div>");
    markup.leaf("span", &[("class", Value::Word("title"))], title);
    markup.raw("<span class=\"value\">");
    write_figure(markup, value, trust);
    markup.raw("</span> ");
    if value != "-" {
        markup.leaf("span", &[("class", Value::Word("unit"))], unit);
    }
    markup.raw("</div>\n");
}

/// Writes the table of times, with a dash for each percentile that the samples do not claim, and the reason.
pub(super) fn write_times(markup: &mut Markup, figures: &Figures, trust: Trust) {
    let mut columns: Vec<(&str, &Times)> = vec![("TTFT", &figures.ttft)];
    columns.extend(figures.answer_ttft.as_ref().map(|times| ("answer TTFT", times)));
    columns.push(("TPOT", &figures.tpot));
    columns.push(match &figures.itl {
        Some(itl) => ("ITL", itl),
        None => ("chunk gap", &figures.chunk_gap),
    });
    columns.push(("E2E", &figures.e2e));
    markup.raw("<h2>Times in milliseconds</h2>\n");
    write_times_table(markup, &columns, trust);
    write_reasons(markup, &columns);
    markup.raw("<p class=\"muted\">TTFT: from the sending to the first token. TPOT: time per output token after the first ");
    markup.raw("chunk, of each request. ITL: time between two tokens. E2E: from the sending to the last token.</p>\n");
    if figures.itl.is_none() {
        markup.raw(
            "<p class=\"muted\">The server does not count the tokens of each chunk, so there is no ITL: ",
        );
        markup.raw("the gap between two chunks is that of all tokens of a chunk.</p>\n");
    }
}

/// Writes times by their statistics, a column for each of them.
fn write_times_table(markup: &mut Markup, columns: &[(&str, &Times)], trust: Trust) {
    markup.raw("<table class=\"figures\"><thead><tr><th></th>");
    for (name, _) in columns {
        markup.leaf("th", &[("scope", Value::Word("col"))], name);
    }
    markup.raw("</tr></thead><tbody>\n");
    let mut row = |name: &str, of: &dyn Fn(&Times) -> String, trust: Trust| {
        markup.raw("<tr>");
        markup.leaf("th", &[("scope", Value::Word("row"))], name);
        for (_, times) in columns {
            markup.raw("<td>");
            write_figure(markup, &of(times), trust);
            markup.raw("</td>");
        }
        markup.raw("</tr>\n");
    };
    row("mean", &|times| figure_or_dash(times.mean_ms), trust);
    for (index, percentile) in PERCENTILES.into_iter().enumerate() {
        let of = |times: &Times| figure_or_dash(list_percentiles(times)[index].1);
        row(&name_percentile(percentile), &of, trust);
    }
    row("least", &|times| figure_or_dash(times.min_ms), trust);
    row("most", &|times| figure_or_dash(times.max_ms), trust);
    row("samples", &|times| count(times.count), Trust::Trusted);
    markup.raw("</tbody></table>\n");
}

/// Writes the figures of conversations by their turns: the first ones, all later ones, and each of the later ones.
pub(super) fn write_turns(markup: &mut Markup, conversations: &Conversations, trust: Trust) {
    markup.raw("<h2>By turn</h2>\n<table class=\"figures\"><thead><tr>");
    for name in [
        "turn",
        "requests",
        "prompt tokens, mean",
        "from the prefix cache",
        "TTFT mean, ms",
        "TTFT p50, ms",
        "TTFT p90, ms",
        "TPOT p50, ms",
        "E2E p50, ms",
    ] {
        markup.leaf("th", &[("scope", Value::Word("col"))], name);
    }
    markup.raw("</tr></thead><tbody>\n");
    let mut row = |name: &str, turns: &TurnFigures| {
        markup.raw("<tr>");
        markup.leaf("th", &[("scope", Value::Word("row"))], name);
        for (text, trust) in [
            (count(turns.requests), Trust::Trusted),
            (figure(turns.mean_input_len), trust),
            (turns.cached_share.map_or_else(|| "-".to_owned(), percent), trust),
            (figure_or_dash(turns.ttft.mean_ms), trust),
            (figure_or_dash(turns.ttft.p50_ms), trust),
            (figure_or_dash(turns.ttft.p90_ms), trust),
            (figure_or_dash(turns.tpot.p50_ms), trust),
            (figure_or_dash(turns.e2e.p50_ms), trust),
        ] {
            markup.raw("<td>");
            write_figure(markup, &text, trust);
            markup.raw("</td>");
        }
        markup.raw("</tr>\n");
    };
    row("1", &conversations.first);
    row("2 on", &conversations.later);
    if conversations.each.len() > 1 {
        for turns in &conversations.each {
            row(&turns.from.to_string(), turns);
        }
    }
    markup.raw("</tbody></table>\n<p class=\"muted\">The prompt of a later turn begins with all turns before it, which a prefix cache ");
    markup.raw("knows: its TTFT is another quantity than that of a first turn. All other figures are of all turns together.</p>\n");
    if conversations.failed > 0 {
        markup.raw("<p>");
        markup.text(&format!(
            "Conversations that a failed request ended: {}.",
            count(conversations.failed)
        ));
        markup.raw("</p>\n");
    }
}

/// Writes the samples that the percentiles without a figure need.
fn write_reasons(markup: &mut Markup, columns: &[(&str, &Times)]) {
    let reasons: Vec<String> = PERCENTILES
        .into_iter()
        .enumerate()
        .filter_map(|(index, percentile)| {
            let needed = minimum_samples(percentile)? as u64;
            let is_lacking = columns
                .iter()
                .any(|(_, times)| list_percentiles(times)[index].1.is_none() && times.count < needed);
            is_lacking.then(|| format!("{} needs {}", name_percentile(percentile), count(needed)))
        })
        .collect();
    if !reasons.is_empty() {
        markup.raw("<p class=\"muted\">");
        markup.text(&format!(
            "A dash: too few samples for this claim: {}.",
            reasons.join(", ")
        ));
        markup.raw("</p>\n");
    }
}

/// Writes rates and counts.
pub(super) fn write_rates(markup: &mut Markup, figures: &Figures, trust: Trust) {
    let mut rows = vec![
        ("requests a second", figure(figures.request_throughput)),
        ("input tokens a second", figure(figures.input_throughput)),
        ("output tokens a second", figure(figures.output_throughput)),
        ("all tokens a second", figure(figures.total_throughput)),
        ("requests in flight, mean", figure(figures.concurrency)),
        ("prompt tokens", count(figures.input_tokens)),
        ("prompt tokens of a request, mean", figure(figures.mean_input_len)),
        (
            "prompt tokens from the prefix cache",
            figures.cached_tokens.map_or_else(|| "-".to_owned(), count),
        ),
        ("generated tokens", count(figures.output_tokens)),
        (
            "generated tokens of a request, mean",
            figure(figures.mean_output_len),
        ),
        ("tokens of a chunk, mean", figure(figures.tokens_per_chunk)),
    ];
    if let Some(reasoning) = &figures.reasoning {
        rows.extend([
            ("requests with reasoning", count(reasoning.requests)),
            ("tokens of reasoning, mean", figure(reasoning.mean_tokens)),
            (
                "tokens of the answer behind it, mean",
                figure(reasoning.mean_answer_tokens),
            ),
            (
                "tokens of reasoning a second, of one request",
                figure_or_dash(reasoning.tokens_per_s),
            ),
            (
                "tokens of the answer a second, of one request",
                figure_or_dash(reasoning.answer_tokens_per_s),
            ),
        ]);
    }
    markup.raw("<h2>Rates and counts</h2>\n<table class=\"pairs\"><tbody>\n");
    for (name, value) in rows {
        markup.raw("<tr>");
        markup.leaf("th", &[("scope", Value::Word("row"))], name);
        markup.raw("<td>");
        write_figure(markup, &value, trust);
        markup.raw("</td></tr>\n");
    }
    markup.raw("</tbody></table>\n");
}

/// Writes the same requests in the terms of another tool.
pub(super) fn write_other(markup: &mut Markup, tool: &str, figures: &OtherFigures, trust: Trust) {
    markup.leaf("h3", &[], tool);
    let columns = [
        ("TTFT", &figures.ttft),
        ("TPOT", &figures.tpot),
        ("ITL", &figures.itl),
        ("E2E", &figures.e2e),
    ];
    write_times_table(markup, &columns, trust);
    markup.raw("<p>");
    if let Some(tokens) = figures.output_tokens {
        markup.raw("Generated tokens: ");
        write_figure(markup, &count(tokens), trust);
        markup.raw(". ");
    }
    if let Some(rate) = figures.output_throughput {
        markup.raw("Output tokens a second: ");
        write_figure(markup, &figure(rate), trust);
        markup.raw(". ");
    }
    markup.raw("</p>\n");
    for remark in &figures.remarks {
        markup.leaf("p", &[("class", Value::Word("muted"))], remark);
    }
}

/// Returns the share of the measured requests that failed, in words.
pub(super) fn describe_failures(measurement: &Measurement) -> String {
    let requests = &measurement.requests;
    let failed = requests
        .failed
        .values()
        .fold(0_u64, |sum, count| sum.saturating_add(*count));
    if failed == 0 {
        return "0".to_owned();
    }
    #[expect(clippy::cast_precision_loss, reason = "a percentage of a count of requests")]
    let share = failed as f64 / requests.measured.max(1) as f64;
    format!("{} ({})", count(failed), percent(share))
}
