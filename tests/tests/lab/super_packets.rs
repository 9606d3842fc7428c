//! Applications that hand the kernel many datagrams at once (UDP_SEGMENT): the tunnel gets them as one super-packet, cuts it to what the
//! path takes, and none vanishes without a word.

use std::net::{SocketAddr, UdpSocket as Plain};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use meshd_net::udp::{PathMtuDiscovery, SendError, Transmit, UdpConfig, UdpSocket};
use meshd_tests::mesh::Node;
use meshd_tests::{Machine, Nat, eventually, figure, keeps, skip};

use crate::bed::{self, Bed, NET, SOON};

/// Datagrams of one super-packet.
const BURST: u64 = 8;
/// Bytes of a datagram: an IP packet of 1,400 bytes with its headers, which the tunnel's 1,408 take.
const SIZE: usize = 1_372;
/// Between two super-packets.
const EVERY: Duration = Duration::from_millis(5);
/// Super-packets of a run: two seconds of them.
const RUN: u64 = 400;
/// The longest time without arrivals that a path which becomes narrow may cause.
const STALL: Duration = Duration::from_secs(2);

/// Numbered datagrams in super-packets, and who counts them.
struct Bursts {
    socket: UdpSocket,
    to: SocketAddr,
    next: u64,
    sink: Sink,
}

/// Counts the datagrams that arrive, and the longest time between two of them, in ms.
struct Sink {
    stop: Arc<AtomicBool>,
    arrived: Arc<AtomicU64>,
    silence: Arc<AtomicU64>,
    worker: Option<JoinHandle<()>>,
}

