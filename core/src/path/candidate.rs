//! Which of a peer's candidates it makes sense to try from here.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::nat::may_be_seen;
use crate::statement::{Candidate, CandidateKind, MAX_CANDIDATES};

/// What the node knows of its own place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Local {
    /// Addresses of its interfaces with their prefixes: those on which packets may arrive, so no pod, bridge or mesh
    /// addresses.
    pub addresses: Vec<IpNet>,
    /// The UDP port of its WireGuard sockets.
    pub port: u16,
    /// Prefixes of its meshes: what lies in them is never tried.
    pub meshes: Vec<IpNet>,
}

impl Local {
    /// Whether one of the node's own sockets is at this address.
    fn is_own(&self, address: SocketAddr) -> bool {
        address.port() == self.port && self.addresses.iter().any(|own| own.addr() == address.ip())
    }

    /// Whether the node has this address itself, and nobody elsewhere can have it for that reason alone.
    pub(super) fn has(&self, ip: IpAddr) -> bool {
        !is_link_local(ip) && self.addresses.iter().any(|own| own.addr() == ip)
    }

    /// Whether a machine that was there may still be where it was: it kept an address.
    pub(super) fn shares_an_address(&self, before: &Self) -> bool {
        before.addresses.iter().any(|own| self.has(own.addr()))
    }

    fn shares_a_prefix(&self, ip: IpAddr) -> bool {
        self.addresses.iter().any(|own| own.contains(&ip))
    }

    fn has_family_of(&self, ip: IpAddr) -> bool {
        self.addresses
            .iter()
            .any(|own| own.addr().is_ipv4() == ip.is_ipv4())
    }

    /// Addresses worth telling others: host addresses, then what the router maps, then those that observers see, each once.
    /// A host address that an observer sees as well is told as seen: it leads here from elsewhere, be it a private one.
    pub(super) fn candidates(
        &self,
        mapped: Option<SocketAddr>,
        reflexive: impl Iterator<Item = SocketAddr>,
    ) -> Vec<Candidate> {
        let hosts = self
            .addresses
            .iter()
            .map(|own| SocketAddr::new(own.addr(), self.port));
        let hosts = hosts.filter(|host| is_sane(*host) && !is_link_local(host.ip()));
        let mut all: Vec<Candidate> = Vec::new();
        let hosts = hosts.map(|addr| (CandidateKind::Host, addr));
        let elsewhere = |seen: &SocketAddr| !self.meshes.iter().any(|mesh| mesh.contains(&seen.ip()));
        let seen = reflexive.filter(elsewhere);
        let seen = seen.map(|addr| (CandidateKind::ServerReflexive, addr));
        let mapped = mapped.filter(|outside| is_sane(*outside) && !is_private(outside.ip()));
        let mapped = mapped.map(|addr| (CandidateKind::PortMapped, addr));
        for (kind, addr) in hosts.chain(mapped).chain(seen) {
            match all.iter_mut().find(|known| known.addr == addr) {
                Some(known) if known.kind == CandidateKind::Host => known.kind = kind,
                Some(_) => {}
                None => all.push(Candidate { kind, addr }),
            }
        }
        // the reflexive ones are few and worth most to peers elsewhere
        while all.len() > MAX_CANDIDATES {
            let at = all
                .iter()
                .rposition(|candidate| candidate.kind == CandidateKind::Host);
            all.remove(at.unwrap_or(MAX_CANDIDATES));
        }
        all
    }
}

/// The public addresses behind which two nodes sit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vicinity<'a> {
    pub(super) local: &'a Local,
    /// Whether the two are seen at one public address: then private addresses may lead from one to the other.
    pub(super) same_public_address: bool,
}

impl Vicinity<'_> {
    /// Whether to try `address`. A private one that a peer gives as its host address makes sense only on the same
    /// prefix or behind the same NAT; everywhere else it would reach strangers.
    pub(super) fn makes_sense(&self, kind: CandidateKind, address: SocketAddr) -> bool {
        let ip = address.ip();
        // an IPv4 address is written as one
        if ip != ip.to_canonical() || !is_sane(address) {
            return false;
        }
        if self.local.is_own(address) || !self.local.has_family_of(ip) {
            return false;
        }
        if self.local.meshes.iter().any(|mesh| mesh.contains(&ip)) {
            return false;
        }
        match kind {
            CandidateKind::Host if is_link_local(ip) => has_scope(address),
            CandidateKind::Host if is_private(ip) => {
                self.same_public_address || self.local.shares_a_prefix(ip)
            }
            // nobody is seen from elsewhere at one, whatever a peer says
            CandidateKind::ServerReflexive | CandidateKind::PortMapped => !is_link_local(ip),
            CandidateKind::Host | CandidateKind::PeerReflexive => true,
        }
    }
}

