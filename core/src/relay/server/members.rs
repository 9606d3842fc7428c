//! Members: their keys, bindings and quotas, in slots that sessions point at.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::id::{NetworkId, NodeId};
use crate::keys::BindKey;
use crate::relay::frame::{BINDING_LIFETIME_S, Nonce};

use super::Channel;
use super::limits::Bucket;

/// Bind requests remembered per node: more than a node makes while its cookie is good.
const NONCES: usize = 12;

/// What one member has sent through the relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberTraffic {
    /// Frames forwarded.
    pub packets: u64,
    /// Their bytes, relay header included.
    pub bytes: u64,
    /// Frames not forwarded because the quota was used up.
    pub over_quota: u64,
    /// Frames not forwarded because all members together offered too much, and this one had its share.
    pub shed: u64,
}

/// One member.
pub(super) struct Slot {
    pub(super) key: BindKey,
    /// Sessions from this node: slot of the peer to session id.
    pub(super) peers: BTreeMap<u32, u64>,
    channel: Option<Channel>,
    expires: u64,
    /// Where else the node has shown that it is, and until when that counts.
    witnessed: Option<(SocketAddr, u64)>,
    nonces: [Nonce; NONCES],
    next_nonce: usize,
    quota: Option<NonZeroU64>,
    bucket: Bucket,
    /// Bytes offered since shares were last made, and what is left of the share.
    offered: AtomicU64,
    fair: Bucket,
    shed: AtomicU64,
    packets: AtomicU64,
    bytes: AtomicU64,
    over_quota: AtomicU64,
}

impl Slot {
    /// Where the node is bound at `clock` (ns).
    pub(super) fn bound_at(&self, clock: u64) -> Option<Channel> {
        self.channel.filter(|_| clock < self.expires)
    }

    /// The node has shown that it is at this address as well.
    pub(super) fn witness(&mut self, clock: u64, address: SocketAddr) {
        let expires = clock + u64::from(BINDING_LIFETIME_S) * 1_000_000_000;
        self.witnessed = Some((address, expires));
    }

    /// Where the node is, as others are told: over IPv4, where that is known, since NATs are searched there alone.
    pub(super) fn whereabouts(&self, clock: u64) -> Option<SocketAddr> {
        let bound = self.bound_at(clock)?.seen();
        let witnessed = self.witnessed.filter(|(_, expires)| clock < *expires);
        let better = witnessed.filter(|_| !bound.is_ipv4());
        Some(better.map_or(bound, |(address, _)| address))
    }

    /// Binds, unless the request was seen before from elsewhere; whether it did.
    pub(super) fn bind(&mut self, clock: u64, channel: Channel, nonce: Nonce) -> bool {
        let repeated = self.nonces.contains(&nonce);
        if repeated && self.channel != Some(channel) {
            return false;
        }
        if !repeated {
            self.nonces[self.next_nonce] = nonce;
            self.next_nonce = (self.next_nonce + 1) % NONCES;
        }
        self.channel = Some(channel);
        self.expires = clock + u64::from(BINDING_LIFETIME_S) * 1_000_000_000;
        true
    }

    /// Charges a frame to the quota; whether it may go on.
    pub(super) fn charge(&self, clock: u64, bytes: usize) -> bool {
        if self
            .quota
            .is_some_and(|rate| !self.bucket.take(clock, bytes, rate))
        {
            self.over_quota.fetch_add(1, Relaxed);
            return false;
        }
        true
    }

    /// Counts a frame that goes on.
    pub(super) fn forwarded(&self, bytes: usize) {
        self.packets.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// Counts a frame for the shares; whether it may go on, given the share.
    pub(super) fn offer(&self, clock: u64, bytes: usize, share: Option<NonZeroU64>) -> bool {
        self.offered.fetch_add(bytes as u64, Relaxed);
        let fits = share.is_none_or(|share| self.fair.take(clock, bytes, share));
        if !fits {
            self.shed.fetch_add(1, Relaxed);
        }
        fits
    }

    /// What was offered since this was last asked, bytes.
    pub(super) fn take_offered(&self) -> u64 {
        self.offered.swap(0, Relaxed)
    }

    pub(super) fn traffic(&self) -> MemberTraffic {
        MemberTraffic {
            packets: self.packets.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            over_quota: self.over_quota.load(Relaxed),
            shed: self.shed.load(Relaxed),
        }
    }
}

/// All members of all networks.
#[derive(Default)]
pub(super) struct Members {
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    index: BTreeMap<(NetworkId, NodeId), u32>,
    quotas: BTreeMap<NetworkId, NonZeroU64>,
}

impl Members {
    pub(super) fn find(&self, network: NetworkId, node: NodeId) -> Option<u32> {
        self.index.get(&(network, node)).copied()
    }

    pub(super) fn get(&self, index: u32) -> Option<&Slot> {
        self.slots.get(index as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut Slot> {
        self.slots.get_mut(index as usize)?.as_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().flatten()
    }

    pub(super) fn of_network(&self, network: NetworkId) -> Vec<NodeId> {
        let all = NodeId::from_bytes([0; 16])..=NodeId::from_bytes([0xff; 16]);
        let keys = (network, *all.start())..=(network, *all.end());
        self.index.range(keys).map(|(&(_, node), _)| node).collect()
    }

    pub(super) fn insert(&mut self, network: NetworkId, node: NodeId, key: BindKey) {
        let slot = Slot {
            key,
            peers: BTreeMap::new(),
            channel: None,
            expires: 0,
            witnessed: None,
            nonces: [[0; 8]; NONCES],
            next_nonce: 0,
            quota: self.quotas.get(&network).copied(),
            bucket: Bucket::default(),
            offered: AtomicU64::new(0),
            fair: Bucket::default(),
            shed: AtomicU64::new(0),
            packets: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            over_quota: AtomicU64::new(0),
        };
        let index = self.free.pop().unwrap_or(self.slots.len() as u32);
        if index as usize == self.slots.len() {
            self.slots.push(None);
        }
        self.slots[index as usize] = Some(slot);
        self.index.insert((network, node), index);
    }

    /// Takes a member out. Its slot is used again, so the caller ends its sessions before anything else.
    pub(super) fn remove(&mut self, network: NetworkId, node: NodeId) -> Option<(u32, Slot)> {
        let index = self.index.remove(&(network, node))?;
        let slot = self.slots[index as usize].take()?;
        self.free.push(index);
        Some((index, slot))
    }

    pub(super) fn forget_session(&mut self, from: u32, to: u32) {
        if let Some(slot) = self.get_mut(from) {
            slot.peers.remove(&to);
        }
    }

    pub(super) fn set_quota(&mut self, network: NetworkId, quota: Option<NonZeroU64>) {
        match quota {
            Some(rate) => self.quotas.insert(network, rate),
            None => self.quotas.remove(&network),
        };
        for node in self.of_network(network) {
            if let Some(slot) = self.find(network, node).and_then(|index| self.get_mut(index)) {
                slot.quota = quota;
            }
        }
    }
}
