//! Says how a NAT maps and filters, by asking it (RFC 4787 section 4.1 and 5, measured as RFC 5780 section 4 does).
//!
//! The server has four sockets: two addresses times two ports. A question is an id and the socket that is to answer; the
//! answer is the id and the source address that the server saw.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::machine::Machine;

const ADDRESSES: [&str; 2] = ["203.0.113.1", "203.0.113.2"];
const PORTS: [u16; 2] = [3478, 3479];
/// How long an answer may take inside one computer.
const PATIENCE: Duration = Duration::from_millis(700);
/// How often a question is asked before silence counts.
const TRIES: u32 = 2;

/// What decides the public port of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// The inside endpoint alone.
    EndpointIndependent,
    /// The destination too; the steps between successive mappings' ports are given.
    EndpointDependent {
        /// Port differences between the mappings to four destinations, in the order they were asked.
        steps: [i32; 3],
    },
}

/// Who may send to a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filtering {
    /// Anybody.
    EndpointIndependent,
    /// Whoever's address was sent to.
    AddressDependent,
    /// Whoever's address and port were sent to.
    AddressAndPortDependent,
}

/// How a NAT behaves; `None` where no UDP passes.
pub type Behaviour = Option<(Mapping, Filtering)>;

/// The answering side, on the cloud host. Stops when dropped.
pub struct Server {
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
}

impl Server {
    /// Listens on the cloud host's two addresses.
    pub fn start(cloud: &Machine) -> Self {
        let sockets: Vec<UdpSocket> = cloud.inside(|| places().iter().map(|place| bind(*place)).collect());
        let sockets = Arc::new(sockets);
        let stop = Arc::new(AtomicBool::new(false));
        let worker = |index: usize| {
            let (sockets, stop) = (Arc::clone(&sockets), Arc::clone(&stop));
            std::thread::spawn(move || answer(&sockets, index, &stop))
        };
        Self {
            workers: (0..sockets.len()).map(worker).collect(),
            stop,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

/// Measures the NAT between `machine` and the internet.
pub fn measure(machine: &Machine) -> Behaviour {
    machine.inside(|| {
        let socket = bind(SocketAddr::from(([0, 0, 0, 0], 0)));
        let seen: Vec<SocketAddr> = (0..4).map_while(|place| ask(&socket, place, place)).collect();
        let [first, .., last] = seen.as_slice() else {
            return None;
        };
        let mapping = if seen.iter().all(|address| address == first) && first == last {
            Mapping::EndpointIndependent
        } else {
            let step = |at: usize| i32::from(seen[at + 1].port()) - i32::from(seen[at].port());
            Mapping::EndpointDependent {
                steps: [step(0), step(1), step(2)],
            }
        };
        Some((mapping, filtering()))
    })
}

/// Each question comes from a fresh socket: what was asked before must not open the door.
fn filtering() -> Filtering {
    let fresh = || bind(SocketAddr::from(([0, 0, 0, 0], 0)));
    if ask(&fresh(), 0, 3).is_some() {
        Filtering::EndpointIndependent
    } else if ask(&fresh(), 0, 1).is_some() {
        Filtering::AddressDependent
    } else {
        Filtering::AddressAndPortDependent
    }
}

/// The server's sockets: place 0 and 1 are one address with two ports, 2 and 3 the other address.
fn places() -> Vec<SocketAddr> {
    let pairs = ADDRESSES
        .iter()
        .flat_map(|address| PORTS.iter().map(move |port| (*address, *port)));
    pairs
        .map(|(address, port)| SocketAddr::new(address.parse().expect("an address"), port))
        .collect()
}

fn bind(address: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(address).expect("the address is this machine's");
    socket
        .set_read_timeout(Some(Duration::from_millis(100)))
        .expect("a positive time");
    socket
}

/// Asks the socket at place `to` that the one at place `from` answers; gives the address that was seen.
fn ask(socket: &UdpSocket, to: usize, from: usize) -> Option<SocketAddr> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    for _ in 0..TRIES {
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let question = format!("{id} {from}");
        socket.send_to(question.as_bytes(), places()[to]).ok()?;
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(seen) = receive(socket, id) {
                return Some(seen);
            }
        }
    }
    None
}

fn receive(socket: &UdpSocket, id: u64) -> Option<SocketAddr> {
    let mut buffer = [0; 128];
    let (length, _) = socket.recv_from(&mut buffer).ok()?;
    let text = std::str::from_utf8(&buffer[..length]).ok()?;
    let (answered, seen) = text.split_once(' ')?;
    (answered.parse() == Ok(id)).then(|| seen.parse().ok())?
}

fn answer(sockets: &[UdpSocket], index: usize, stop: &AtomicBool) {
    let mut buffer = [0; 128];
    while !stop.load(Ordering::Relaxed) {
        let Ok((length, source)) = sockets[index].recv_from(&mut buffer) else {
            continue;
        };
        let Ok(text) = std::str::from_utf8(&buffer[..length]) else {
            continue;
        };
        let Some((id, from)) = text.split_once(' ') else {
            continue;
        };
        let Some(answering) = from.parse().ok().and_then(|from: usize| sockets.get(from)) else {
            continue;
        };
        let _ = answering.send_to(format!("{id} {source}").as_bytes(), source);
    }
}
