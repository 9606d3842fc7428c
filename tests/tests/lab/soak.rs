//! Thirty nodes, ten minutes, random kills, joins, leaves and relay restarts. For `./test --long`; the variable
//! `MESHD_SOAK_SECONDS` shortens it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use meshd_tests::hostile::Noise;
use meshd_tests::mesh::Node;
use meshd_tests::{Nat, Process, Site, eventually, figure};

use crate::bed::{self, Bed, NET};

/// Nodes at the beginning.
const NODES: u32 = 30;
/// The first of them are never killed, so that their memory can be watched.
const STEADY: usize = 4;
/// Time for every pair to reach each other at the end.
const HEAL: Duration = Duration::from_secs(120);

struct Soak {
    bed: Bed,
    sites: Vec<Site>,
    noise: Noise,
    made: u32,
    /// Who lives where: a place is a host number in a site, and who leaves makes his free.
    places: BTreeMap<u32, String>,
}

#[test]
#[ignore = "takes ten minutes: ./test --long"]
fn thirty_nodes_live_through_ten_minutes_of_kills_joins_leaves_and_relay_restarts() {
    let seconds = std::env::var("MESHD_SOAK_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(600);
    let length = Duration::from_secs(seconds);
    let nats = [
        Nat::PortRestricted,
        Nat::FullCone,
        Nat::Symmetric,
        Nat::Firewall,
        Nat::CarrierFullCone,
        Nat::PlainLinux,
    ];
    let bed = bed::empty();
    let sites = nats.iter().map(|nat| bed.world.site(*nat)).collect();
    let mut soak = Soak {
        bed,
        sites,
        noise: Noise::new(2024),
        made: 0,
        places: BTreeMap::new(),
    };
    (0..NODES).for_each(|_| soak.join());
    let begin = Instant::now();
    let (mut early, mut of_relay) = (None, None);
    let mut turns = 0;
    while begin.elapsed() < length {
        soak.turn(begin.elapsed() < length / 2);
        turns += 1;
        if begin.elapsed() >= length * 3 / 10 {
            early.get_or_insert_with(|| (soak.made, soak.memory_of_nodes()));
        }
        if begin.elapsed() >= length * 13 / 20 {
            of_relay.get_or_insert_with(|| (soak.made, soak.memory_of_relay()));
        }
    }
    let (made, early) = early.expect("long enough");
    let came = soak.made - made;
    for (early, late) in early.iter().zip(&soak.memory_of_nodes()) {
        has_not_grown("third minute to last", early, late, came);
    }
    let (made, of_relay) = of_relay.expect("long enough");
    let came = soak.made - made;
    has_not_grown("after its last restart", &of_relay, &soak.memory_of_relay(), came);
    soak.everybody_reaches_everybody();
    figure(
        "soak",
        format!(
            "{turns} disturbances, {} nodes at the end, every pair reachable",
            soak.bed.nodes.len()
        ),
        "every pair",
    );
}

type Memory = (String, u64);

/// What may be remembered for good of each node that came (and, as the number stays, of one that went), in KiB: its identity, the
/// statements that prove its end, its name, and what lies between such in memory.
const REMEMBERED: u64 = 4;

/// At most 5 % in the time that is named, and what has to be remembered of the nodes that came.
fn has_not_grown(when: &str, (name, before): &Memory, (_, after): &Memory, came: u32) {
    let most = before + before / 20 + u64::from(came) * REMEMBERED;
    figure(
        &format!("memory of {name}, {when}, {came} nodes came"),
        format!("{before} -> {after} KiB"),
        &format!("{most} KiB"),
    );
    assert!(*after <= most, "{name} grew from {before} to {after} KiB");
}

impl Soak {
    /// One disturbance. The relay is restarted as long as `restarts` says so: its memory is watched after that.
    fn turn(&mut self, restarts: bool) {
        match self.noise.word() % 20 {
            0 if restarts => {
                self.bed.relay.kill();
                self.bed.relay.start_again();
            }
            1 | 2 if self.bed.nodes.len() < 34 => self.join(),
            3 | 4 if self.bed.nodes.len() > 26 => {
                let victim = self.victim();
                let leaver = self.bed.nodes.remove(victim);
                leaver.ctl(&["leave", NET]);
                self.move_out(&leaver);
            }
            5..=10 => {
                let victim = self.victim();
                self.bed.nodes[victim].kill();
                self.bed.nodes[victim].start_again();
            }
            _ => {
                let (from, to) = (self.victim(), self.victim());
                self.bed.nodes[from].pings(self.bed.nodes[to].name());
            }
        }
    }

    fn victim(&mut self) -> usize {
        let others = self.bed.nodes.len() - STEADY;
        STEADY + usize::try_from(self.noise.word()).unwrap_or(0) % others
    }

    fn join(&mut self) {
        let name = format!("n{}", self.made);
        self.made += 1;
        let free = |place: &u32| !self.places.contains_key(place);
        let place = (0..240).find(free).expect("fewer than 240 at a time");
        let node = Node::start(&self.site(place).machine(&name, 2 + place));
        node.join(&self.bed.relay.token(NET, &[]));
        self.places.insert(place, name);
        self.bed.nodes.push(node);
    }

    fn site(&self, place: u32) -> &Site {
        &self.sites[place as usize % self.sites.len()]
    }

    /// Takes the machine of one who left off its LAN.
    fn move_out(&mut self, leaver: &Node) {
        let lived = |(_, name): &(&u32, &String)| name.as_str() == leaver.name();
        let place = *self.places.iter().find(lived).expect("has a place").0;
        self.site(place).unplug(leaver.machine());
        self.places.remove(&place);
    }

    /// Own memory of those that were never killed, in KiB: code comes and goes, and is no leak.
    fn memory_of_nodes(&self) -> Vec<Memory> {
        let of = |node: &Node| (node.name().to_owned(), node.with_process(Process::own_kib));
        self.bed.nodes.iter().take(STEADY).map(of).collect()
    }

    fn memory_of_relay(&self) -> Memory {
        ("meshrelay".into(), self.bed.relay.with_process(Process::own_kib))
    }

    fn everybody_reaches_everybody(&self) {
        let end = Instant::now() + HEAL;
        for node in &self.bed.nodes {
            for peer in self.bed.nodes.iter().filter(|peer| peer.name() != node.name()) {
                let left = end
                    .saturating_duration_since(Instant::now())
                    .max(Duration::from_secs(2));
                eventually(left, &format!("{} reaches {}", node.name(), peer.name()), || {
                    node.pings(peer.name()).then_some(())
                });
            }
        }
    }
}
