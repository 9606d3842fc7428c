//! `meshctl expose` beside HAProxy: the same node behind a NAT, reached by the same clients, in turns, in one run.
//!
//! On the lab's cloud host are meshrelay, which exposes a port, HAProxy (Debian's, `mode tcp`, with as many threads as it takes by itself), and
//! one meshd, through which both reach a node behind a NAT: tunnel, server and clients are the same for both. Clients are on the other side of the cloud host's
//! link. A round is, for each of the two: streams from the node to the clients, streams from the clients to the node, and short connections that
//! bring one byte each way, one after the other. While one is measured the other idles. CPU time is that of the program's process alone, so what the tunnel and
//! the clients take on the same processors is not in it.
//!
//! `expose-compare [ROUNDS] [SECONDS] [FILE]`: figures on stdout, and as JSON in FILE. Exits 1 where `expose` has less than 0.8 of HAProxy's throughput.

mod figures;
mod haproxy;
mod load;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use meshd_tests::mesh::{Node, Relay};
use meshd_tests::{Machine, Nat, World, cpu_of, eventually};

use figures::{Measured, Work};

const ROUNDS: u64 = 5;
const SECONDS: u64 = 5;
const NETWORK: &str = "bench";
const HOST: &str = "203.0.113.1";
/// Ports of the node's server: what it does with a connection.
const SENDS: u16 = 9001;
const TAKES: u16 = 9002;
const SHORT: u16 = 9003;
/// HAProxy's public ports are higher by this.
const HAPROXY: u16 = 10;
const SOON: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let argument = |nth| std::env::args().nth(nth);
    let number = |nth, default| argument(nth).map_or(default, |text| text.parse().expect("a number"));
    let (rounds, seconds) = (number(1, ROUNDS), number(2, SECONDS));
    let world = World::new();
    let bed = Bed::new(&world);
    load::serve(bed.node.machine(), |port| bed.node.at(NETWORK, port));
    let proxy = haproxy::start(&bed.cloud, |port| bed.node.at(NETWORK, port));
    let pids = [bed.relay.with_process(meshd_tests::Process::pid), proxy.pid()];
    let mut all: [Vec<Measured>; 2] = Default::default();
    for round in 1..=rounds {
        for (which, pid) in pids.into_iter().enumerate() {
            let time = Duration::from_secs(seconds);
            let measured = bed.round(world.internet(), pid, which as u16 * HAPROXY, time);
            measured.report(figures::NAMES[which], round);
            all[which].push(measured);
        }
    }
    figures::conclude(&all, argument(3).as_deref())
}

struct Bed {
    node: Node,
    _beside: Node,
    relay: Relay,
    cloud: Machine,
}

impl Bed {
    fn new(world: &World) -> Self {
        let cloud = world.cloud();
        let relay = Relay::start_with(&cloud, &["--public-addr", HOST]);
        relay.create_network(NETWORK, "10.77.0.0/16");
        let node = Node::start(&world.site(Nat::PortRestricted).machine("node", 2));
        let beside = Node::start(&cloud);
        for joins in [&node, &beside] {
            joins.join(&relay.token(NETWORK, &[]));
        }
        eventually(SOON, "the path to the node is direct", || {
            beside.reaches("node", SOON);
            (beside.path_kind(NETWORK, "node") == "direct").then_some(())
        });
        for port in [SENDS, TAKES, SHORT] {
            let (name, at, to) = (format!("p{port}"), port.to_string(), format!("node:{port}"));
            let limits = ["--max-per-second", "1000000"];
            relay.ctl(&[&["expose", &name, "--tcp", &at, "--to", &to], &limits[..]].concat());
        }
        Self {
            node,
            _beside: beside,
            relay,
            cloud,
        }
    }

    fn round(&self, client: &Machine, pid: u32, higher: u16, time: Duration) -> Measured {
        let at = |port: u16| SocketAddr::new(HOST.parse().expect("a constant address"), port + higher);
        let measure = |work: &(dyn Fn() -> f64 + Sync)| {
            let before = cpu_of(pid);
            let done = client.inside(work);
            Work {
                done,
                seconds: time.as_secs_f64(),
                cpu: (cpu_of(pid) - before).as_secs_f64(),
            }
        };
        Measured {
            outward: measure(&|| load::take(at(SENDS), time)),
            inward: measure(&|| load::send(at(TAKES), time)),
            short: measure(&|| load::short(at(SHORT), time)),
        }
    }
}
