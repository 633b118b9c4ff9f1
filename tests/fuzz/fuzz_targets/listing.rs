//! libFuzzer's entry to `tests/fuzz/targets/listing.rs`, which says what holds.
#![no_main]

#[path = "../targets/listing.rs"]
mod listing;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| listing::check_listing(bytes));
