//! Results as CSV (RFC 4180): a row for each file, for a spreadsheet or a data frame.
//!
//! The names of the columns are stable: a new one comes at the end.

use super::kept::KeptResult;
use super::markup::shown;
use super::series::per_user;
use crate::report::{Figures, Measurement, Times, Trust, TurnFigures, Verdict};

/// A row under construction: the names of the columns, and the cells.
#[derive(Default)]
struct Row {
    names: Vec<String>,
    cells: Vec<String>,
}

impl Row {
    /// Adds a foreign text.
    fn push_text(&mut self, name: &str, text: &str) {
        self.push(name, quote_cell(&shown(text)));
    }

    /// Adds a number, or nothing.
    fn push_number(&mut self, name: &str, number: Option<impl ToString>) {
        self.push(name, number.map_or_else(String::new, |number| number.to_string()));
    }

    fn push(&mut self, name: &str, cell: String) {
        self.names.push(name.to_owned());
        self.cells.push(cell);
    }
}

/// One figure of a distribution.
type Statistic = fn(&Times) -> Option<f64>;

/// Returns the results as CSV. A figure that must not be used has no number.
#[must_use]
pub fn results_sheet(runs: &[KeptResult<'_>]) -> String {
    let rows: Vec<Row> = runs.iter().map(|run| row_of(run)).collect();
    let head = rows.first().map(|row| row.names.join(",")).into_iter();
    head.chain(rows.iter().map(|row| row.cells.join(",")))
        .map(|line| line + "\r\n")
        .collect()
}

fn row_of(run: &KeptResult<'_>) -> Row {
    let measurement = run.measurement;
    let mut row = Row::default();
    row.push_text("file", run.file);
    describe_trust(&mut row, measurement);
    describe_setup(&mut row, measurement);
    let requests = &measurement.requests;
    let failed = requests
        .failed
        .values()
        .fold(0_u64, |sum, count| sum.saturating_add(*count));
    row.push_number("run_s", Some(measurement.run_s));
    row.push_number("warm_up_s", measurement.warm_up_s);
    row.push_number("window_s", measurement.window_s);
    row.push_number("requests_sent", Some(requests.sent));
    row.push_number("requests_measured", Some(requests.measured));
    row.push_number("requests_completed", Some(requests.completed));
    row.push_number("requests_failed", Some(failed));
    let is_usable = measurement.trust < Trust::Untrusted;
    let figures = measurement.figures.as_ref().filter(|_| is_usable);
    add_figures(&mut row, measurement, figures);
    row.push_number("turns", Some(measurement.load.turns));
    row.push_number("think_s", Some(measurement.load.think_s));
    let conversations = figures.and_then(|figures| figures.conversations.as_ref());
    add_turns(
        &mut row,
        "first_turn",
        conversations.map(|conversations| &conversations.first),
    );
    add_turns(
        &mut row,
        "later_turns",
        conversations.map(|conversations| &conversations.later),
    );
    row
}

fn add_turns(row: &mut Row, name: &str, figures: Option<&TurnFigures>) {
    row.push_number(
        &format!("{name}_requests"),
        figures.map(|figures| figures.requests),
    );
    row.push_number(
        &format!("{name}_input_len_mean_tokens"),
        figures.map(|figures| figures.mean_input_len),
    );
    row.push_number(
        &format!("{name}_cached_share"),
        figures.and_then(|figures| figures.cached_share),
    );
    let statistics: [(&str, Statistic); 3] = [
        ("mean", |times| times.mean_ms),
        ("p50", |times| times.p50_ms),
        ("p90", |times| times.p90_ms),
    ];
    for (statistic, of) in statistics {
        row.push_number(
            &format!("{name}_ttft_{statistic}_ms"),
            figures.and_then(|figures| of(&figures.ttft)),
        );
    }
}

fn describe_trust(row: &mut Row, measurement: &Measurement) {
    let word = match measurement.trust {
        Trust::Trusted | Trust::Unknown => "trusted",
        Trust::Doubtful => "doubtful",
        Trust::Untrusted => "untrusted",
    };
    row.push("trust", word.to_owned());
    let against = measurement
        .verdicts
        .iter()
        .filter(|verdict| verdict.trust >= Trust::Doubtful);
    let reasons: Vec<String> = against
        .map(|Verdict { about, text, .. }| format!("{about}: {text}"))
        .collect();
    row.push_text("reasons", &reasons.join("; "));
}

fn describe_setup(row: &mut Row, measurement: &Measurement) {
    let (server, load) = (&measurement.server, &measurement.load);
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    row.push_text("began", &measurement.began);
    row.push_text("server", &text(&server.name));
    row.push_text("base_url", &server.base_url);
    row.push_text("model", &server.model);
    row.push_text("profile", &text(&server.profile));
    row.push_text("stack", &text(&server.stack));
    row.push_text("sglang", &text(&server.sglang));
    row.push_number("gpus", server.gpus());
    row.push_text(
        "client",
        &format!("{} {}", measurement.client.name, measurement.client.version),
    );
    row.push_text("api", &load.api);
    row.push_text("load", &load.kind);
    row.push_number("max_concurrency", load.max_concurrency);
    row.push_number("request_rate_per_s", load.request_rate);
    row.push_number("input_len_tokens", Some(load.input_len));
    row.push_number("output_len_tokens", Some(load.output_len));
    row.push_number("range_ratio", Some(load.range_ratio));
    row.push_number("shared_prefix_tokens", Some(load.shared_prefix));
    row.push_text("data", &load.data);
    row.push_number("seed", Some(load.seed));
    row.push_number("warm_up", Some(load.warm_up));
    row.push_number("ignores_end", Some(load.ignores_end));
    row.push_number("temperature", Some(load.temperature));
}

fn add_figures(row: &mut Row, measurement: &Measurement, figures: Option<&Figures>) {
    let gpus = measurement.server.gpus();
    let rate = |of: fn(&Figures) -> f64| figures.map(of);
    let number = |of: fn(&Figures) -> u64| figures.map(of);
    row.push_number(
        "request_throughput_per_s",
        rate(|figures| figures.request_throughput),
    );
    row.push_number(
        "input_throughput_tokens_per_s",
        rate(|figures| figures.input_throughput),
    );
    row.push_number(
        "output_throughput_tokens_per_s",
        rate(|figures| figures.output_throughput),
    );
    row.push_number(
        "total_throughput_tokens_per_s",
        rate(|figures| figures.total_throughput),
    );
    let per_gpu = figures
        .zip(gpus)
        .map(|(figures, gpus)| figures.output_throughput / f64::from(gpus));
    row.push_number("output_throughput_tokens_per_s_per_gpu", per_gpu);
    row.push_number(
        "tokens_per_s_of_user_p50",
        figures.and_then(|figures| per_user(figures.tpot.p50_ms)),
    );
    row.push_number(
        "tokens_per_s_of_user_p90",
        figures.and_then(|figures| per_user(figures.tpot.p90_ms)),
    );
    row.push_number("concurrency_mean", rate(|figures| figures.concurrency));
    row.push_number("input_tokens", number(|figures| figures.input_tokens));
    row.push_number("output_tokens", number(|figures| figures.output_tokens));
    row.push_number("cached_tokens", figures.and_then(|figures| figures.cached_tokens));
    row.push_number("input_len_mean_tokens", rate(|figures| figures.mean_input_len));
    row.push_number("output_len_mean_tokens", rate(|figures| figures.mean_output_len));
    row.push_number("tokens_per_chunk_mean", rate(|figures| figures.tokens_per_chunk));
    let of = |of: fn(&Figures) -> Option<&Times>| figures.and_then(of);
    for (name, times) in [
        ("ttft", of(|figures| Some(&figures.ttft))),
        ("answer_ttft", of(|figures| figures.answer_ttft.as_ref())),
        ("tpot", of(|figures| Some(&figures.tpot))),
        ("itl", of(|figures| figures.itl.as_ref())),
        ("chunk_gap", of(|figures| Some(&figures.chunk_gap))),
        ("e2e", of(|figures| Some(&figures.e2e))),
    ] {
        row.push_number(&format!("{name}_samples"), times.map(|times| times.count));
        let statistics: [(&str, Statistic); 9] = [
            ("mean", |times| times.mean_ms),
            ("p50", |times| times.p50_ms),
            ("p75", |times| times.p75_ms),
            ("p90", |times| times.p90_ms),
            ("p95", |times| times.p95_ms),
            ("p99", |times| times.p99_ms),
            ("p99_9", |times| times.p99_9_ms),
            ("min", |times| times.min_ms),
            ("max", |times| times.max_ms),
        ];
        for (statistic, of) in statistics {
            row.push_number(&format!("{name}_{statistic}_ms"), times.and_then(of));
        }
    }
}

/// Returns a text as a cell. A spreadsheet takes a text with one of these characters at its start for a formula.
fn quote_cell(text: &str) -> String {
    let text = if text.starts_with(['=', '+', '-', '@']) {
        format!("'{text}")
    } else {
        text.to_owned()
    };
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_cell_and_no_formula() {
        assert_eq!(quote_cell("a, \"b\""), "\"a, \"\"b\"\"\"");
        assert_eq!(quote_cell("=HYPERLINK(1)"), "'=HYPERLINK(1)");
        assert_eq!(quote_cell("plain"), "plain");
    }
}
