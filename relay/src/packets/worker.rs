//! The packet thread.
//!
//! 1. epoll names a socket with datagrams; `recvmmsg` takes them, coalesced.
//! 2. Under the read lock each datagram is judged: a frame that goes on is rewritten in place and joined to its
//!    neighbour's run; a control message is set aside; STUN and refusals are answered.
//! 3. The runs are sent.
//! 4. Under the write lock the control messages are handled and answered.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use meshd_core::demux::{Class, classify};
use meshd_core::relay::{Channel, RelayDrop, RelayServer, Verdict};
use meshd_core::stun::{self, Change};
use meshd_net::poll::{Events, Poller, Waker};
use meshd_net::udp::{GRO_BUFFER, Received, RecvBatch, Transmit, UdpSocket};
use tracing::warn;

use super::gauge::Gauge;
use super::runs::{Joiner, Open, Runs};
use super::{PacketMetrics, Shared, WAKER};

/// Buffers of a batch: the kernel fills one per run of a sender. They hold memory only once touched.
const BUFFERS: usize = 32;
/// Batches from one socket before the others have their turn.
const ROUNDS: usize = 4;
/// Datagrams that the kernel coalesces at most (UDP_GRO_CNT_MAX).
const MAX_DATAGRAMS: usize = 64;
/// Control messages handled per batch; a flood of them beyond that is dropped.
const MAX_CONTROL: usize = 32;
/// Longer than any control message.
const CONTROL_BYTES: usize = 128;

/// What a packet thread is made from; it may be sent to the thread that is to be it.
pub struct Opened {
    pub(super) shared: Arc<Shared>,
    pub(super) poller: Poller,
    pub(super) waker: Waker,
}

/// The packet thread's own things. It is run by [`PacketPlane::start`](super::PacketPlane::start), or turn by turn by who
/// opened it.
pub struct Worker {
    shared: Arc<Shared>,
    poller: Poller,
    waker: Waker,
    events: Events,
    batch: RecvBatch,
    control: ControlQueue,
    gauge: Gauge,
    timeout: Instant,
}

impl Opened {
    /// Makes this thread the packet thread: all its buffers are allocated here.
    pub fn into_worker(self) -> Worker {
        let timeout = self.shared.members.read().poll_timeout();
        Worker {
            events: Events::with_capacity(self.shared.sockets.len() + 1),
            batch: RecvBatch::new(BUFFERS, GRO_BUFFER),
            control: ControlQueue::new(),
            gauge: Gauge::new(),
            timeout,
            shared: self.shared,
            poller: self.poller,
            waker: self.waker,
        }
    }
}

impl Worker {
    /// Runs until the plane stops; an error is the end of the plane.
    pub fn run(mut self) -> io::Result<()> {
        while !self.shared.stop.load(Relaxed) {
            self.turn()?;
        }
        Ok(())
    }

    /// Waits for datagrams, a call from outside or the relay's timer, and does what is due.
    pub fn turn(&mut self) -> io::Result<()> {
        let wait = self.timeout.saturating_duration_since(Instant::now());
        self.poller.wait(&mut self.events, Some(wait))?;
        for event in self.events.iter() {
            match usize::try_from(event.token).ok().filter(|_| event.token != WAKER) {
                Some(listener) => drain(
                    &self.shared,
                    listener,
                    &mut self.batch,
                    &mut self.control,
                    &mut self.gauge,
                ),
                None => self.waker.clear(),
            }
        }
        let now = Instant::now();
        if now >= self.timeout {
            let mut relay = self.shared.members.write();
            relay.handle_timeout(now);
            self.timeout = relay.poll_timeout();
        }
        Ok(())
    }
}

fn drain(
    shared: &Shared,
    listener: usize,
    batch: &mut RecvBatch,
    control: &mut ControlQueue,
    gauge: &mut Gauge,
) {
    let Some(socket) = shared.sockets.get(listener) else {
        return;
    };
    for _ in 0..ROUNDS {
        match socket.recv_batch(batch) {
            Ok(0) => return,
            Ok(_) => handle(shared, listener, batch, control, gauge),
            Err(cause) => return warn!(%cause, local = %socket.local_addr(), "cannot receive"),
        }
        if !batch.is_full() {
            return;
        }
    }
}

/// Steps 2 to 4 for one batch.
fn handle(
    shared: &Shared,
    listener: usize,
    batch: &mut RecvBatch,
    control: &mut ControlQueue,
    gauge: &mut Gauge,
) {
    let now = Instant::now();
    let mut metrics = PacketMetrics::default();
    if shared.members.read().shares_due(now) {
        let strain = gauge.read(shared);
        shared.members.write().make_shares(now, &strain);
    }
    {
        let relay = shared.members.read();
        let mut runs = Runs::new();
        for received in batch.iter_mut() {
            let mut judge = Judge {
                now,
                listener,
                relay: &relay,
                shared,
                metrics: &mut metrics,
                control,
            };
            judge.buffer(received, &mut runs);
        }
        drop(relay);
        runs.send(shared, &mut metrics);
    }
    if control.len > 0 {
        answer_control(shared, now, control, &mut metrics);
        control.len = 0;
    }
    shared.counters.add(&metrics);
}

/// What judging a buffer needs.
struct Judge<'b> {
    now: Instant,
    listener: usize,
    relay: &'b RelayServer,
    shared: &'b Shared,
    metrics: &'b mut PacketMetrics,
    control: &'b mut ControlQueue,
}

