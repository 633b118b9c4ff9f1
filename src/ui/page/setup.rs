//! The server, the load and the client: all that another measurement needs to be the same.

use std::collections::BTreeMap;

use super::figures::{describe_failures, write_other};
use super::markup::{Markup, Value};
use super::numbers::{count, figure, percent};
use super::words::{describe_lengths, describe_load};
use crate::redact::shown_value;
use crate::report::{MeasuredServer, Measurement};

/// Writes the names of the server, the load and the client.
pub(super) fn write_setup(markup: &mut Markup, measurement: &Measurement) {
    let (server, load) = (&measurement.server, &measurement.load);
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let gpus = server
        .gpus()
        .map_or_else(|| "not known".to_owned(), |gpus| gpus.to_string());
    let window = match (measurement.warm_up_s, measurement.window_s) {
        (Some(warm_up), Some(window)) => format!("{} s, after {} s", figure(window), figure(warm_up)),
        _ => "none".to_owned(),
    };
    let end = if load.ignores_end {
        "the whole length"
    } else {
        "up to the model's end"
    };
    markup.raw("<dl class=\"setup\">\n");
    for (name, value) in [
        (
            "Server",
            server.name.clone().unwrap_or_else(|| server.base_url.clone()),
        ),
        ("Model", server.model.clone()),
        ("Profile", or_dash(&server.profile)),
        ("Stack", or_dash(&server.stack)),
        ("SGLang", or_dash(&server.sglang)),
        ("GPUs", gpus),
        ("Load", describe_load(load)),
        ("Lengths", describe_lengths(load)),
        (
            "Prompts and answers",
            format!("{}, {end}, temperature {}", load.data, figure(load.temperature)),
        ),
        ("API", load.api.clone()),
        ("Seed", load.seed.to_string()),
        (
            "Warm-up",
            if load.warm_up {
                "handed over to the window"
            } else {
                "none"
            }
            .to_owned(),
        ),
        ("Began", measurement.began.clone()),
        ("Window", window),
        (
            "Client",
            format!("{} {}", measurement.client.name, measurement.client.version),
        ),
    ] {
        markup.raw("<div>");
        markup.leaf("dt", &[], name);
        markup.leaf("dd", &[], &value);
        markup.raw("</div>\n");
    }
    markup.raw("</dl>\n");
}

/// Writes the fates of the requests, with an example of each failure.
pub(super) fn write_requests(markup: &mut Markup, measurement: &Measurement) {
    let requests = &measurement.requests;
    let mut rows = vec![
        ("sent".to_owned(), count(requests.sent)),
        ("of the warm-up".to_owned(), count(requests.warm_up)),
        ("measured".to_owned(), count(requests.measured)),
        ("complete, in the figures".to_owned(), count(requests.completed)),
        ("failed".to_owned(), describe_failures(measurement)),
    ];
    let ends = requests.finish.iter();
    rows.extend(ends.map(|(reason, number)| (format!("ended by `{reason}`"), count(*number))));
    markup.raw("<h2>Requests</h2>\n");
    write_pairs(markup, &rows);
    let kinds = requests.failed.keys().chain(requests.failed_elsewhere.keys());
    let mut kinds: Vec<&String> = kinds.collect();
    kinds.sort();
    kinds.dedup();
    if kinds.is_empty() {
        return;
    }
    markup.raw("<h3>Failures</h3>\n<ul class=\"failures\">\n");
    for kind in kinds {
        let number = |all: &BTreeMap<String, u64>| all.get(kind).copied().unwrap_or(0);
        markup.raw("<li>");
        markup.leaf("b", &[], kind);
        markup.text(&format!(
            " {} measured, {} of the warm-up and the tail",
            count(number(&requests.failed)),
            count(number(&requests.failed_elsewhere))
        ));
        if let Some(example) = requests.examples.get(kind) {
            markup.leaf("code", &[("class", Value::Word("said"))], example);
        }
        markup.raw("</li>\n");
    }
    markup.raw("</ul>\n");
}

/// Writes the parts that only some readers want, each one closed.
pub(super) fn write_more(markup: &mut Markup, measurement: &Measurement) {
    if !measurement.definitions.is_empty() {
        markup.raw("<details><summary>The same requests in the terms of other tools</summary>\n");
        for (tool, figures) in &measurement.definitions {
            write_other(markup, tool, figures, measurement.trust);
        }
        markup.raw("</details>\n");
    }
    let MeasuredServer { arguments, host, .. } = &measurement.server;
    if !arguments.is_empty() {
        markup.raw("<details><summary>The server's arguments</summary>\n");
        write_pairs(markup, &list_values(arguments));
        markup.raw("</details>\n");
    }
    if !host.is_empty() {
        markup.raw("<details><summary>The host</summary>\n");
        write_pairs(markup, &list_values(host));
        markup.raw("</details>\n");
    }
    markup.raw("<details><summary>The client</summary>\n");
    write_pairs(markup, &list_client(measurement));
    markup.raw("</details>\n");
}

/// Returns names and values without secrets.
fn list_values(values: &BTreeMap<String, String>) -> Vec<(String, String)> {
    values
        .iter()
        .map(|(name, value)| (name.clone(), shown_value(name, value).into_owned()))
        .collect()
}

fn list_client(measurement: &Measurement) -> Vec<(String, String)> {
    let client = &measurement.client;
    let millis =
        |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{} ms", figure(value)));
    let share = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), percent);
    let ceiling = client.ceiling_tokens_per_s;
    let rows = [
        (
            "from the arrival of data to its reading, p50",
            millis(client.lag_p50_ms),
        ),
        ("the same, p99", millis(client.lag_p99_ms)),
        (
            "from the schedule to the sending, p50",
            millis(client.dispatch_p50_ms),
        ),
        ("the same, p99", millis(client.dispatch_p99_ms)),
        ("processor time of its thread", percent(client.busy_share)),
        ("data with the kernel's stamp", percent(client.stamped_share)),
        ("jumps of the time of day", client.clock_steps.to_string()),
        (
            "requests sent again on a new connection",
            client.reconnects.to_string(),
        ),
        (
            "time that it waited for bodies",
            format!("{} s", figure(client.waited_for_bodies_s)),
        ),
        (
            "tokens a second from its own stub",
            ceiling.map_or_else(|| "-".to_owned(), figure),
        ),
        (
            "time in which a task of the host waited for a processor",
            share(client.cpu_pressure),
        ),
    ];
    rows.into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn write_pairs(markup: &mut Markup, rows: &[(String, String)]) {
    markup.raw("<table class=\"pairs\"><tbody>\n");
    for (name, value) in rows {
        markup.raw("<tr>");
        markup.leaf("th", &[("scope", Value::Word("row"))], name);
        markup.leaf("td", &[], value);
        markup.raw("</tr>\n");
    }
    markup.raw("</tbody></table>\n");
}
