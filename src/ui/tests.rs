//! Events and results that the tests of several files show.

use crate::event::{Event, Source, Stage};
use crate::report::{Benchmark, Latency};

/// The events of a `dsr1 up` that is not finished, each with the second at which it happens.
pub(super) fn transcript() -> Vec<(u64, Event)> {
    let started = |step, title: &str| Event::StepStarted {
        step,
        of: 4,
        title: title.to_owned(),
    };
    let finished = |step, elapsed_ms, cached, summary: &str| Event::StepFinished {
        step,
        elapsed_ms,
        cached,
        summary: summary.to_owned(),
    };
    let progress = |gigabytes: u64, item: &str| Event::Progress {
        step: 2,
        done_bytes: gigabytes * 1_000_000_000,
        total_bytes: Some(413_000_000_000),
        fetched_bytes: None,
        item: item.to_owned(),
    };
    let line = |step, source, text: &str| Event::Line {
        step,
        source,
        text: text.to_owned(),
    };
    let stage = |stage, elapsed_ms, detail: &str| Event::Stage {
        step: 3,
        stage,
        elapsed_ms,
        detail: detail.to_owned(),
    };
    vec![
        (
            0,
            Event::Note {
                text: "profile fp4-high-throughput chosen, NVFP4: the GPUs are Blackwell".to_owned(),
            },
        ),
        (0, started(1, "build image dsr1/guide:4f2c")),
        (0, finished(1, 12, true, "dsr1/guide:4f2c, 38.1 GB")),
        (0, started(2, "pull nvidia/DeepSeek-R1-0528-FP4")),
        (0, progress(100, "model-00041-of-00163.safetensors")),
        (1, progress(101, "model-00041-of-00163.safetensors")),
        (5, progress(106, "model-00042-of-00163.safetensors")),
        (30, progress(130, "model-00052-of-00163.safetensors")),
        (62, progress(162, "model-00064-of-00163.safetensors")),
        (70, progress(163, "model-00064-of-00163.safetensors")),
        (92, progress(192, "model-00076-of-00163.safetensors")),
        (
            93,
            Event::Warning {
                text: "the hub answered 503".to_owned(),
                hint: "it is asked again in 4s".to_owned(),
            },
        ),
        (313, progress(413, "model-00163-of-00163.safetensors")),
        (
            313,
            finished(2, 313_000, false, "163 files, 413.0 GB, every hash checked"),
        ),
        (313, started(3, "wait for http://127.0.0.1:30000")),
        (
            313,
            line(3, Source::Engine, "\x1b[32mINFO\x1b[0m:\tserver_args=\u{202e}x\r"),
        ),
        (
            314,
            Event::Activity {
                step: 3,
                what: "capture\x1b[2J graphs".to_owned(),
                done: Some(5),
                total: Some(22),
            },
        ),
        (327, stage(Stage::LoadingWeights, 14_000, "")),
        (600, stage(Stage::AllocatingKvCache, 287_000, "980344 tokens")),
        (
            640,
            finished(3, 327_000, false, "READY on http://127.0.0.1:30000"),
        ),
        (640, started(4, "verify answers")),
    ]
}

/// The guide's low-latency run, with figures where the guide has dashes.
pub(super) fn benchmark_result() -> Benchmark {
    let latency = Latency {
        mean_ms: Some(128_724.61),
        median_ms: Some(128_700.0),
        p90_ms: Some(3.0),
        p95_ms: Some(15.9),
        p99_ms: Some(16.25),
        max_ms: None,
    };
    Benchmark {
        backend: "sglang-oai".to_owned(),
        request_rate: None,
        max_concurrency: Some(1),
        requested: 10,
        completed: 10,
        duration_s: 1287.25,
        total_input_tokens: 10240,
        total_output_tokens: 81920,
        total_output_tokens_retokenized: 81000,
        request_throughput: 0.0078,
        input_throughput: 7.955,
        output_throughput: 63.64,
        total_throughput: 71.594,
        concurrency: 1.0,
        e2e: latency,
        ttft: Latency {
            mean_ms: Some(118.2),
            median_ms: Some(117.9),
            p99_ms: Some(131.0),
            ..latency
        },
        tpot: latency,
        itl: Latency {
            mean_ms: Some(15.7),
            median_ms: Some(15.68),
            max_ms: Some(60.93),
            ..latency
        },
        saved_to: Some("/home/u/.local/state/dsr1/results/fp8-low-latency.json".to_owned()),
    }
}
