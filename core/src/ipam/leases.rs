//! One node's pod addresses: who has which, and how long one rests before another pod gets it.
//!
//! A lease is kept by the attachment that it is for (CNI specification, section 2: network name, container id, interface
//! name), so that asking twice gives the same. Addresses go round: the next one is above the last one given. A lease
//! whose interface on the host was not seen for [`UNSEEN`] is released, because not every runtime calls DEL or GC.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::HOST_PREFIX;
use crate::keys::blake2s;
use crate::policy::PodIdentity;
use crate::statement::PodPrefixes;

/// How long an address rests after its release.
pub const QUARANTINE: Duration = Duration::from_secs(60);
/// How long the interface of a lease may be away.
pub const UNSEEN: Duration = Duration::from_secs(60);
/// Most leases of one node.
pub const MAX_LEASES: usize = 16_384;

/// A pod's interface, as the runtime names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Attachment {
    /// Name of the CNI network.
    pub network: String,
    /// Container id.
    pub container: String,
    /// Interface name inside.
    pub interface: String,
}

/// What an attachment has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Whose it is.
    #[serde(flatten)]
    pub attachment: Attachment,
    /// IPv4 address.
    pub ipv4: Ipv4Addr,
    /// IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
    /// Name of the interface on the host's side, at most 15 bytes.
    pub host: String,
    /// What Kubernetes calls the pod; none where the runtime did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodIdentity>,
}

/// Why there is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// No part of the pods' prefixes.
    #[error(
        "this node has no pod prefix: `meshctl network pods NAME --pod-cidr PREFIX` gives the network one, and each node its part"
    )]
    NoPrefix,
    /// All addresses are taken.
    #[error(
        "{prefix} has no free address: {leased} are leased, and {resting} were released less than {} s ago", QUARANTINE.as_secs()
    )]
    Exhausted {
        /// The node's prefix.
        prefix: ipnet::Ipv4Net,
        /// How many pods have one.
        leased: usize,
        /// How many rest.
        resting: usize,
    },
}

/// One node's leases.
#[derive(Debug, Default)]
pub struct Leases {
    prefixes: Option<PodPrefixes>,
    leases: BTreeMap<Attachment, Lease>,
    /// Released addresses, and when.
    resting: BTreeMap<Ipv4Addr, Instant>,
    last: Option<Ipv4Addr>,
    /// Since when a lease's interface is away.
    away: BTreeMap<Attachment, Instant>,
}

/// The form on disk.
#[derive(Default, Serialize, Deserialize)]
struct Stored {
    leases: Vec<Lease>,
    resting: Vec<Ipv4Addr>,
    last: Option<Ipv4Addr>,
}

impl Leases {
    /// Takes up what [`Self::save`] gave. Clocks may have jumped over the restart: what was resting rests anew.
    ///
    /// # Errors
    /// In a word, where it is no such form.
    pub fn restore(now: Instant, bytes: &[u8]) -> Result<Self, String> {
        let stored: Stored = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let leases = stored.leases.into_iter().take(MAX_LEASES);
        Ok(Self {
            leases: leases.map(|lease| (lease.attachment.clone(), lease)).collect(),
            resting: stored.resting.into_iter().map(|ip| (ip, now)).collect(),
            last: stored.last,
            ..Self::default()
        })
    }

    /// What must not be lost.
    pub fn save(&self) -> Vec<u8> {
        let stored = Stored {
            leases: self.leases.values().cloned().collect(),
            resting: self.resting.keys().copied().collect(),
            last: self.last,
        };
        // plain structs with string keys always serialise
        serde_json::to_vec(&stored).unwrap_or_default()
    }

    /// This node's part from now on; leases of an earlier part stay.
    pub fn set_prefixes(&mut self, prefixes: Option<PodPrefixes>) {
        self.prefixes = prefixes;
    }

    /// This node's part.
    pub fn prefixes(&self) -> Option<PodPrefixes> {
        self.prefixes
    }

    /// All leases.
    pub fn all(&self) -> impl Iterator<Item = &Lease> {
        self.leases.values()
    }

    /// The lease of an attachment.
    pub fn of(&self, attachment: &Attachment) -> Option<&Lease> {
        self.leases.get(attachment)
    }

    /// Whether another address can be given.
    ///
    /// # Errors
    /// Why not.
    pub fn ready(&mut self, now: Instant) -> Result<(), LeaseError> {
        self.wake(now);
        self.free().map(drop)
    }

    /// The lease of an attachment: the one that it has, or a new one.
    ///
    /// # Errors
    /// Where there is no address to give.
    pub fn lease(&mut self, now: Instant, attachment: &Attachment) -> Result<Lease, LeaseError> {
        self.wake(now);
        self.away.remove(attachment);
        if let Some(held) = self.leases.get(attachment) {
            return Ok(held.clone());
        }
        let (ipv4, ipv6) = self.free()?;
        let names: BTreeSet<&str> = self.leases.values().map(|lease| lease.host.as_str()).collect();
        let name = (0u32..).map(|again| host_interface(attachment, again));
        let host = { name }.find(|name| !names.contains(name.as_str()));
        let lease = Lease {
            attachment: attachment.clone(),
            ipv4,
            ipv6,
            host: host.unwrap_or_default(),
            pod: None,
        };
        self.last = Some(ipv4);
        self.leases.insert(attachment.clone(), lease.clone());
        Ok(lease)
    }

