//! A NAT: mapping, filtering (RFC 4787 sections 4.1 and 5), expiry, hairpinning.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// What of a remote address matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dependence {
    /// Nothing: endpoint-independent.
    None,
    /// The IP address.
    Address,
    /// IP address and port.
    AddressAndPort,
}

impl Dependence {
    /// What of `remote` matters.
    fn part(self, remote: SocketAddr) -> Option<SocketAddr> {
        match self {
            Self::None => None,
            Self::Address => Some(SocketAddr::new(remote.ip(), 0)),
            Self::AddressAndPort => Some(remote),
        }
    }
}

/// How a NAT behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatKind {
    /// Which remote addresses share an external port.
    pub mapping: Dependence,
    /// From whom packets come in.
    pub filtering: Dependence,
    /// A mapping unused for so long is gone.
    pub expiry: Duration,
    /// Whether hosts inside reach one another by their external addresses.
    pub hairpin: bool,
}

impl NatKind {
    /// What most home routers do: one port for all, in from whom was sent to.
    pub const HOME: Self = Self {
        mapping: Dependence::None,
        filtering: Dependence::AddressAndPort,
        expiry: Duration::from_secs(30),
        hairpin: false,
    };

    /// A carrier's: another port for each remote.
    pub const SYMMETRIC: Self = Self {
        mapping: Dependence::AddressAndPort,
        ..Self::HOME
    };
}

struct Mapping {
    internal: SocketAddr,
    scope: Option<SocketAddr>,
    used: Instant,
    /// Who was sent to, as far as the filter looks.
    remotes: BTreeMap<Option<SocketAddr>, Instant>,
}

/// A NAT with one external address.
pub struct Nat {
    kind: NatKind,
    external: IpAddr,
    mappings: BTreeMap<u16, Mapping>,
    next_port: u16,
}

impl Nat {
    /// A NAT without mappings.
    pub fn new(kind: NatKind, external: IpAddr) -> Self {
        Self {
            kind,
            external,
            mappings: BTreeMap::new(),
            next_port: 20_000,
        }
    }

    /// Its external address.
    pub fn external(&self) -> IpAddr {
        self.external
    }

    /// Whether it takes packets from inside to its own external address back in.
    pub fn hairpins(&self) -> bool {
        self.kind.hairpin
    }

    /// Rebooted: every mapping is gone, and new ones get other ports.
    pub fn reboot(&mut self) {
        self.mappings.clear();
        self.next_port = self.next_port.wrapping_add(1000).max(20_000);
    }

    /// A packet goes out; gives its external source.
    pub fn outbound(&mut self, now: Instant, internal: SocketAddr, remote: SocketAddr) -> SocketAddr {
        self.expire(now);
        let scope = self.kind.mapping.part(remote);
        let known = self
            .mappings
            .iter()
            .find(|(_, known)| known.internal == internal && known.scope == scope);
        let port = known.map(|(&port, _)| port).unwrap_or_else(|| self.free_port());
        let fresh = Mapping {
            internal,
            scope,
            used: now,
            remotes: BTreeMap::new(),
        };
        let mapping = self.mappings.entry(port).or_insert(fresh);
        mapping.used = now;
        mapping.remotes.insert(self.kind.filtering.part(remote), now);
        SocketAddr::new(self.external, port)
    }

    /// A packet comes in; gives the host inside, where the filter lets it through.
    pub fn inbound(&mut self, now: Instant, port: u16, remote: SocketAddr) -> Option<SocketAddr> {
        self.expire(now);
        let mapping = self.mappings.get_mut(&port)?;
        let sent = mapping.remotes.get(&self.kind.filtering.part(remote))?;
        let open = now.saturating_duration_since(*sent) < self.kind.expiry;
        open.then(|| {
            mapping.used = now;
            mapping.internal
        })
    }

    fn expire(&mut self, now: Instant) {
        let expiry = self.kind.expiry;
        self.mappings
            .retain(|_, mapping| now.saturating_duration_since(mapping.used) < expiry);
    }

    fn free_port(&mut self) -> u16 {
        loop {
            self.next_port = self.next_port.wrapping_add(7).max(1024);
            if !self.mappings.contains_key(&self.next_port) {
                return self.next_port;
            }
        }
    }
}
