//! Where the relay sees a peer, and where it sees us.
//!
//! A relay tells each of two nodes where it sees the other (docs/wire.md section 6, types 7 and 8). It sees a node where that is
//! bound; one that is bound over IPv6 shows it by a cookie that it is at an IPv4 address too (type 9), without binding there.

use std::net::SocketAddr;

use rand_core::RngCore;

use crate::id::NodeId;
use crate::relay::frame::{ControlFrame, Cookie, Nonce};

use super::RelayClient;
use super::event::RelayEvent;

/// The question that was asked last, and the last attempt to be seen.
#[derive(Default)]
pub(super) struct Questions {
    peer: Option<(NodeId, Nonce)>,
    own: Option<Nonce>,
}

impl Questions {
    /// Whether an answer with this nonce is awaited.
    pub(super) fn asked(&self, nonce: Nonce) -> bool {
        self.shows(nonce) || self.peer.is_some_and(|(_, asked)| asked == nonce)
    }

    /// Whether a cookie with this nonce is awaited.
    pub(super) fn shows(&self, nonce: Nonce) -> bool {
        self.own == Some(nonce)
    }
}

impl RelayClient {
    /// Asks the relay where it sees `peer`, and has it see this node over IPv4, if the node is bound there over UDP. Who gets no
    /// answer asks again.
    pub fn ask_whereabouts(&mut self, peer: NodeId) {
        let Some(to) = self.bound_to().filter(|_| !self.is_over_tls()) else {
            return;
        };
        let nonce = self.rng.next_u64().to_le_bytes();
        self.whereabouts.peer = Some((peer, nonce));
        let frame = ControlFrame::where_request(self.network, self.node, nonce, peer, &self.info.key);
        self.transmit(to, frame);
        let ipv4 = self.udp().iter().copied().find(SocketAddr::is_ipv4);
        if let Some(ipv4) = ipv4.filter(|_| to.is_ipv6()) {
            let nonce = self.rng.next_u64().to_le_bytes();
            self.whereabouts.own = Some(nonce);
            self.show(ipv4, nonce, &Cookie::default());
        }
    }

    /// Shows the relay that we are at the address from which this goes out.
    pub(super) fn show(&mut self, to: SocketAddr, nonce: Nonce, cookie: &Cookie) {
        let frame = ControlFrame::witness(self.network, self.node, nonce, cookie, &self.info.key);
        self.transmit(to, frame);
    }

    /// The relay's answer, authentic; of who is there over TLS it sees no address.
    pub(super) fn told_whereabouts(&mut self, nonce: Nonce, peer: NodeId, seen: SocketAddr) {
        if self.whereabouts.peer == Some((peer, nonce)) {
            self.whereabouts.peer = None;
            if !seen.ip().is_unspecified() {
                self.event(RelayEvent::Seen { peer, seen });
            }
        } else if self.whereabouts.own == Some(nonce) {
            self.whereabouts.own = None;
        }
    }
}
