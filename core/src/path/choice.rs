//! Which of the ways to a peer its packets take: a ranking, as data.

use std::time::Duration;

use super::{Endpoint, Path};

/// How far a way is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// Something authentic came by it lately.
    Sure,
    /// It was silent when it should have answered.
    Doubtful,
}

/// A way to the peer that may be used at all: a proven address, or an open session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub(super) endpoint: Endpoint,
    pub(super) standing: Standing,
    /// A relay that is not the peer's home; or an address that the peer answers from another one, so that nothing the
    /// peer sends keeps it open.
    pub(super) crooked: bool,
    /// Nothing came by it for so long that a NAT may have forgotten it; a relay never is.
    pub(super) quiet: bool,
    pub(super) rtt: Option<Duration>,
}

/// Less is better; the order of the fields is the priority.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    standing: Standing,
    relayed: bool,
    crooked: bool,
    /// By a socket of its own: where the primary one does as well, that other one can be closed.
    adopted: bool,
    latency_us: u64,
    /// Last resort, so that the choice never depends on the order in which ways were found.
    endpoint: Endpoint,
}

/// A head start in latency: a share of what was measured and a constant.
#[derive(Clone, Copy)]
struct Bonus {
    percent: u64,
    us: u64,
}

/// The way in use keeps its place unless another is faster by more: both ends measure with noise, and each change
/// reorders packets.
const IN_USE: Bonus = Bonus {
    percent: 20,
    us: 3_000,
};
/// Less for IPv4, so that a pair that came together over IPv4 still changes to an IPv6 that is about as fast.
const IN_USE_V4: Bonus = Bonus { percent: 8, us: 500 };
/// IPv6 wins unless it is slower by more: no NAT on the way that forgets.
const IPV6: Bonus = Bonus {
    percent: 12,
    us: 1_000,
};

impl Bonus {
    fn of(self, measured_us: u64) -> u64 {
        measured_us / 100 * self.percent + self.us
    }
}

impl Rank {
    fn of(way: &Way, current: Option<Endpoint>) -> Self {
        let measured = way.rtt.map_or(u64::MAX / 1000, |rtt| rtt.as_micros() as u64);
        let is_ipv6 = way.endpoint.address().is_ipv6();
        let in_use = if is_ipv6 { IN_USE } else { IN_USE_V4 };
        let family = if is_ipv6 { IPV6.of(measured) } else { 0 };
        let held = if current == Some(way.endpoint) {
            in_use.of(measured)
        } else {
            0
        };
        let latency_us = measured.saturating_sub(family + held);
        Self {
            standing: way.standing,
            relayed: way.endpoint.is_relay(),
            crooked: way.crooked,
            adopted: !way.endpoint.socket().is_primary(),
            latency_us,
            endpoint: way.endpoint,
        }
    }
}

