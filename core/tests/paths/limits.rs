//! What strangers may get, by itself.

use std::net::SocketAddr;
use std::time::Duration;

use meshd_core::id::NodeId;
use meshd_core::path::limits::{Budget, Charge, Purpose};

use crate::clock::start;

/// Many members have one node answer at ever new addresses, all that each may cause: what it tries itself goes on.
#[test]
fn answers_to_ever_new_addresses_leave_room_for_tries() {
    let mut budget = Budget::new(start());
    let charge = |number: u32, purpose| Charge {
        peer: NodeId::from_bytes([(number % 40) as u8; 16]),
        to: SocketAddr::from((number.to_be_bytes(), 4444)),
        purpose,
    };
    let (mut now, mut answered, mut tried) = (start(), 0, 0);
    for number in 0..20_000 {
        now += Duration::from_millis(3);
        let answer = charge(0x0a00_0000 + number, Purpose::Answer);
        answered += u32::from(budget.take(now, answer).is_ok());
        if number % 100 == 0 {
            let own = charge(0xc000_0000 + number, Purpose::Try);
            // the limit on all of them may have it wait for a second
            let later = now + Duration::from_millis(1_001);
            tried += u32::from(budget.take(now, own).or_else(|_| budget.take(later, own)).is_ok());
        }
    }
    assert!(answered > 5_000, "enough to fill the tables: {answered}");
    assert_eq!(tried, 200);
}