    /// The attachment is this pod's. Gives the lease where that is news.
    pub fn name_pod(&mut self, attachment: &Attachment, pod: PodIdentity) -> Option<Lease> {
        let lease = self.leases.get_mut(attachment)?;
        if lease.pod.as_ref() == Some(&pod) {
            return None;
        }
        lease.pod = Some(pod);
        Some(lease.clone())
    }

    /// Takes a lease back; none where there is none.
    pub fn release(&mut self, now: Instant, attachment: &Attachment) -> Option<Lease> {
        self.away.remove(attachment);
        let lease = self.leases.remove(attachment)?;
        self.resting.insert(lease.ipv4, now);
        Some(lease)
    }

    /// Takes back what the runtime does not know any more (GC): the leases of the CNI network that are not `valid`.
    pub fn keep_only(&mut self, now: Instant, network: &str, valid: &[Attachment]) -> Vec<Lease> {
        let forgotten: Vec<Attachment> = self
            .leases
            .keys()
            .filter(|held| held.network == network && !valid.contains(held))
            .cloned()
            .collect();
        forgotten
            .iter()
            .filter_map(|attachment| self.release(now, attachment))
            .collect()
    }

    /// `present` are the interfaces of the host. Takes back leases whose interface was away for [`UNSEEN`].
    pub fn observe(&mut self, now: Instant, present: &BTreeSet<String>) -> Vec<Lease> {
        let is_away = |lease: &Lease| !present.contains(&lease.host);
        self.away
            .retain(|attachment, _| self.leases.get(attachment).is_some_and(is_away));
        for lease in self.leases.values().filter(|lease| is_away(lease)) {
            self.away.entry(lease.attachment.clone()).or_insert(now);
        }
        let gone = |since: &Instant| now.saturating_duration_since(*since) >= UNSEEN;
        let gone: Vec<Attachment> = self
            .away
            .iter()
            .filter(|(_, since)| gone(since))
            .map(|(attachment, _)| attachment.clone())
            .collect();
        gone.iter()
            .filter_map(|attachment| self.release(now, attachment))
            .collect()
    }

    /// When [`Self::observe`] has something to decide: a lease's interface is away.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.away.values().map(|since| *since + UNSEEN).min()
    }

    fn wake(&mut self, now: Instant) {
        self.resting
            .retain(|_, since| now.saturating_duration_since(*since) < QUARANTINE);
    }

    fn free(&self) -> Result<(Ipv4Addr, Option<Ipv6Addr>), LeaseError> {
        let prefixes = self.prefixes.ok_or(LeaseError::NoPrefix)?;
        let taken: BTreeSet<Ipv4Addr> = self.leases.values().map(|lease| lease.ipv4).collect();
        let (first, last) = bounds(&prefixes);
        let start = self.last.map_or(first, |last| u32::from(last).saturating_add(1));
        let start = if (first..=last).contains(&start) {
            start
        } else {
            first
        };
        let round = (start..=last).chain(first..start).map(Ipv4Addr::from);
        let free = { round }.find(|ip| !taken.contains(ip) && !self.resting.contains_key(ip));
        let exhausted = LeaseError::Exhausted {
            prefix: prefixes.ipv4,
            leased: self.leases.len(),
            resting: self.resting.len(),
        };
        let ipv4 = free.filter(|_| self.leases.len() < MAX_LEASES).ok_or(exhausted)?;
        Ok((ipv4, matching(&prefixes, ipv4)))
    }
}

/// The first and the last address for pods: neither the prefix's own nor its broadcast address, which some programs refuse.
fn bounds(prefixes: &PodPrefixes) -> (u32, u32) {
    let (network, broadcast) = (prefixes.ipv4.network(), prefixes.ipv4.broadcast());
    (
        u32::from(network).saturating_add(1),
        u32::from(broadcast).saturating_sub(1),
    )
}

/// The IPv6 address at the same place.
fn matching(prefixes: &PodPrefixes, ipv4: Ipv4Addr) -> Option<Ipv6Addr> {
    let place = u32::from(ipv4).wrapping_sub(u32::from(prefixes.ipv4.network()));
    let ipv6 = prefixes.ipv6?;
    Some(Ipv6Addr::from(u128::from(ipv6.network()) | u128::from(place)))
}

/// The name of an attachment's interface on the host's side; `again` counts names that were taken.
pub fn host_interface(attachment: &Attachment, again: u32) -> String {
    let Attachment {
        network,
        container,
        interface,
    } = attachment;
    let parts: [&[u8]; 7] = [
        b"meshd pod v1\0",
        network.as_bytes(),
        b"\0",
        container.as_bytes(),
        b"\0",
        interface.as_bytes(),
        &again.to_le_bytes(),
    ];
    format!("{HOST_PREFIX}{}", HEXLOWER.encode(&blake2s(&parts)[..5]))
}