impl Judge<'_> {
    /// Judges the datagrams of one buffer and collects the runs of those that go on.
    fn buffer<'a>(&mut self, received: Received<'a>, runs: &mut Runs<'a>) {
        let Received {
            bytes,
            segment_size,
            source,
            local,
            ecn,
            ..
        } = received;
        let from = Channel {
            listener: self.listener as u32,
            address: source,
            local,
        };
        let mut joiner = Joiner::new(segment_size, ecn);
        let mut complete = [const { None::<Open> }; MAX_DATAGRAMS + 1];
        let mut count = 0;
        let mut start = 0;
        for datagram in bytes.chunks_mut(segment_size.max(1)) {
            self.metrics.received += 1;
            let end = start + datagram.len();
            let to = self.datagram(from, datagram);
            if let Some(open) = to.and_then(|to| joiner.add(to, start, end))
                && count < MAX_DATAGRAMS
            {
                complete[count] = Some(open);
                count += 1;
            }
            start = end;
        }
        complete[count] = joiner.finish();
        let bytes: &'a [u8] = bytes;
        for open in complete.into_iter().flatten() {
            runs.push(joiner.run(open, bytes), self.shared, self.metrics);
        }
    }

    /// One datagram; where it goes, if it goes on.
    fn datagram(&mut self, from: Channel, datagram: &mut [u8]) -> Option<Channel> {
        match classify(datagram) {
            Class::Relay => return self.frame(from, datagram),
            Class::Stun => self.stun(from, datagram),
            _ => self.metrics.dropped += 1,
        }
        None
    }

    fn frame(&mut self, from: Channel, datagram: &mut [u8]) -> Option<Channel> {
        match self.relay.forward(self.now, from, datagram) {
            Verdict::Forward { to } => return Some(to),
            Verdict::Reply(frame) => {
                self.metrics.control += 1;
                reply(&self.shared.sockets, from, &frame);
            }
            Verdict::Control => {
                if !self.control.push(from, datagram) {
                    self.metrics.dropped += 1;
                }
            }
            Verdict::Drop(RelayDrop::Shed) => self.metrics.shed += 1,
            Verdict::Drop(_) => self.metrics.dropped += 1,
        }
        None
    }

    fn stun(&mut self, from: Channel, request: &[u8]) {
        match stun::binding_answer(request, from.address) {
            Some(answer) => {
                self.metrics.stun += 1;
                let from = elsewhere(self.shared, from, stun::wanted_change(request));
                reply(&self.shared.sockets, from, &answer);
            }
            None => self.metrics.dropped += 1,
        }
    }
}

/// Control messages of a batch, copied: they are few and short.
struct ControlQueue {
    messages: [([u8; CONTROL_BYTES], usize, Option<Channel>); MAX_CONTROL],
    len: usize,
}

impl ControlQueue {
    fn new() -> Self {
        Self {
            messages: [([0; CONTROL_BYTES], 0, None); MAX_CONTROL],
            len: 0,
        }
    }

    fn push(&mut self, from: Channel, message: &[u8]) -> bool {
        let Some((bytes, len, origin)) = self.messages.get_mut(self.len) else {
            return false;
        };
        let Some(bytes) = bytes.get_mut(..message.len()) else {
            return false;
        };
        bytes.copy_from_slice(message);
        (*len, *origin) = (message.len(), Some(from));
        self.len += 1;
        true
    }
}

fn answer_control(shared: &Shared, now: Instant, queue: &ControlQueue, metrics: &mut PacketMetrics) {
    let mut relay = shared.members.write();
    for (bytes, len, origin) in &queue.messages[..queue.len] {
        let Some(from) = *origin else { continue };
        match relay.handle_control(now, from, &bytes[..*len]) {
            Verdict::Reply(frame) => {
                metrics.control += 1;
                reply(&shared.sockets, from, &frame);
            }
            _ => metrics.dropped += 1,
        }
    }
}

/// The way of an answer that is to come from another port or address of ours: to nobody but who asked. Where there is no
/// such other, the usual way, by which the asker sees that it cannot be had.
fn elsewhere(shared: &Shared, asked: Channel, change: Change) -> Channel {
    let Some(local) = asked.local.filter(|_| change.ip || change.port) else {
        return asked;
    };
    let others = shared.own_addresses.get().map_or(&[][..], Vec::as_slice);
    let ip = match change.ip {
        false => Some(local),
        true => others.iter().copied().find(|other| {
            *other != local.to_canonical() && other.is_ipv4() == local.to_canonical().is_ipv4()
        }),
    };
    let port = shared
        .sockets
        .get(asked.listener as usize)
        .map(|socket| socket.local_addr().port());
    let fits = |ip: IpAddr, at: SocketAddr| {
        at.is_ipv4() == ip.to_canonical().is_ipv4()
            && (at.ip().is_unspecified() || at.ip() == ip)
            && (Some(at.port()) != port) == change.port
    };
    let way = ip.and_then(|ip| {
        let listener = shared
            .sockets
            .iter()
            .position(|socket| fits(ip, socket.local_addr()))?;
        Some(Channel {
            listener: u32::try_from(listener).ok()?,
            local: Some(ip),
            ..asked
        })
    });
    way.unwrap_or(asked)
}

/// Answers by the way that the question came, from the address that it was sent to; if there is no room, the other side
/// asks again.
fn reply(sockets: &[UdpSocket], to: Channel, bytes: &[u8]) {
    if let Some(socket) = sockets.get(to.listener as usize) {
        let parts = [IoSlice::new(bytes)];
        let _ = socket.send_segments(&Transmit {
            source: to.local,
            ..Transmit::new(to.address, &parts)
        });
    }
}
