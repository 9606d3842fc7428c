//! Rate limits that many threads share without a lock.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const NANOS: u64 = 1_000_000_000;
/// Refusals that one address gets in a second.
const REFUSALS_PER_SECOND: u64 = 10;
const REFUSAL_SLOTS: usize = 4096;
/// Burst that a quota allows: what accrues in this time, but never less than [`MIN_BURST_BYTES`].
const BURST_NS: u64 = NANOS / 4;
const MIN_BURST_BYTES: u64 = 64 * 1024;

/// A token bucket as one number: the time at which it will be full again (the generic cell rate algorithm). Two threads
/// that race may let one packet too many through, which a limit over seconds does not notice.
#[derive(Debug, Default)]
pub(super) struct Bucket(AtomicU64);

impl Bucket {
    /// Takes `bytes` at `clock` (ns); whether they were there.
    pub(super) fn take(&self, clock: u64, bytes: usize, rate: NonZeroU64) -> bool {
        let cost = |bytes: u64| bytes.saturating_mul(NANOS) / rate;
        let burst = BURST_NS.max(cost(MIN_BURST_BYTES));
        let full_at = self.0.load(Relaxed).max(clock).saturating_add(cost(bytes as u64));
        let fits = full_at - clock <= burst;
        if fits {
            self.0.store(full_at, Relaxed);
        }
        fits
    }
}

/// At most [`REFUSALS_PER_SECOND`] per address, in a table of fixed size: each slot holds a second and a count.
/// Addresses that share a slot share the limit; which ones do is not to be known from outside.
pub(super) struct RefusalLimiter {
    slots: Box<[AtomicU64]>,
    key: u64,
}

impl RefusalLimiter {
    pub(super) fn new(key: u64) -> Self {
        Self {
            slots: (0..REFUSAL_SLOTS).map(|_| AtomicU64::new(0)).collect(),
            key: key | 1,
        }
    }

    /// Whether one more refusal may go to `address` at `clock` (ns).
    pub(super) fn allow(&self, clock: u64, address: SocketAddr) -> bool {
        let slot = &self.slots[self.slot_of(address)];
        let second = (clock / NANOS) & 0xffff_ffff;
        let held = slot.load(Relaxed);
        let count = if held >> 32 == second {
            held & 0xffff_ffff
        } else {
            0
        };
        let allowed = count < REFUSALS_PER_SECOND;
        if allowed {
            slot.store(second << 32 | (count + 1), Relaxed);
        }
        allowed
    }

    fn slot_of(&self, address: SocketAddr) -> usize {
        let ip = match address.ip() {
            IpAddr::V4(v4) => u128::from(u32::from(v4)),
            IpAddr::V6(v6) => u128::from(v6),
        };
        let mut mixed = self.key;
        for word in [ip as u64, (ip >> 64) as u64, u64::from(address.port())] {
            mixed = (mixed ^ word).wrapping_mul(self.key).rotate_left(29);
        }
        (mixed >> 32) as usize % REFUSAL_SLOTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_lets_its_rate_through() {
        let bucket = Bucket::default();
        let rate = NonZeroU64::new(1_000_000).unwrap();
        let sent = |from: u64, to: u64| {
            let times = (from..to).step_by(100_000);
            times.filter(|&clock| bucket.take(clock, 1000, rate)).count() * 1000
        };
        sent(1, NANOS);
        let second = sent(NANOS, 2 * NANOS);
        assert!(
            (995_000..=1_005_000).contains(&second),
            "{second} bytes in one second"
        );
    }

    #[test]
    fn an_address_gets_ten_refusals_a_second() {
        let limiter = RefusalLimiter::new(7);
        let address = "192.0.2.1:1".parse().unwrap();
        let allowed = |clock| (0..100).filter(|_| limiter.allow(clock, address)).count();
        assert_eq!((allowed(1), allowed(NANOS / 2), allowed(NANOS)), (10, 0, 10));
    }
}
