//! A NAT: mapping, filtering (RFC 4787 sections 4.1 and 5), expiry, hairpinning.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::nat::{Allocation, Filtering, Mapping, NatBehaviour};

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

/// How a NAT chooses external ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// The host's own, where it is free.
    Preserving,
    /// Each so many after the last.
    Counted(i8),
    /// None that can be known.
    Random,
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
    /// Which external ports it gives.
    pub ports: Ports,
    /// As Linux masquerades without an input rule: a probe that comes unsolicited is a flow of the router's own, and a host
    /// inside that wants the same port and remote gets another port, and gets that one for every new remote from then on (the
    /// kernel takes over the source address of the youngest flow from the same socket).
    pub two_faced: bool,
}

impl NatKind {
    /// What most home routers do: one port for all, in from whom was sent to.
    pub const HOME: Self = Self {
        mapping: Dependence::None,
        filtering: Dependence::AddressAndPort,
        expiry: Duration::from_secs(30),
        hairpin: false,
        ports: Ports::Preserving,
        two_faced: false,
    };

    /// A plain Linux router.
    pub const LINUX: Self = Self {
        two_faced: true,
        ..Self::HOME
    };

    /// A NAT that lets everybody in by a mapping.
    pub const CONE: Self = Self {
        filtering: Dependence::None,
        ..Self::HOME
    };

    /// Another port for each remote, one after the other.
    pub const COUNTING: Self = Self {
        mapping: Dependence::AddressAndPort,
        ports: Ports::Counted(1),
        ..Self::HOME
    };

    /// A carrier's: another port for each remote.
    pub const SYMMETRIC: Self = Self {
        mapping: Dependence::AddressAndPort,
        ports: Ports::Random,
        ..Self::HOME
    };

    /// As a node behind it would measure it.
    pub fn behaviour(&self) -> NatBehaviour {
        NatBehaviour {
            mapping: match self.mapping {
                Dependence::None => Mapping::EndpointIndependent,
                Dependence::Address => Mapping::AddressDependent,
                Dependence::AddressAndPort => Mapping::AddressAndPortDependent,
            },
            filtering: match self.filtering {
                Dependence::None => Filtering::EndpointIndependent,
                Dependence::Address => Filtering::AddressDependent,
                Dependence::AddressAndPort => Filtering::AddressAndPortDependent,
            },
            allocation: match (self.ports, self.mapping) {
                // with a port for each remote no host keeps its own
                (Ports::Preserving, Dependence::None) => Allocation::Preserving,
                (Ports::Counted(step), _) if step != 0 => Allocation::Sequential { step },
                _ => Allocation::Random,
            },
            udp_blocked: false,
        }
    }
}

struct Flow {
    internal: SocketAddr,
    scope: Option<SocketAddr>,
    used: Instant,
    /// Grows from one mapping to the next.
    born: u64,
    /// Who was sent to, as far as the filter looks.
    remotes: BTreeMap<Option<SocketAddr>, Instant>,
}

/// A NAT with one external address.
pub struct Nat {
    kind: NatKind,
    external: IpAddr,
    mappings: BTreeMap<u16, Flow>,
    next_port: u16,
    /// Unsolicited probes that a two-faced NAT took for flows of its own.
    taken: BTreeMap<(u16, SocketAddr), Instant>,
    random: u64,
    births: u64,
}

impl Nat {
    /// A NAT without mappings.
    pub fn new(kind: NatKind, external: IpAddr) -> Self {
        Self {
            kind,
            external,
            mappings: BTreeMap::new(),
            next_port: 20_000,
            taken: BTreeMap::new(),
            births: 0,
            random: match external {
                IpAddr::V4(v4) => u64::from(u32::from(v4)),
                IpAddr::V6(v6) => u128::from(v6) as u64,
            },
        }
    }

    /// Its external address.
    pub fn external(&self) -> IpAddr {
        self.external
    }

