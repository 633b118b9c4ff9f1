//! libFuzzer's entry to `tests/fuzz/targets/answer.rs`, which says what holds.
#![no_main]

#[path = "../targets/answer.rs"]
mod answer;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| answer::check_answer(bytes));
