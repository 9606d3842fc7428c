//! Who is let in: so many at once, so many in a second, and no source so many that others find no room.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::terms::Limits;

/// Where this part of all places is taken, a source has a share only.
const CROWDED: (u64, u64) = (1, 2);
/// The share: this part of all places.
const SHARE: (u64, u64) = (1, 8);

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// All places are taken.
    Full,
    /// More than half of them are, and this source has its share.
    Share,
    /// Too many came in this second.
    Rate,
}

/// Counts those who are in. A source is an IPv4 address or an IPv6 /64.
#[derive(Debug)]
pub struct Gate {
    limits: Limits,
    open: u32,
    sources: HashMap<IpAddr, u32>,
    /// Entries left, in thousandths, at most a second's worth.
    left: u64,
    since: Instant,
}

impl Gate {
    /// With nobody in.
    pub fn new(now: Instant, limits: Limits) -> Self {
        Self {
            limits,
            open: 0,
            sources: HashMap::new(),
            left: worth(limits),
            since: now,
        }
    }

    /// Limits are others now; who is in stays.
    pub fn set(&mut self, limits: Limits) {
        self.limits = limits;
        self.left = self.left.min(worth(limits));
    }

    /// The limits.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// How many are in.
    pub fn open(&self) -> u32 {
        self.open
    }

    /// Somebody comes. Who is let in [`leave`](Self::leave)s by the same address.
    ///
    /// # Errors
    /// Why not; nothing changed then.
    pub fn enter(&mut self, now: Instant, from: IpAddr) -> Result<(), Refused> {
        let source = source_of(from);
        let (open, all) = (u64::from(self.open), u64::from(self.limits.connections));
        if open >= all {
            return Err(Refused::Full);
        }
        let held = self.sources.get(&source).copied().unwrap_or(0);
        let share = (all * SHARE.0 / SHARE.1).max(1);
        if open * CROWDED.1 >= all * CROWDED.0 && u64::from(held) >= share {
            return Err(Refused::Share);
        }
        self.earn(now);
        self.left = self.left.checked_sub(1000).ok_or(Refused::Rate)?;
        self.open += 1;
        self.sources.insert(source, held + 1);
        Ok(())
    }

    /// Somebody who was in is gone.
    pub fn leave(&mut self, from: IpAddr) {
        let source = source_of(from);
        let Some(held) = self.sources.get_mut(&source) else {
            return;
        };
        *held -= 1;
        if *held == 0 {
            self.sources.remove(&source);
        }
        self.open = self.open.saturating_sub(1);
    }

    fn earn(&mut self, now: Instant) {
        // at most a second's worth counts, so this does not overflow
        let passed = now
            .saturating_duration_since(self.since)
            .min(Duration::from_secs(1));
        let earned = passed.as_micros() as u64 * u64::from(self.limits.per_second) / 1000;
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(worth(self.limits));
            self.since = now;
        }
    }
}

/// A second's worth of entries, in thousandths.
fn worth(limits: Limits) -> u64 {
    u64::from(limits.per_second).max(1) * 1000
}

/// Who counts as one: an IPv6 customer has at least a /64 (RFC 6177).
pub fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        v4 => v4,
    }
}
