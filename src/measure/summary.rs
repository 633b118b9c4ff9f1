//! A run as a result: its figures, its counts and its verdicts.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::measure::api::Api;
use crate::measure::by_turn::summarize_turns;
use crate::measure::definitions::translate_figures;
use crate::measure::evidence::Evidence;
use crate::measure::figures::{compute_figures, to_float};
use crate::measure::gpu::add_energy;
use crate::measure::noise::find_noise;
use crate::measure::record::{End, Moment, Phase};
use crate::measure::source::{PromptFile, PromptSource};
use crate::measure::statistics::interpolated_percentile;
use crate::measure::timeline::draw_timeline;
use crate::measure::verdicts::{judge_run, worst_of};
use crate::report::{
    Figures, MeasuredLoad, MeasuredServer, Measurement, MeasuringClient, RequestCounts, Verdict,
};

/// The description of a run.
#[derive(Debug, Clone)]
pub struct RunDescription {
    /// The time of day at which it began, in the format of RFC 3339.
    pub began: String,
    /// The moment of its end.
    pub ended: Moment,
    /// The server.
    pub server: MeasuredServer,
    /// The API.
    pub api: Api,
    /// Seed of all random numbers.
    pub seed: u64,
    /// Source of the prompts, in a word.
    pub data: String,
    /// The source of the prompts, as it was asked for.
    pub source: PromptSource,
    /// Size of the vocabulary of random prompts.
    pub vocabulary: Option<u32>,
    /// Sampling temperature.
    pub temperature: f64,
}

/// Returns the result of a run. `further` is a verdict that is not in the evidence.
#[must_use]
pub fn summarize_run(evidence: &Evidence, run: RunDescription, further: Option<Verdict>) -> Measurement {
    let figures = evidence
        .window
        .map(|window| {
            let figures = compute_figures(&evidence.records, window);
            let noise = find_noise(&evidence.records, window, figures.tokens_per_chunk);
            Figures {
                noise: Some(noise),
                conversations: summarize_turns(&evidence.records),
                ..figures
            }
        })
        .filter(|figures| figures.ttft.count > 0);
    let definitions = match evidence.window {
        Some(window) if figures.is_some() => translate_figures(run.api, &evidence.records, window),
        _ => BTreeMap::new(),
    };
    let mut verdicts = judge_run(evidence, figures.as_ref());
    verdicts.extend(further);
    let tokens_per_chunk = figures.as_ref().map_or(1.0, |figures| figures.tokens_per_chunk);
    let rate = figures.as_ref().map_or(0.0, |figures| figures.output_throughput);
    let window = evidence.window;
    Measurement {
        load: describe_load(evidence, &run),
        began: run.began,
        client: describe_client(evidence),
        requests: count_requests(evidence),
        run_s: run.ended.seconds(),
        warm_up_s: window.map(|(from, _)| from.seconds()),
        window_s: window.map(|(from, to)| to.since(from).as_secs_f64()),
        definitions,
        trust: worst_of(&verdicts),
        verdicts,
        timeline: draw_timeline(&evidence.records, run.ended, tokens_per_chunk),
        gpus: evidence.gpus.clone().map(|gpus| add_energy(gpus, rate)),
        figures,
        server: run.server,
        complete: true,
        saved_to: None,
    }
}

fn describe_load(evidence: &Evidence, run: &RunDescription) -> MeasuredLoad {
    MeasuredLoad {
        api: run.api.name().to_owned(),
        kind: evidence.load.kind().to_owned(),
        max_concurrency: evidence.load.most_in_flight(),
        request_rate: evidence.load.per_second(),
        input_len: evidence.lengths.input,
        output_len: evidence.lengths.output,
        range_ratio: evidence.lengths.ratio,
        shared_prefix: evidence.lengths.shared_prefix,
        turns: evidence.lengths.turns.count,
        think_s: evidence.lengths.turns.think_s,
        requests: evidence.extent.requests,
        least_s: f64::from(evidence.extent.least_s),
        most_s: evidence.extent.most_s.map(f64::from),
        vocabulary: run.vocabulary,
        prompts: Some(form_of(&run.source).to_owned()),
        tokenizer: run.source.tokenizer.clone(),
        data: run.data.clone(),
        file: evidence.file.clone(),
        speed: evidence.load.speed(),
        ramp_s: f64::from(evidence.extent.ramp_s),
        seed: run.seed,
        warm_up: evidence.extent.warm_up,
        ignores_end: evidence.ignores_end,
        temperature: run.temperature,
    }
}

/// Returns the form of the prompts: those of a data file have the form that it gives them.
fn form_of(source: &PromptSource) -> &'static str {
    match source.file {
        Some(PromptFile::Data { .. }) => "data",
        _ => source.form.name(),
    }
}

fn describe_client(evidence: &Evidence) -> MeasuringClient {
    let client = &evidence.client;
    let millis = |time: Duration| time.as_secs_f64() * 1000.0;
    let delays = evidence.dispatch_delays();
    let delay = |percentile| interpolated_percentile(&delays, percentile).map(|seconds| seconds * 1000.0);
    let reads = client.stamped + client.unstamped;
    MeasuringClient {
        name: "dsr1".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        lag_p50_ms: client.lag.quantile(0.5).map(millis),
        lag_p99_ms: client.lag.quantile(0.99).map(millis),
        busy_share: client.busy_share,
        stamped_share: to_float(client.stamped) / to_float(reads.max(1)),
        clock_steps: client.clock_steps,
        reconnects: client.reconnects,
        waited_for_bodies_s: client.waited_for_bodies.as_secs_f64(),
        dispatch_p50_ms: delay(50.0),
        dispatch_p99_ms: delay(99.0),
        ceiling_tokens_per_s: evidence.ceiling_tokens_per_s,
        cpu_pressure: evidence.cpu_pressure,
    }
}

fn count_requests(evidence: &Evidence) -> RequestCounts {
    let mut counts = RequestCounts::default();
    for record in &evidence.records {
        counts.sent += 1;
        let is_measured = record.phase == Phase::Measured;
        counts.warm_up += u64::from(record.phase == Phase::WarmUp);
        counts.measured += u64::from(is_measured);
        match &record.end {
            End::Complete(finish) if is_measured => {
                counts.completed += 1;
                *counts.finish.entry(finish.name().to_owned()).or_insert(0) += 1;
            }
            End::Complete(_) | End::Cut => {}
            End::Failed(failure) => {
                let kind = failure.kind.describe();
                if !failure.text.is_empty() {
                    counts
                        .examples
                        .entry(kind.clone())
                        .or_insert_with(|| failure.text.clone());
                }
                let of = if is_measured {
                    &mut counts.failed
                } else {
                    &mut counts.failed_elsewhere
                };
                *of.entry(kind).or_insert(0) += 1;
            }
        }
    }
    counts
}
