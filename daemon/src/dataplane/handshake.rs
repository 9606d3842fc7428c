//! Handshakes, timers and first packets, on a thread of their own: a flood of handshakes costs the packet threads no more
//! than putting each into a queue.
//!
//! 1. Handshake messages wait in two queues of fixed size, direct and relayed, and are taken in turn.
//! 2. The gate judges each; what passes goes to its peer's session, and the answer goes back where it came from.
//! 3. Peers that somebody wants now wait in a third queue ("work"), each at most once.
//! 4. Every 250 ms, and every 50 ms while handshakes are pending, all peers' timers run.

mod queue;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use meshd_core::packet::DropReason;
use meshd_core::path::Endpoint;
use meshd_core::wireguard::{
    Admission, COOKIE_REPLY_LEN, HandshakeDone, HandshakeGate, INITIATION_LEN, Origin, TimeoutDone, receiver,
};
pub(super) use queue::HandshakeQueue;
use queue::{Job, Message};
use rand_core::{OsRng, RngCore};

use super::config::ControlEvent;
use super::outbox::{Outbox, Route};
use super::peer::{Peer, PeerState};
use super::seal::{seal, send_staged};
use super::shared::Shared;
use super::sockets::SocketSet;
use super::table::PeerTable;

const TICK: Duration = Duration::from_millis(250);
const FAST_TICK: Duration = Duration::from_millis(50);
/// Initiations remembered, so that a replayed one costs a hash and no Diffie-Hellman.
const RECENT: usize = 1024;
const OUTBOX_BYTES: usize = 64 * 1024;
/// Bytes of buffers of the handshake thread and its queues.
pub(super) const BUFFERS: usize = queue::BYTES + RECENT * 16 + OUTBOX_BYTES;

/// What the handshake thread owns.
pub(super) struct HandshakeThread {
    shared: Arc<Shared>,
    gate: HandshakeGate,
    recent: Box<[[u8; 16]]>,
    outbox: Outbox,
    packet: Box<[u8]>,
}

impl HandshakeThread {
    pub(super) fn new(shared: Arc<Shared>) -> HandshakeThread {
        let mut seed = [0; 32];
        OsRng.fill_bytes(&mut seed);
        let gate = HandshakeGate::new(shared.own.public(), seed, Instant::now());
        let packet = vec![0; usize::from(shared.mtu) + 16].into_boxed_slice();
        HandshakeThread {
            shared,
            gate,
            recent: vec![[0; 16]; RECENT].into(),
            outbox: Outbox::new(OUTBOX_BYTES, 64),
            packet,
        }
    }

    /// Runs until [`HandshakeQueue::stop`].
    pub(super) fn run(mut self) {
        let shared = self.shared.clone();
        let mut tick = Instant::now();
        loop {
            let job = shared.handshakes.next(tick);
            let _passage = shared.enter();
            let (table, sockets) = (shared.table.load(), shared.sockets.load());
            match job {
                Job::Stop => return,
                Job::Tick => tick = Instant::now() + self.tick(&table, &sockets),
                Job::Message(message) => self.message(&table, &sockets, &message),
                Job::Work(peer) => {
                    self.attend(&peer, &sockets);
                    tick = peer.lock().next_rescue().map_or(tick, |due| tick.min(due));
                }
            }
            self.flush(&sockets);
        }
    }

    /// Sends; where the socket has no room, drops: everything here is repeated if it matters.
    fn flush(&mut self, sockets: &SocketSet) {
        self.outbox.flush(sockets, &self.shared.drops);
        self.outbox.discard(&self.shared.drops);
    }

    fn message(&mut self, table: &PeerTable, sockets: &SocketSet, message: &Message) {
        let now = Instant::now();
        let (bytes, mut reply) = (message.bytes(), [0; COOKIE_REPLY_LEN]);
        let origin = match message.from {
            Endpoint::Direct(remote) => Origin::Direct(remote.address.ip()),
            Endpoint::Relay { relay, session } => Origin::Relayed(relay, session),
        };
        let back = Route {
            endpoint: message.from,
            source: message.local,
        };
        let handled = match self.gate.admit(now, origin, bytes, &mut reply) {
            Admission::Admitted => self.admitted(table, sockets, now, back, bytes),
            Admission::Cookie(length) => self.outbox.copy(&back, 0, &reply[..length]).map(|_| ()),
            Admission::Refused(reason) => Err(reason),
        };
        if let Err(reason) = handled {
            self.shared.drops.count(reason);
        }
    }

    fn admitted(
        &mut self,
        table: &PeerTable,
        sockets: &SocketSet,
        now: Instant,
        back: Route,
        bytes: &[u8],
    ) -> Result<(), DropReason> {
        let peer = match receiver(bytes) {
            Some(index) => table.by_index(index >> 8).ok_or(DropReason::NoSession)?,
            None => {
                self.is_new(bytes)?;
                table
                    .by_key(&self.shared.own.initiator(bytes)?)
                    .ok_or(DropReason::UnknownPeer)?
            }
        };
        let mut state = peer.lock();
        if !state.alive {
            return Err(DropReason::UnknownPeer);
        }
        let mut answer = [0; INITIATION_LEN];
        let done = state
            .session
            .handle_handshake(now, bytes, &mut answer)
            .inspect_err(|reason| {
                if *reason == DropReason::HandshakeReplay {
                    let event = || ControlEvent::StaleHandshake {
                        node: peer.node,
                        from: back.endpoint,
                    };
                    self.shared.control.tell(&self.shared.drops, event);
                }
            })?;
        state.received(back.endpoint, back.source, bytes.len(), 0, now);
        match done {
            HandshakeDone::Respond(length) => {
                state.sent(length, 0, now);
                self.outbox.copy(&back, 0, &answer[..length]).map(|_| ())
            }
            HandshakeDone::Established(length) => {
                state.sent(length, 0, now);
                state.switch.session_began();
                self.outbox.copy(&back, 0, &answer[..length])?;
                let event = || ControlEvent::Handshake {
                    node: peer.node,
                    from: back.endpoint,
                };
                self.shared.control.tell(&self.shared.drops, event);
                self.send_staged(peer, &mut state, now);
                self.flush(sockets);
                Ok(())
            }
            HandshakeDone::Cookie => {
                self.timeout(peer, &mut state, now);
                Ok(())
            }
        }
    }

