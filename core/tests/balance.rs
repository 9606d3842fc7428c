//! Endpoints' balancers: to whom connections go while members come, go and fall silent.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test begins now, and fails by panicking"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use meshd_core::balance::{Balancer, Event, Health, Outcome};
use meshd_core::id::NodeId;
use meshd_core::statement::Member;
use proptest::prelude::*;

fn member(n: u8) -> Member {
    Member {
        node: NodeId::from_bytes([n; 16]),
        port: 6443,
    }
}

/// Three members, ready.
fn ready(now: Instant) -> Balancer {
    let mut balancer = Balancer::default();
    balancer.set(now, &[member(1), member(2), member(3)]);
    for (member, _) in balancer.handle_timeout(now) {
        balancer.handle_probe(now, member, Outcome::Ready);
    }
    while balancer.poll_event().is_some() {}
    balancer
}

fn connect(balancer: &mut Balancer, now: Instant) -> Member {
    let first = balancer.choose(now)[0];
    balancer.handle_opened(now, first);
    first
}

fn health(balancer: &Balancer, wanted: Member) -> Health {
    let mut members = balancer.members();
    members.find(|(member, ..)| *member == wanted).unwrap().1
}

fn events(balancer: &mut Balancer) -> Vec<Event> {
    std::iter::from_fn(|| balancer.poll_event()).collect()
}

#[test]
fn connections_are_spread_evenly_and_in_turn() {
    let now = Instant::now();
    let mut balancer = ready(now);
    for _ in 0..30 {
        connect(&mut balancer, now);
    }
    assert!(balancer.members().all(|(_, _, open)| open == 10));
    for (member, ..) in balancer.members().collect::<Vec<_>>() {
        (0..10).for_each(|_| balancer.handle_closed(now, member));
    }
    let turns: Vec<Member> = (0..3)
        .map(|_| {
            let member = connect(&mut balancer, now);
            balancer.handle_closed(now, member);
            member
        })
        .collect();
    assert!(turns[0] != turns[1] && turns[1] != turns[2] && turns[2] != turns[0]);
}

#[test]
fn a_blip_costs_a_member_nothing() {
    let now = Instant::now();
    let mut balancer = ready(now);
    balancer.handle_probe(now, member(1), Outcome::Silent);
    balancer.handle_probe(now, member(1), Outcome::Ready);
    assert_eq!(health(&balancer, member(1)), Health::Ready);
    for _ in 0..3 {
        connect(&mut balancer, now);
    }
    assert!(balancer.members().all(|(_, _, open)| open == 1));
}

#[test]
fn who_shuts_down_keeps_what_it_has_and_gets_nothing_new() {
    let now = Instant::now();
    let mut balancer = ready(now);
    for outcome in [
        Outcome::NotReady,
        Outcome::Refused,
        Outcome::Refused,
        Outcome::Refused,
    ] {
        balancer.handle_probe(now, member(1), outcome);
        assert_ne!(balancer.choose(now)[0], member(1));
    }
    assert!(
        !events(&mut balancer)
            .iter()
            .any(|event| matches!(event, Event::End(_)))
    );
}

#[test]
fn who_comes_back_must_be_ready_twice_and_gets_its_share_little_by_little() {
    let now = Instant::now();
    let mut balancer = ready(now);
    balancer.handle_probe(now, member(1), Outcome::Refused);
    balancer.handle_probe(now, member(1), Outcome::Ready);
    assert_eq!(health(&balancer, member(1)), Health::Refusing);
    balancer.handle_probe(now, member(1), Outcome::Ready);
    assert_eq!(health(&balancer, member(1)), Health::Ready);
    for _ in 0..21 {
        connect(&mut balancer, now);
    }
    let open = |balancer: &Balancer| balancer.members().next().unwrap().2;
    assert_eq!(open(&balancer), 1);
    let later = now + Duration::from_secs(10);
    for _ in 0..30 {
        connect(&mut balancer, later);
    }
    assert_eq!(open(&balancer), 17);
}

#[test]
fn where_none_is_ready_all_are_tried() {
    let now = Instant::now();
    let mut balancer = ready(now);
    for n in 1..=3 {
        balancer.handle_probe(now, member(n), Outcome::Refused);
    }
    balancer.handle_probe(now, member(2), Outcome::NotReady);
    assert_eq!(balancer.choose(now)[0], member(2));
    assert_eq!(balancer.choose(now).len(), 3);
}

