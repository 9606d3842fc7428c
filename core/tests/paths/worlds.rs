//! Any world: who can reach whom is known beforehand, and the agents must find it out.

use std::time::Duration;

use meshd_core::path::PathKind;
use meshd_core::sim::{Dependence, HostId, INTERNET, Link, NatKind, Ports, SiteId, World, node_id};
use proptest::prelude::*;

use crate::clock::start;
use crate::places::{MS, S, kind};

/// Where a node is.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    Public,
    Behind(NatKind),
    /// Behind a home's and a carrier's.
    BehindTwo(NatKind, NatKind),
}

/// What happens when both have talked for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    None,
    RelayRestarted,
    RelayGone,
    DirectCut,
    Rebooted(usize),
    Moved(usize),
    Restarted(usize),
    Blocked,
}

#[derive(Clone, Debug)]
pub struct Scenario {
    seed: u64,
    places: [Place; 2],
    one_site: bool,
    /// How far the nodes' clocks are ahead, in seconds; the third is that of a node in its second life.
    skews: [i64; 3],
    pub links: [Link; 2],
    pub relay: bool,
    trouble: Trouble,
    /// When each node knows what NAT is in front of it.
    pub measured: [Duration; 2],
}

fn dependence() -> impl Strategy<Value = Dependence> {
    prop_oneof![
        Just(Dependence::None),
        Just(Dependence::Address),
        Just(Dependence::AddressAndPort)
    ]
}

fn nat() -> impl Strategy<Value = NatKind> {
    let ports = prop_oneof![
        Just(Ports::Preserving),
        any::<i8>().prop_map(|step| Ports::Counted(if step == 0 { 1 } else { step })),
        Just(Ports::Random)
    ];
    (
        dependence(),
        dependence(),
        10..120u64,
        any::<bool>(),
        ports,
        any::<bool>(),
    )
        .prop_map(
            |(mapping, filtering, expiry, hairpin, ports, two_faced)| NatKind {
                mapping,
                filtering,
                expiry: Duration::from_secs(expiry),
                hairpin,
                ports,
                // only Linux is known to do so, and Linux filters by address and port
                two_faced: two_faced
                    && mapping == Dependence::None
                    && filtering == Dependence::AddressAndPort,
            },
        )
}

fn place() -> impl Strategy<Value = Place> {
    prop_oneof![
        1 => Just(Place::Public),
        3 => nat().prop_map(Place::Behind),
        1 => [nat(), nat()].prop_map(|[home, carrier]| Place::BehindTwo(home, carrier)),
    ]
}

/// Mostly right, else off by up to a day.
fn skew() -> impl Strategy<Value = i64> {
    prop_oneof![2 => Just(0), 1 => -86_400..86_400i64]
}

fn link() -> impl Strategy<Value = Link> {
    (1..60u64, 0..20u64, prop_oneof![3 => Just(0), 1 => 0..30u32]).prop_map(
        |(delay, jitter, loss_permille)| Link {
            jitter: Duration::from_millis(jitter),
            loss_permille,
            ..Link::delay_ms(delay)
        },
    )
}

fn trouble() -> impl Strategy<Value = Trouble> {
    prop_oneof![
        Just(Trouble::None),
        Just(Trouble::RelayRestarted),
        Just(Trouble::RelayGone),
        Just(Trouble::DirectCut),
        (0..2usize).prop_map(Trouble::Rebooted),
        (0..2usize).prop_map(Trouble::Moved),
        (0..2usize).prop_map(Trouble::Restarted),
        Just(Trouble::Blocked),
    ]
}

pub fn scenario() -> impl Strategy<Value = Scenario> {
    let places = [place(), place()];
    (
        any::<u64>(),
        places,
        prop::bool::weighted(0.2),
        [skew(), skew(), skew()],
        [link(), link()],
        prop::bool::weighted(0.9),
        trouble(),
    )
        .prop_map(
            |(seed, places, one_site, skews, links, relay, trouble)| Scenario {
                seed,
                places,
                one_site,
                skews,
                links,
                relay,
                trouble,
                measured: [Duration::ZERO; 2],
            },
        )
}

