//! Who sends and who receives: pairs on the machine outside, the same for both relays.

use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use meshd_net::udp::{RecvBatch, Transmit, UdpConfig, UdpSocket};

/// Bytes of the packet inside, as a full WireGuard packet over a 1408-byte tunnel is.
pub const PAYLOAD: usize = 1440;
/// Packets of a pair on their way at most.
const WINDOW: u64 = 32;
/// Packets of a pair sent at once: what a TCP stream in a tunnel gives.
const BURST: usize = 8;
/// Without progress for so long, what was on its way counts as lost.
const STUCK: Duration = Duration::from_millis(100);
const OWN: &str = "203.0.113.1:3478";
pub const COTURN: &str = "203.0.113.1:3480";

/// One pair, its relay told of it.
pub struct Pair {
    sender: UdpSocket,
    receiver: UdpSocket,
    /// A whole datagram for the relay.
    datagram: Vec<u8>,
    sent: u64,
    received: u64,
}

/// Sends and receives for so long; gives what arrived.
pub fn pump(pairs: &mut [Pair], time: Duration) -> u64 {
    let mut batch = RecvBatch::new(WINDOW as usize, 2048);
    let (begin, mut moved) = (Instant::now(), Instant::now());
    let mut arrived = 0;
    while begin.elapsed() < time {
        for pair in pairs.iter_mut() {
            if pair.sent - pair.received + BURST as u64 <= WINDOW {
                pair.send();
            }
            let count = pair.receive(&mut batch);
            if count > 0 {
                moved = Instant::now();
            }
            arrived += count;
        }
        if moved.elapsed() > STUCK {
            pairs.iter_mut().for_each(|pair| pair.received = pair.sent);
            moved = Instant::now();
        }
    }
    arrived
}

impl Pair {
    pub fn new(sender: UdpSocket, receiver: UdpSocket, datagram: Vec<u8>) -> Self {
        Self {
            sender,
            receiver,
            datagram,
            sent: 0,
            received: 0,
        }
    }

    fn send(&mut self) {
        let parts = [IoSlice::new(&self.datagram); BURST];
        let to = relay_of(&self.datagram);
        let transmit = Transmit {
            segment_size: self.datagram.len() as u16,
            ..Transmit::new(to, &parts)
        };
        if self.sender.send_segments(&transmit).is_ok() {
            self.sent += BURST as u64;
        }
    }

    fn receive(&mut self, batch: &mut RecvBatch) -> u64 {
        let count = self.receiver.recv_batch(batch).unwrap_or(0) as u64;
        self.received = (self.received + count).min(self.sent);
        count
    }
}

/// The relay that a datagram is made for: ours begin with 5.
fn relay_of(datagram: &[u8]) -> SocketAddr {
    let address = if datagram.first() == Some(&5) { OWN } else { COTURN };
    address.parse().expect("a constant address")
}

pub fn socket() -> UdpSocket {
    let config = UdpConfig {
        coalesce: false,
        ..UdpConfig::new("0.0.0.0:0".parse().expect("a constant address"))
    };
    UdpSocket::bind(&config).expect("a socket")
}

/// Asks the relay until it answers; gives the answer.
pub fn ask(socket: &UdpSocket, question: &[u8], answers: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let begin = Instant::now();
    let mut batch = RecvBatch::new(8, 2048);
    loop {
        let parts = [IoSlice::new(question)];
        let _ = socket.send_segments(&Transmit::new(relay_of(question), &parts));
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_millis(500) {
            let _ = socket.recv_batch(&mut batch);
            let answer = batch
                .iter_mut()
                .map(|r| r.bytes.to_vec())
                .find(|bytes| answers(bytes));
            if let Some(answer) = answer {
                return answer;
            }
            std::thread::yield_now();
        }
        assert!(
            begin.elapsed() < Duration::from_secs(20),
            "the relay does not answer"
        );
    }
}

/// Not secret, only different each time.
pub fn unique() -> [u8; 8] {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed).to_le_bytes()
}
