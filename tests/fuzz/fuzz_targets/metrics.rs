//! libFuzzer's entry to `tests/fuzz/targets/metrics.rs`, which says what holds.
#![no_main]

#[path = "../targets/metrics.rs"]
mod metrics;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| metrics::check_metrics(text));
