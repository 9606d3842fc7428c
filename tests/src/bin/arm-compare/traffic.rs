//! The traffic, the same for all programs.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use meshd_tests::{Machine, TcpFlow, eventually};

use crate::subject::{OURS, Subject, THEIRS};

/// Payload of a full TCP packet in bytes: 1,408 less headers with timestamps.
const SEGMENT: f64 = 1356.0;
/// Datagrams on their way at most.
const WINDOW: usize = 64;
/// For a window to arrive; what has not by then is lost.
const PATIENCE: Duration = Duration::from_secs(15);
/// A datagram may be lost among so many.
const MAX_LOSS: f64 = 0.02;
const LONG: Duration = Duration::from_secs(300);

enum Load {
    /// One stream of so many bytes.
    Tcp { bytes: u64 },
    /// So many datagrams with so many bytes of payload.
    Udp { size: usize, count: usize },
}

/// Something to do for a tunnel.
pub struct Workload {
    pub name: &'static str,
    load: Load,
    /// Towards the program that is measured.
    inwards: bool,
}

const TCP: Load = Load::Tcp { bytes: 8 << 20 };
const FULL: Load = Load::Udp {
    size: 1372,
    count: 6_400,
};
const SMALL: Load = Load::Udp {
    size: 64,
    count: 6_400,
};

/// All that is measured.
pub const WORKLOADS: [Workload; 6] = [
    Workload::new("TCP out", TCP, false),
    Workload::new("TCP in", TCP, true),
    Workload::new("UDP 1372 B out", FULL, false),
    Workload::new("UDP 1372 B in", FULL, true),
    Workload::new("UDP 64 B out", SMALL, false),
    Workload::new("UDP 64 B in", SMALL, true),
];

impl Workload {
    const fn new(name: &'static str, load: Load, inwards: bool) -> Self {
        Self { name, load, inwards }
    }

    /// Runs it; how many packets arrived.
    pub fn run(&self, subject: &Subject) -> f64 {
        let (from, at, address) = if self.inwards {
            (&subject.peer, &subject.node, OURS)
        } else {
            (&subject.node, &subject.peer, THEIRS)
        };
        let to = SocketAddr::new(address.parse().expect("an address"), 9000);
        match self.load {
            Load::Tcp { bytes } => tcp(from, at, to, bytes),
            Load::Udp { size, count } => udp(from, at, to, size, count),
        }
    }
}

fn tcp(from: &Machine, at: &Machine, to: SocketAddr, bytes: u64) -> f64 {
    let flow = TcpFlow::start(from, at, to, 0);
    eventually(LONG, "the bytes arrive", || {
        (flow.received() >= bytes).then_some(())
    });
    let report = flow.stop();
    assert_eq!(report.broken, None, "the stream is whole");
    report.bytes as f64 / SEGMENT
}

/// In windows: the next leaves when the last has arrived, so that nothing is lost to queues, however slow the tunnel.
fn udp(from: &Machine, at: &Machine, to: SocketAddr, size: usize, count: usize) -> f64 {
    let sink = at.inside(|| UdpSocket::bind(to).expect("the receiving address exists"));
    let source = from.inside(|| UdpSocket::bind("0.0.0.0:0").expect("a socket"));
    sink.set_read_timeout(Some(Duration::from_millis(100)))
        .expect("a positive time");
    let (datagram, mut buffer) = (vec![0x5a; size], vec![0; size + 1]);
    let (mut sent, mut received) = (0, 0);
    while sent < count {
        for _ in 0..WINDOW {
            source
                .send_to(&datagram, to)
                .expect("the tunnel's interface takes it");
        }
        sent += WINDOW;
        let end = Instant::now() + PATIENCE;
        while received < sent && Instant::now() < end {
            received += usize::from(
                sink.recv_from(&mut buffer)
                    .is_ok_and(|(length, _)| length == size),
            );
        }
    }
    let loss = 1.0 - received as f64 / sent as f64;
    assert!(loss <= MAX_LOSS, "{received} of {sent} datagrams arrived");
    received as f64
}
