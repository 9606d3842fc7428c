//! Control messages: binding an address, opening a session, telling where a peer is seen.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Instant;

use crate::id::{NetworkId, NodeId};
use crate::relay::frame::{
    BINDING_LIFETIME_S, Control, ControlFrame, Cookie, Frame, Nonce, RefusalCode, authentic, parse,
};

use super::{Channel, RelayDrop, RelayServer, Verdict, bind_key};

impl RelayServer {
    /// Decides about a control message: what [`RelayServer::forward`] called [`Verdict::Control`].
    pub fn handle_control(&mut self, now: Instant, from: Channel, datagram: &[u8]) -> Verdict {
        match parse(datagram) {
            Some(Frame::Control(Control::BindRequest {
                network,
                node,
                nonce,
                cookie,
            })) => self.bind(now, from, datagram, (network, node), nonce, &cookie),
            Some(Frame::Control(Control::OpenRequest {
                network,
                node,
                nonce,
                peer,
            })) => self.open(now, from, datagram, (network, node), nonce, peer),
            Some(Frame::Control(Control::Witness {
                network,
                node,
                nonce,
                cookie,
            })) => self.witness(now, from, datagram, (network, node), nonce, &cookie),
            Some(Frame::Control(Control::WhereRequest {
                network,
                node,
                nonce,
                peer,
            })) => self.tell_where(now, from, datagram, (network, node), nonce, peer),
            _ => Verdict::Drop(RelayDrop::Malformed),
        }
    }

    fn bind(
        &mut self,
        now: Instant,
        from: Channel,
        datagram: &[u8],
        who: (NetworkId, NodeId),
        nonce: Nonce,
        cookie: &Cookie,
    ) -> Verdict {
        let index = match self.shown(from, datagram, who, nonce, cookie) {
            Ok(index) => index,
            Err(verdict) => return verdict,
        };
        let clock = self.clock(now);
        let bound = self.members.get_mut(index).and_then(|slot| {
            let fresh = slot.bind(clock, from, nonce);
            fresh.then(|| ControlFrame::bound(nonce, BINDING_LIFETIME_S, from.seen(), &slot.key))
        });
        bound.map_or(Verdict::Drop(RelayDrop::Replayed), Verdict::Reply)
    }

    fn open(
        &mut self,
        now: Instant,
        from: Channel,
        datagram: &[u8],
        who: (NetworkId, NodeId),
        nonce: Nonce,
        peer: NodeId,
    ) -> Verdict {
        let index = match self.member(datagram, who, nonce) {
            Ok(index) => index,
            Err(verdict) => return verdict,
        };
        match self.session_to(now, from, index, who.0, peer) {
            Ok(session) => match self.members.get(index) {
                Some(slot) => Verdict::Reply(ControlFrame::opened(nonce, peer, session, &slot.key)),
                None => Verdict::Drop(RelayDrop::Malformed),
            },
            Err(code) => Verdict::Reply(ControlFrame::refused(nonce, code)),
        }
    }

