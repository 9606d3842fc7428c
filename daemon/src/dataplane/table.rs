//! All peers, as one value that is read without a lock and replaced as a whole.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use meshd_core::allowed_ips::AllowedIps;
use meshd_core::id::NodeId;
use meshd_core::keys::WireGuardPublic;
use meshd_core::wireguard::{MAX_PEERS, PeerKeys, WireGuard};
use rand_core::{OsRng, RngCore};

use super::config::PeerConfig;
use super::peer::Peer;

/// The peers of one moment. A slot is a place in it, and means nothing in the next table.
#[derive(Debug, Default)]
pub(super) struct PeerTable {
    peers: Vec<Arc<Peer>>,
    /// What each peer was made of, to see what changes.
    configs: Vec<PeerConfig>,
    allowed_ips: AllowedIps,
    also_from: AlsoFrom,
    by_index: HashMap<u32, u32>,
    by_key: HashMap<WireGuardPublic, u32>,
    by_node: HashMap<NodeId, u32>,
}

impl PeerTable {
    /// The table after `self` with these peers, and the peers that are in it no longer. A peer with the same node id, key,
    /// preshared key and keepalive stays as it is, with its session and path. Of two with one node id or one key, the
    /// later one counts; our own key is no peer.
    pub(super) fn next(
        &self,
        own: &WireGuard,
        mtu: u16,
        configs: Vec<PeerConfig>,
    ) -> (PeerTable, Vec<Arc<Peer>>) {
        let mut table = PeerTable::default();
        for config in unique(own, configs) {
            let kept = self
                .slot_of(&config.node)
                .filter(|slot| is_same(&self.configs[*slot], &config));
            let peer = match kept {
                Some(slot) => {
                    let peer = self.peers[slot].clone();
                    peer.lock().roaming = config.roaming;
                    peer
                }
                None => Arc::new(self.make(own, mtu, &config, &table)),
            };
            table.add(peer, config);
        }
        let prefixes = table.configs.iter().zip(0..);
        table.allowed_ips = AllowedIps::new(
            prefixes.flat_map(|(config, slot)| config.allowed_ips.iter().map(move |net| (*net, slot))),
        );
        table.also_from = AlsoFrom::new(&table.configs);
        let stays = |peer: &Arc<Peer>| table.by_index.contains_key(&peer.index);
        let removed = self.peers.iter().filter(|peer| !stays(peer)).cloned().collect();
        (table, removed)
    }

    fn make(&self, own: &WireGuard, mtu: u16, config: &PeerConfig, next: &PeerTable) -> Peer {
        // random, as the protocol has it: an index tells nothing, and a removed peer's is not soon another's
        let index = std::iter::repeat_with(|| OsRng.next_u32() % MAX_PEERS as u32)
            .find(|index| !self.by_index.contains_key(index) && !next.by_index.contains_key(index))
            .unwrap_or(0);
        let (preshared, keepalive) = (config.preshared_key.clone(), config.keepalive);
        let session = own.session(
            PeerKeys {
                public: config.public_key,
                preshared,
                keepalive,
            },
            index,
        );
        Peer::new(
            config.node,
            config.public_key,
            index,
            session,
            config.roaming,
            mtu,
        )
    }

    fn add(&mut self, peer: Arc<Peer>, config: PeerConfig) {
        let slot = self.peers.len() as u32;
        self.by_index.insert(peer.index, slot);
        self.by_key.insert(peer.key, slot);
        self.by_node.insert(peer.node, slot);
        self.peers.push(peer);
        self.configs.push(config);
    }

    /// Whose allowed IPs hold an address, as slots.
    #[inline]
    pub(super) fn allowed_ips(&self) -> &AllowedIps {
        &self.allowed_ips
    }

    /// Whether the peer in `slot` may send from an address that is another peer's destination.
    #[cold]
    pub(super) fn may_also_send(&self, slot: u32, source: IpAddr) -> bool {
        self.also_from.holds(slot, source)
    }

