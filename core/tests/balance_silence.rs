//! Endpoints' balancers: who is silent, for how long, and what that ends. The clock is virtual.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test begins now, and fails by panicking"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use meshd_core::balance::{Ask, Balancer, Event, Health, Outcome};
use meshd_core::id::NodeId;
use meshd_core::statement::Member;
use proptest::prelude::*;

/// The bar: so long a member that died may keep its connections.
const BAR: Duration = Duration::from_secs(3);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn member(n: u8) -> Member {
    Member {
        node: NodeId::from_bytes([n; 16]),
        port: 6443,
    }
}

/// What a member does with a probe.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    /// Answers after this, which is the network's time.
    Answers(Duration),
    /// Its machine is there and shows it after a round trip; its program answers after this.
    Slow(Duration),
    /// Nothing comes.
    Gone,
}

/// Members, and who probes them.
struct World {
    now: Instant,
    balancer: Balancer,
    manners: BTreeMap<u8, Manner>,
    /// When a probe under way ends, how, and when its machine is heard.
    under_way: BTreeMap<u8, (Instant, Outcome, Option<Instant>)>,
    /// When a machine that was asked for a sign of life is heard.
    touched: BTreeMap<u8, Instant>,
    /// Members whose connections were ended, and when.
    ended: BTreeMap<u8, Instant>,
    /// What a program may take.
    patience: Option<Duration>,
}

impl World {
    /// Three that answer after this round trip, a connection to each; `patience`: probes ask programs, and wait so long for them.
    fn new(round_trip: Duration, patience: Option<Duration>) -> Self {
        let now = Instant::now();
        let mut balancer = Balancer::default();
        balancer.set(now, &[member(1), member(2), member(3)]);
        let mut world = Self {
            now,
            balancer,
            manners: (1..=3).map(|n| (n, Manner::Answers(round_trip))).collect(),
            under_way: BTreeMap::new(),
            touched: BTreeMap::new(),
            ended: BTreeMap::new(),
            patience,
        };
        for n in 1..=3 {
            world.balancer.handle_round_trip(member(n), round_trip);
            world.balancer.handle_opened(now, member(n));
        }
        world.run(ms(2_000));
        assert!((1..=3).all(|n| world.health(n) == Health::Ready));
        world
    }

    fn health(&self, n: u8) -> Health {
        let mut members = self.balancer.members();
        members.find(|(at, ..)| *at == member(n)).unwrap().1
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.look();
            let probes = self
                .under_way
                .values()
                .flat_map(|(at, _, heard)| [Some(*at), *heard]);
            let next = probes
                .flatten()
                .chain(self.touched.values().copied())
                .chain(self.balancer.poll_timeout())
                .filter(|at| *at > self.now);
            match next.min().filter(|next| *next <= end) {
                Some(next) => self.now = next,
                None => break,
            }
        }
        self.now = end;
    }

    fn look(&mut self) {
        let now = self.now;
        for (n, (_, _, heard)) in &self.under_way {
            if let Some(heard) = heard.filter(|heard| *heard <= now) {
                self.balancer.handle_heard(member(*n), heard);
            }
        }
        self.touched.retain(|n, heard| {
            let comes = *heard <= now;
            if comes {
                self.balancer.handle_heard(member(*n), *heard);
            }
            !comes
        });
        let over: Vec<u8> = self
            .under_way
            .iter()
            .filter(|(_, (at, ..))| *at <= now)
            .map(|(n, _)| *n)
            .collect();
        for n in over {
            let (_, outcome, _) = self.under_way.remove(&n).unwrap();
            self.balancer.handle_probe(now, member(n), outcome);
        }
        for (due, ask) in self.balancer.handle_timeout(now) {
            let n = due.node.to_string()[..2].parse().unwrap();
            if ask == Ask::Touch {
                if self.manners[&n] != Manner::Gone {
                    self.touched.insert(n, now + ms(10));
                }
                continue;
            }
            let patience = self.patience.unwrap_or_else(|| self.balancer.patience(due));
            let answer = match self.manners[&n] {
                Manner::Answers(after) => (now + after, Outcome::Ready, None),
                Manner::Slow(after) => (now + after, Outcome::Ready, Some(now + ms(5))),
                Manner::Gone => (now + patience, Outcome::Silent, None),
            };
            let within = answer.0 <= now + patience;
            let probe = if within {
                answer
            } else {
                (now + patience, Outcome::Silent, answer.2)
            };
            assert!(self.under_way.insert(n, probe).is_none(), "one probe at a time");
        }
        while let Some(event) = self.balancer.poll_event() {
            if let Event::End(member) = event {
                let n = member.node.to_string()[..2].parse().unwrap();
                assert!(self.ended.insert(n, now).is_none(), "once");
            }
        }
    }
}

