//! Data frames: `&self`, no allocation, one hash look-up and two indexings.

use std::time::Instant;

use crate::demux::{Class, RELAY_CONTROL_SESSION, RELAY_HEADER_LEN, classify, split_relay};
use crate::relay::frame::{ControlFrame, REFUSED_LEN, RefusalCode};

use super::{Channel, RelayDrop, RelayServer, Verdict};

impl RelayServer {
    /// Decides about one datagram. A data frame that goes on has the receiver's session id written into it.
    pub fn forward(&self, now: Instant, from: Channel, datagram: &mut [u8]) -> Verdict {
        let id = match split_relay(datagram) {
            Err(_) => return Verdict::Drop(RelayDrop::Malformed),
            Ok((RELAY_CONTROL_SESSION, _)) => return Verdict::Control,
            Ok((_, payload)) if !is_a_packet(payload) => {
                return Verdict::Drop(RelayDrop::ForeignPayload);
            }
            Ok((id, _)) => id,
        };
        let clock = self.clock(now);
        let refuse = |code| self.refuse(clock, from, id, datagram.len(), code);
        let Some(session) = self.sessions.get(id) else {
            return refuse(RefusalCode::UnknownSession);
        };
        let (Some(sender), Some(receiver)) = (self.members.get(session.from), self.members.get(session.to))
        else {
            return refuse(RefusalCode::UnknownSession);
        };
        if sender.bound_at(clock).is_none_or(|bound| !bound.is_of(&from)) {
            return refuse(RefusalCode::NotBound);
        }
        let Some(to) = receiver.bound_at(clock) else {
            return refuse(RefusalCode::PeerNotBound);
        };
        if !sender.charge(clock, datagram.len()) {
            return refuse(RefusalCode::OverQuota);
        }
        if !sender.offer(clock, datagram.len(), self.fairness.share()) {
            return Verdict::Drop(RelayDrop::Shed);
        }
        sender.forwarded(datagram.len());
        session.used(clock);
        datagram[4..RELAY_HEADER_LEN].copy_from_slice(&session.reverse.to_le_bytes());
        Verdict::Forward { to }
    }

    fn refuse(&self, clock: u64, from: Channel, session: u64, asked: usize, code: RefusalCode) -> Verdict {
        if asked < REFUSED_LEN || !self.refusals.allow(clock, from.address) {
            return Verdict::Drop(RelayDrop::RefusedSilently);
        }
        Verdict::Reply(ControlFrame::refused(session.to_le_bytes(), code))
    }
}

/// Whether a payload starts as a WireGuard or a discovery packet does: a frame in a frame goes nowhere.
fn is_a_packet(payload: &[u8]) -> bool {
    match classify(payload) {
        Class::Data | Class::HandshakeInitiation | Class::HandshakeResponse | Class::CookieReply => true,
        Class::Discovery => true,
        Class::Relay | Class::Stun | Class::Beacon | Class::Unknown => false,
    }
}