/// The path over these ways, given the one in use.
///
/// While a direct way is doubtful both it and the best other way are used. A sure direct way is used alone, unless it is
/// quiet: then a relay carries a copy of the next packet. Of relays one is used, and a second one where the first was silent
/// for long.
pub(super) fn choose(ways: &[Way], current: Path, long_silent: bool) -> Path {
    // the way in use keeps its bonus while it is only the duplicate
    let held = [current.primary, current.duplicate]
        .into_iter()
        .flatten()
        .find(|held| !held.is_relay());
    let held = held.or(current.primary);
    let rank = |way: &Way| Rank::of(way, held);
    let Some(best) = ways.iter().min_by_key(|way| rank(way)) else {
        return Path::default();
    };
    let sure = best.standing == Standing::Sure && !best.endpoint.is_relay();
    let (alone, quiet) = (sure && !best.quiet, sure && best.quiet);
    let both_relays = long_silent && ways.iter().all(|way| way.endpoint.is_relay());
    let second = ways
        .iter()
        .filter(|way| !alone && way.endpoint != best.endpoint && (way.endpoint.is_relay() || !quiet))
        .filter(|way| both_relays || !(best.endpoint.is_relay() && way.endpoint.is_relay()))
        .min_by_key(|way| rank(way));
    Path {
        primary: Some(best.endpoint),
        duplicate: second.map(|way| way.endpoint),
        max_packet: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn direct(text: &str, rtt_ms: u64, standing: Standing) -> Way {
        let endpoint = Endpoint::direct(text.parse().unwrap());
        Way {
            endpoint,
            standing,
            crooked: false,
            quiet: false,
            rtt: Some(Duration::from_millis(rtt_ms)),
        }
    }

    fn relay(session: u64, standing: Standing, crooked: bool) -> Way {
        let endpoint = Endpoint::Relay {
            relay: "203.0.113.1:3478".parse().unwrap(),
            session,
        };
        Way {
            endpoint,
            standing,
            crooked,
            quiet: false,
            rtt: Some(Duration::from_millis(1)),
        }
    }

    const A: &str = "192.0.2.1:1";
    const B: &str = "192.0.2.2:1";
    const SIX: &str = "[2001:db8::1]:1";
    use Standing::{Doubtful, Sure};

    fn chosen(ways: &[Way], current: Option<Endpoint>) -> (Option<Endpoint>, Option<Endpoint>) {
        let path = choose(
            ways,
            Path {
                primary: current,
                ..Path::default()
            },
            false,
        );
        (path.primary, path.duplicate)
    }

    #[test]
    fn direct_goes_before_relay_even_if_slower() {
        let ways = [relay(1, Sure, false), direct(A, 90, Sure)];
        assert_eq!(chosen(&ways, None), (Some(ways[1].endpoint), None));
    }

    #[test]
    fn in_doubt_both_are_used() {
        let ways = [relay(1, Sure, false), direct(A, 9, Doubtful)];
        assert_eq!(
            chosen(&ways, None),
            (Some(ways[0].endpoint), Some(ways[1].endpoint))
        );
        let ways = [relay(1, Doubtful, false), direct(A, 9, Doubtful)];
        assert_eq!(
            chosen(&ways, None),
            (Some(ways[1].endpoint), Some(ways[0].endpoint))
        );
    }

    #[test]
    fn a_quiet_way_stays_the_path_and_a_relay_is_used_beside_it() {
        let mut ways = [relay(1, Sure, false), direct(A, 9, Sure), direct(B, 9, Sure)];
        ways[1].quiet = true;
        let both = (Some(ways[1].endpoint), Some(ways[0].endpoint));
        assert_eq!(chosen(&ways, Some(ways[1].endpoint)), both);
        assert_eq!(chosen(&ways[1..], Some(ways[1].endpoint)), (both.0, None));
    }

    #[test]
    fn a_little_faster_is_no_reason_to_change() {
        let ways = [direct(A, 20, Sure), direct(B, 18, Sure)];
        assert_eq!(chosen(&ways, None).0, Some(ways[1].endpoint));
        assert_eq!(chosen(&ways, Some(ways[0].endpoint)).0, Some(ways[0].endpoint));
        let ways = [direct(A, 20, Sure), direct(B, 5, Sure)];
        assert_eq!(chosen(&ways, Some(ways[0].endpoint)).0, Some(ways[1].endpoint));
    }

    #[test]
    fn ipv6_wins_where_it_is_about_as_fast() {
        let ways = [direct(A, 20, Sure), direct(SIX, 21, Sure)];
        assert_eq!(chosen(&ways, None).0, Some(ways[1].endpoint));
        let ways = [direct(A, 40, Sure), direct(SIX, 40, Sure)];
        assert_eq!(chosen(&ways, Some(ways[0].endpoint)).0, Some(ways[1].endpoint));
        let ways = [direct(A, 20, Sure), direct(SIX, 30, Sure)];
        assert_eq!(chosen(&ways, None).0, Some(ways[0].endpoint));
    }

    #[test]
    fn the_peers_home_relay_goes_before_others() {
        let ways = [relay(1, Sure, true), relay(2, Sure, false)];
        assert_eq!(chosen(&ways, None), (Some(ways[1].endpoint), None));
        let ways = [relay(1, Sure, true), relay(2, Doubtful, false)];
        assert_eq!(chosen(&ways, None).0, Some(ways[0].endpoint));
    }

    #[test]
    fn an_address_that_answers_for_itself_goes_before_a_faster_one_that_does_not() {
        let mut ways = [direct(A, 20, Sure), direct(B, 90, Sure)];
        ways[0].crooked = true;
        assert_eq!(chosen(&ways, Some(ways[0].endpoint)).0, Some(ways[1].endpoint));
    }

    #[test]
    fn a_relay_that_was_silent_for_long_has_a_second_one_beside_it() {
        let ways = [relay(1, Sure, false), relay(2, Sure, true)];
        let both = choose(&ways, Path::default(), true);
        assert_eq!(
            (both.primary, both.duplicate),
            (Some(ways[0].endpoint), Some(ways[1].endpoint))
        );
        let ways = [
            relay(1, Sure, false),
            relay(2, Sure, true),
            direct(A, 9, Doubtful),
        ];
        assert_eq!(
            choose(&ways, Path::default(), true).duplicate,
            Some(ways[2].endpoint)
        );
    }

    #[test]
    fn the_choice_does_not_depend_on_order() {
        let mut ways = [direct(A, 20, Sure), direct(B, 20, Sure), relay(1, Sure, false)];
        let first = chosen(&ways, None);
        ways.reverse();
        assert_eq!(chosen(&ways, None), first);
    }

    #[test]
    fn without_a_way_there_is_no_path() {
        assert_eq!(chosen(&[], None), (None, None));
    }
}
