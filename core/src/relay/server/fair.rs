//! Fair shedding: where all members together offer more than the relay has room for, each gets its share.
//!
//! What each member offers is counted over a window; at its end the share is the level up to which all of them can be
//! filled (max-min): who offers less keeps all of it, who offers more gets the share, and nobody gains by offering more
//! still. What goes beyond is dropped, as a full link would drop it.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// How long offers are counted before shares are made of them.
const WINDOW: Duration = Duration::from_millis(100);
/// Shares hold until so much less is offered than there is room for: those who send less because of them must not lift
/// them.
const LIFT_PERCENT: u128 = 90;

/// The relay's room, and how it is shared.
#[derive(Debug, Default)]
pub(super) struct Fairness {
    /// Bytes/s in all; 0 is no limit.
    capacity: u64,
    /// Clock (ns) at which the window began.
    begun: u64,
    /// Clock (ns) at which it ends.
    ends: AtomicU64,
    /// Bytes/s that each member may send; 0 is no limit.
    share: AtomicU64,
}

impl Fairness {
    pub(super) fn set_capacity(&mut self, capacity: Option<NonZeroU64>) {
        self.capacity = capacity.map_or(0, NonZeroU64::get);
        self.share.store(0, Relaxed);
    }

    /// Whether offers are counted at all.
    pub(super) fn counts(&self) -> bool {
        self.capacity != 0
    }

    /// What each member may send now, bytes/s.
    pub(super) fn share(&self) -> Option<NonZeroU64> {
        NonZeroU64::new(self.share.load(Relaxed))
    }

    /// Whether the window is over at `clock` (ns).
    pub(super) fn is_due(&self, clock: u64) -> bool {
        self.counts() && clock >= self.ends.load(Relaxed)
    }

    /// Makes shares of what was offered since the window began (bytes by member), and begins another window.
    pub(super) fn settle(&mut self, clock: u64, offers: impl Iterator<Item = u64>) {
        let offers: Vec<u64> = offers.filter(|&offer| offer > 0).collect();
        let elapsed = clock.saturating_sub(self.begun).max(1);
        let rate = |bytes: u64| (u128::from(bytes) * 1_000_000_000 / u128::from(elapsed)) as u64;
        let rates = offers.into_iter().map(rate).collect();
        let share = level(rates, self.capacity, self.share().is_some());
        self.share.store(share, Relaxed);
        self.begun = clock;
        self.ends.store(clock + WINDOW.as_nanos() as u64, Relaxed);
    }
}

/// The level up to which `rates` fit into `capacity`; 0 where all of them do.
fn level(mut rates: Vec<u64>, capacity: u64, shared: bool) -> u64 {
    let room = if shared {
        (u128::from(capacity) * LIFT_PERCENT / 100) as u64
    } else {
        capacity
    };
    let offered = rates.iter().fold(0u64, |sum, rate| sum.saturating_add(*rate));
    if offered <= room {
        return 0;
    }
    rates.sort_unstable();
    let (mut left, mut count) = (capacity, rates.len() as u64);
    for rate in rates {
        let fair = left / count;
        if rate >= fair {
            return fair.max(1);
        }
        (left, count) = (left - rate, count - 1);
    }
    // between what lifts shares and the capacity: they stay, and bind nobody
    capacity.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_leaves_the_small_ones_whole_and_fills_the_room() {
        assert_eq!(level(vec![10, 20, 30], 60, false), 0);
        assert_eq!(level(vec![10, 100, 1000], 60, false), 25);
        assert_eq!(level(vec![50, 50, 50], 60, false), 20);
        assert_eq!(level(vec![5, 5, 1000], 60, false), 50);
        assert_eq!(level(vec![28, 28], 60, true), 60, "not lifted yet");
        assert_eq!(level(vec![20, 20], 60, true), 0);
    }
}
