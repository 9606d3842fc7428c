//! Any bytes are a discovery packet or a beacon, or nothing; what opens says what was sealed.
//!
//! First byte: 0 a packet as it comes, 1 the plain text of one, 2 a beacon.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meshd_core::id::NodeId;
use meshd_core::keys::{DiscoverySecret, LanKey};
use meshd_core::path::beacon;
use meshd_core::path::discovery::{End, PairKeys, open, parse, seal};

fn keys(own: u8, peer: u8) -> PairKeys {
    let secret = |number: u8| DiscoverySecret::from_seed(&[number; 32]);
    let end = |number: u8| End { node: NodeId::from_bytes([number; 16]), key: secret(number).public() };
    PairKeys::agree(&secret(own), &end(own), &end(peer)).expect("good keys")
}

fuzz_target!(|data: &[u8]| {
    match data.split_first() {
        Some((1, plain)) => {
            let Some(message) = parse(plain) else { return };
            let mut packet = Vec::new();
            seal(&message, &DiscoverySecret::from_seed(&[1; 32]).public(), &keys(1, 2), [3; 24], &mut packet);
            assert_eq!(open(&packet, &keys(2, 1)), Some(message), "what is read can be written");
        }
        Some((2, beacon)) => {
            let key = LanKey::from_bytes([1; 32]);
            if let Some(read) = beacon::open(beacon, &key) {
                let again = beacon::open(&beacon::seal(&read, &key, [3; 24]), &key);
                assert_eq!(again, Some(read));
            }
        }
        Some((_, packet)) => assert_eq!(open(packet, &keys(2, 1)), None, "nobody seals by chance"),
        None => {}
    }
});
