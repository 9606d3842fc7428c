//! See `reference/check_segment.rs`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../reference/mod.rs"]
mod reference;

fuzz_target!(|data: &[u8]| reference::check_segment::check(data));
