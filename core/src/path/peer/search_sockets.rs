//! The sockets besides the primary one that a search has opened for a peer: which stay, and for how long.

use std::time::{Duration, Instant};

use crate::path::SocketId;
use crate::path::shared::Shared;

use super::Peer;
use super::direct::Direct;

/// A socket stays open for so long after the peer's last message by it, were it only a ping: our pong has proven to the peer that it
/// reaches us there, and its packets may come by it, whatever path we have found. After this time it has heard nothing by it for
/// so long that it trusts it no more (`tick::QUIET_AFTER`), and uses a relay as well.
const CARRIED_FOR: Duration = Duration::from_secs(10);
const _: () = assert!(CARRIED_FOR.as_secs() > super::tick::QUIET_AFTER.as_secs());

impl Peer {
    /// Closes the sockets of a search, but not those by which the peer has answered or asked: it may have found its path by
    /// one of them in the same moment, and sends by it until it has found the other.
    pub(super) fn close_searches(&mut self, shared: &mut Shared) {
        (self.campaign.open_at, self.campaign.vouched.wanted) = (None, None);
        let fresh = self.campaign.fresh.take().map(|fresh| (fresh.socket(), 1));
        let opened = self.campaign.opener.take().map(|opener| opener.sockets());
        let searched = self.campaign.searcher.take().is_some();
        if (opened.is_some() || searched) && shared.searching == Some(self.info.node) {
            shared.searching = None;
        }
        for (first, count) in [fresh, opened].into_iter().flatten() {
            self.close_all_but_adopted(first, count, shared);
        }
    }

    pub(super) fn close_all_but_adopted(&mut self, first: SocketId, count: u16, shared: &mut Shared) {
        let end = first.0 + count;
        for direct in self.directs.iter() {
            let (socket, came) = (direct.remote.socket, direct.came_at());
            if let Some(came) = came.filter(|_| (first.0..end).contains(&socket.0)) {
                if !self.campaign.adopted.contains(&socket) {
                    self.campaign.adopted.push(socket);
                }
                self.campaign.lingers = self.campaign.lingers.max(Some(came + CARRIED_FOR));
            }
        }
        let mut from = first.0;
        for socket in first.0..end {
            if self.campaign.adopted.contains(&SocketId(socket)) {
                shared.close_sockets(SocketId(from), socket - from);
                from = socket + 1;
            }
        }
        shared.close_sockets(SocketId(from), end - from);
        let adopted = &self.campaign.adopted;
        let closed = |socket: SocketId| (first.0..end).contains(&socket.0) && !adopted.contains(&socket);
        self.directs.forget_sockets(closed);
    }

    /// Closes sockets by which the peer no longer answers, or that a path by the primary one has made needless: to the peer
    /// too, whose packets come by them until it has found that path itself.
    pub(super) fn drop_unused_sockets(&mut self, now: Instant, shared: &mut Shared) {
        self.campaign.lingers = self.campaign.lingers.filter(|until| now < *until);
        if self.campaign.adopted.is_empty() {
            return;
        }
        let in_use = self.path.direct().map(|remote| remote.socket);
        let primary_does = in_use == Some(SocketId::PRIMARY) && self.path.duplicate.is_none();
        let any = |socket: SocketId, so: &dyn Fn(&Direct) -> bool| {
            let mut by_it = self
                .directs
                .iter()
                .filter(|direct| direct.remote.socket == socket);
            by_it.any(so)
        };
        let needed = |socket: SocketId| {
            let carries = |direct: &Direct| {
                direct.carried_within(now, CARRIED_FOR) || direct.came_within(now, CARRIED_FOR)
            };
            let proven = |direct: &Direct| direct.proof(now).is_some();
            in_use == Some(socket) || any(socket, &carries) || any(socket, &proven) && !primary_does
        };
        let (kept, unused): (Vec<_>, Vec<_>) =
            self.campaign.adopted.iter().partition(|&&socket| needed(socket));
        self.campaign.adopted = kept;
        for socket in unused {
            shared.close_sockets(socket, 1);
            self.directs.forget_sockets(|closed| closed == socket);
        }
    }

    /// The peer is removed: none of its sockets stays.
    pub(in crate::path) fn close_sockets(&mut self, shared: &mut Shared) {
        self.abandon_campaign(shared);
        for socket in std::mem::take(&mut self.campaign.adopted) {
            shared.close_sockets(socket, 1);
        }
    }
}