    /// As a node behind it would measure it. Where its address is the host's own it is a firewall, and no NAT.
    pub fn behaviour(&self) -> NatBehaviour {
        self.kind.behaviour()
    }

    /// Whether it takes packets from inside to its own external address back in.
    pub fn hairpins(&self) -> bool {
        self.kind.hairpin
    }

    /// Rebooted: every mapping is gone, and new ones get other ports.
    pub fn reboot(&mut self) {
        self.mappings.clear();
        self.taken.clear();
        self.next_port = self.next_port.wrapping_add(1000).max(20_000);
    }

    /// A packet goes out; gives its external source.
    pub fn outbound(&mut self, now: Instant, internal: SocketAddr, remote: SocketAddr) -> SocketAddr {
        self.expire(now);
        let mut scope = self.kind.mapping.part(remote);
        // one by which this very remote was sent to goes before the common one, and of several the youngest is that
        let filtered = self.kind.filtering.part(remote);
        let of = |flow: &Flow| flow.internal == internal && (self.kind.two_faced || flow.scope == scope);
        let mine = self
            .mappings
            .iter()
            .filter(|(_, flow)| of(flow) || flow.internal == internal && flow.scope == Some(remote));
        let rank = |flow: &Flow| {
            (
                flow.remotes.contains_key(&filtered),
                flow.scope == Some(remote),
                flow.born,
            )
        };
        let mut port = mine.max_by_key(|(_, flow)| rank(flow)).map(|(&port, _)| port);
        let keeps = self.kind.ports == Ports::Preserving && self.kind.mapping == Dependence::None;
        let wanted = port.or(keeps.then_some(internal.port()));
        if wanted.is_some_and(|wanted| {
            self.taken.contains_key(&(wanted, remote)) && !self.has_sent(wanted, remote)
        }) {
            (scope, port) = (Some(remote), None);
        }
        self.births += 1;
        let port = port.unwrap_or_else(|| self.free_port(internal.port(), remote));
        let fresh = Flow {
            internal,
            scope,
            used: now,
            born: self.births,
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
        let filtered = self.kind.filtering.part(remote);
        let open = |flow: &&mut Flow| {
            let sent = flow.remotes.get(&filtered);
            sent.is_some_and(|sent| now.saturating_duration_since(*sent) < self.kind.expiry)
        };
        if let Some(flow) = self.mappings.get_mut(&port).filter(open) {
            flow.used = now;
            return Some(flow.internal);
        }
        if self.kind.two_faced {
            self.taken.insert((port, remote), now);
        }
        None
    }

    fn has_sent(&self, port: u16, remote: SocketAddr) -> bool {
        let filtered = self.kind.filtering.part(remote);
        self.mappings
            .get(&port)
            .is_some_and(|flow| flow.remotes.contains_key(&filtered))
    }

    fn expire(&mut self, now: Instant) {
        let expiry = self.kind.expiry;
        self.mappings
            .retain(|_, mapping| now.saturating_duration_since(mapping.used) < expiry);
        self.taken
            .retain(|_, at| now.saturating_duration_since(*at) < expiry);
    }

    fn free_port(&mut self, own: u16, remote: SocketAddr) -> u16 {
        let is_free = |nat: &Self, port: u16| {
            port >= 1024 && !nat.mappings.contains_key(&port) && !nat.taken.contains_key(&(port, remote))
        };
        let keeps = self.kind.ports == Ports::Preserving && self.kind.mapping == Dependence::None;
        if keeps && is_free(self, own) {
            return own;
        }
        loop {
            self.next_port = match self.kind.ports {
                Ports::Counted(step) => self.next_port.wrapping_add_signed(i16::from(step)),
                Ports::Preserving | Ports::Random => {
                    // MMIX's generator; its upper bits are the good ones
                    self.random = self
                        .random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    (self.random >> 33) as u16
                }
            };
            if is_free(self, self.next_port) {
                return self.next_port;
            }
        }
    }
}
