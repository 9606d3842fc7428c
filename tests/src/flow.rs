//! Numbered UDP packets at a steady rate, and what became of them: the longest silence, what was lost, what came twice.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::machine::Machine;
use crate::wait::eventually;

/// Bytes of a packet: 8 of number, the rest filler.
pub(crate) const SIZE: usize = 200;
/// Half a second of 20,000 packets/s, with what the kernel counts for each.
const RECEIVE_BUFFER: usize = 16 << 20;
/// What should have been sent longer ago is sent at the usual pace.
const VERY_LATE: Duration = Duration::from_millis(20);
/// How long the receiver goes on after the sender stopped, for what is still under way.
const LINGER: Duration = Duration::from_millis(500);

/// Runs of missing packets that are told.
const MAX_RUNS: usize = 16;
/// How long the first packet may take on a busy computer.
const FIRST: Duration = Duration::from_secs(20);

/// A stream of numbered packets from one machine to another, running until [`UdpFlow::stop`].
pub struct UdpFlow {
    stop_sending: Arc<AtomicBool>,
    stop_receiving: Arc<AtomicBool>,
    arriving: Arc<AtomicBool>,
    sender: JoinHandle<u64>,
    receiver: JoinHandle<Arrivals>,
}

/// What became of a stream.
#[derive(Clone, Debug, Default)]
pub struct FlowReport {
    /// Packets handed to the sending socket.
    pub sent: u64,
    /// Different packets that arrived.
    pub received: u64,
    /// Arrivals of a packet that had arrived before.
    pub duplicated: u64,
    /// Arrivals of a packet after one with a higher number.
    pub reordered: u64,
    /// The longest time between two arrivals, the start and the end of the stream counted as arrivals.
    pub longest_silence: Duration,
    /// When the first packet arrived, after the start of the stream.
    pub first_arrival: Option<Duration>,
    /// Packets before the first that arrived, which never arrived themselves.
    pub lost_at_first: u64,
    /// Of those sent after the first that arrived, which never did: from, to; the first few.
    pub missing: Vec<(u64, u64)>,
}

impl FlowReport {
    /// Packets that never arrived.
    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }

    /// Of these, those sent after the first that arrived.
    pub fn lost_later(&self) -> u64 {
        self.lost().saturating_sub(self.lost_at_first)
    }
}

#[derive(Default)]
struct Arrivals {
    seen: Vec<u64>,
    received: u64,
    duplicated: u64,
    reordered: u64,
    highest: u64,
    longest_silence: Duration,
    first: Option<Duration>,
    first_number: Option<u64>,
}

impl UdpFlow {
    /// Sends `rate` packets/s from `from` to the address `to` of the machine `at`.
    ///
    /// # Panics
    /// If `to` is not an address of `at`.
    pub fn start(from: &impl AsRef<Machine>, at: &impl AsRef<Machine>, to: SocketAddr, rate: u32) -> Self {
        let sink = at
            .as_ref()
            .inside(|| UdpSocket::bind(to).expect("the receiving address exists"));
        // what waits while this computer does other things was not lost by the mesh
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&sink, RECEIVE_BUFFER);
        sink.set_read_timeout(Some(Duration::from_millis(50)))
            .expect("a positive time");
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let source = from.as_ref().inside(|| UdpSocket::bind(any).expect("a socket"));
        let (stop_sending, stop_receiving) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (until_sent, until_received) = (Arc::clone(&stop_sending), Arc::clone(&stop_receiving));
        let arriving = Arc::new(AtomicBool::new(false));
        let first = Arc::clone(&arriving);
        Self {
            receiver: thread::spawn(move || receive(&sink, &until_received, &first)),
            sender: thread::spawn(move || send(&source, to, rate, &until_sent)),
            stop_sending,
            stop_receiving,
            arriving,
        }
    }

    /// Waits until its first packet has arrived: before that nobody can notice that it ends.
    #[track_caller]
    pub fn arriving(self) -> Self {
        eventually(FIRST, "the flow arrives", || {
            self.arriving.load(Ordering::Relaxed).then_some(())
        });
        self
    }

    /// Ends the stream and says what became of it.
    pub fn stop(self) -> FlowReport {
        self.stop_sending.store(true, Ordering::Relaxed);
        let sent = self.sender.join().expect("the sender did not panic");
        thread::sleep(LINGER);
        self.stop_receiving.store(true, Ordering::Relaxed);
        let arrivals = self.receiver.join().expect("the receiver did not panic");
        FlowReport {
            sent,
            received: arrivals.received,
            duplicated: arrivals.duplicated,
            reordered: arrivals.reordered,
            longest_silence: arrivals.longest_silence,
            first_arrival: arrivals.first,
            lost_at_first: arrivals.missing_before_first(),
            missing: arrivals.missing(sent),
        }
    }
}