proptest! {
    #[test]
    fn a_machine_that_is_gone_is_left_within_the_bar(after in 0..2_000u64, asks_program in any::<bool>()) {
        let mut world = World::new(ms(10), asks_program.then_some(ms(2_000)));
        world.run(ms(after));
        world.manners.insert(1, Manner::Gone);
        let died = world.now;
        // a probe that was under way may still be answered
        world.run(BAR);
        prop_assert_eq!(world.health(1), Health::Dead);
        let ended = world.ended[&1] - died;
        prop_assert!(ended < ms(2_600) && ended > ms(1_400), "{:?}", ended);
        prop_assert_eq!(world.ended.len(), 1);
        prop_assert_eq!(world.balancer.choose(world.now)[2], member(1));
    }

    #[test]
    fn a_program_that_takes_its_time_on_a_machine_that_is_heard_keeps_its_connections(slow in 0..2_900u64) {
        let mut world = World::new(ms(10), Some(ms(2_900)));
        world.manners.insert(1, Manner::Slow(ms(slow)));
        world.run(ms(60_000));
        prop_assert!(world.ended.is_empty());
        prop_assert!(world.health(1) <= Health::Doubtful, "{:?}", world.health(1));
    }

    #[test]
    fn a_path_that_is_away_for_a_second_ends_nothing(after in 0..2_000u64, away in 0..1_100u64) {
        let mut world = World::new(ms(40), None);
        world.run(ms(after));
        for n in 1..=2 {
            world.manners.insert(n, Manner::Gone);
        }
        world.run(ms(away));
        for n in 1..=2 {
            world.manners.insert(n, Manner::Answers(ms(120)));
        }
        world.run(ms(5_000));
        prop_assert!(world.ended.is_empty());
        prop_assert!((1..=3).all(|n| world.health(n) == Health::Ready));
    }

    #[test]
    fn far_members_are_given_more_time(round_trip in 0..700u64) {
        let mut world = World::new(ms(round_trip), None);
        world.run(ms(30_000));
        prop_assert!(world.ended.is_empty());
        world.manners.insert(1, Manner::Gone);
        world.run(BAR + 5 * ms(round_trip));
        prop_assert_eq!(world.health(1), Health::Dead);
    }

    #[test]
    fn a_node_that_is_cut_off_itself_ends_nothing_until_it_hears_somebody(after in 0..2_000u64, away in 0..60_000u64) {
        let mut world = World::new(ms(10), None);
        world.run(ms(after));
        for n in 1..=3 {
            world.manners.insert(n, Manner::Gone);
        }
        world.run(ms(away));
        prop_assert!(world.ended.is_empty());
        for n in 1..=2 {
            world.manners.insert(n, Manner::Answers(ms(10)));
        }
        world.run(ms(10_000));
        // the third is lost indeed
        prop_assert_eq!(world.ended.keys().collect::<Vec<_>>(), [&3]);
        prop_assert!((1..=2).all(|n| world.health(n) == Health::Ready));
    }
}

/// Each by another millisecond: who is heard first says nothing against who is heard next.
#[test]
fn members_that_come_back_one_after_the_other_keep_their_connections() {
    for (later, asks_program) in [1, 10, 250, 1_000, 2_400]
        .into_iter()
        .flat_map(|ms| [(ms, false), (ms, true)])
    {
        for away in (3_000..9_000).step_by(137) {
            let mut world = World::new(ms(10), asks_program.then_some(ms(2_900)));
            for n in 1..=3 {
                world.manners.insert(n, Manner::Gone);
            }
            world.run(ms(away));
            world.manners.insert(1, Manner::Answers(ms(10)));
            world.run(ms(later));
            for n in 2..=3 {
                world.manners.insert(n, Manner::Answers(ms(10)));
            }
            world.run(ms(12_000));
            assert!(
                world.ended.is_empty(),
                "{later} ms apart after {away} ms: {:?}",
                world.ended
            );
            assert!((1..=3).all(|n| world.health(n) == Health::Ready));
        }
    }
}

#[test]
fn silence_of_the_machine_is_doubted_soon_and_believed_later() {
    let mut world = World::new(ms(10), None);
    world.manners.insert(1, Manner::Gone);
    world.run(ms(1_300));
    assert_eq!(world.health(1), Health::Doubtful);
    assert_ne!(world.balancer.choose(world.now)[0], member(1));
    assert!(world.ended.is_empty());
}

#[test]
fn a_program_that_hangs_is_asked_last_and_keeps_what_it_has_for_long() {
    let mut world = World::new(ms(10), Some(ms(2_000)));
    world.manners.insert(1, Manner::Slow(ms(1_000_000)));
    world.run(ms(8_000));
    assert_eq!(world.health(1), Health::Hanging);
    assert!(world.ended.is_empty());
    world.run(ms(10_000));
    assert!(world.ended.contains_key(&1));
    world.manners.insert(1, Manner::Answers(ms(10)));
    world.run(ms(5_000));
    assert_eq!(world.health(1), Health::Ready);
}

#[test]
fn who_was_asleep_judges_nobody() {
    let mut world = World::new(ms(10), None);
    for n in 1..=2 {
        world.manners.insert(n, Manner::Gone);
    }
    world.run(ms(900));
    for n in 1..=2 {
        world.manners.insert(n, Manner::Answers(ms(10)));
    }
    world.now += ms(60_000);
    world.run(ms(4_000));
    assert!(world.ended.is_empty());
    assert!((1..=3).all(|n| world.health(n) == Health::Ready));
}
