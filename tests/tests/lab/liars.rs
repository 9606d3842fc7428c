//! Thirty nodes of which one lies, and a STUN server that lies: what comes to the one whom they name stays within the limits
//! of docs/wire.md, section 7, whatever they say. For `./test --long`.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use meshd_tests::liar::{Liar, Lie, Victim};
use meshd_tests::mesh::Node;
use meshd_tests::{Nat, Site, World, eventually, figure};

use crate::bed::{self, NET};
use crate::reflectors::{Workers, lying_stun_server, relay_with_a_liar};

/// Nodes that do not lie.
const HONEST: u32 = 29;
/// How long each form of attack is watched: the limits are by the minute.
const MINUTE: Duration = Duration::from_secs(60);
/// Datagrams a minute of one node to all addresses of one IP address that have not answered.
const PER_HOST: u64 = 64;
/// The same to one address, and what netcheck sends to learn whether the router hairpins.
const PER_ADDRESS: u64 = 8 + 2;

/// Kinds of NAT in front of those.
const NATS: [Nat; 5] = [
    Nat::Open,
    Nat::FullCone,
    Nat::PortRestricted,
    Nat::Symmetric,
    Nat::Firewall,
];

/// A form of attack, and datagrams a minute that each honest node may be made to send by it.
type Form = (&'static str, Lie, u64);

#[test]
#[ignore = "long: minutes of lies, and thirty nodes"]
fn a_stun_server_and_one_of_thirty_nodes_that_lie_make_nobody_send_more_than_the_limits() {
    let forms = [
        ("a member's record lies", Lie::Record, PER_HOST),
        ("a member's calls lie", Lie::Calls, PER_HOST),
        (
            "a member sends in the victim's name, old packets too",
            Lie::Reflections,
            PER_HOST,
        ),
    ];
    thirty_nodes(true, &forms);
}

/// Nodes that believe what they measured of their own NAT, as they do not where observers disagree, also search: up to 4,000 ports of
/// whom a peer names. But only where a relay sees that peer, so that the victim gets no more than by any other call.
#[test]
#[ignore = "long: minutes of lies, and thirty nodes"]
fn one_of_thirty_nodes_that_has_the_others_search_makes_nobody_send_more_than_the_limits() {
    let search = "a member has the others search there";
    thirty_nodes(false, &[(search, Lie::Search, PER_HOST)]);
}

fn thirty_nodes(lying_stun: bool, forms: &[Form]) {
    let world = World::new();
    let cloud = world.cloud();
    let victim_site = world.site(Nat::Open);
    let victim = victim_site.machine("victim", 2);
    let target: SocketAddr = format!("{}:5353", victim_site.v4(2)).parse().expect("an address");
    let mut workers = Workers::new();
    let relay = if lying_stun {
        lying_stun_server(&mut workers, &cloud, target);
        relay_with_a_liar(&cloud)
    } else {
        bed::relay_with_two_addresses(&cloud)
    };
    let sites: Vec<Site> = NATS.iter().map(|nat| world.site(*nat)).collect();
    let place = |number: u32| &sites[number as usize % sites.len()];
    let nodes: Vec<Node> = (0..HONEST)
        .map(|number| {
            let node = Node::start(&place(number).machine(&format!("n{number}"), 2 + number));
            node.join(&relay.token(NET, &[]));
            node
        })
        .collect();
    let counter = Victim::count(&victim, target.ip());
    if lying_stun {
        let counted = watch(&counter, || talk(&nodes));
        keeps("a STUN server lies", counted, PER_ADDRESS);
    }
    let machine = world.site(Nat::Open).machine("liar", 2);
    let coordinator = SocketAddr::from(([203, 0, 113, 1], 443));
    let liar = Liar::start(&machine, &relay.token(NET, &[]), coordinator, target);
    let all = HONEST as usize;
    eventually(MINUTE, "every node talks to the liar", || {
        (liar.believed_by() == all).then_some(())
    });
    for (what, lie, bar) in forms {
        liar.tell(*lie);
        let counted = watch(&counter, || thread::sleep(MINUTE));
        assert_eq!(liar.believed_by(), all, "{what}: it is a member still");
        keeps(what, counted, *bar);
    }
    liar.stop();
    nodes[0].reaches("n1", bed::SOON);
}

/// Holds what came to the victim against what each honest node may send.
fn keeps(what: &str, (datagrams, large): (u64, u64), each: u64) {
    let bar = u64::from(HONEST) * each;
    let what = format!("datagrams a minute at the victim, 30 nodes, {what}");
    figure(&what, datagrams, bar);
    assert!(datagrams <= bar, "{what}: {datagrams}, more than {bar}");
    assert_eq!(large, 0, "{what}: datagrams of more than 128 bytes");
}

/// What comes to the victim during `work`, which takes a minute.
fn watch(counter: &Victim, work: impl FnOnce()) -> (u64, u64) {
    let before = counter.counted();
    work();
    let after = counter.counted();
    (after.0 - before.0, after.1 - before.1)
}

/// Every node sends to every other for a minute.
fn talk(nodes: &[Node]) {
    let end = Instant::now() + MINUTE;
    while Instant::now() < end {
        for node in nodes {
            for peer in nodes.iter().filter(|peer| peer.name() != node.name()) {
                if Instant::now() < end {
                    let _ = node.pings(peer.name());
                }
            }
        }
    }
}