#[test]
fn who_is_taken_out_is_drained() {
    let now = Instant::now();
    let mut balancer = ready(now);
    let first = connect(&mut balancer, now);
    let others: Vec<Member> = balancer
        .members()
        .map(|(member, ..)| member)
        .filter(|m| *m != first)
        .collect();
    balancer.set(now, &others);
    assert_eq!(balancer.members().count(), 3);
    assert!(!balancer.choose(now).contains(&first));
    balancer.handle_closed(now, first);
    assert_eq!(balancer.members().count(), 2);
}

#[test]
fn a_failed_connection_has_the_member_probed_at_once() {
    let now = Instant::now();
    let mut balancer = ready(now);
    balancer.handle_failed(now, member(1), false);
    assert_eq!(health(&balancer, member(1)), Health::Doubtful);
    assert_eq!(balancer.poll_timeout(), Some(now));
    balancer.handle_failed(now, member(1), false);
    assert_eq!(health(&balancer, member(1)), Health::Doubtful);
}

#[test]
fn an_idle_endpoint_is_probed_rarely_and_at_once_when_it_is_used() {
    let start = Instant::now();
    let mut balancer = ready(start);
    let mut now = start;
    let mut probes = 0;
    while now < start + Duration::from_secs(100) {
        now = balancer.poll_timeout().unwrap();
        for (member, _) in balancer.handle_timeout(now) {
            balancer.handle_probe(now, member, Outcome::Ready);
            probes += 1;
        }
    }
    assert!(probes <= 40, "{probes}");
    balancer.choose(now);
    assert_eq!(balancer.poll_timeout(), Some(now));
}

#[derive(Clone, Debug)]
enum Step {
    Probe(u8, u8),
    Fail(u8, bool),
    Open,
    Close(u8),
    Set(u8),
    Wait(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..5u8, 0..4u8).prop_map(|(n, outcome)| Step::Probe(n, outcome)),
        (1..5u8, any::<bool>()).prop_map(|(n, refused)| Step::Fail(n, refused)),
        Just(Step::Open),
        (1..5u8).prop_map(Step::Close),
        (0..16u8).prop_map(Step::Set),
        (0..20_000u16).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_the_best_is_tried_first_and_every_member_is_tried(steps in prop::collection::vec(step(), 0..120)) {
        let mut now = Instant::now();
        let mut balancer = Balancer::default();
        let mut wanted: Vec<Member> = Vec::new();
        let mut open: BTreeMap<Member, u64> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Probe(n, outcome) => {
                    let outcomes = [Outcome::Ready, Outcome::NotReady, Outcome::Refused, Outcome::Silent];
                    balancer.handle_probe(now, member(n), outcomes[usize::from(outcome)]);
                }
                Step::Fail(n, refused) => balancer.handle_failed(now, member(n), refused),
                Step::Open => if let Some(first) = balancer.choose(now).first() {
                    balancer.handle_opened(now, *first);
                    *open.entry(*first).or_default() += 1;
                },
                Step::Close(n) => if let Some(count) = open.get_mut(&member(n)).filter(|count| **count > 0) {
                    *count -= 1;
                    balancer.handle_closed(now, member(n));
                },
                Step::Set(mask) => {
                    wanted = (1..5).filter(|n| mask >> (n - 1) & 1 == 1).map(member).collect();
                    balancer.set(now, &wanted);
                }
                Step::Wait(ms) => now += Duration::from_millis(ms.into()),
            }
            balancer.handle_timeout(now);
            let order = balancer.choose(now);
            let mut sorted = order.clone();
            sorted.sort();
            prop_assert_eq!(&sorted, &wanted);
            let known: BTreeMap<Member, (Health, u64)> =
                balancer.members().map(|(member, health, open)| (member, (health, open))).collect();
            prop_assert!(order.windows(2).all(|two| known[&two[0]].0 <= known[&two[1]].0));
            for (member, count) in &open {
                prop_assert_eq!(known.get(member).map_or(0, |(_, open)| *open), *count);
            }
            prop_assert!(balancer.poll_timeout().is_none_or(|next| next > now));
            for event in events(&mut balancer) {
                if let Event::End(member) = event {
                    prop_assert!(matches!(known[&member].0, Health::Dead | Health::Hanging));
                }
            }
        }
    }
}
