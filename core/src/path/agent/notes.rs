//! What the packet path tells of each peer.

use std::net::SocketAddr;
use std::time::Instant;

use crate::id::NodeId;
use crate::path::Endpoint;

use super::Agent;

impl Agent {
    /// Packets went to `peer` since this was last called, or wait because there is no path.
    pub fn handle_activity(&mut self, now: Instant, peer: NodeId) {
        self.with_peer(now, peer, |peer, shared| peer.sent(now, shared));
        self.settle(now);
    }

    /// Packets went to `peer` at `since` and later, and nothing has come from it after that. May be told together with
    /// [`Self::handle_activity`], before it, which knows no better than when it is called.
    pub fn note_unanswered(&mut self, now: Instant, peer: NodeId, since: Instant) {
        self.with_peer(now, peer, |peer, _| peer.unanswered(since));
    }

    /// More than a hundred packets a second go to `peer`: how large they may be is checked more often. Told before
    /// [`Self::handle_activity`].
    pub fn note_busy(&mut self, now: Instant, peer: NodeId) {
        self.with_peer(now, peer, |peer, _| peer.carries_much(now));
    }

    /// Somebody wants to know how `peer` answers: it is pinged by its present path, as if packets went to it. What comes back
    /// is told by [`crate::path::Event::Ponged`].
    pub fn ping(&mut self, now: Instant, peer: NodeId) {
        self.with_peer(now, peer, |peer, shared| peer.ping_by_path(now, shared));
        self.settle(now);
    }

    /// Authenticated WireGuard packets came from `peer` by `from` since this was last called.
    pub fn note_received(&mut self, now: Instant, peer: NodeId, from: Endpoint) {
        if self.shared.sockets.is_open(from.socket()) {
            self.with_peer(now, peer, |peer, shared| peer.received(now, from, shared));
        }
        self.settle(now);
    }

    /// A WireGuard initiation was sent to `peer`.
    pub fn initiation_sent(&mut self, now: Instant, peer: NodeId) {
        self.with_peer(now, peer, |peer, shared| peer.initiation_sent(now, shared));
        self.settle(now);
    }

    /// A WireGuard handshake with `peer` is complete.
    pub fn handshake_done(&mut self, now: Instant, peer: NodeId) {
        self.with_peer(now, peer, |peer, _| peer.handshake_done());
    }

    /// The kernel would not send a datagram to this address: it is larger than the link takes. No more than a hint.
    pub fn too_large(&mut self, now: Instant, to: SocketAddr) {
        self.with_all(now, |peer, _| peer.too_large(now, to));
        self.settle(now);
    }
}
