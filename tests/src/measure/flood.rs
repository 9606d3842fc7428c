//! UDP packets of one size, as many as the sender can make, one by one as a program without segmentation offload sends them, and
//! what of them arrives.

use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use meshd_net::poll::{Events, Interest, Poller};
use meshd_net::udp::{RecvBatch, Transmit, UdpConfig, UdpSocket};

use super::load::{WARM_UP, Way};

/// Packets for one system call.
const BATCH: usize = 32;
/// A receiver that hears nothing looks so often whether it is to end.
const LOOK: Duration = Duration::from_millis(50);

/// What was sent and what arrived so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    /// Packets handed to the sending socket.
    pub sent: u64,
    /// Packets read from the receiving one.
    pub arrived: u64,
}

#[derive(Default)]
struct Counters {
    stop: AtomicBool,
    sent: AtomicU64,
    arrived: AtomicU64,
}

/// Floods from one place to the other with packets of `size` bytes of UDP payload. Once that goes on `measured` begins; it is given
/// what counts.
///
/// # Panics
/// If there is no socket to be had.
pub fn flood<T>(
    (from, other, to): Way<'_>,
    size: usize,
    measured: impl FnOnce(&dyn Fn() -> Count) -> T,
) -> T {
    let counters = Arc::<Counters>::default();
    let sink = other.inside(|| bind(to));
    let to = sink.local_addr();
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let source = from.inside(|| bind(any.parse().expect("a constant address")));
    let (of_sender, of_receiver) = (Arc::clone(&counters), Arc::clone(&counters));
    let sender = thread::spawn(move || send(&source, to, size, &of_sender));
    let receiver = thread::spawn(move || receive(&sink, &of_receiver));
    thread::sleep(WARM_UP);
    let result = measured(&|| Count {
        sent: counters.sent.load(Ordering::Relaxed),
        arrived: counters.arrived.load(Ordering::Relaxed),
    });
    counters.stop.store(true, Ordering::Relaxed);
    sender.join().expect("the sender did not panic");
    receiver.join().expect("the receiver did not panic");
    result
}

fn bind(to: SocketAddr) -> UdpSocket {
    let config = UdpConfig {
        coalesce: false,
        ..UdpConfig::new(to)
    };
    UdpSocket::bind(&config).expect("a socket")
}

fn send(socket: &UdpSocket, to: SocketAddr, size: usize, counters: &Counters) {
    let payload = vec![0x5a; size];
    let parts = [IoSlice::new(&payload)];
    let batch: [Transmit<'_>; BATCH] = std::array::from_fn(|_| Transmit::new(to, &parts));
    while !counters.stop.load(Ordering::Relaxed) {
        let outcome = socket.send_batch(&batch);
        counters.sent.fetch_add(outcome.sent as u64, Ordering::Relaxed);
        if outcome.sent == 0 {
            // no room in the socket: whoever makes room gets the processor
            thread::yield_now();
        }
    }
}

fn receive(socket: &UdpSocket, counters: &Counters) {
    let poller = Poller::new().expect("epoll");
    poller.add(socket, 0, Interest::READ).expect("a new descriptor");
    let (mut events, mut batch) = (Events::with_capacity(1), RecvBatch::new(BATCH, 2048));
    while !counters.stop.load(Ordering::Relaxed) {
        match socket.recv_batch(&mut batch) {
            Ok(count) if count > 0 => {
                counters.arrived.fetch_add(count as u64, Ordering::Relaxed);
            }
            _ => poller.wait(&mut events, Some(LOOK)).expect("epoll waits"),
        }
    }
}
