//! Who is let in from the Internet, and which flows of UDP there are, over time.

use std::time::Instant;

#[expect(clippy::disallowed_methods, reason = "a test begins now")]
fn start() -> Instant {
    Instant::now()
}

mod gate {
    use super::*;
    use meshd_core::expose::{Gate, Limits, Refused, source_of};
    use proptest::prelude::*;
    use std::net::IpAddr;
    use std::time::{Duration, Instant};

    fn gate(connections: u32, per_second: u32) -> (Instant, Gate) {
        let now = start();
        let limits = Limits {
            connections,
            per_second,
            idle: Duration::from_secs(60),
        };
        (now, Gate::new(now, limits))
    }

    fn host(n: u8) -> IpAddr {
        IpAddr::from([198, 51, 100, n])
    }

    #[test]
    fn one_source_takes_half_of_all_places_and_others_find_the_rest() {
        let (now, mut gate) = gate(80, 10_000);
        let taken = (0..100).filter(|_| gate.enter(now, host(1)).is_ok()).count();
        assert_eq!(taken, 40);
        assert_eq!(gate.enter(now, host(1)), Err(Refused::Share));
        for n in 2..6 {
            assert_eq!((0..100).filter(|_| gate.enter(now, host(n)).is_ok()).count(), 10);
        }
        assert_eq!(gate.enter(now, host(9)), Err(Refused::Full));
        gate.leave(host(1));
        assert_eq!(gate.enter(now, host(9)), Ok(()));
    }

    #[test]
    fn so_many_come_in_a_second_and_no_more() {
        let (now, mut gate) = gate(1000, 10);
        let mut coming = |at: Duration| (0..100).filter(|_| gate.enter(now + at, host(1)).is_ok()).count();
        assert_eq!(coming(Duration::ZERO), 10);
        assert_eq!(coming(Duration::from_millis(99)), 0);
        assert_eq!(coming(Duration::from_millis(350)), 3);
        assert_eq!(coming(Duration::from_secs(1000)), 10);
    }

    #[test]
    fn a_slash_64_is_one_source_and_mapped_ipv4_is_ipv4() {
        let of = |text: &str| source_of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:198.51.100.3"), host(3));
    }

    #[test]
    fn limits_change_under_those_who_are_in() {
        let (now, mut gate) = gate(8, 1000);
        (0..4).for_each(|n| gate.enter(now, host(n)).unwrap());
        let limits = Limits {
            connections: 2,
            ..gate.limits()
        };
        gate.set(limits);
        assert_eq!((gate.open(), gate.enter(now, host(9))), (4, Err(Refused::Full)));
        (0..3).for_each(|n| gate.leave(host(n)));
        assert_eq!(gate.enter(now, host(9)), Ok(()));
        gate.leave(host(77));
        assert_eq!(gate.open(), 2, "who was not in does not leave");
    }

    proptest! {
        #[test]
        fn everything_is_given_back(steps in proptest::collection::vec((0u8..20, any::<bool>(), 0u64..400), 0..200)) {
            let (mut now, mut gate) = gate(10, 30);
            let mut inside: Vec<u8> = Vec::new();
            for (n, enters, later) in steps {
                now += Duration::from_millis(later);
                if enters {
                    if gate.enter(now, host(n)).is_ok() { inside.push(n); }
                } else if let Some(at) = inside.iter().position(|held| *held == n) {
                    inside.swap_remove(at);
                    gate.leave(host(n));
                }
                prop_assert_eq!(gate.open() as usize, inside.len());
                prop_assert!(inside.len() <= 10);
            }
            for n in inside { gate.leave(host(n)); }
            prop_assert_eq!(gate.open(), 0);
            prop_assert!((0..10).all(|n| gate.enter(now + Duration::from_secs(1), host(n)).is_ok()), "no source is remembered");
        }
    }
}

mod flows {
    use super::*;
    use meshd_core::expose::{Flows, Gate, Limits, Refused};
    use std::net::SocketAddr;
    use std::time::{Duration, Instant};

    fn flows(most: u32) -> (Instant, Flows<u16>) {
        let now = start();
        let limits = Limits {
            connections: most,
            per_second: 1000,
            idle: Duration::from_secs(60),
        };
        (now, Flows::new(Gate::new(now, limits)))
    }

    fn at() -> SocketAddr {
        "203.0.113.1:53".parse().unwrap()
    }

    fn client(n: u16) -> SocketAddr {
        let [a, b] = n.to_be_bytes();
        SocketAddr::from(([198, 18, a, b], 5000))
    }

    fn begin(flows: &mut Flows<u16>, now: Instant, n: u16) -> Result<Option<u16>, Refused> {
        let gone = flows.admit(now, client(n))?;
        flows.begin(now, client(n), at(), n);
        Ok(gone)
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn who_was_never_answered_gives_way_and_who_was_does_not() {
        let (now, mut flows) = flows(3);
        for n in 1..=3 {
            assert_eq!(begin(&mut flows, now + SECOND * u32::from(n), n), Ok(None));
        }
        flows.answered(now + SECOND * 4, client(1), at());
        assert!(flows.sent(now + SECOND * 5, client(2), at()).is_some());
        assert_eq!(
            begin(&mut flows, now + SECOND * 6, 4),
            Ok(Some(3)),
            "2 was used since"
        );
        assert_eq!(begin(&mut flows, now + SECOND * 7, 5), Ok(Some(2)));
        for n in [4, 5] {
            flows.answered(now + SECOND * 8, client(n), at());
        }
        assert_eq!(begin(&mut flows, now + SECOND * 9, 6), Err(Refused::Full));
        assert_eq!(flows.len(), 3);
    }

    #[test]
    fn an_idle_flow_ends_and_sooner_where_nobody_answered() {
        let (now, mut flows) = flows(10);
        for n in 1..=2 {
            begin(&mut flows, now, n).unwrap();
        }
        flows.answered(now, client(2), at());
        assert!(flows.handle_timeout(now + SECOND * 9).is_empty());
        assert_eq!(flows.handle_timeout(now + SECOND * 10), [1]);
        assert!(flows.sent(now + SECOND * 30, client(2), at()).is_some());
        assert!(flows.handle_timeout(now + SECOND * 89).is_empty());
        assert_eq!(flows.handle_timeout(now + SECOND * 90), [2]);
        assert!(flows.is_empty() && flows.gate().open() == 0);
    }

    #[test]
    fn a_flow_that_waits_is_ended_and_one_that_is_answered_is_not() {
        let (now, mut flows) = flows(10);
        for n in 1..=3 {
            begin(&mut flows, now, n).unwrap();
        }
        flows.answered(now, client(1), at());
        for tenths in 1..=10 {
            let then = now + Duration::from_millis(100 * tenths);
            flows.sent(then, client(2), at());
        }
        let ended = flows.end_waiting(now + SECOND, SECOND, |n| *n != 3);
        assert_eq!(ended, [2], "1 was answered, 3 is not meant");
    }

    #[test]
    fn what_is_admitted_and_given_up_leaves_nothing() {
        let (now, mut flows) = flows(1);
        assert_eq!(flows.admit(now, client(1)), Ok(None));
        flows.give_up(client(1));
        assert_eq!(begin(&mut flows, now, 2), Ok(None));
        assert_eq!(flows.end(client(2), at()), Some(2));
        assert!(flows.is_empty() && flows.gate().open() == 0);
    }
}