/// Whether two such places must come to a direct path. What else may come of luck is not asked for.
fn direct_is_certain(places: [Place; 2], same_site: bool, relay: bool) -> bool {
    use Dependence::{Address, None as Nothing};
    let certain = |ours: NatKind, theirs: NatKind| {
        // our one address is known and stays ours; they come in from wherever their NAT puts them
        ours.mapping == Nothing && (theirs.mapping == Nothing || ours.filtering <= Address)
    };
    match places {
        _ if same_site => true,
        [Place::Public, _] | [_, Place::Public] => true,
        _ => {
            let [ann, bob] = places.map(|place| place.nat().unwrap_or(NatKind::CONE));
            relay && (certain(ann, bob) || certain(bob, ann))
        }
    }
}

impl Place {
    /// Whether a NAT gives another port for each remote.
    fn is_dependent(self) -> bool {
        self.nat().is_some_and(|nat| nat.mapping != Dependence::None)
    }

    /// What the NATs come to, as far as reachability goes.
    fn nat(self) -> Option<NatKind> {
        match self {
            Self::Public => None,
            Self::Behind(nat) => Some(nat),
            Self::BehindTwo(home, carrier) => Some(NatKind {
                mapping: home.mapping.max(carrier.mapping),
                filtering: home.filtering.max(carrier.filtering),
                ..home
            }),
        }
    }
}

fn set_clock(world: &mut World, host: HostId, ahead_s: i64) {
    world.with_node(host, |node, _| node.clock_ahead_us = ahead_s * 1_000_000);
}

pub struct Stage {
    pub world: World,
    pub hosts: [HostId; 2],
    /// The nodes' own, and what is between them and the public network.
    sites: [[SiteId; 2]; 2],
    skews: [i64; 3],
    places: [Place; 2],
    same_site: bool,
    relay: bool,
    cut: bool,
}

impl Stage {
    pub fn build(scenario: &Scenario) -> Self {
        let mut world = World::new(start(), scenario.seed);
        world.set_nats_known(scenario.measured == [Duration::ZERO; 2]);
        world.add_relay(&["203.0.113.1"]);
        if !scenario.relay {
            world.stop_relay(0);
        }
        let site = |world: &mut World, at: usize| match scenario.places[at] {
            Place::Public => [world.add_site(None, scenario.links[at]); 2],
            Place::Behind(nat) => {
                let external = ["198.51.100.1", "198.51.100.2"][at];
                [world.add_site(Some((nat, external)), scenario.links[at]); 2]
            }
            Place::BehindTwo(home, carrier) => {
                let external = ["198.51.100.1", "198.51.100.2"][at];
                let shared = world.add_site(Some((carrier, external)), scenario.links[at]);
                let address = ["100.64.1.2", "100.64.2.2"][at];
                let own = world.add_site_behind(shared, Some((home, address)), Link::delay_ms(1));
                [own, shared]
            }
        };
        let sites = [site(&mut world, 0), site(&mut world, 1)];
        let address = |at: usize, place: Place| match (at, place) {
            (0, Place::Public) => "192.0.2.10/24",
            (_, Place::Public) => "198.18.0.10/24",
            (0, _) => "192.168.1.10/24",
            (_, _) => "192.168.2.10/24",
        };
        let ann = world.add_node(sites[0][0], &[address(0, scenario.places[0])]);
        let bob = if scenario.one_site {
            let beside = if matches!(scenario.places[0], Place::Public) {
                "192.0.2.11/24"
            } else {
                "192.168.1.11/24"
            };
            world.add_node(sites[0][0], &[beside])
        } else {
            world.add_node(sites[1][0], &[address(1, scenario.places[1])])
        };
        let places = if scenario.one_site {
            [scenario.places[0]; 2]
        } else {
            scenario.places
        };
        let (same_site, relay) = (scenario.one_site, scenario.relay);
        for (host, skew) in [ann, bob].into_iter().zip(scenario.skews) {
            set_clock(&mut world, host, skew);
        }
        Self {
            world,
            hosts: [ann, bob],
            sites,
            skews: scenario.skews,
            places,
            same_site,
            relay,
            cut: false,
        }
    }

