//! See `reference/check_tunnel.rs`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../reference/mod.rs"]
mod reference;

fuzz_target!(|data: &[u8]| reference::check_tunnel::check(data));
