//! A session with one peer: everything between its handshake messages, its data messages and its timers.
//!
//! 1. [`Session::sealer`] seals packets; where it gives none, [`Session::demand`] asks for a handshake.
//! 2. [`Session::initiate`] or a due [`Session::handle_timeout`] writes the initiation; its answer, and the peer's own
//!    initiations, go to [`Session::handle_handshake`].
//! 3. [`Session::open`] opens what the peer sealed.
//!
//! The responder of a handshake may not send before the initiator's first packet has come: then [`Opened::confirmed`] is set.

use std::time::Instant;

use boringtun::noise::errors::WireGuardError;
use boringtun::noise::{Tunn, TunnResult};

use super::schedule::Schedule;
use super::slots::Slots;
use super::{DATA_OVERHEAD, INITIATION_LEN, PeerKeys, WireGuard, u32_at};
use crate::keys::WireGuardPublic;
use crate::packet::DropReason;

/// Counters from here on are refused (paper section 6.2: 2^64 - 2^13 - 1); boringtun would add to them without looking.
const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);

/// A session with one peer, in any state from "never met" on.
pub struct Session {
    own: WireGuard,
    keys: PeerKeys,
    index: u32,
    /// Made at first use: an idle peer costs neither the memory nor the Diffie-Hellman.
    tunnel: Option<Box<Tunn>>,
    /// The tunnel has a session to seal with. Asking it would cost a reading of the clock each time; only its handshakes,
    /// the peer's packets and its timers change the answer.
    ready: bool,
    schedule: Schedule,
    slots: Slots,
    last_handshake: Option<Instant>,
    pending_since: Option<Instant>,
}

/// Seals packets: there is a session as long as this is held.
pub struct Sealer<'a> {
    tunnel: &'a mut Tunn,
}

/// A data message that was authentic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Bytes of the packet at the start of the buffer; 0 is a keepalive.
    pub length: usize,
    /// It is the first of a session in which we answered: from now on we may send.
    pub confirmed: bool,
    /// From now on packets are sealed in another session than before: nothing of it is under way.
    pub renewed: bool,
}

/// What came of a handshake message. Lengths are of the datagram written to the start of the buffer, to be sent back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeDone {
    /// The peer initiated: send the response.
    Respond(usize),
    /// The peer answered: send the first packet of the session, a keepalive. Packets may follow.
    Established(usize),
    /// The peer is under load and sent a cookie: an initiation with it may be due.
    Cookie,
}

/// What the timers wrote to the start of the buffer, with its length in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeoutDone {
    /// Nothing.
    Nothing,
    /// A handshake initiation.
    Initiation(usize),
    /// A keepalive.
    Keepalive(usize),
}

impl Session {
    pub(super) fn new(own: WireGuard, keys: PeerKeys, index: u32) -> Session {
        Session {
            own,
            keys,
            index,
            tunnel: None,
            ready: false,
            schedule: Schedule::default(),
            slots: Slots::new(index),
            last_handshake: None,
            pending_since: None,
        }
    }

    /// The peer's key.
    pub fn peer(&self) -> WireGuardPublic {
        self.keys.public
    }

    /// When the last handshake was completed: both sides are known to have the keys.
    pub fn last_handshake(&self) -> Option<Instant> {
        self.last_handshake
    }

    /// Since when we have been trying for a handshake, in vain so far.
    pub fn pending_since(&self) -> Option<Instant> {
        self.pending_since
    }