/// Sends on a schedule of absolute times, so that a late wake-up is made up for, unless it is very late: a burst would test the
/// queues of this computer. Errors of the socket are losses.
fn send(socket: &UdpSocket, to: SocketAddr, rate: u32, stop: &AtomicBool) -> u64 {
    let mut begin = Instant::now();
    let mut packet = [0; SIZE];
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let due = begin + Duration::from_secs(1) / rate * u32::try_from(number).unwrap_or(u32::MAX);
        let late = Instant::now().saturating_duration_since(due);
        if late > VERY_LATE {
            begin += late;
        }
        thread::sleep(due.saturating_duration_since(Instant::now()));
        packet[..8].copy_from_slice(&number.to_be_bytes());
        let _ = socket.send_to(&packet, to);
        number += 1;
    }
    number
}

fn receive(socket: &UdpSocket, stop: &AtomicBool, arriving: &AtomicBool) -> Arrivals {
    let mut arrivals = Arrivals::default();
    let begin = Instant::now();
    let mut last = begin;
    let mut buffer = [0; SIZE + 1];
    loop {
        // what waits when the time is over has arrived, too
        let over = stop.load(Ordering::Relaxed);
        let Ok((SIZE, _)) = socket.recv_from(&mut buffer) else {
            if over {
                break;
            }
            continue;
        };
        let now = Instant::now();
        arrivals.longest_silence = arrivals.longest_silence.max(now - last);
        last = now;
        arrivals.first.get_or_insert(now - begin);
        arriving.store(true, Ordering::Relaxed);
        let number: [u8; 8] = buffer[..8].try_into().expect("eight bytes");
        arrivals.note(u64::from_be_bytes(number));
    }
    // what follows the last packet is silence too, but for the time we lingered
    arrivals.longest_silence = arrivals
        .longest_silence
        .max(last.elapsed().saturating_sub(LINGER));
    arrivals
}

impl Arrivals {
    fn came(&self, number: u64) -> bool {
        let word = usize::try_from(number / 64).ok().and_then(|at| self.seen.get(at));
        word.is_some_and(|word| word & (1 << (number % 64)) != 0)
    }

    /// Of the packets before the first that arrived, those that did not come later either.
    fn missing_before_first(&self) -> u64 {
        let first = self.first_number.unwrap_or(0);
        (0..first).filter(|number| !self.came(*number)).count() as u64
    }

    /// Runs of packets that never arrived, after the first that did.
    fn missing(&self, sent: u64) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for number in (self.first_number.unwrap_or(sent)..sent).filter(|number| !self.came(*number)) {
            let full = runs.len() == MAX_RUNS;
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == number => *last = number,
                _ if full => break,
                _ => runs.push((number, number)),
            }
        }
        runs
    }

    fn note(&mut self, number: u64) {
        self.first_number.get_or_insert(number);
        let (word, bit) = (usize::try_from(number / 64).unwrap_or(usize::MAX), number % 64);
        if word >= self.seen.len() {
            self.seen.resize(word + 1, 0);
        }
        if self.seen[word] & (1 << bit) != 0 {
            self.duplicated += 1;
            return;
        }
        self.seen[word] |= 1 << bit;
        if self.received > 0 && number < self.highest {
            self.reordered += 1;
        }
        self.highest = self.highest.max(number);
        self.received += 1;
    }
}
