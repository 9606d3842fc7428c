//! Any text is a join token or a clear error; a token that is read says what it encodes.
//!
//! After a first byte of 0 the rest is a token's body, which gets its checksum here: else nothing would come past that.
#![no_main]

use data_encoding::BASE32_NOPAD;
use libfuzzer_sys::fuzz_target;
use meshd_core::keys::blake2s;
use meshd_core::token::JoinToken;

fuzz_target!(|data: &[u8]| {
    let text = match data.split_first() {
        Some((0, body)) => {
            let sum = blake2s(&[b"meshd token v1", body]);
            format!("mesh1{}", BASE32_NOPAD.encode(&[body, &sum[..4]].concat()))
        }
        _ => String::from_utf8_lossy(data).into_owned(),
    };
    match text.parse::<JoinToken>() {
        Ok(token) => {
            let word = token.encode().expect("what was read can be written");
            assert!(word.eq_ignore_ascii_case(text.trim()), "one token, two words");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
