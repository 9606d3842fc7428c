//! Return-routability cookies: who knows the cookie of an address receives there.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand_core::RngCore;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::bytes::address_bytes;
use crate::keys::blake2s_128_keyed;
use crate::relay::frame::Cookie;

const ROTATE_EVERY: Duration = Duration::from_secs(60);

/// The present secret and the last one.
pub(super) struct CookieJar {
    present: Zeroizing<[u8; 32]>,
    last: Zeroizing<[u8; 32]>,
    rotates_at: Instant,
}

impl CookieJar {
    pub(super) fn new(now: Instant, rng: &mut impl RngCore) -> Self {
        let mut jar = Self {
            present: Zeroizing::new([0; 32]),
            last: Zeroizing::new([0; 32]),
            rotates_at: now + ROTATE_EVERY,
        };
        rng.fill_bytes(&mut *jar.present);
        rng.fill_bytes(&mut *jar.last);
        jar
    }

    pub(super) fn rotates_at(&self) -> Instant {
        self.rotates_at
    }

    pub(super) fn rotate(&mut self, now: Instant, rng: &mut impl RngCore) {
        if now >= self.rotates_at {
            std::mem::swap(&mut self.present, &mut self.last);
            rng.fill_bytes(&mut *self.present);
            self.rotates_at = now + ROTATE_EVERY;
        }
    }

    /// The cookie of `address` now.
    pub(super) fn issue(&self, address: SocketAddr) -> Cookie {
        blake2s_128_keyed(&self.present, &[&address_bytes(address)])
    }

    /// Whether `cookie` was issued to `address` under the present or the last secret.
    pub(super) fn good(&self, address: SocketAddr, cookie: &Cookie) -> bool {
        let last = blake2s_128_keyed(&self.last, &[&address_bytes(address)]);
        bool::from(self.issue(address).ct_eq(cookie) | last.ct_eq(cookie))
    }
}
