//! libFuzzer's entry to `tests/fuzz/targets/evaluate.rs`, which says what holds.
#![no_main]

#[path = "../targets/evaluate.rs"]
mod evaluate;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| evaluate::check_evaluation(bytes));