    /// When [`Session::handle_timeout`] is to be called because a wanted initiation is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.schedule.next()
    }

    /// Whether packets can be sealed.
    #[inline]
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// To seal a batch of packets; none where there is no session to seal with.
    #[inline]
    pub fn sealer(&mut self) -> Option<Sealer<'_>> {
        let tunnel = self.tunnel.as_mut().filter(|_| self.ready)?;
        Some(Sealer { tunnel })
    }

    /// A packet waits for a session: an initiation will be due, if none is on its way already.
    pub fn demand(&mut self, now: Instant) {
        if !self.is_ready() {
            self.schedule.want(now);
        }
    }

    /// Opens a data message into `out`, which has to be as long as the datagram.
    ///
    /// # Errors
    /// The reason for the drop; nothing of the packet may be used then.
    #[inline]
    pub fn open(&mut self, datagram: &[u8], out: &mut [u8]) -> Result<Opened, DropReason> {
        let (Some(receiver), Some(counter)) = (u32_at(datagram, 4), u64_at(datagram, 8)) else {
            return Err(DropReason::Malformed);
        };
        let tunnel = self.tunnel.as_mut().ok_or(DropReason::NoSession)?;
        if datagram[0] != 4 || datagram.len() < DATA_OVERHEAD || out.len() < datagram.len() {
            return Err(DropReason::Malformed);
        }
        if counter >= REJECT_AFTER_MESSAGES {
            return Err(DropReason::Replay);
        }
        let length = match tunnel.decapsulate(None, datagram, out) {
            TunnResult::Done => 0,
            TunnResult::WriteToTunnelV4(packet, _) | TunnResult::WriteToTunnelV6(packet, _) => packet.len(),
            TunnResult::WriteToNetwork(_) => return Err(DropReason::Malformed),
            TunnResult::Err(error) => return Err(reason(&error)),
        };
        let change = self.slots.opened(receiver, self.ready);
        self.ready = true;
        Ok(Opened {
            length,
            confirmed: change.confirmed,
            renewed: change.renewed,
        })
    }

    /// To be called after an [`Opened::confirmed`].
    pub fn confirm(&mut self, now: Instant) {
        self.slots.confirmed();
        self.established(now);
    }

    /// Writes a handshake initiation now, whatever is on its way already, and gives its length.
    ///
    /// # Errors
    /// [`DropReason::Malformed`] where `out` is shorter than [`INITIATION_LEN`].
    pub fn initiate(&mut self, now: Instant, out: &mut [u8]) -> Result<usize, DropReason> {
        self.schedule.clear();
        self.write_initiation(now, out)
    }

    /// Takes a handshake initiation, response or cookie reply that is for this peer; what is to be sent back is written
    /// to `out`, at least [`INITIATION_LEN`] bytes.
    ///
    /// # Errors
    /// The reason for the drop; [`DropReason::HandshakeReplay`] where the peer's timestamp is not newer than its last.
    pub fn handle_handshake(
        &mut self,
        now: Instant,
        datagram: &[u8],
        out: &mut [u8],
    ) -> Result<HandshakeDone, DropReason> {
        let kind = datagram.first().copied().unwrap_or(0);
        if out.len() < INITIATION_LEN || !(1..=3).contains(&kind) {
            return Err(DropReason::HandshakeInvalid);
        }
        self.make_room(kind, out);
        let written = match self.tunnel().decapsulate(None, datagram, out) {
            TunnResult::WriteToNetwork(answer) => answer.len(),
            TunnResult::Done => 0,
            TunnResult::Err(WireGuardError::WrongTai64nTimestamp) => return Err(DropReason::HandshakeReplay),
            _ => return Err(DropReason::HandshakeInvalid),
        };
        self.ask_ready();
        match kind {
            1 => {
                if let Some(index) = u32_at(out, 4) {
                    self.slots.answered(index);
                }
                self.schedule.responded(now);
                Ok(HandshakeDone::Respond(written))
            }
            2 => {
                if let Some(index) = u32_at(datagram, 8) {
                    self.slots.established(index);
                }
                self.established(now);
                Ok(HandshakeDone::Established(written))
            }
            _ => {
                self.schedule.cookie(now);
                Ok(HandshakeDone::Cookie)
            }
        }
    }

    /// Lets time pass: to be called at [`Session::poll_timeout`] and at least every 250 ms. What is to be sent is written
    /// to `out`, at least [`INITIATION_LEN`] bytes.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut [u8]) -> TimeoutDone {
        if self.schedule.next().is_some_and(|due| due <= now) {
            return self
                .write_initiation(now, out)
                .map_or(TimeoutDone::Nothing, TimeoutDone::Initiation);
        }
        let Some(tunnel) = self.tunnel.as_mut() else {
            return TimeoutDone::Nothing;
        };
        if out.len() < INITIATION_LEN {
            return TimeoutDone::Nothing;
        }
        let done = match tunnel.update_timers(out) {
            TunnResult::WriteToNetwork(datagram) if datagram[0] == 1 => {
                let (index, length) = (u32_at(datagram, 4), datagram.len());
                self.pending_since.get_or_insert(now);
                self.pass_over(index, out);
                TimeoutDone::Initiation(length)
            }
            TunnResult::WriteToNetwork(datagram) => TimeoutDone::Keepalive(datagram.len()),
            TunnResult::Err(WireGuardError::ConnectionExpired) => {
                self.give_up();
                TimeoutDone::Nothing
            }
            _ => TimeoutDone::Nothing,
        };
        self.ask_ready();
        done
    }

    /// Forgets all sessions and makes the tunnel anew at its next use: with it, the wall clock is read anew.
    pub fn rebuild(&mut self) {
        self.tunnel = None;
        self.ready = false;
        self.slots = Slots::new(self.index);
        self.pending_since = None;
        self.schedule.clear();
    }

    fn tunnel(&mut self) -> &mut Tunn {
        self.tunnel.get_or_insert_with(|| {
            let PeerKeys {
                public,
                preshared,
                keepalive,
            } = &self.keys;
            Box::new(Tunn::new(
                self.own.secret.as_dalek().clone(),
                public.to_dalek(),
                preshared.as_ref().map(|key| key.0),
                *keepalive,
                self.index,
                Some(self.own.unlimited.clone()),
            ))
        })
    }

    fn ask_ready(&mut self) {
        self.ready = self
            .tunnel
            .as_ref()
            .is_some_and(|tunnel| tunnel.time_since_last_handshake().is_some());
    }

    fn write_initiation(&mut self, now: Instant, out: &mut [u8]) -> Result<usize, DropReason> {
        if out.len() < INITIATION_LEN {
            return Err(DropReason::Malformed);
        }
        let (index, length) = self.format(out).ok_or(DropReason::HandshakeInvalid)?;
        self.pass_over(Some(index), out);
        self.pending_since.get_or_insert(now);
        self.schedule.initiated(now);
        Ok(length)
    }

    /// Writes an initiation; gives its index and length.
    fn format(&mut self, out: &mut [u8]) -> Option<(u32, usize)> {
        let TunnResult::WriteToNetwork(datagram) = self.tunnel().format_handshake_initiation(out, true)
        else {
            return None;
        };
        let found = (u32_at(datagram, 4)?, datagram.len());
        self.slots.took(found.0);
        Some(found)
    }

    /// Replaces the initiation in `out` while its session would take the place of one in use.
    fn pass_over(&mut self, index: Option<u32>, out: &mut [u8]) {
        let Some(mut index) = index else { return };
        self.slots.took(index);
        while self.slots.is_taken(index) {
            match self.format(out) {
                Some((next, _)) => index = next,
                None => return,
            }
        }
    }

    /// Readies the tunnel for a new session: its clock is put right, and where an answer to an initiation would take the place
    /// of a session in use, the place after it is made the next. An initiation of ours that waits for its answer may be void by
    /// that, and is repeated.
    fn make_room(&mut self, kind: u8, out: &mut [u8]) {
        if let TunnResult::WriteToNetwork(datagram) = self.tunnel().update_timers(out)
            && datagram[0] == 1
            && let Some(index) = u32_at(datagram, 4)
        {
            // not sent: the handshake that comes of this message does as well
            self.slots.took(index);
        }
        while kind == 1 && self.slots.is_taken(self.slots.next()) && self.format(out).is_some() {}
    }

    fn established(&mut self, now: Instant) {
        self.last_handshake = Some(now);
        self.pending_since = None;
        self.schedule.clear();
    }

    /// boringtun gave up, and says so at each call until the next initiation. Where one is due it goes on.
    fn give_up(&mut self) {
        if self.schedule.next().is_none() {
            self.pending_since = None;
            self.schedule.clear();
        }
    }
}