    /// The peer in `slot`.
    #[inline]
    pub(super) fn peer(&self, slot: u32) -> Option<&Arc<Peer>> {
        self.peers.get(slot as usize)
    }

    /// The slot of the peer whose session has this index.
    #[inline]
    pub(super) fn slot_by_index(&self, index: u32) -> Option<u32> {
        self.by_index.get(&index).copied()
    }

    pub(super) fn by_index(&self, index: u32) -> Option<&Arc<Peer>> {
        self.peer(self.slot_by_index(index)?)
    }

    pub(super) fn by_key(&self, key: &WireGuardPublic) -> Option<&Arc<Peer>> {
        self.peer(*self.by_key.get(key)?)
    }

    pub(super) fn by_node(&self, node: &NodeId) -> Option<&Arc<Peer>> {
        self.peers.get(self.slot_of(node)?)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Peer>> {
        self.peers.iter()
    }

    fn slot_of(&self, node: &NodeId) -> Option<usize> {
        self.by_node.get(node).map(|slot| *slot as usize)
    }
}

/// Who else may send from a prefix. Longest-prefix match as for destinations, so that a wider prefix of one peer never holds
/// the narrower one of another.
#[derive(Debug, Default)]
struct AlsoFrom {
    /// Leads to a place in `senders`; [`NOBODY_ELSE`] for prefixes of one peer.
    prefixes: AllowedIps,
    senders: Vec<Vec<u32>>,
}

/// The place of prefixes from which nobody else sends.
const NOBODY_ELSE: u32 = 0;

impl AlsoFrom {
    fn new(configs: &[PeerConfig]) -> Self {
        let mut senders: BTreeMap<IpNet, Vec<u32>> = BTreeMap::new();
        for (config, slot) in configs.iter().zip(0..) {
            for prefix in &config.also_from {
                senders.entry(prefix.trunc()).or_default().push(slot);
            }
        }
        if senders.is_empty() {
            return Self::default();
        }
        let single = configs
            .iter()
            .flat_map(|config| config.allowed_ips.iter().map(|net| (*net, NOBODY_ELSE)));
        let shared = senders.keys().copied().zip(NOBODY_ELSE + 1..);
        Self {
            prefixes: AllowedIps::new(single.chain(shared)),
            senders: std::iter::once(Vec::new())
                .chain(senders.values().cloned())
                .collect(),
        }
    }

