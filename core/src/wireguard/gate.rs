//! What stands in front of all handshakes, so that a flood of them costs little and keeps nobody out.
//!
//! 1. mac1 has to be right: whoever does not know our public key gets no further, and no answer.
//! 2. Direct: the first [`DIRECT_PER_SECOND`] each second pass. Above that a message needs the cookie of its source
//!    address (paper section 5.4.7), which is sent to those that have none, and one address gets through no faster than
//!    its bucket fills.
//! 3. Relayed: there is no source address to send a cookie to. Each relay session has a bucket, so that one member's
//!    flood does not use up the others' share, and all together have a budget.
//!
//! The two ways share nothing: a flood of one leaves the other as it was.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use boringtun::noise::TunnResult;
use boringtun::noise::rate_limiter::RateLimiter;

use super::COOKIE_REPLY_LEN;
use crate::keys::{WireGuardPublic, blake2s_keyed};
use crate::packet::DropReason;

/// Direct handshake messages a second that pass without a cookie. A handshake costs about 0.2 ms of CPU.
pub const DIRECT_PER_SECOND: u64 = 250;
/// Relayed handshake messages a second in all.
pub const RELAYED_PER_SECOND: u64 = 250;
/// Messages a second from one source, and how many at once, where the source has to be limited.
const SOURCE_PER_SECOND: u32 = 20;
const SOURCE_BURST: u32 = 10;
const BUCKETS: usize = 1024;
/// A little more than boringtun's own second, which it judges by its own clock.
const WINDOW: Duration = Duration::from_millis(1010);

/// Where a handshake message came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Straight from this address.
    Direct(IpAddr),
    /// Through this relay, in this session.
    Relayed(SocketAddr, u64),
}

/// What to do with a handshake message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Handle it.
    Admitted,
    /// Drop it and send back the cookie reply of this many bytes that was written.
    Cookie(usize),
    /// Drop it.
    Refused(DropReason),
}

/// How many milliseconds' worth of messages a source has left, and when that was.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    credit: u32,
    at: u32,
}

/// The gate of one key.
pub struct HandshakeGate {
    direct: RateLimiter,
    relayed: RateLimiter,
    buckets: Box<[Bucket]>,
    seed: [u8; 32],
    start: Instant,
    window: Instant,
    direct_count: u64,
    relayed_count: u64,
}

impl HandshakeGate {
    /// For our key. `seed` is random, so that nobody can choose whose bucket they share.
    pub fn new(own: WireGuardPublic, seed: [u8; 32], now: Instant) -> HandshakeGate {
        let own = own.to_dalek();
        HandshakeGate {
            direct: RateLimiter::new(&own, DIRECT_PER_SECOND),
            relayed: RateLimiter::new(&own, u64::MAX),
            buckets: vec![Bucket { credit: FULL, at: 0 }; BUCKETS].into_boxed_slice(),
            seed,
            start: now,
            window: now,
            direct_count: 0,
            relayed_count: 0,
        }
    }

    /// Judges a handshake message (WireGuard types 1 to 3). Cookie replies pass: they are answers to our own messages and
    /// cheap to check.
    pub fn admit(
        &mut self,
        now: Instant,
        origin: Origin,
        datagram: &[u8],
        reply: &mut [u8; COOKIE_REPLY_LEN],
    ) -> Admission {
        if now.saturating_duration_since(self.window) >= WINDOW {
            (self.window, self.direct_count, self.relayed_count) = (now, 0, 0);
            self.direct.reset_count();
        }
        let verdict = match origin {
            Origin::Direct(address) => self.direct.verify_packet(Some(address), datagram, reply),
            Origin::Relayed(..) => self.relayed.verify_packet(None, datagram, reply),
        };
        match verdict {
            Ok(_) if datagram.first() == Some(&3) => return Admission::Admitted,
            Ok(_) => {}
            Err(TunnResult::WriteToNetwork(cookie)) => return Admission::Cookie(cookie.len()),
            Err(_) => return Admission::Refused(DropReason::HandshakeInvalid),
        }
        let admitted = match origin {
            Origin::Direct(_) => {
                self.direct_count += 1;
                self.direct_count <= DIRECT_PER_SECOND || self.take(now, origin)
            }
            Origin::Relayed(..) => {
                let fair = self.relayed_count < RELAYED_PER_SECOND && self.take(now, origin);
                self.relayed_count += u64::from(fair);
                fair
            }
        };
        if admitted {
            Admission::Admitted
        } else {
            Admission::Refused(DropReason::HandshakeOverBudget)
        }
    }

    /// Takes one message out of the bucket of `origin`.
    fn take(&mut self, now: Instant, origin: Origin) -> bool {
        let index = self.bucket_of(origin);
        let ms = now.saturating_duration_since(self.start).as_millis() as u32;
        let bucket = &mut self.buckets[index];
        bucket.credit = bucket.credit.saturating_add(ms.wrapping_sub(bucket.at)).min(FULL);
        bucket.at = ms;
        let left = bucket.credit.checked_sub(COST);
        bucket.credit = left.unwrap_or(bucket.credit);
        left.is_some()
    }

    fn bucket_of(&self, origin: Origin) -> usize {
        let hash = match origin {
            Origin::Direct(IpAddr::V4(address)) => blake2s_keyed(&self.seed, &[&[4], &address.octets()]),
            // one host has a whole /64
            Origin::Direct(IpAddr::V6(address)) => blake2s_keyed(&self.seed, &[&[6], &address.octets()[..8]]),
            Origin::Relayed(relay, session) => {
                let ip = match relay.ip() {
                    IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                    IpAddr::V6(address) => address.octets(),
                };
                blake2s_keyed(
                    &self.seed,
                    &[&[5], &ip, &relay.port().to_le_bytes(), &session.to_le_bytes()],
                )
            }
        };
        usize::from(u16::from_le_bytes([hash[0], hash[1]])) % BUCKETS
    }
}

const COST: u32 = 1000 / SOURCE_PER_SECOND;
const FULL: u32 = COST * SOURCE_BURST;

impl std::fmt::Debug for HandshakeGate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandshakeGate")
            .field("direct_count", &self.direct_count)
            .field("relayed_count", &self.relayed_count)
            .finish_non_exhaustive()
    }
}
