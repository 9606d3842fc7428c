//! Any bytes are a ClientHello, the beginning of one, or none; and what is decided on a beginning stands when more comes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meshd_core::clienthello::{Peek, peek};

fuzz_target!(|data: &[u8]| {
    let whole = peek(data);
    for cut in [data.len() / 4, data.len() / 2, data.len().saturating_sub(1)] {
        match (peek(&data[..cut]), &whole) {
            (Peek::NeedMore, _) => {}
            (early, late) => assert_eq!(early, *late, "at {cut} of {}", data.len()),
        }
    }
    if let Peek::Hello(hello) = &whole {
        let _ = hello.offers(b"meshd/1");
    }
});
