//! libFuzzer's entry to `tests/fuzz/targets/data.rs`, which says what holds.
#![no_main]

#[path = "../targets/data.rs"]
mod data;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| data::check_data(bytes));
