//! The same requests in the terms of other tools, so that a figure of theirs can be set beside one of ours.
//!
//! Read in their sources (state of November 2026): `sglang.bench_serving` 0.5.23, `vllm bench serve` 0.33, `aiperf` 0.13,
//! `guidellm` 0.8.1, `inference-perf` 0.7.0, `MLPerf` Endpoints v0.5.

use std::collections::BTreeMap;

use crate::choice::{Choice, choices};
use crate::measure::api::Api;
use crate::measure::figures::to_float;
use crate::measure::record::{Moment, Phase, Record};
use crate::measure::request::{RequestTimes, per};
use crate::measure::times::{all_times_of, times_of, weighted_times_of};
use crate::report::OtherFigures;

choices! {
    /// A tool whose terms dsr1 knows.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    Tool {
        /// `sglang.bench_serving`.
        Sglang = "sglang", "sglang.bench_serving: TPOT over n - 1 tokens; ITL per chunk over the OpenAI API";
        /// `vllm bench serve`.
        Vllm = "vllm", "vllm bench serve: the same, with the end of the response as the end";
        /// `aiperf`.
        Aiperf = "aiperf", "AIPerf: one inter-token latency for each request";
        /// `guidellm`.
        Guidellm = "guidellm", "GuideLLM: TPOT is the whole time over all tokens";
        /// `inference-perf`.
        InferencePerf = "inference-perf", "inference-perf: only text of the answer counts, so TTFT contains the reasoning";
        /// `MLPerf` Endpoints.
        Mlperf = "mlperf", "MLPerf Endpoints: percentiles need their number of samples";
    }
}

/// Returns the figures of each tool, by its name.
#[must_use]
pub fn translate_figures(
    api: Api,
    records: &[Record],
    window: (Moment, Moment),
) -> BTreeMap<String, OtherFigures> {
    let measured: Vec<RequestTimes<'_>> = records
        .iter()
        .filter(|record| record.phase == Phase::Measured)
        .filter_map(RequestTimes::of)
        .collect();
    let seconds = window.1.since(window.0).as_secs_f64();
    Tool::table()
        .into_iter()
        .map(|(tool, name, _)| (name.to_owned(), translate(tool, api, &measured, seconds)))
        .collect()
}

fn translate(tool: Tool, api: Api, measured: &[RequestTimes<'_>], seconds: f64) -> OtherFigures {
    let of = |value: &dyn Fn(&RequestTimes<'_>) -> Option<f64>| -> Vec<f64> {
        measured.iter().filter_map(value).collect()
    };
    let gaps = || measured.iter().flat_map(RequestTimes::gaps);
    let ttft = |request: &RequestTimes<'_>| Some(request.ttft());
    let until =
        |end: f64, request: &RequestTimes<'_>| per(end - request.ttft(), request.tokens.saturating_sub(1));
    let until_token = |request: &RequestTimes<'_>| until(request.e2e(), request);
    let until_end = |request: &RequestTimes<'_>| until(request.response(), request);
    let chunk_gaps = || all_times_of(gaps().map(|(gap, _)| gap).collect());
    let tokens: u64 = measured.iter().map(|request| request.tokens).sum();
    let base = OtherFigures {
        ttft: all_times_of(of(&ttft)),
        e2e: all_times_of(of(&|request| Some(request.response()))),
        output_tokens: Some(tokens),
        output_throughput: (seconds > 0.0).then(|| to_float(tokens) / seconds),
        ..OtherFigures::default()
    };
    match tool {
        Tool::Sglang => OtherFigures {
            tpot: all_times_of(of(&until_end)),
            itl: if api == Api::Generate {
                let shared = |(gap, tokens): (f64, u16)| {
                    let tokens = tokens.max(1);
                    (gap / f64::from(tokens), u32::from(tokens))
                };
                weighted_times_of(gaps().map(shared).collect())
            } else {
                chunk_gaps()
            },
            remarks: vec![
                "its run begins with all requests at once; these figures have no opening wave".to_owned(),
            ],
            ..base
        },
        Tool::Vllm => OtherFigures {
            tpot: all_times_of(of(&until_end)),
            itl: chunk_gaps(),
            remarks: vec![
                "it counts the chunk with the role as the first token and empty chunks as tokens; these figures do not"
                    .to_owned(),
            ],
            ..base
        },
        Tool::Aiperf => {
            let itl = of(&until_token);
            OtherFigures {
                tpot: all_times_of(itl.clone()),
                itl: all_times_of(itl),
                e2e: all_times_of(of(&|request| Some(request.e2e()))),
                ..base
            }
        }
        Tool::Guidellm => OtherFigures {
            tpot: all_times_of(of(&|request| per(request.response(), request.tokens))),
            itl: all_times_of(of(&until_token)),
            ..base
        },
        Tool::InferencePerf => OtherFigures {
            ttft: all_times_of(of(&|request| request.answer_ttft())),
            tpot: all_times_of(of(&|request| {
                let answer = request
                    .reasoning()
                    .map_or(request.tokens, |reasoning| reasoning.answer_tokens);
                per(request.e2e() - request.answer_ttft()?, answer.saturating_sub(1))
            })),
            itl: chunk_gaps(),
            remarks: vec![
                "it counts tokens by its own tokenizer and gives all tokens of a chunk its time; these are the server's counts"
                    .to_owned(),
            ],
            ..base
        },
        Tool::Mlperf => OtherFigures {
            ttft: times_of(of(&ttft)),
            tpot: times_of(of(&|request| request.tpot())),
            itl: times_of(gaps().map(|(gap, _)| gap).collect()),
            e2e: times_of(of(&|request| Some(request.response()))),
            remarks: vec!["it counts tokens by its own tokenizer; these are the server's counts".to_owned()],
            ..base
        },
    }
}
