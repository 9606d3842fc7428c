//! Two TUN devices in two namespaces joined by threads that carry packets as they are, headers included.

use std::io::IoSlice;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use meshd_net::poll::{Events, Interest, Poller, Waker};
use meshd_net::tun::{Tun, TunQueue, VnetHeader};

/// What passed, per direction.
#[derive(Default)]
pub struct Passed {
    /// The longest packet, in bytes.
    pub longest: AtomicUsize,
    /// Packets with GSO of TCP.
    pub tcp_super: AtomicUsize,
    /// Packets with GSO of UDP.
    pub udp_super: AtomicUsize,
    /// Packets that the other side did not take.
    pub refused: AtomicUsize,
}

impl Passed {
    /// A counter's value.
    pub fn get(counter: &AtomicUsize) -> usize {
        counter.load(Ordering::Relaxed)
    }
}

/// Carries packets both ways while `work` runs; returns what passed from `a` to `b` and from `b` to `a`.
pub fn pumped<T>(a: &Tun, b: &Tun, work: impl FnOnce() -> T) -> (T, [Passed; 2]) {
    let passed = [Passed::default(), Passed::default()];
    let result = thread::scope(|scope| {
        let mut wakers = Vec::new();
        for (from, to, passed) in [(a, b, &passed[0]), (b, a, &passed[1])] {
            let poller = Poller::new().unwrap();
            wakers.push(Waker::new(&poller, u64::MAX).unwrap());
            scope.spawn(move || pump(&poller, from.queues(), &to.queues()[0], passed));
        }
        let stop = Stop(wakers);
        let result = work();
        drop(stop);
        result
    });
    (result, passed)
}

/// Ends the threads also where the work panics.
struct Stop(Vec<Waker>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.iter().for_each(Waker::wake);
    }
}

fn pump(poller: &Poller, from: &[TunQueue], to: &TunQueue, passed: &Passed) {
    for (number, queue) in from.iter().enumerate() {
        poller.add(queue, number as u64, Interest::READ).unwrap();
    }
    let mut events = Events::with_capacity(8);
    let mut buffer = vec![0; 65_536];
    loop {
        poller.wait(&mut events, None).unwrap();
        for event in events.iter() {
            let Some(queue) = from.get(event.token as usize) else {
                return;
            };
            while let Some((header, len)) = queue.recv(&mut buffer).unwrap() {
                passed.longest.fetch_max(len, Ordering::Relaxed);
                let kind = header.gso_type & !VnetHeader::GSO_ECN;
                let count =
                    |counter: &AtomicUsize, holds: bool| counter.fetch_add(holds.into(), Ordering::Relaxed);
                count(
                    &passed.tcp_super,
                    matches!(kind, VnetHeader::GSO_TCPV4 | VnetHeader::GSO_TCPV6),
                );
                count(&passed.udp_super, kind == VnetHeader::GSO_UDP_L4);
                let (head, tail) = buffer[..len].split_at(len / 2);
                count(
                    &passed.refused,
                    to.send(&header, &[IoSlice::new(head), IoSlice::new(tail)])
                        .is_err(),
                );
            }
        }
    }
}
