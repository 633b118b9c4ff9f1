//! The page of one run.

use super::figures::{write_rates, write_tiles, write_times, write_turns};
use super::kept::KeptResult;
use super::markup::{Markup, Value};
use super::quantiles::write_quantiles;
use super::setup::{write_more, write_requests, write_setup};
use super::timeline::write_timeline;
use super::verdicts::write_verdicts;
use super::words::describe_load;
use crate::report::{Figures, Measurement, Times, Trust};

/// Writes a run with its heading.
pub(super) fn write_run(markup: &mut Markup, run: &KeptResult<'_>) {
    let measurement = run.measurement;
    markup.raw("<header>\n");
    markup.leaf("h1", &[], &measurement.server.model);
    markup.raw("<p class=\"muted\">");
    let place = measurement
        .server
        .name
        .as_ref()
        .unwrap_or(&measurement.server.base_url);
    markup.text(&format!(
        "{} on {place}, {}",
        describe_load(&measurement.load),
        measurement.began
    ));
    markup.raw("<br/>from ");
    markup.leaf("code", &[], run.file);
    markup.raw("</p>\n</header>\n");
    write_body(markup, measurement);
}

/// Writes a run without a heading: the verdicts first.
pub(super) fn write_body(markup: &mut Markup, measurement: &Measurement) {
    write_verdicts(markup, measurement);
    let figures = measurement.figures.as_ref();
    match figures {
        Some(figures) => write_tiles(markup, measurement, figures),
        None => markup.raw("<p><strong>There are no figures: no request was measured.</strong></p>\n"),
    }
    markup.raw("<h2>Setup</h2>\n");
    write_setup(markup, measurement);
    if let Some(figures) = figures {
        write_times(markup, figures, measurement.trust);
        if let Some(conversations) = &figures.conversations {
            write_turns(markup, conversations, measurement.trust);
        }
    }
    markup.raw("<h2>Over time</h2>\n");
    write_timeline(markup, measurement);
    if let Some(figures) = figures {
        write_distributions(markup, figures, measurement.trust);
    }
    markup.raw("<div class=\"columns\">\n<div>");
    if let Some(figures) = figures {
        write_rates(markup, figures, measurement.trust);
    }
    markup.raw("</div>\n<div>");
    write_requests(markup, measurement);
    markup.raw("</div>\n</div>\n");
    write_more(markup, measurement);
}

/// Writes the distributions of TTFT and TPOT.
fn write_distributions(markup: &mut Markup, figures: &Figures, trust: Trust) {
    markup.raw("<h2>Distributions</h2>\n");
    let class = if trust == Trust::Untrusted {
        "columns untrusted"
    } else {
        "columns"
    };
    markup.open("div", &[("class", Value::Word(class))]);
    let distributions = &figures.distributions;
    let plots: [(&'static str, &str, &Times, &[f64]); 2] = [
        (
            "<figcaption>TTFT in milliseconds, by percentile</figcaption>\n",
            "TTFT by percentile",
            &figures.ttft,
            &distributions.ttft_ms,
        ),
        (
            "<figcaption>TPOT in milliseconds, by percentile</figcaption>\n",
            "TPOT by percentile",
            &figures.tpot,
            &distributions.tpot_ms,
        ),
    ];
    for (caption, about, times, distribution) in plots {
        markup.raw("<figure>");
        markup.raw(caption);
        write_quantiles(markup, about, times, distribution, trust);
        markup.raw("</figure>\n");
    }
    markup.close("div");
}
