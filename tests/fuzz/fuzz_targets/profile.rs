//! libFuzzer's entry to `tests/fuzz/targets/profile.rs`, which says what holds.
#![no_main]

#[path = "../targets/profile.rs"]
mod profile;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| profile::check_profile(text));