    fn befall(&mut self, trouble: Trouble) {
        let [ann, bob] = self.hosts;
        match trouble {
            Trouble::None => {}
            Trouble::RelayRestarted if self.relay => {
                self.world.stop_relay(0);
                self.world.start_relay(0);
            }
            Trouble::RelayRestarted => {}
            Trouble::RelayGone => {
                self.world.stop_relay(0);
                self.relay = false;
            }
            Trouble::DirectCut => {
                self.world.cut(ann, bob);
                self.cut = true;
            }
            Trouble::Rebooted(at) => self.sites[at]
                .iter()
                .for_each(|&site| self.world.reboot_nat(site)),
            Trouble::Moved(at) => {
                self.world
                    .move_to(self.hosts[at], INTERNET, &["203.0.113.90/24"], false);
                self.places[at] = Place::Public;
                self.same_site = false;
            }
            Trouble::Restarted(at) => {
                let addresses = self.world.addresses(self.hosts[at]);
                let hints = self.world.kill(self.hosts[at]);
                self.world.run(200 * MS);
                self.world.boot(self.hosts[at], &addresses, &hints);
                set_clock(&mut self.world, self.hosts[at], self.skews[2]);
            }
            Trouble::Blocked => {
                let [_, uplink] = self.sites[0];
                self.world.link(uplink).blocked = true;
                self.world.run(20 * S);
                self.world.link(uplink).blocked = false;
            }
        }
    }

    fn must_be_direct(&self) -> bool {
        !self.cut && direct_is_certain(self.places, self.same_site, self.relay)
    }

    /// Lets them talk, then looks: is the path what it must be, and does it carry?
    fn check(&mut self, after: Duration, loss_permille: u32) {
        self.world.run(after);
        let before = self.world.now();
        self.world.run(4 * S);
        let [ann, bob] = self.hosts;
        let reachable = self.relay || self.must_be_direct();
        for (from, to) in [(ann, bob), (bob, ann)] {
            let path = kind(&self.world, from, to);
            assert!(
                !self.must_be_direct() || path == PathKind::Direct,
                "{path:?} where direct is certain"
            );
            assert!(
                !(self.cut && path == PathKind::Direct),
                "direct where nothing gets through"
            );
            let deliveries = &self.world.node(to).unwrap().deliveries;
            let lately = deliveries
                .iter()
                .filter(|got| got.from == node_id(from) && got.at >= before)
                .count();
            // the port that one was told of may be forgotten by its NAT while another one carries: that way's death costs a second
            let forgets = self.places.iter().any(|place| place.is_dependent());
            let wanted = at_least_of_40(loss_permille) - if forgets { 10 } else { 0 };
            assert!(
                !reachable || lately >= wanted,
                "{lately} of 40 packets, {wanted} wanted, by {path:?}"
            );
        }
    }
}

/// How many of 40 packets come over two such links, but for bad luck of one in a million; two may still be under way.
fn at_least_of_40(loss_permille: u32) -> usize {
    let lost = 2.0 * f64::from(loss_permille) / 1000.0;
    let mean = 40.0 * lost;
    let unlucky = mean + 6.0 * (mean * (1.0 - lost)).sqrt();
    36 - unlucky.ceil() as usize
}

pub fn live(scenario: &Scenario) {
    let loss = scenario
        .links
        .iter()
        .map(|link| link.loss_permille)
        .max()
        .unwrap_or(0);
    let mut stage = Stage::build(scenario);
    stage.world.run(2 * S);
    let [ann, bob] = stage.hosts;
    stage.world.flow(ann, bob, 100 * MS, 300 * S);
    stage.world.flow(bob, ann, 100 * MS, 300 * S);
    stage.check(if loss == 0 { 3 * S } else { 15 * S }, loss);
    // guesses of where a port is were in vain but for one
    let guessed = stage.places.iter().all(|place| place.is_dependent());
    let in_vain = guessed || kind(&stage.world, ann, bob) != PathKind::Direct;
    stage.befall(scenario.trouble);
    // who tried in vain has used up what an address that does not answer may get in a minute
    let soon = if scenario.trouble == Trouble::Blocked {
        20 * S
    } else {
        5 * S
    };
    stage.check(if loss == 0 && !in_vain { soon } else { 90 * S }, loss);
}

/// 64 worlds, or as many as `PROPTEST_CASES` says.
#[allow(clippy::disallowed_methods)] // of a test, not of the core
pub fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: asked.unwrap_or(64),
        failure_persistence: None,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whoever_can_reach_whom_does(scenario in scenario()) {
        live(&scenario);
    }
}
