//! Fair shedding: where all members together offer more than the relay has room for, each gets its share.
//!
//! What each member offers is counted over a window; at its end the share is the level up to which all of them can be
//! filled (max-min): who offers less keeps all of it, who offers more gets the share, and nobody gains by offering more
//! still. What goes beyond is dropped, as a full link would drop it.
//!
//! How much room there is may be said by who runs the relay. Besides, it is measured: a queue that overflows drops from
//! everybody alike, and when that happens the room is a little less than what just left. While nothing overflows it is thought to
//! grow, slowly; once all fits well into it, it is forgotten.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// How long offers are counted before shares are made of them.
const WINDOW: Duration = Duration::from_millis(100);
/// Shares hold until so much less is offered than there is room for: those who send less because of them must not lift
/// them.
const LIFT_PERCENT: u128 = 90;
/// One datagram of so many without room, in two windows one after the other, is an overload; a rare burst is none.
const OVERLOAD: u64 = 500;
/// After an overflow, of what left; what is over empties the queue.
const BACK_PERCENT: u128 = 90;
/// However long a queue for what comes in overflows, no less than this of what left when it began: overflows that shedding does
/// not end, such as by a flood of strangers, must not starve members.
const FLOOR_PERCENT: u128 = 75;
/// The same for queues of what goes out, which strangers do not fill. A device may drop what it has taken: of what left then,
/// little may have.
const FLOOR_OUT_PERCENT: u128 = 5;
/// Per window without an overflow.
const GROWTH_PERCENT: u128 = 101;

/// What became of datagrams since shares were last made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strain {
    /// Bytes of frames that left. Where a device dropped some of them, these are among them.
    pub sent: u64,
    /// Datagrams that were taken in hand.
    pub handled: u64,
    /// Datagrams that were not: there was no room in the queue of what came in.
    pub missed: u64,
    /// Datagrams that had no room on their way out: in the socket, or at the device.
    pub refused: u64,
}

impl Strain {
    fn is_overload(&self) -> bool {
        (self.missed.saturating_add(self.refused)).saturating_mul(OVERLOAD) > self.handled
    }

    /// How far shedding may go, percent of what left when it began.
    fn floor(&self) -> u128 {
        if self.refused > self.missed {
            FLOOR_OUT_PERCENT
        } else {
            FLOOR_PERCENT
        }
    }
}

/// What was measured of the room, bytes/s.
#[derive(Clone, Copy, Debug)]
struct Measured {
    room: u64,
    /// What left when it began.
    begun: u64,
}

/// The relay's room, and how it is shared.
#[derive(Debug, Default)]
pub(super) struct Fairness {
    /// Bytes/s in all as was said; 0 is no limit.
    capacity: u64,
    /// While there is, or just was, too much.
    measured: Option<Measured>,
    /// Whether something overflowed in the last window.
    overflowed: bool,
    /// Clock (ns) at which the window began.
    begun: u64,
    /// Clock (ns) at which it ends.
    ends: AtomicU64,
    /// Bytes/s that each member may send; 0 is no limit.
    share: AtomicU64,
    /// Kept for its memory.
    rates: Vec<u64>,
}

impl Fairness {
    pub(super) fn set_capacity(&mut self, capacity: Option<NonZeroU64>) {
        self.capacity = capacity.map_or(0, NonZeroU64::get);
        self.share.store(0, Relaxed);
    }

    /// What each member may send now, bytes/s.
    pub(super) fn share(&self) -> Option<NonZeroU64> {
        NonZeroU64::new(self.share.load(Relaxed))
    }

    /// Whether the window is over at `clock` (ns).
    pub(super) fn is_due(&self, clock: u64) -> bool {
        clock >= self.ends.load(Relaxed)
    }

    /// Makes shares of what was offered since the window began (bytes by member), and begins another window.
    pub(super) fn settle(&mut self, clock: u64, offers: impl Iterator<Item = u64>, strain: &Strain) {
        let elapsed = clock.saturating_sub(self.begun).max(1);
        let rate = |bytes: u64| (u128::from(bytes) * 1_000_000_000 / u128::from(elapsed)) as u64;
        // nothing came for a while: what left in that time says nothing of the room
        if u128::from(elapsed) <= 2 * WINDOW.as_nanos() {
            self.measure(rate(strain.sent), strain);
        }
        self.begun = clock;
        self.ends.store(clock + WINDOW.as_nanos() as u64, Relaxed);
        let measured = self.measured.map(|measured| measured.room);
        let said = Some(self.capacity).filter(|&said| said != 0);
        let Some(room) = measured.into_iter().chain(said).min() else {
            offers.for_each(drop);
            return self.share.store(0, Relaxed);
        };
        self.rates.clear();
        self.rates.extend(offers.filter(|&offer| offer > 0).map(rate));
        let shared = self.share().is_some();
        let share = level(&mut self.rates, room, shared);
        if share == 0 {
            self.measured = None;
        }
        self.share.store(share, Relaxed);
    }

