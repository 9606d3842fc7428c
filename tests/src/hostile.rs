//! What a malicious sender makes: random datagrams with chosen beginnings, WireGuard initiations whose first MAC is valid, and
//! connections that say nothing.

use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use blake2::digest::consts::U16;
use blake2::digest::{Digest, Mac};
use blake2::{Blake2s256, Blake2sMac};
use data_encoding::BASE64;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

use crate::machine::Machine;

/// A reproducible source of bytes (xorshift64).
pub struct Noise(u64);

impl Noise {
    /// The sequence of the given seed, which must not be 0.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 8 bytes.
    pub fn word(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A datagram of random length (0..=1400) and bytes that begins with `beginning`.
    pub fn datagram(&mut self, beginning: &[u8]) -> Vec<u8> {
        let length = usize::try_from(self.word() % 1401).expect("small");
        let mut bytes = beginning.to_vec();
        while bytes.len() < length {
            bytes.extend_from_slice(&self.word().to_le_bytes());
        }
        bytes
    }
}

/// A WireGuard handshake initiation with random contents and a valid `mac1` for the receiver's public key (WireGuard
/// paper, section 5.4.4): the receiver must compute a Diffie-Hellman before it can know that it is worthless.
pub fn initiation(noise: &mut Noise, receiver: &[u8; 32]) -> Vec<u8> {
    const LENGTH: usize = 148;
    const MAC1_AT: usize = 116;
    let mut packet = vec![1, 0, 0, 0];
    while packet.len() < MAC1_AT {
        packet.extend_from_slice(&noise.word().to_le_bytes());
    }
    packet.truncate(MAC1_AT);
    let key = Blake2s256::new()
        .chain_update(b"mac1----")
        .chain_update(receiver)
        .finalize();
    let mac = <Blake2sMac<U16> as Mac>::new_from_slice(&key)
        .expect("a key of 32 bytes")
        .chain_update(&packet);
    packet.extend_from_slice(&mac.finalize().into_bytes());
    packet.resize(LENGTH, 0);
    packet
}

/// Valid-mac1 initiations at a steady rate from one machine, until stopped.
pub struct InitiationStorm {
    stop: Arc<AtomicBool>,
    worker: JoinHandle<u64>,
}

impl InitiationStorm {
    /// Sends `rate` initiations/s to `to`, whose public key is given as WireGuard prints it.
    ///
    /// # Panics
    /// If the key is not one.
    pub fn start(from: &Machine, to: SocketAddr, public_key: &str, rate: u32) -> Self {
        let key: [u8; 32] = BASE64
            .decode(public_key.as_bytes())
            .ok()
            .and_then(|key| key.try_into().ok())
            .expect("a key");
        let socket = from.inside(|| UdpSocket::bind("0.0.0.0:0").expect("a socket"));
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let worker = thread::spawn(move || {
            let (begin, mut sent, mut noise) = (Instant::now(), 0_u64, Noise::new(13));
            while !until.load(Ordering::Relaxed) {
                let due = begin.elapsed().as_micros() * u128::from(rate) / 1_000_000;
                while u128::from(sent) < due {
                    let _ = socket.send_to(&initiation(&mut noise, &key), to);
                    sent += 1;
                }
                thread::sleep(Duration::from_millis(1));
            }
            sent
        });
        Self { stop, worker }
    }

    /// Ends the storm; gives how many were sent.
    pub fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.worker.join().expect("the storm did not panic")
    }
}

/// TCP connections at a steady rate from one machine, until stopped. Nothing is ever said on them; the newest are held open.
pub struct ConnectStorm {
    stop: Arc<AtomicBool>,
    worker: JoinHandle<u64>,
}

impl ConnectStorm {
    /// Connections that are held.
    const HELD: usize = 1_000;

    /// Begins `rate` connections/s to `to`, an IPv4 address.
    pub fn start(from: &Machine, to: SocketAddr, rate: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (until, from) = (Arc::clone(&stop), from.clone());
        let work = move || {
            let (begin, mut begun, mut held) = (Instant::now(), 0_u64, VecDeque::new());
            while !until.load(Ordering::Relaxed) {
                let due = begin.elapsed().as_micros() * u128::from(rate) / 1_000_000;
                while u128::from(begun) < due {
                    held.extend(connecting(to));
                    begun += 1;
                    held.drain(..held.len().saturating_sub(Self::HELD));
                }
                thread::sleep(Duration::from_millis(1));
            }
            begun
        };
        let worker = thread::spawn(move || from.inside(work));
        Self { stop, worker }
    }

    /// Ends the storm; gives how many connections were begun.
    pub fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.worker.join().expect("the storm did not panic")
    }
}

/// A connection under way.
fn connecting(to: SocketAddr) -> Option<OwnedFd> {
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::NONBLOCK,
        None,
    )
    .ok()?;
    match connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Some(socket),
        Err(_) => None,
    }
}