/// The kind of an address that came without one.
pub(super) fn kind_of(address: SocketAddr) -> CandidateKind {
    if is_private(address.ip()) {
        CandidateKind::Host
    } else {
        CandidateKind::ServerReflexive
    }
}

/// Whether a node may be at this address at all, as others see it or on its own link.
fn is_sane(address: SocketAddr) -> bool {
    may_be_seen(address) || address.port() != 0 && is_link_local(address.ip())
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// A link-local IPv6 address means something with its interface only, and a record cannot name one of ours.
fn has_scope(address: SocketAddr) -> bool {
    matches!(address, SocketAddr::V6(v6) if v6.scope_id() != 0)
}

/// Private, shared (RFC 6598), link-local or unique local: more than one host in the world has it.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            v4.is_private() || v4.is_link_local() || shared
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> Local {
        Local {
            addresses: ["192.168.1.5/24", "2001:db8:1::5/64"]
                .map(|text| text.parse().unwrap())
                .into(),
            port: 51820,
            meshes: vec!["10.77.0.0/16".parse().unwrap()],
        }
    }

    fn tried(kind: CandidateKind, text: &str, same_public_address: bool) -> bool {
        let local = &local();
        Vicinity {
            local,
            same_public_address,
        }
        .makes_sense(kind, text.parse().unwrap())
    }

    #[test]
    fn private_host_addresses_are_tried_where_they_can_be_meant() {
        use CandidateKind::{Host, ServerReflexive};
        assert!(tried(Host, "192.168.1.9:51820", false), "same prefix");
        assert!(!tried(Host, "192.168.2.9:51820", false), "somebody else's LAN");
        assert!(tried(Host, "192.168.2.9:51820", true), "behind the same NAT");
        assert!(tried(Host, "203.0.113.9:51820", false), "public");
        assert!(
            tried(ServerReflexive, "100.64.0.9:51820", false),
            "as an observer saw it"
        );
        assert!(tried(Host, "[2001:db8:2::9]:51820", false));
        assert!(!tried(Host, "[fd00::9]:51820", false));
    }

    #[test]
    fn some_addresses_are_never_tried() {
        for text in [
            "10.77.0.3:51820",
            "192.168.1.5:51820",
            "127.0.0.1:51820",
            "0.0.0.0:51820",
            "0.1.2.3:51820",
            "255.255.255.255:51820",
            "239.255.77.68:51820",
            "192.168.1.9:0",
            "[::1]:51820",
            "[ff02::1]:51820",
            "[fe80::9]:51820",
            "[::ffff:127.0.0.1]:51820",
            "[::ffff:10.77.0.3]:51820",
        ] {
            assert!(!tried(CandidateKind::Host, text, true), "{text}");
        }
    }

    #[test]
    fn nobody_is_seen_from_elsewhere_at_a_link_local_address() {
        for text in [
            "169.254.169.254:80",
            "[fe80::9]:51820",
            "[::ffff:169.254.169.254]:80",
        ] {
            for kind in [CandidateKind::ServerReflexive, CandidateKind::PortMapped] {
                assert!(!tried(kind, text, true), "{text}");
            }
        }
    }

    #[test]
    fn own_candidates_are_told_once_and_at_most_sixteen() {
        let mut local = local();
        let seen: SocketAddr = "203.0.113.7:40000".parse().unwrap();
        let candidates = local.candidates(None, [seen, seen].into_iter());
        assert_eq!(candidates.len(), 3);
        local.addresses = (1..40)
            .map(|n| format!("192.168.{n}.5/24").parse().unwrap())
            .collect();
        let candidates = local.candidates(None, [seen].into_iter());
        assert_eq!(candidates.len(), MAX_CANDIDATES);
        assert_eq!(candidates[MAX_CANDIDATES - 1].addr, seen);
    }

    #[test]
    fn a_mapped_port_is_told_unless_the_router_sits_behind_another_nat() {
        let told = |mapped: &str| {
            let mapped: SocketAddr = mapped.parse().unwrap();
            let candidates = local().candidates(Some(mapped), [mapped].into_iter());
            let of_it = candidates.into_iter().filter(move |known| known.addr == mapped);
            of_it.map(|known| known.kind).collect::<Vec<_>>()
        };
        assert_eq!(told("203.0.113.7:51820"), [CandidateKind::PortMapped]);
        assert_eq!(told("100.64.0.7:51820"), [CandidateKind::ServerReflexive]);
    }

    #[test]
    fn a_host_address_that_an_observer_sees_is_told_as_seen() {
        let own: SocketAddr = "192.168.1.5:51820".parse().unwrap();
        let candidates = local().candidates(None, [own].into_iter());
        let kinds: Vec<_> = candidates.iter().map(|known| (known.addr, known.kind)).collect();
        assert_eq!(kinds[0], (own, CandidateKind::ServerReflexive));
        assert_eq!(kinds.len(), 2, "{kinds:?}");
    }
}
