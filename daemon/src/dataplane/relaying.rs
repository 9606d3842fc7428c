//! Frames of other nodes, where this node relays for its network.
//!
//! 1. A relay frame that is of none of our own sessions is judged by the core's relay, under one read lock for the batch.
//! 2. What goes on has the receiver's session id written into it, in place.
//! 3. Neighbours for one receiver leave as one send, straight from the buffer that they came in.
//!
//! Requests to bind and to open go to the control side, as all control messages do.

use std::io::IoSlice;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Instant;

use meshd_core::demux::{Class, RELAY_CONTROL_SESSION, classify, split_relay};
use meshd_core::packet::DropReason;
use meshd_core::path::{Endpoint, SocketId};
use meshd_core::relay::{Channel, RelayServer, Verdict};
use meshd_net::udp::{MAX_SEGMENTS, MAX_SEND_BYTES, Received, Transmit};

use super::shared::Shared;

/// The relay's decisions, shared with the control side.
pub type Relaying = Arc<RwLock<RelayServer>>;

/// The channel of what comes from, and goes to, an endpoint.
pub fn channel(from: Endpoint, local: Option<std::net::IpAddr>) -> Channel {
    let address = from.address();
    Channel {
        listener: if address.is_ipv4() { 4 } else { 6 },
        address,
        local,
    }
}

/// The relay for one batch.
pub(super) struct Forwarder<'a> {
    shared: &'a Shared,
    server: RwLockReadGuard<'a, RelayServer>,
}

/// What becomes of one datagram.
enum Judged {
    /// It is for this node, or nothing.
    Own,
    /// It is done with.
    Done,
    /// It goes on.
    Forward(Channel),
}

/// Datagrams side by side that go on to one receiver.
struct Run {
    to: Channel,
    start: usize,
    end: usize,
    datagrams: usize,
}

impl<'a> Forwarder<'a> {
    pub(super) fn new(shared: &'a Shared, relaying: &'a Relaying) -> Self {
        let server = relaying.read().unwrap_or_else(PoisonError::into_inner);
        Self { shared, server }
    }

    /// Sends on what goes on of one buffer; `own` takes each of the other datagrams.
    pub(super) fn buffer(
        &self,
        now: Instant,
        from: Endpoint,
        received: &mut Received<'_>,
        mut own: impl FnMut(&[u8]),
    ) {
        let from = channel(from, received.local);
        let (size, ecn) = (received.segment_size.max(1), received.ecn);
        let mut open: Option<Run> = None;
        for start in (0..received.bytes.len()).step_by(size) {
            let end = (start + size).min(received.bytes.len());
            match self.judge(now, from, &mut received.bytes[start..end]) {
                Judged::Own => own(&received.bytes[start..end]),
                Judged::Done => {}
                Judged::Forward(to) => match &mut open {
                    Some(run) if run.takes(to, start, end) => {
                        (run.end, run.datagrams) = (end, run.datagrams + 1);
                    }
                    _ => {
                        let run = Run {
                            to,
                            start,
                            end,
                            datagrams: 1,
                        };
                        if let Some(whole) = open.replace(run) {
                            self.send(&whole, received.bytes, size, ecn);
                        }
                    }
                },
            }
        }
        if let Some(whole) = open {
            self.send(&whole, received.bytes, size, ecn);
        }
    }

    fn judge(&self, now: Instant, from: Channel, datagram: &mut [u8]) -> Judged {
        if classify(datagram) != Class::Relay {
            return Judged::Own;
        }
        let session = split_relay(datagram).map_or(RELAY_CONTROL_SESSION, |(session, _)| session);
        // what comes from a relay of ours is ours, unless it is of a session here: that relay may be a member, too
        let ours = !self.server.knows(session) && self.shared.relays.load().contains(&from.address);
        if session == RELAY_CONTROL_SESSION || ours {
            return Judged::Own;
        }
        match self.server.forward(now, from, datagram) {
            Verdict::Forward { to } => return Judged::Forward(to),
            Verdict::Reply(frame) => self.transmit(from, &frame, 0, 0, 1),
            Verdict::Control | Verdict::Drop(_) => self.shared.drops.count(DropReason::UnknownRelay),
        }
        Judged::Done
    }

    fn send(&self, run: &Run, bytes: &[u8], size: usize, ecn: u8) {
        let size = if run.datagrams > 1 { size as u16 } else { 0 };
        self.transmit(run.to, &bytes[run.start..run.end], size, ecn, run.datagrams);
    }

    fn transmit(&self, to: Channel, bytes: &[u8], segment_size: u16, ecn: u8, datagrams: usize) {
        let sockets = self.shared.sockets.load();
        let parts = [IoSlice::new(bytes)];
        let transmit = Transmit {
            ecn,
            source: to.local,
            segment_size,
            ..Transmit::new(to.address, &parts)
        };
        let sent = sockets
            .towards(SocketId::PRIMARY, to.address)
            .map(|socket| socket.send_segments(&transmit));
        if !matches!(sent, Some(Ok(()))) {
            self.shared.drops.add(DropReason::SendFailed, datagrams as u64);
        }
    }
}

impl Run {
    fn takes(&self, to: Channel, start: usize, end: usize) -> bool {
        self.to == to
            && self.end == start
            && self.datagrams < MAX_SEGMENTS
            && end - self.start <= MAX_SEND_BYTES
    }
}
