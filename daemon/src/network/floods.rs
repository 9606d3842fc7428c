//! Peers that send more control datagrams than anybody needs: who, and how many, as sentences for `status`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use meshd_core::path::Endpoint;

/// Who sends: an IP address, or a session of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sender {
    /// Everything from one address, whatever its port.
    Host(std::net::IpAddr),
    /// What a relay carries of one peer.
    Session(std::net::SocketAddr, u64),
}

impl From<Endpoint> for Sender {
    fn from(endpoint: Endpoint) -> Self {
        match endpoint {
            Endpoint::Direct(remote) => Self::Host(remote.address.ip()),
            Endpoint::Relay { relay, session } => Self::Session(relay, session),
        }
    }
}

/// Control datagrams/s from one sender that are still no flood: a birthday search sends at most 500.
const PER_SECOND: u32 = 600;
/// How long a flood is spoken of after it ended.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Addresses counted at a time.
const MAX_ADDRESSES: usize = 1024;

/// Control datagrams by address, of this second; and floods seen.
#[derive(Default)]
pub(super) struct Floods {
    second: Option<Instant>,
    counts: BTreeMap<Sender, u32>,
    seen: BTreeMap<Sender, (Instant, u32)>,
}

impl Floods {
    /// A control datagram came. False where this address has had its share of the second: it is dropped.
    pub(super) fn admit(&mut self, now: Instant, from: Sender) -> bool {
        if self
            .second
            .is_none_or(|begun| now.saturating_duration_since(begun) >= Duration::from_secs(1))
        {
            self.end_second(now);
        }
        if self.counts.len() >= MAX_ADDRESSES && !self.counts.contains_key(&from) {
            return true;
        }
        let count = self.counts.entry(from).or_insert(0);
        *count = count.saturating_add(1);
        *count <= PER_SECOND
    }

    fn end_second(&mut self, now: Instant) {
        self.second = Some(now);
        let floods = std::mem::take(&mut self.counts)
            .into_iter()
            .filter(|(_, count)| *count > PER_SECOND);
        for (from, count) in floods {
            self.seen.insert(from, (now, count));
        }
        self.seen
            .retain(|_, (at, _)| now.saturating_duration_since(*at) < REMEMBERED);
    }

    /// What is to be said of floods now.
    /// `name` is a sender's, for people.
    pub(super) fn sentences(&self, name: impl Fn(Sender) -> String) -> Vec<String> {
        let under_way = self.counts.iter().filter(|(_, count)| **count > PER_SECOND);
        let under_way = under_way.map(|(from, count)| (*from, *count));
        let mut floods: BTreeMap<Sender, u32> = self
            .seen
            .iter()
            .map(|(from, (_, count))| (*from, *count))
            .collect();
        floods.extend(under_way);
        floods
            .into_iter()
            .map(|(from, count)| {
                let from = name(from);
                format!("{from} floods this node with discovery messages ({count} in a second); above {PER_SECOND} they are dropped")
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_dropped_above_its_share_named_and_forgotten_after_a_while() {
        let (mut floods, now) = (Floods::default(), Instant::now());
        let host = |last: u8| Sender::Host([192, 0, 2, last].into());
        let (bad, good) = (host(1), host(2));
        let said = |floods: &Floods| floods.sentences(|sender| format!("{sender:?}"));
        let admitted = (0..5000).filter(|_| floods.admit(now, bad)).count();
        assert_eq!(admitted, PER_SECOND as usize);
        assert!(floods.admit(now, good), "others are heard");
        assert!(
            said(&floods)[0].starts_with("Host(192.0.2.1) floods"),
            "{:?}",
            said(&floods)
        );
        assert!(
            floods.admit(now + Duration::from_secs(2), bad),
            "the next second is a new one"
        );
        assert_eq!(said(&floods).len(), 1, "it is remembered");
        assert!(floods.admit(now + Duration::from_secs(90), good));
        assert_eq!(said(&floods), Vec::<String>::new());
    }
}