impl Sealer<'_> {
    /// Seals `packet` into a data message at the start of `out` and gives its length, `packet.len() +` [`DATA_OVERHEAD`].
    ///
    /// # Errors
    /// [`DropReason::TooBig`] where `out` is too short.
    #[inline]
    pub fn seal(&mut self, packet: &[u8], out: &mut [u8]) -> Result<usize, DropReason> {
        if out.len() < packet.len() + DATA_OVERHEAD {
            return Err(DropReason::TooBig);
        }
        match self.tunnel.encapsulate(packet, out) {
            TunnResult::WriteToNetwork(datagram) => Ok(datagram.len()),
            _ => Err(DropReason::NoSession),
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("peer", &self.keys.public)
            .field("index", &self.index)
            .field("last_handshake", &self.last_handshake)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Sealer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer")
    }
}

fn reason(error: &WireGuardError) -> DropReason {
    match error {
        WireGuardError::NoCurrentSession | WireGuardError::WrongIndex => DropReason::NoSession,
        WireGuardError::InvalidCounter | WireGuardError::DuplicateCounter => DropReason::Replay,
        WireGuardError::InvalidAeadTag => DropReason::Authentication,
        _ => DropReason::Malformed,
    }
}

#[inline]
fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..at + 8)?.first_chunk()?))
}
