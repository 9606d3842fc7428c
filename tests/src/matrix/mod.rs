//! Pairs of NATs, tried with the real programs: one relay, two sites for each type, several pairs at a time.

mod page;
mod table;
mod trial;

use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::mesh::{Node, Relay};
use crate::nat::Nat;
use crate::process::Process;
use crate::site::Site;
use crate::world::{CLOUD_V4, CLOUD_V6, World};

pub use page::Page;
pub use table::{Pair, Reach};
pub use trial::Trial;

/// The network of every pair.
const NET: &str = "prod";
/// The cloud host's second IPv4 address.
const CLOUD_SECOND: &str = "203.0.113.2";

/// A site with one node. Fields are dropped in this order.
struct Place {
    node: Node,
    site: Site,
}

impl Place {
    /// Whether packets for `other` go straight to it, and no longer by the relay as well.
    fn is_direct(&self, network: &str, other: &Self) -> bool {
        self.node.path_kind(network, other.node.name()) == "direct"
    }

    /// Ends the node's process, if it runs.
    fn end(&self) {
        self.node.with_process(Process::kill);
    }

    /// What the node says of why it reaches `other` as it does.
    fn why(&self, other: &Self) -> String {
        let said = self.node.try_ctl(&["why", other.node.name(), "--json"]);
        String::from_utf8_lossy(&said.stdout).into_owned()
    }

    /// Whether the node is bound to a relay, connected, and knows `other`.
    fn is_ready(&self, other: &Self) -> bool {
        let Some(network) = self.node.network(NET) else {
            return false;
        };
        let peers = network["peers"].as_array().map_or(&[][..], Vec::as_slice);
        network["coordinator"] == "connected"
            && network["home_relay"] != Value::Null
            && peers.iter().any(|peer| peer["name"] == other.node.name())
    }
}

/// The mesh in which pairs are tried. Fields are dropped in this order: programs, then the world.
pub struct Matrix {
    /// The sides of every NAT that a pair names first, and those that it names second.
    sides: [Vec<(Nat, Place)>; 2],
    relay: Relay,
    _world: World,
}

impl Matrix {
    /// Starts a relay with one public IPv4 address, or two, and a node behind each NAT that the pairs name, per side.
    pub fn start(pairs: &[Pair], addresses: usize) -> Self {
        let world = World::new();
        let mut flags = vec!["--public-addr", CLOUD_V4, "--public-addr", CLOUD_V6];
        if addresses == 2 {
            flags.extend(["--public-addr", CLOUD_SECOND]);
        }
        let relay = Relay::start_with(&world.cloud(), &flags);
        relay.create_network(NET, "10.77.0.0/16");
        let named = |nat: Nat, side: usize| pairs.iter().any(|pair| [pair.0, pair.1][side] == nat);
        let sides = [0, 1].map(|side| {
            let wanted: Vec<Nat> = Nat::ALL.into_iter().filter(|nat| named(*nat, side)).collect();
            thread::scope(|scope| {
                let starting: Vec<_> = wanted
                    .into_iter()
                    .map(|nat| {
                        let (world, relay) = (&world, &relay);
                        (nat, scope.spawn(move || place(world, relay, nat, side)))
                    })
                    .collect();
                starting
                    .into_iter()
                    .map(|(nat, place)| (nat, place.join().expect("the node joined")))
                    .collect()
            })
        });
        Self {
            sides,
            relay,
            _world: world,
        }
    }

    /// The relay of all of them.
    pub fn relay(&self) -> &Relay {
        &self.relay
    }

    /// Tries each pair `times` times, `width` pairs at a time, each for at most what `bound` allows it.
    pub fn try_all(
        &self,
        pairs: &[Pair],
        (times, width): (usize, usize),
        bound: impl Fn(Pair) -> Duration + Sync,
    ) -> Vec<(Pair, Vec<Trial>)> {
        let waiting: Vec<Pair> = (0..times).flat_map(|_| pairs.iter().copied()).collect();
        let queue = Mutex::new((waiting, Vec::<Pair>::new()));
        let (freed, done) = (Condvar::new(), Mutex::new(Vec::new()));
        thread::scope(|scope| {
            for _ in 0..width {
                scope.spawn(|| {
                    while let Some(pair) = take(&queue, &freed) {
                        let _release = Release(&queue, &freed, pair);
                        let trial = self.try_once(pair, bound(pair));
                        done.lock().expect("not poisoned").push((pair, trial));
                    }
                });
            }
        });
        let done = done.into_inner().expect("not poisoned");
        let of = |pair: Pair| {
            done.iter()
                .filter(move |(of, _)| *of == pair)
                .map(|(_, trial)| trial.clone())
        };
        pairs.iter().map(|pair| (*pair, of(*pair).collect())).collect()
    }

    /// Tries one pair once.
    pub fn try_once(&self, pair: Pair, bound: Duration) -> Trial {
        let find = |side: usize, nat: Nat| {
            let found = self.sides[side].iter().find(|(of, _)| *of == nat);
            &found.expect("the matrix was started with this pair").1
        };
        let (a, b) = (find(0, pair.0), find(1, pair.1));
        let trial = trial::run(NET, a, b, bound);
        println!("{pair}: {trial:?}");
        if trial.direct.is_none() && pair.best() != Reach::Relay {
            println!("{pair}: {}\n{}", a.why(b), b.why(a));
        }
        // else they would look for ways to each other during their next trials with others
        a.end();
        b.end();
        trial
    }
}

fn place(world: &World, relay: &Relay, nat: Nat, side: usize) -> Place {
    let site = world.site(nat);
    let node = Node::start(&site.machine(&format!("{}-{}", nat.label(), ["a", "b"][side]), 2));
    node.join(&relay.token(NET, &[]));
    Place { node, site }
}

/// Pairs that wait, and pairs under way.
type Queue = Mutex<(Vec<Pair>, Vec<Pair>)>;

/// The next pair of which neither node is being tried; none when all are taken.
fn take(queue: &Queue, freed: &Condvar) -> Option<Pair> {
    let mut state = queue.lock().expect("not poisoned");
    loop {
        let (waiting, running) = &mut *state;
        if waiting.is_empty() {
            return None;
        }
        let free = |pair: &Pair| !running.iter().any(|busy| busy.0 == pair.0 || busy.1 == pair.1);
        if let Some(at) = waiting.iter().position(free) {
            let pair = waiting.remove(at);
            running.push(pair);
            return Some(pair);
        }
        state = freed.wait(state).expect("not poisoned");
    }
}

/// Makes a pair's nodes free again, also where its trial panicked.
struct Release<'a>(&'a Queue, &'a Condvar, Pair);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock().expect("not poisoned");
        state.1.retain(|pair| *pair != self.2);
        self.1.notify_all();
    }
}
