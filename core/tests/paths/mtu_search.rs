//! The search for the largest datagram that a way carries.

use std::time::{Duration, Instant};

use meshd_core::path::MtuSearch;
use proptest::prelude::*;

use crate::clock::start;

const CHECK_EVERY: Duration = Duration::from_secs(10);
const RAISE_EVERY: Duration = Duration::from_secs(600);

const PATIENCE: Duration = Duration::from_millis(200);

/// Runs a search over a way that carries `carries`, losing what `lost` says; how many pings it took, and how long.
fn run(
    search: &mut MtuSearch,
    now: &mut Instant,
    carries: u16,
    mut lost: impl FnMut() -> bool,
) -> (usize, Duration) {
    let (begin, mut pings) = (*now, 0);
    for _ in 0..100 {
        let sizes = search.due(*now, PATIENCE);
        pings += sizes.len();
        for size in sizes {
            if size <= carries && !lost() {
                search.answered(*now + PATIENCE / 4, size);
            }
        }
        if search.is_settled() {
            break;
        }
        *now = search.next(*now);
    }
    (pings, *now - begin)
}

#[test]
fn a_wide_way_costs_one_ping_and_a_narrow_one_a_moment() {
    let mut now = start();
    let mut search = MtuSearch::new(1440);
    assert_eq!(run(&mut search, &mut now, 9000, || false).0, 1);
    assert_eq!(search.result(), Some(1440));
    for (want, carries) in [
        (1440, 1372),
        (1452, 1360),
        (8952, 1472),
        (8952, 8000),
        (8952, 1232),
    ] {
        let mut search = MtuSearch::new(want);
        let (pings, took) = run(&mut search, &mut now, carries, || false);
        let found = search.result().unwrap();
        assert!(
            found <= carries && carries - found < 16,
            "{want} {carries}: {found}"
        );
        assert!(pings <= 40 && took <= PATIENCE * 5, "{pings} pings, {took:?}");
    }
}

#[test]
fn what_stops_working_is_noticed_when_the_way_falls_silent_and_what_works_again_too() {
    let mut now = start();
    let mut search = MtuSearch::new(1440);
    run(&mut search, &mut now, 1500, || false);
    assert!(search.due(now + Duration::from_secs(1), PATIENCE).is_empty());
    now += Duration::from_secs(2);
    search.suspect(now);
    let (_, took) = run(&mut search, &mut now, 1300, || false);
    assert_eq!(search.result(), Some(1296));
    assert!(took <= PATIENCE * 4, "{took:?}");
    now += RAISE_EVERY;
    run(&mut search, &mut now, 1500, || false);
    assert_eq!(search.result(), Some(1440));
}

#[test]
fn what_stops_working_under_load_is_noticed_within_a_second_though_small_packets_are_answered() {
    let mut now = start();
    let mut search = MtuSearch::new(1440);
    run(&mut search, &mut now, 1500, || false);
    search.busy(now);
    search.busy(now + Duration::from_millis(100));
    assert!(
        search.next(now) <= now + Duration::from_millis(250),
        "later reports delay nothing"
    );
    now += Duration::from_millis(500);
    let (_, took) = run(&mut search, &mut now, 1300, || false);
    assert_eq!(search.result(), Some(1296));
    assert!(took <= PATIENCE * 4, "{took:?}");
}

#[test]
fn a_way_that_carries_nothing_keeps_its_size_and_one_that_is_too_narrow_for_all_gets_the_floor() {
    let mut now = start();
    let mut search = MtuSearch::new(1440);
    run(&mut search, &mut now, 1400, || false);
    assert_eq!(search.result(), Some(1392));
    now += CHECK_EVERY;
    run(&mut search, &mut now, 0, || false);
    assert_eq!(search.result(), Some(1392));
    now += CHECK_EVERY;
    run(&mut search, &mut now, 600, || false);
    assert_eq!(search.result(), Some(1232));
}

#[test]
fn a_late_answer_counts() {
    let now = start();
    let mut search = MtuSearch::new(1440);
    assert_eq!(search.due(now, PATIENCE), [1440]);
    let asked = search.due(now + PATIENCE, PATIENCE);
    assert!(asked.len() <= 12 && asked.contains(&1232), "{asked:?}");
    assert!(search.answered(now + PATIENCE * 2, 1440));
    assert_eq!(search.result(), Some(1440));
}

proptest! {
    #[test]
    fn it_ends_and_never_says_more_than_came_through(
        want in 80u16..=557, carries in 0u16..9000, seed: u64, loss in 0u64..50,
    ) {
        let (mut now, mut chance) = (start(), seed | 1);
        let mut search = MtuSearch::new(want * 16 + 44);
        for _ in 0..5 {
            run(&mut search, &mut now, carries, || {
                chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (chance >> 33) % 100 < loss
            });
                        prop_assert!(search.is_settled());
            let found = search.result().unwrap_or(0);
            prop_assert!(found <= carries.max(1_232));
            now += CHECK_EVERY;
        }
    }
}
