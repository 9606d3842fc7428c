//! Where relays see the peer: a search of ports goes nowhere else.
//!
//! A peer may name any address. That a relay sees it at one is proof that it is there: it was sent a cookie there and sent it
//! back (docs/wire.md section 6). So nobody has hundreds of datagrams sent to whom he likes, but to himself and to who shares his
//! public address.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::path::relays::MAX_RELAYS;
use crate::path::shared::Shared;

use super::Peer;

/// What a relay said counts for so long.
const VOUCHED_FOR: Duration = Duration::from_secs(30);
/// Relays are asked about one peer at most this often.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// What relays said of one peer.
#[derive(Default)]
pub(super) struct Vouched {
    at: Vec<(Instant, IpAddr)>,
    asked: Option<Instant>,
    /// The peer wants to be searched there, and no relay has said yet that it is.
    pub(super) wanted: Option<SocketAddr>,
}

impl Vouched {
    /// Whether a relay has seen the peer at this IP address lately.
    pub(super) fn knows(&self, now: Instant, ip: IpAddr) -> bool {
        let lately = |at: Instant| now.saturating_duration_since(at) < VOUCHED_FOR;
        self.at.iter().any(|&(at, seen)| seen == ip && lately(at))
    }

    fn saw(&mut self, now: Instant, ip: IpAddr) {
        self.at.retain(|(_, seen)| *seen != ip);
        if self.at.len() >= MAX_RELAYS {
            self.at.remove(0);
        }
        self.at.push((now, ip));
    }
}

impl Peer {
    /// Asks the relays where they see the peer.
    pub(super) fn ask_whereabouts(&mut self, now: Instant, shared: &mut Shared) {
        let asked = &mut self.campaign.vouched.asked;
        if asked.is_none_or(|last| now.saturating_duration_since(last) >= ASK_EVERY) {
            *asked = Some(now);
            shared.relays.ask_whereabouts(self.info.node);
        }
    }

    /// A relay has told where it sees the peer; what waited for that goes on.
    pub(in crate::path) fn seen_by_relay(&mut self, now: Instant, seen: SocketAddr, shared: &mut Shared) {
        self.campaign.vouched.saw(now, seen.ip());
        if self.campaign.open_at.is_some() {
            self.campaign.open_at = Some(now);
        }
        let known = |wanted: &mut SocketAddr| wanted.ip() == seen.ip();
        if let Some(wanted) = self.campaign.vouched.wanted.take_if(known) {
            self.on_birthday(now, wanted, shared);
        }
    }
}
