//! Which destinations UDP_SEGMENT does not work for. The kernel refuses it where the outgoing device cannot checksum
//! (EIO), and that depends on the route: one bad uplink must not slow down the others.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

const SLOTS: usize = 64;

/// A small table of hashed addresses. A collision forgets the older one, which then is found out again at the cost of
/// one refused call.
#[derive(Debug)]
pub(super) struct Refusals {
    slots: [AtomicU64; SLOTS],
}

impl Refusals {
    pub(super) const fn new() -> Self {
        Self {
            slots: [const { AtomicU64::new(0) }; SLOTS],
        }
    }

    pub(super) fn contains(&self, ip: IpAddr) -> bool {
        let hash = hash(ip);
        self.slot(hash).load(Ordering::Relaxed) == hash
    }

    pub(super) fn insert(&self, ip: IpAddr) {
        let hash = hash(ip);
        self.slot(hash).store(hash, Ordering::Relaxed);
    }

    pub(super) fn clear(&self) {
        for slot in &self.slots {
            slot.store(0, Ordering::Relaxed);
        }
    }

    fn slot(&self, hash: u64) -> &AtomicU64 {
        &self.slots[(hash >> 58) as usize % SLOTS]
    }
}

/// Never 0. Equal hashes of two addresses would only cost speed, so a multiplicative hash will do.
fn hash(ip: IpAddr) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let bits = match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    };
    let folded = (bits as u64) ^ ((bits >> 64) as u64).wrapping_mul(ODD).rotate_left(23);
    folded.wrapping_add(1).wrapping_mul(ODD) | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_concerns_one_address_until_cleared() {
        let refusals = Refusals::new();
        let (bad, good): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "2001:db8::7".parse().unwrap());
        refusals.insert(bad);
        assert!(refusals.contains(bad) && !refusals.contains(good));
        assert!(
            (0..=255u8)
                .filter(|n| refusals.contains(IpAddr::from([192, 0, 2, *n])))
                .eq([1])
        );
        refusals.clear();
        assert!(!refusals.contains(bad));
    }
}
