//! See `reference/check_coalesce.rs`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../reference/mod.rs"]
mod reference;

fuzz_target!(|data: &[u8]| reference::check_coalesce::check(data));
