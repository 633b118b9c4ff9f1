//! libFuzzer's entry to `tests/fuzz/targets/render.rs`, which says what holds.
#![no_main]

#[path = "../../support/read.rs"]
mod read;
#[path = "../targets/render.rs"]
mod render;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| render::check_render(data));
