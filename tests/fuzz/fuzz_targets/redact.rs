//! libFuzzer's entry to `tests/fuzz/targets/redact.rs`, which says what holds.
#![no_main]

#[path = "../targets/redact.rs"]
mod redact;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| redact::check_redaction(bytes));