    /// Refuses an initiation that was seen before, by its mac1, which covers all of it.
    fn is_new(&mut self, bytes: &[u8]) -> Result<(), DropReason> {
        let mac1 = bytes
            .get(116..132)
            .and_then(|mac| mac.first_chunk::<16>())
            .ok_or(DropReason::HandshakeInvalid)?;
        let place = usize::from(u16::from_le_bytes([mac1[0], mac1[1]])) % RECENT;
        match std::mem::replace(&mut self.recent[place], *mac1) == *mac1 {
            true => Err(DropReason::HandshakeReplay),
            false => Ok(()),
        }
    }

    /// Gives a peer what it needs now: its waiting packets sent, or a handshake that is due or was asked for.
    fn attend(&mut self, peer: &Arc<Peer>, sockets: &SocketSet) {
        let now = Instant::now();
        let mut state = peer.lock();
        if !state.alive {
            return;
        }
        if peer.forced.swap(false, Ordering::AcqRel) && !state.initiated_just_now(now) {
            let mut out = [0; INITIATION_LEN];
            if let (Some(_), Ok(length)) = (state.route(), state.session.initiate(now, &mut out)) {
                self.send(&mut state, &out[..length], now);
                state.note_initiation(now);
            }
        } else {
            self.timeout(peer, &mut state, now);
        }
        self.rescue(peer, &mut state, now);
        self.send_staged(peer, &mut state, now);
        // before the peer is let go: what is sealed later must not overtake
        self.flush(sockets);
    }

    /// Runs all timers; gives the time to the next run.
    fn tick(&mut self, table: &PeerTable, sockets: &SocketSet) -> Duration {
        let now = Instant::now();
        self.shared.staging().expire(now, &self.shared.drops);
        let mut gap = TICK;
        for peer in table.iter() {
            let mut state = peer.lock();
            if !state.alive {
                continue;
            }
            self.timeout(peer, &mut state, now);
            state.switch.handle_timeout(now);
            self.rescue(peer, &mut state, now);
            self.send_staged(peer, &mut state, now);
            if let Some(from) = state.roamed(now) {
                self.shared
                    .control
                    .tell(&self.shared.drops, || ControlEvent::RoamedTo {
                        node: peer.node,
                        from,
                    });
            }
            if state.session.poll_timeout().is_some() || state.next_rescue().is_some() {
                gap = FAST_TICK;
            }
            if !self.outbox.is_empty() {
                self.flush(sockets);
            }
        }
        gap
    }

    fn timeout(&mut self, peer: &Peer, state: &mut PeerState, now: Instant) {
        let mut out = [0; INITIATION_LEN];
        match state.session.handle_timeout(now, &mut out) {
            TimeoutDone::Nothing => {}
            TimeoutDone::Keepalive(length) => self.send(state, &out[..length], now),
            TimeoutDone::Initiation(length) => {
                self.send(state, &out[..length], now);
                state.note_initiation(now);
                if state.route().is_none() && state.demands(now) {
                    let event = || ControlEvent::Demand { node: peer.node };
                    self.shared.control.tell(&self.shared.drops, event);
                }
            }
        }
    }

    /// Sends a message of the session on all its ways.
    fn send(&mut self, state: &mut PeerState, message: &[u8], now: Instant) {
        for route in state.route().into_iter().chain(state.duplicate()) {
            if let Err(reason) = self.outbox.copy(&route, 0, message) {
                self.shared.drops.count(reason);
            }
        }
        state.sent(message.len(), 0, now);
    }

    /// Sends again, in new datagrams, what may have been lost with a path; what is too large for the new one is answered, so
    /// that its sender sends smaller packets at once.
    fn rescue(&mut self, peer: &Peer, state: &mut PeerState, now: Instant) {
        let Some(endpoint) = state.take_rescue(now) else {
            return;
        };
        let (max_packet, source) = (usize::from(state.max_packet()), None);
        let Some(mut sealer) = state.session.sealer() else {
            return;
        };
        let rescue = self.shared.rescue();
        for kept in rescue.of(peer.index, now) {
            if kept.len() > max_packet {
                let shared = &self.shared;
                shared.too_big.answer(&shared.tun, kept, max_packet as u16);
                continue;
            }
            self.packet[..kept.len()].copy_from_slice(kept);
            let (route, length) = (Route { endpoint, source }, kept.len());
            let lengths = (length, max_packet);
            if let Err(reason) = seal(
                &mut sealer,
                (&route, None),
                &mut self.packet,
                lengths,
                &mut self.outbox,
            ) {
                self.shared.drops.count(reason);
            }
        }
    }

    fn send_staged(&mut self, peer: &Peer, state: &mut PeerState, now: Instant) {
        send_staged(&self.shared, peer, state, &mut self.packet, &mut self.outbox, now);
    }
}