    /// So much left, bytes/s, under such a strain.
    fn measure(&mut self, sent: u64, strain: &Strain) {
        let percent = |of: u64, percent: u128| (u128::from(of) * percent / 100) as u64;
        let overload = strain.is_overload();
        let again = std::mem::replace(&mut self.overflowed, overload);
        self.measured = match (self.measured, overload) {
            (None, true) if again => Some(Measured {
                room: percent(sent, BACK_PERCENT).max(1),
                begun: sent,
            }),
            (None, _) => None,
            (Some(measured), true) => {
                let floor = percent(measured.begun, strain.floor()).max(1);
                let back = percent(sent.min(measured.room), BACK_PERCENT);
                Some(Measured {
                    room: back.max(floor.min(measured.room)),
                    ..measured
                })
            }
            (Some(measured), false) => Some(Measured {
                room: percent(measured.room, GROWTH_PERCENT).max(measured.room + 1),
                ..measured
            }),
        };
    }
}

/// The level up to which `rates` fit into `capacity`; 0 where all of them do.
fn level(rates: &mut [u64], capacity: u64, shared: bool) -> u64 {
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
    for &rate in rates.iter() {
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
        assert_eq!(level(&mut [10, 20, 30], 60, false), 0);
        assert_eq!(level(&mut [10, 100, 1000], 60, false), 25);
        assert_eq!(level(&mut [50, 50, 50], 60, false), 20);
        assert_eq!(level(&mut [5, 5, 1000], 60, false), 50);
        assert_eq!(level(&mut [28, 28], 60, true), 60, "not lifted yet");
        assert_eq!(level(&mut [20, 20], 60, true), 0);
    }

    /// Windows in which one member offers `offer` and the queue takes 1,000 bytes a window: the rooms that were thought of.
    fn rooms(fairness: &mut Fairness, offer: u64, windows: u64) -> Vec<Option<u64>> {
        let window = WINDOW.as_nanos() as u64;
        (0..windows)
            .map(|_| {
                let clock = fairness.begun + window;
                let allowed = fairness
                    .share()
                    .map_or(offer, |share| offer.min(share.get() / 10));
                let strain = Strain {
                    sent: allowed.min(1_000),
                    handled: offer,
                    missed: allowed.saturating_sub(1_000),
                    refused: 0,
                };
                fairness.settle(clock, [offer].into_iter(), &strain);
                fairness.measured.map(|measured| measured.room)
            })
            .collect()
    }

    #[test]
    fn overflows_tell_the_room_and_what_fits_again_is_left_alone() {
        let mut fairness = Fairness::default();
        assert_eq!(rooms(&mut fairness, 900, 20), [None; 20]);
        let found = rooms(&mut fairness, 5_000, 200);
        // from the first overflow on between what it fell back to and a little above what fits
        assert!(
            found.iter().flatten().all(|room| (8_900..=10_200).contains(room)),
            "{found:?}"
        );
        assert!(found[1..].iter().all(Option::is_some), "{found:?}");
        assert_eq!(rooms(&mut fairness, 500, 5).last(), Some(&None), "there is room");
    }

    #[test]
    fn overflows_that_shedding_does_not_end_leave_three_quarters() {
        let mut fairness = Fairness::default();
        for nth in 1..100 {
            let sent = fairness.share().map_or(1_000, |share| share.get() / 10);
            let strain = Strain {
                sent,
                handled: 1_000,
                missed: 1_000,
                refused: 0,
            };
            fairness.settle(nth * WINDOW.as_nanos() as u64, [2_000].into_iter(), &strain);
        }
        assert_eq!(fairness.share().map(NonZeroU64::get), Some(7_500));
    }

    #[test]
    fn the_room_of_a_device_that_drops_what_it_took_is_found() {
        let mut fairness = Fairness::default();
        let rooms: Vec<_> = (1..100)
            .map(|nth| {
                let sent = fairness.share().map_or(3_000, |share| share.get() / 10);
                let strain = Strain {
                    sent,
                    handled: 3_000,
                    missed: 0,
                    refused: sent.saturating_sub(1_000),
                };
                fairness.settle(nth * WINDOW.as_nanos() as u64, [3_000].into_iter(), &strain);
                fairness.share().map_or(0, NonZeroU64::get)
            })
            .collect();
        assert!(
            rooms[20..].iter().all(|room| (8_900..=10_200).contains(room)),
            "{rooms:?}"
        );
    }

    #[test]
    fn after_a_pause_the_rate_over_all_of_it_is_not_taken_for_the_room() {
        let mut fairness = Fairness::default();
        let strain = Strain {
            sent: 1_000,
            handled: 10,
            missed: 10,
            refused: 0,
        };
        fairness.settle(10_000_000_000, [5_000].into_iter(), &strain);
        assert_eq!(fairness.share(), None);
    }
}