    /// To who is bound itself: where another member of its network is bound.
    fn tell_where(
        &self,
        now: Instant,
        from: Channel,
        datagram: &[u8],
        who: (NetworkId, NodeId),
        nonce: Nonce,
        peer: NodeId,
    ) -> Verdict {
        let index = match self.member(datagram, who, nonce) {
            Ok(index) => index,
            Err(verdict) => return verdict,
        };
        let Some(slot) = self.members.get(index) else {
            return Verdict::Drop(RelayDrop::Malformed);
        };
        match self.both_bound(now, from, index, who.0, peer) {
            Ok(to) => {
                let seen = self
                    .members
                    .get(to)
                    .and_then(|peer| peer.whereabouts(self.clock(now)));
                let seen = seen.unwrap_or(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0));
                Verdict::Reply(ControlFrame::whereabouts(nonce, peer, seen, &slot.key))
            }
            Err(code) => Verdict::Reply(ControlFrame::refused(nonce, code)),
        }
    }

    /// A member shows that it is at this address too: it has the cookie that was sent there.
    fn witness(
        &mut self,
        now: Instant,
        from: Channel,
        datagram: &[u8],
        who: (NetworkId, NodeId),
        nonce: Nonce,
        cookie: &Cookie,
    ) -> Verdict {
        let index = match self.shown(from, datagram, who, nonce, cookie) {
            Ok(index) => index,
            Err(verdict) => return verdict,
        };
        let clock = self.clock(now);
        match self.members.get_mut(index).filter(|_| from.stream().is_none()) {
            Some(slot) => {
                slot.witness(clock, from.address);
                Verdict::Reply(ControlFrame::whereabouts(nonce, who.1, from.seen(), &slot.key))
            }
            None => Verdict::Drop(RelayDrop::Malformed),
        }
    }

    /// The slot of `peer`, if it is bound and the member that asks is bound where it asks from.
    fn both_bound(
        &self,
        now: Instant,
        from: Channel,
        index: u32,
        network: NetworkId,
        peer: NodeId,
    ) -> Result<u32, RefusalCode> {
        let clock = self.clock(now);
        let slot = self.members.get(index).ok_or(RefusalCode::NotAMember)?;
        if slot.bound_at(clock).is_none_or(|bound| !bound.is_of(&from)) {
            return Err(RefusalCode::NotBound);
        }
        let found = self.members.find(network, peer);
        let to = found.filter(|&to| to != index).ok_or(RefusalCode::NotAMember)?;
        let bound = self.members.get(to).and_then(|peer| peer.bound_at(clock));
        bound.map(|_| to).ok_or(RefusalCode::PeerNotBound)
    }

    /// The member that made this message, which shows by a cookie that it is where that came from; else it gets one.
    fn shown(
        &self,
        from: Channel,
        datagram: &[u8],
        who: (NetworkId, NodeId),
        nonce: Nonce,
        cookie: &Cookie,
    ) -> Result<u32, Verdict> {
        if self.cookies.good(from.address, cookie) {
            return self.member(datagram, who, nonce);
        }
        let cookie = self.cookies.issue(from.address);
        Err(Verdict::Reply(ControlFrame::bind_cookie(nonce, &cookie)))
    }

    /// The member that made this message. Who is not one gets an answer only if the key was once its own.
    fn member(&self, datagram: &[u8], who: (NetworkId, NodeId), nonce: Nonce) -> Result<u32, Verdict> {
        let found = self.members.find(who.0, who.1);
        let genuine = match found.and_then(|index| self.members.get(index)) {
            Some(slot) => authentic(datagram, &slot.key),
            None => authentic(datagram, &bind_key(&self.secret, who.0, who.1)),
        };
        if !genuine {
            return Err(Verdict::Drop(RelayDrop::BadMac));
        }
        found.ok_or(Verdict::Reply(ControlFrame::refused(
            nonce,
            RefusalCode::NotAMember,
        )))
    }

    fn session_to(
        &mut self,
        now: Instant,
        from: Channel,
        index: u32,
        network: NetworkId,
        peer: NodeId,
    ) -> Result<u64, RefusalCode> {
        let clock = self.clock(now);
        let to = self.both_bound(now, from, index, network, peer)?;
        let slot = self.members.get(index).ok_or(RefusalCode::NotAMember)?;
        if let Some(&session) = slot.peers.get(&to) {
            return Ok(session);
        }
        if slot.peers.len() >= self.config.max_sessions_per_node {
            return Err(RefusalCode::OverQuota);
        }
        if self.sessions.len() + 2 > self.config.max_sessions {
            self.make_room(now);
        }
        if self.sessions.len() + 2 > self.config.max_sessions {
            return Err(RefusalCode::OverQuota);
        }
        Ok(self.open_pair(clock, index, to))
    }

    fn open_pair(&mut self, clock: u64, from: u32, to: u32) -> u64 {
        let (there, back) = self.sessions.open(clock, from, to, &mut self.rng);
        if let Some(slot) = self.members.get_mut(from) {
            slot.peers.insert(to, there);
        }
        if let Some(slot) = self.members.get_mut(to) {
            slot.peers.insert(from, back);
        }
        there
    }
}
