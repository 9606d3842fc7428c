//! The packet thread in its stride allocates nothing.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use meshd_core::demux::relay_header;
use meshd_core::id::{NetworkId, NodeId};
use meshd_core::keys::BindKey;
use meshd_core::relay::bind_key;
use meshd_core::relay::frame::{Control, ControlFrame, Frame, parse};
use meshrelay::config::Listen;
use meshrelay::packets::{Limits, Members, PacketPlane};
use zeroize::Zeroizing;

const SECRET: [u8; 32] = [7; 32];
const FRAMES: usize = 20_000;
const WINDOW: usize = 64;

struct Node {
    id: NodeId,
    key: BindKey,
    socket: UdpSocket,
}

fn network() -> NetworkId {
    [1; 16].into()
}

impl Node {
    fn bound(id: u8, relay: SocketAddr) -> Self {
        let id = NodeId::from_bytes([id; 16]);
        let key = bind_key(&SECRET, network(), id);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(relay).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let node = Self { id, key, socket };
        let mut cookie = [0; 16];
        loop {
            match node.ask(&ControlFrame::bind_request(
                network(),
                id,
                [1; 8],
                &cookie,
                &node.key,
            )) {
                Control::BindCookie { cookie: fresh, .. } => cookie = fresh,
                Control::Bound { .. } => return node,
                other => panic!("{other:?}"),
            }
        }
    }

    fn ask(&self, question: &[u8]) -> Control {
        self.socket.send(question).unwrap();
        let mut answer = [0; 256];
        let len = self.socket.recv(&mut answer).unwrap();
        match parse(&answer[..len]) {
            Some(Frame::Control(control)) => control,
            other => panic!("{other:?}"),
        }
    }

    fn open(&self, peer: &Self) -> u64 {
        match self.ask(&ControlFrame::open_request(
            network(),
            self.id,
            [2; 8],
            peer.id,
            &self.key,
        )) {
            Control::Opened { session, .. } => session,
            other => panic!("{other:?}"),
        }
    }
}

/// Sends frames through the relay, never more than a window ahead of what arrived.
fn pump(from: &Node, to: &Node, frame: &[u8], frames: usize) {
    let mut received = [0; 2048];
    for n in 0..frames + WINDOW {
        if n < frames {
            from.socket.send(frame).unwrap();
        }
        if n >= WINDOW {
            assert_eq!(to.socket.recv(&mut received).unwrap(), frame.len());
        }
    }
}

/// How far the two nodes are: warming up, in their stride, done.
static STAGE: AtomicUsize = AtomicUsize::new(0);

#[test]
fn forwarding_allocates_nothing() {
    let members = Members::new(&Zeroizing::new(SECRET), [3; 32], Limits::default());
    members.set(network(), [[1; 16].into(), [2; 16].into()]);
    let listen = Listen {
        addr: "127.0.0.1:0".parse().unwrap(),
        required: true,
    };
    let (plane, opened) = PacketPlane::open(&[listen], members).unwrap();
    let mut worker = opened.into_worker();
    let relay = plane.local_addrs()[0];
    let nodes = std::thread::spawn(move || {
        let (a, b) = (Node::bound(1, relay), Node::bound(2, relay));
        let session = a.open(&b);
        let frame = [&relay_header(session)[..], &4u32.to_le_bytes(), &[0; 1200]].concat();
        pump(&a, &b, &frame, 1000);
        STAGE.store(1, SeqCst);
        let start = Instant::now();
        pump(&a, &b, &frame, FRAMES);
        let rate = FRAMES as f64 / start.elapsed().as_secs_f64();
        STAGE.store(2, SeqCst);
        // one more, so that the last turn does not wait for the relay's timer
        pump(&a, &b, &frame, 1);
        println!(
            "relayed {FRAMES} frames of {} bytes, one by one: {rate:.0} frames/s",
            frame.len()
        );
    });
    while STAGE.load(SeqCst) == 0 {
        worker.turn().unwrap();
    }
    let counted = allocation_counter::measure(|| {
        while STAGE.load(SeqCst) == 1 {
            worker.turn().unwrap();
        }
    });
    assert_eq!(counted.count_total, 0);
    while !nodes.is_finished() {
        // what is still to come is within the window
        if plane.metrics().forwarded > (FRAMES + 1000) as u64 {
            break;
        }
        worker.turn().unwrap();
    }
    nodes.join().unwrap();
    assert_eq!(plane.metrics().dropped, 0);
}