    fn holds(&self, slot: u32, source: IpAddr) -> bool {
        let place = self.prefixes.lookup(source);
        place.is_some_and(|place| self.senders[place as usize].contains(&slot))
    }
}

fn is_same(old: &PeerConfig, new: &PeerConfig) -> bool {
    old.public_key == new.public_key
        && old.preshared_key == new.preshared_key
        && old.keepalive == new.keepalive
}

fn unique(own: &WireGuard, configs: Vec<PeerConfig>) -> Vec<PeerConfig> {
    let last_of_node: HashMap<_, _> = configs
        .iter()
        .enumerate()
        .map(|(at, config)| (config.node, at))
        .collect();
    let last_of_key: HashMap<_, _> = configs
        .iter()
        .enumerate()
        .map(|(at, config)| (config.public_key, at))
        .collect();
    let wanted = |at: usize, config: &PeerConfig| {
        last_of_node[&config.node] == at
            && last_of_key[&config.public_key] == at
            && config.public_key != own.public()
    };
    configs
        .into_iter()
        .enumerate()
        .filter(|(at, config)| wanted(*at, config))
        .map(|(_, config)| config)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshd_core::keys::WireGuardSecret;

    fn config(node: u8, key: u8, net: &str) -> PeerConfig {
        PeerConfig {
            node: NodeId::from_bytes([node; 16]),
            public_key: WireGuardSecret::from_seed(&[key; 32]).public(),
            allowed_ips: vec![net.parse().unwrap()],
            also_from: Vec::new(),
            preshared_key: None,
            keepalive: None,
            roaming: false,
        }
    }

    fn holder(table: &PeerTable, address: &str) -> Option<NodeId> {
        let slot = table.allowed_ips().lookup(address.parse::<IpAddr>().unwrap())?;
        table.peer(slot).map(|peer| peer.node)
    }

    #[test]
    fn unchanged_peers_stay_and_changed_ones_are_made_anew() {
        let own = WireGuard::new(WireGuardSecret::from_seed(&[99; 32]));
        let first = vec![
            config(1, 1, "10.0.0.1/32"),
            config(2, 2, "10.0.0.2/32"),
            config(3, 3, "10.0.0.3/32"),
        ];
        let (old, removed) = PeerTable::default().next(&own, 1408, first);
        assert!(removed.is_empty());
        // 1 gets other addresses, 2 another key, 3 goes, 4 comes
        let second = vec![
            config(1, 1, "10.0.9.0/24"),
            config(2, 22, "10.0.0.2/32"),
            config(4, 4, "10.0.0.4/32"),
        ];
        let (new, removed) = old.next(&own, 1408, second);
        let node = |id: u8| NodeId::from_bytes([id; 16]);
        assert!(Arc::ptr_eq(
            old.by_node(&node(1)).unwrap(),
            new.by_node(&node(1)).unwrap()
        ));
        let mut gone: Vec<_> = removed.iter().map(|peer| (peer.node, peer.key)).collect();
        gone.sort();
        let mut expected = [2, 3].map(|id| (node(id), WireGuardSecret::from_seed(&[id; 32]).public()));
        expected.sort();
        assert_eq!(gone, expected);
        assert_eq!(holder(&new, "10.0.0.1"), None);
        assert_eq!(holder(&new, "10.0.9.7"), Some(node(1)));
        assert_eq!(holder(&new, "10.0.0.4"), Some(node(4)));
        let peer = new.by_node(&node(4)).unwrap();
        assert!(Arc::ptr_eq(peer, new.by_index(peer.index).unwrap()));
        assert!(Arc::ptr_eq(peer, new.by_key(&peer.key).unwrap()));
    }

    #[test]
    fn a_spare_gateway_may_send_from_its_range_and_from_nothing_inside_it_that_is_anothers() {
        let own = WireGuard::new(WireGuardSecret::from_seed(&[99; 32]));
        let mut spare = config(2, 2, "10.0.0.2/32");
        spare.also_from = vec!["192.168.50.0/24".parse().unwrap()];
        let configs = vec![
            config(1, 1, "192.168.50.0/24"),
            spare,
            config(3, 3, "192.168.50.7/32"),
            config(4, 4, "10.0.0.4/32"),
        ];
        let (table, _) = PeerTable::default().next(&own, 1408, configs);
        let may = |slot, source: &str| table.may_also_send(slot, source.parse().unwrap());
        assert!(may(1, "192.168.50.9"));
        for (slot, source) in [
            (1, "192.168.50.7"),
            (1, "192.168.51.9"),
            (1, "10.0.0.4"),
            (3, "192.168.50.9"),
        ] {
            assert!(!may(slot, source), "{slot} {source}");
        }
        let (table, _) = PeerTable::default().next(&own, 1408, vec![config(1, 1, "0.0.0.0/0")]);
        assert!(!table.may_also_send(0, "192.168.50.9".parse().unwrap()));
    }

    #[test]
    fn our_own_key_and_doubles_are_no_peers() {
        let own = WireGuard::new(WireGuardSecret::from_seed(&[99; 32]));
        let configs = vec![
            config(1, 99, "10.0.0.1/32"),
            config(2, 2, "10.0.0.2/32"),
            config(3, 2, "10.0.0.3/32"),
        ];
        let (table, _) = PeerTable::default().next(&own, 1408, configs);
        assert_eq!(
            table.iter().map(|peer| peer.node).collect::<Vec<_>>(),
            [NodeId::from_bytes([3; 16])]
        );
        assert_eq!(holder(&table, "10.0.0.2"), None);
    }
}
