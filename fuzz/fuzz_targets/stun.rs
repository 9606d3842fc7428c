//! Any bytes are a STUN message or not; no answer is longer than its request, and ours is read back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meshd_core::stun::{binding_answer, parse_answer};

fuzz_target!(|data: &[u8]| {
    let seen = "[2001:db8::1]:5".parse().expect("an address");
    let _ = parse_answer(data);
    if let Some(answer) = binding_answer(data, seen) {
        assert!(answer.len() <= data.len(), "an amplifier");
        assert_eq!(parse_answer(&answer).map(|(_, address)| address), Some(seen));
    }
});
