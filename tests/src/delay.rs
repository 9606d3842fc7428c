//! A link with a delay, loss and reordering, in user space: two TUN devices and a thread that carries packets between
//! them. It stands where a cable would: an IP link without Ethernet, e.g. a site's uplink ([`crate::World::slow_site`]).
//!
//! 1. Offloads are turned off on both ends, so that every packet is a single one and is lost singly.
//! 2. A packet that comes in is lost by chance, or due after the delay and a random part of the jitter; so packets with
//!    jitter overtake one another, packets without do not.
//! 3. A heap holds what is under way; the thread sleeps in `ppoll` until a packet comes in or the next one is due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::IoSlice;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use meshd_net::tun::{Tun, VnetHeader};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::machine::Machine;

/// Packets under way at most; what comes in beyond is lost, as in a full router.
const UNDER_WAY: usize = 20_000;
/// Packets that wait for the thread, each direction: 200 ms of 20,000/s, for it may not run for so long on a busy computer.
const WAITING: &str = "4000";
/// Longest sleep, so that the end of the box is noticed.
const NAP: Duration = Duration::from_millis(50);

/// What a link does to packets, each direction alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// One-way delay.
    pub delay: Duration,
    /// Up to so much more, evenly spread; packets overtake one another where it is not zero.
    pub jitter: Duration,
    /// Packets lost of 1,000.
    pub loss_per_mille: u32,
}

/// The link. Ends when dropped.
pub struct DelayBox {
    weather: Arc<Mutex<Weather>>,
    stop: Arc<AtomicBool>,
    worker: Option<JoinHandle<()>>,
}

impl DelayBox {
    /// Connects the interface `a.1` on `a.0` with `b.1` on `b.0`. Both are made here, and have no address yet.
    ///
    /// # Panics
    /// If the TUN devices cannot be made.
    pub fn start(a: (&Machine, &str), b: (&Machine, &str), weather: Weather) -> Self {
        let ends = [a, b].map(|(machine, name)| open(machine, name));
        let weather = Arc::new(Mutex::new(weather));
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, until) = (Arc::clone(&weather), Arc::clone(&stop));
        let worker = thread::spawn(move || Carrier::new(ends, shared).run(&until));
        Self {
            weather,
            stop,
            worker: Some(worker),
        }
    }

    /// Changes the weather for packets that come in from now on.
    pub fn set(&self, weather: Weather) {
        *self.weather.lock().expect("not poisoned") = weather;
    }
}

impl Drop for DelayBox {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

fn open(machine: &Machine, name: &str) -> Tun {
    let tun = machine.inside(|| Tun::open(name, 1).expect("a TUN device"));
    let off = [
        "tx",
        "off",
        "tso",
        "off",
        "gso",
        "off",
        "tx-udp-segmentation",
        "off",
    ];
    machine.run(&[&["ethtool", "-K", name][..], &off].concat());
    machine.run(&[
        "ip",
        "link",
        "set",
        "dev",
        name,
        "mtu",
        "1500",
        "txqueuelen",
        WAITING,
        "up",
    ]);
    tun
}

/// A packet under way, ordered by when it is due, then by when it came in.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Packet {
    due: Instant,
    number: u64,
    to: usize,
    bytes: Vec<u8>,
}

struct Carrier {
    ends: [Tun; 2],
    weather: Arc<Mutex<Weather>>,
    under_way: BinaryHeap<Reverse<Packet>>,
    number: u64,
    chance: u64,
}

impl Carrier {
    fn new(ends: [Tun; 2], weather: Arc<Mutex<Weather>>) -> Self {
        let chance = 0x2545_f491_4f6c_dd1d;
        Self {
            ends,
            weather,
            under_way: BinaryHeap::new(),
            number: 0,
            chance,
        }
    }

    fn run(mut self, stop: &AtomicBool) {
        let mut buffer = vec![0; 65_536];
        while !stop.load(Ordering::Relaxed) {
            self.sleep();
            for from in 0..2 {
                self.take(from, &mut buffer);
            }
            self.deliver();
        }
    }

    fn sleep(&self) {
        let next = self.under_way.peek().map(|Reverse(packet)| packet.due);
        let nap = next.map_or(NAP, |due| due.saturating_duration_since(Instant::now()).min(NAP));
        let nap = Timespec::try_from(nap).expect("a short time");
        let mut ends = self
            .ends
            .each_ref()
            .map(|end| PollFd::from_borrowed_fd(end.queues()[0].as_fd(), PollFlags::IN));
        let _ = poll(&mut ends, Some(&nap));
    }

    /// Takes what came in at one end.
    fn take(&mut self, from: usize, buffer: &mut [u8]) {
        let weather = *self.weather.lock().expect("not poisoned");
        while let Ok(Some((header, length))) = self.ends[from].queues()[0].recv(buffer) {
            debug_assert!(header.is_plain(), "offloads are off");
            if self.random(1000) < u64::from(weather.loss_per_mille) || self.under_way.len() >= UNDER_WAY {
                continue;
            }
            let jitter = u64::try_from(weather.jitter.as_micros()).unwrap_or(u64::MAX);
            let late = Duration::from_micros(self.random(jitter.saturating_add(1)));
            self.number += 1;
            self.under_way.push(Reverse(Packet {
                due: Instant::now() + weather.delay + late,
                number: self.number,
                to: 1 - from,
                bytes: buffer[..length].to_vec(),
            }));
        }
    }

    fn deliver(&mut self) {
        let now = Instant::now();
        while self
            .under_way
            .peek()
            .is_some_and(|Reverse(packet)| packet.due <= now)
        {
            let Some(Reverse(packet)) = self.under_way.pop() else {
                return;
            };
            let queue = &self.ends[packet.to].queues()[0];
            // an end that is down loses the packet, as a cable does
            let _ = queue.send(&VnetHeader::PLAIN, &[IoSlice::new(&packet.bytes)]);
        }
    }

    /// A number below `bound` (xorshift64; the same sequence in each run).
    fn random(&mut self, bound: u64) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance % bound.max(1)
    }
}