impl Sink {
    fn start(machine: &Machine, at: SocketAddr) -> Self {
        let socket = machine.inside(|| Plain::bind(at).expect("an address of the node"));
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 16 << 20);
        let patience = socket.set_read_timeout(Some(Duration::from_millis(50)));
        patience.expect("a positive time");
        let (stop, arrived, silence) = <(Arc<AtomicBool>, Arc<AtomicU64>, Arc<AtomicU64>)>::default();
        let (until, count, longest) = (Arc::clone(&stop), Arc::clone(&arrived), Arc::clone(&silence));
        let worker = thread::spawn(move || {
            let (mut buffer, mut last) = ([0; 2048], Instant::now());
            while !until.load(Ordering::Relaxed) {
                if socket.recv_from(&mut buffer).is_ok() {
                    count.fetch_add(1, Ordering::Relaxed);
                    let waited = u64::try_from(last.elapsed().as_millis()).unwrap_or(u64::MAX);
                    longest.fetch_max(waited, Ordering::Relaxed);
                    last = Instant::now();
                }
            }
        });
        Self {
            stop,
            arrived,
            silence,
            worker: Some(worker),
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

impl Bursts {
    fn start(from: &Node, to: &Node, path_mtu: PathMtuDiscovery) -> Self {
        let at = to.at(NET, 9000);
        let config = UdpConfig {
            path_mtu,
            ..UdpConfig::new(from.at(NET, 0))
        };
        let socket = from
            .machine()
            .inside(|| UdpSocket::bind(&config).expect("a socket"));
        Self {
            socket,
            to: at,
            next: 0,
            sink: Sink::start(to.machine(), at),
        }
    }

    /// One super-packet of datagrams of so many bytes.
    fn send(&mut self, size: usize) -> Result<(), SendError> {
        let bytes: Vec<u8> = (0..BURST)
            .flat_map(|nth| {
                let mut datagram = (self.next + nth).to_be_bytes().to_vec();
                datagram.resize(size, 0);
                datagram
            })
            .collect();
        self.next += BURST;
        let parts = [std::io::IoSlice::new(&bytes)];
        self.socket.send_segments(&Transmit {
            segment_size: u16::try_from(size).expect("less than 64 KiB"),
            ..Transmit::new(self.to, &parts)
        })
    }

    /// A run of super-packets at a steady rate: how many datagrams of it arrived, and the longest silence.
    fn run(&mut self) -> (u64, Duration) {
        let before = self.sink.arrived.load(Ordering::Relaxed);
        self.sink.silence.store(0, Ordering::Relaxed);
        for _ in 0..RUN {
            self.send(SIZE).expect("the tunnel takes it");
            thread::sleep(EVERY);
        }
        let count = || self.sink.arrived.load(Ordering::Relaxed) - before;
        let _ = meshd_tests::poll(Duration::from_secs(1), || (count() == RUN * BURST).then_some(()));
        let silence = self.sink.silence.load(Ordering::Relaxed);
        (count(), Duration::from_millis(silence))
    }
}

fn direct_pair() -> Bed {
    let bed = bed::apart(&[("a", Nat::PortRestricted), ("b", Nat::PortRestricted)]);
    bed.wait_for_paths("direct");
    bed
}

/// Makes the link of the first node's own machine take 1,300 bytes: the kernel refuses larger datagrams, whole super-packets of them
/// (EMSGSIZE, EINVAL of older kernels).
fn narrow_own_link(bed: &Bed) {
    let narrow = ["ip", "link", "set", "dev", "eth0", "mtu", "1300"];
    bed.nodes[0].machine().run(&narrow);
}

/// Whether the node's interface takes super-packets of UDP as they are (Linux 6.2).
fn takes_super_packets(node: &Node) -> bool {
    let features = node.machine().sh("ethtool -k meshd0");
    features.contains("tx-udp-segmentation: on")
}

/// Datagrams, and what of them came to the interface as packets of the kernel.
fn watch(node: &Node) {
    node.machine().sh(
        "nft 'add table inet watch; add chain inet watch out { type filter hook postrouting priority 300; }; \
                       add rule inet watch out oifname meshd0 udp dport 9000 counter'",
    );
}

fn watched(node: &Node) -> u64 {
    let text = node.machine().sh("nft list chain inet watch out");
    let count = text
        .split_once("packets ")
        .map(|(_, rest)| rest)
        .unwrap_or_default();
    count
        .split_whitespace()
        .next()
        .and_then(|count| count.parse().ok())
        .unwrap_or(0)
}

#[test]
fn super_packets_of_udp_are_cut_where_the_machines_own_link_becomes_narrow() {
    let bed = direct_pair();
    let mut bursts = Bursts::start(&bed.nodes[0], &bed.nodes[1], PathMtuDiscovery::Off);
    watch(&bed.nodes[0]);
    let (arrived, _) = bursts.run();
    let packets = watched(&bed.nodes[0]);
    assert!(arrived * 100 >= RUN * BURST * 99, "{arrived} of {}", RUN * BURST);
    if takes_super_packets(&bed.nodes[0]) {
        assert!(
            packets * 4 <= RUN * BURST,
            "{packets} packets for {} datagrams",
            RUN * BURST
        );
    } else {
        skip(
            "UDP super-packets into the tunnel",
            "this kernel's TUN takes none (Linux 6.2 does)",
        );
    }
    narrow_own_link(&bed);
    let (arrived, silence) = bursts.run();
    figure(
        "own link from 1500 to 1300 under UDP super-packets: datagrams that arrived, longest silence",
        format!("{arrived} of {}, {} ms", RUN * BURST, silence.as_millis()),
        "2,000 ms",
    );
    assert!(keeps(silence, STALL), "{silence:?}");
    // what left before the kernel's word is lost; from then on nothing is
    let (arrived, _) = bursts.run();
    assert!(arrived * 100 >= RUN * BURST * 99, "{arrived} of {}", RUN * BURST);
    let path = bed.nodes[0].peer(NET, "b").expect("known")["path"].clone();
    assert_eq!(path["kind"], "direct", "{path}");
    assert!(path["mtu"].as_u64().is_some_and(|mtu| mtu <= 1300), "{path}");
}

#[test]
fn super_packets_that_may_not_be_fragmented_are_answered_until_their_sender_makes_them_smaller() {
    let bed = direct_pair();
    for site in &bed.sites {
        site.narrow_uplink(bed.world.internet(), 1400, true);
    }
    let mut bursts = Bursts::start(&bed.nodes[0], &bed.nodes[1], PathMtuDiscovery::Kernel);
    eventually(SOON, "the sender is told", || match bursts.send(SIZE) {
        Err(SendError::TooBig) => Some(()),
        Ok(()) | Err(SendError::WouldBlock) => None,
        Err(error) => panic!("{error}"),
    });
    // what the answer allows: the path's 1,400 bytes less the tunnel's own
    let before = bursts.sink.arrived.load(Ordering::Relaxed);
    for _ in 0..RUN / 4 {
        bursts.send(1_200).expect("it fits");
        thread::sleep(EVERY);
    }
    let wanted = RUN / 4 * BURST;
    let arrived = || bursts.sink.arrived.load(Ordering::Relaxed) - before;
    let _ = meshd_tests::poll(Duration::from_secs(2), || (arrived() >= wanted).then_some(()));
    assert!(arrived() * 100 >= wanted * 99, "{} of {wanted}", arrived());
}
