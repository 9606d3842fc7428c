//! The network: sites with hosts, NATs between them, delay, loss and reordering on each site's link.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;

use super::nat::{Nat, NatKind};
use crate::nat::{Filtering, Mapping, NatBehaviour};

/// A host; an index into the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub(super) usize);

/// A site; an index into the world. The first one is the public network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteId(pub(super) usize);

impl SiteId {
    /// The site that was added as the `n`th; 0 is the public network.
    pub const fn nth(n: usize) -> Self {
        Self(n)
    }
}

/// The public network.
pub const INTERNET: SiteId = SiteId(0);

/// How a link treats packets, each direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// One way.
    pub delay: Duration,
    /// At most so much more, at random: packets overtake one another.
    pub jitter: Duration,
    /// Of a thousand packets, so many are lost.
    pub loss_permille: u32,
    /// All UDP is lost.
    pub blocked: bool,
    /// The largest IP packet in bytes; larger ones are lost, and nobody says so.
    pub mtu: usize,
}

impl Link {
    /// A link with this delay and nothing else.
    pub const fn delay_ms(delay: u64) -> Self {
        Self {
            delay: Duration::from_millis(delay),
            jitter: Duration::ZERO,
            loss_permille: 0,
            blocked: false,
            mtu: 9_000,
        }
    }
}

struct Site {
    uplink: SiteId,
    nat: Option<Nat>,
    link: Link,
}

struct Host {
    site: SiteId,
    addresses: Vec<IpAddr>,
}

/// A packet that will arrive.
pub(super) struct Arrival {
    pub(super) to: HostId,
    pub(super) from: SocketAddr,
    pub(super) port: u16,
    pub(super) after: Duration,
}

/// Everything between the hosts.
pub(super) struct Net {
    sites: Vec<Site>,
    hosts: Vec<Host>,
    /// Pairs between which no packet arrives, unless a relay is between them.
    cuts: BTreeSet<(HostId, HostId)>,
}

/// Inside one site.
const LAN_DELAY: Duration = Duration::from_micros(500);
/// NATs behind NATs end somewhere.
const MAX_HOPS: usize = 8;

impl Net {
    pub(super) fn new() -> Self {
        let internet = Site {
            uplink: INTERNET,
            nat: None,
            link: Link::delay_ms(0),
        };
        Self {
            sites: vec![internet],
            hosts: Vec::new(),
            cuts: BTreeSet::new(),
        }
    }

    pub(super) fn add_site(&mut self, uplink: SiteId, nat: Option<(NatKind, IpAddr)>, link: Link) -> SiteId {
        let nat = nat.map(|(kind, external)| Nat::new(kind, external));
        self.sites.push(Site { uplink, nat, link });
        SiteId(self.sites.len() - 1)
    }

    pub(super) fn add_host(&mut self, site: SiteId, addresses: Vec<IpAddr>) -> HostId {
        self.hosts.push(Host { site, addresses });
        HostId(self.hosts.len() - 1)
    }

    pub(super) fn move_host(&mut self, host: HostId, site: SiteId, addresses: Vec<IpAddr>) {
        self.hosts[host.0] = Host { site, addresses };
    }

    pub(super) fn address(&self, host: HostId, like: IpAddr) -> Option<IpAddr> {
        self.hosts[host.0]
            .addresses
            .iter()
            .copied()
            .find(|own| own.is_ipv4() == like.is_ipv4())
    }

    pub(super) fn addresses(&self, host: HostId) -> &[IpAddr] {
        &self.hosts[host.0].addresses
    }

    pub(super) fn link_mut(&mut self, site: SiteId) -> &mut Link {
        &mut self.sites[site.0].link
    }

    /// What a host would measure of all the NATs between it and the public network.
    pub(super) fn behaviour(&self, host: HostId) -> NatBehaviour {
        let mut worst = NatBehaviour {
            mapping: Mapping::NoNat,
            filtering: Filtering::EndpointIndependent,
            ..NatBehaviour::default()
        };
        let mut site = self.hosts[host.0].site;
        while site != INTERNET {
            if let Some(nat) = &self.sites[site.0].nat {
                let own = nat.behaviour();
                if worst.mapping as u8 <= own.mapping as u8 {
                    (worst.mapping, worst.allocation) = (own.mapping, own.allocation);
                }
                if (worst.filtering as u8) < own.filtering as u8 {
                    worst.filtering = own.filtering;
                }
            }
            site = self.sites[site.0].uplink;
        }
        worst
    }

