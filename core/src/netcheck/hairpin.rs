//! Whether the NAT sends back what goes from inside to its own outside address (RFC 4787 section 6).

use std::time::{Duration, Instant};

use crate::stun;

/// Datagrams sent to the outside address at most. It is what relays said, so it may be anybody's.
pub const HAIRPIN_TRIES: usize = 2;
/// Between them, and after the last.
const PAUSE: Duration = Duration::from_millis(250);

/// The try and what came of it.
#[derive(Debug, Default)]
pub(super) struct Hairpin {
    sent: Vec<[u8; 12]>,
    next: Option<Instant>,
    came: bool,
}

impl Hairpin {
    /// The next datagram, where it is due.
    pub(super) fn send(&mut self, now: Instant, transaction: [u8; 12]) -> Option<Vec<u8>> {
        if self.came || self.sent.len() >= HAIRPIN_TRIES || self.next.is_some_and(|next| now < next) {
            return None;
        }
        self.sent.push(transaction);
        self.next = Some(now + PAUSE);
        Some(stun::binding_request(transaction))
    }

    /// Something came to the socket at which it was aimed.
    pub(super) fn came(&mut self, bytes: &[u8]) {
        self.came |= self.sent.iter().any(|sent| bytes == stun::binding_request(*sent));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.next.filter(|_| !self.came)
    }

    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.next().is_some_and(|next| now < next)
    }

    /// None where it was not tried.
    pub(super) fn result(&self) -> Option<bool> {
        (!self.sent.is_empty()).then_some(self.came)
    }
}
