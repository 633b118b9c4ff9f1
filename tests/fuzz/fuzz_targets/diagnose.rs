//! libFuzzer's entry to `tests/fuzz/targets/diagnose.rs`, which says what holds.
#![no_main]

#[path = "../targets/diagnose.rs"]
mod diagnose;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| diagnose::check_diagnosis(bytes));