    pub(super) fn nat_mut(&mut self, site: SiteId) -> Option<&mut Nat> {
        self.sites[site.0].nat.as_mut()
    }

    pub(super) fn cut(&mut self, from: HostId, to: HostId) {
        self.cuts.insert((from, to));
    }

    pub(super) fn mend(&mut self, from: HostId, to: HostId) {
        self.cuts.remove(&(from, to));
    }

    /// The others on the same site.
    pub(super) fn neighbours(&self, host: HostId) -> Vec<HostId> {
        let site = self.hosts[host.0].site;
        let others = (0..self.hosts.len()).map(HostId);
        others
            .filter(|&other| other != host && self.hosts[other.0].site == site)
            .collect()
    }

    /// Where a packet of `length` bytes from a port of `host` to `to` arrives, if it does.
    pub(super) fn route(
        &mut self,
        now: Instant,
        host: HostId,
        port: u16,
        to: SocketAddr,
        (length, ttl): (usize, u8),
        rng: &mut ChaCha20Rng,
    ) -> Option<Arrival> {
        let source = SocketAddr::new(self.address(host, to.ip())?, port);
        let mut trip = Trip {
            source,
            to,
            site: self.hosts[host.0].site,
            after: LAN_DELAY,
            length,
            ttl,
        };
        for _ in 0..MAX_HOPS {
            if let Some(found) = self.host_at(trip.site, trip.to.ip()) {
                let cut = self.cuts.contains(&(host, found));
                return (!cut).then_some(Arrival {
                    to: found,
                    from: trip.source,
                    port: trip.to.port(),
                    after: trip.after,
                });
            }
            self.hop(now, &mut trip, rng)?;
        }
        None
    }

    fn host_at(&self, site: SiteId, ip: IpAddr) -> Option<HostId> {
        let at = self
            .hosts
            .iter()
            .position(|host| host.site == site && host.addresses.contains(&ip));
        at.map(HostId)
    }

    /// One step: down into a site whose NAT has the address, else up.
    fn hop(&mut self, now: Instant, trip: &mut Trip, rng: &mut ChaCha20Rng) -> Option<()> {
        // who goes on to another site has met the router between the two
        trip.ttl = trip.ttl.checked_sub(1).filter(|ttl| *ttl > 0)?;
        let below = |at: &usize| {
            let site = &self.sites[*at];
            let has = match &site.nat {
                Some(nat) => nat.external() == trip.to.ip(),
                None => self.host_at(SiteId(*at), trip.to.ip()).is_some(),
            };
            site.uplink == trip.site && has
        };
        if let Some(at) = (1..self.sites.len()).find(below) {
            return self.down(now, SiteId(at), trip, rng);
        }
        if trip.site == INTERNET {
            return None;
        }
        let site = &mut self.sites[trip.site.0];
        if let Some(nat) = &mut site.nat {
            let hairpin = nat.external() == trip.to.ip();
            if hairpin && !nat.hairpins() {
                return None;
            }
            trip.source = nat.outbound(now, trip.source, trip.to);
        }
        trip.after += site.link.cross(trip.length, rng)?;
        trip.site = site.uplink;
        Some(())
    }

    fn down(&mut self, now: Instant, below: SiteId, trip: &mut Trip, rng: &mut ChaCha20Rng) -> Option<()> {
        let site = &mut self.sites[below.0];
        if let Some(nat) = &mut site.nat {
            trip.to = nat.inbound(now, trip.to.port(), trip.source)?;
        }
        trip.after += site.link.cross(trip.length, rng)?;
        trip.site = below;
        Some(())
    }
}

struct Trip {
    source: SocketAddr,
    to: SocketAddr,
    site: SiteId,
    after: Duration,
    /// Bytes of the IP packet.
    length: usize,
    /// Routers that it may still meet, and the host.
    ttl: u8,
}

impl Link {
    /// How long a packet takes over the link, if it is not lost.
    fn cross(&self, length: usize, rng: &mut ChaCha20Rng) -> Option<Duration> {
        let lost = rng.next_u32() % 1000 < self.loss_permille;
        let jitter = self.jitter.as_micros() as u64;
        let more = if jitter == 0 { 0 } else { rng.next_u64() % jitter };
        (!lost && !self.blocked && length <= self.mtu).then_some(self.delay + Duration::from_micros(more))
    }
}
