//! Which exposures break nothing, and why others would.

use std::time::Duration;

use super::sites::is_site;
use crate::statement::{ExposeLimits, ExposeTerms, Protocol, ProxyVersion};

/// Most exposures at one coordinator, of all its networks.
pub const MAX_EXPOSED: usize = 256;
/// Most connections that an exposure may be allowed at once.
pub const MAX_CONNECTIONS: u32 = 16_384;
/// Connections at once where nothing else is said.
const CONNECTIONS: u32 = 4_096;
/// Flows of UDP at once where nothing else is said.
const FLOWS: u32 = 1_024;
/// New ones in a second where nothing else is said.
const PER_SECOND: u32 = 1_000;
/// A connection without a byte ends after this, where nothing else is said.
const IDLE_TCP: Duration = Duration::from_secs(3600);
/// A flow of UDP likewise: NATs forget sooner.
const IDLE_UDP: Duration = Duration::from_secs(60);

/// Something exposed, by one of the coordinator's networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposure {
    /// The network's name.
    pub network: String,
    /// Its own.
    pub name: String,
    /// What the root says of it.
    pub terms: ExposeTerms,
}

/// A port on which meshrelay itself listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnPort {
    /// Its transport.
    pub protocol: Protocol,
    /// Its number.
    pub port: u16,
    /// What it is for, as it stands in a sentence.
    pub what: &'static str,
    /// Whether sites may share it.
    pub shared: bool,
}

/// Why something cannot be exposed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExposeError {
    /// meshrelay listens there.
    #[error("port {port} ({protocol}) is meshrelay's own: {what}; take another port")]
    OwnPort {
        /// `tcp` or `udp`.
        protocol: &'static str,
        /// The port.
        port: u16,
        /// What it is for.
        what: &'static str,
    },
    /// meshrelay listens there, and shares.
    #[error(
        "port {port} (tcp) is meshrelay's own: {what}; with --sni HOST a site shares it, without one take another port"
    )]
    OwnShared {
        /// The port.
        port: u16,
        /// What it is for.
        what: &'static str,
    },
    /// Another exposure is there.
    #[error("port {port} ({protocol}) is the exposure \"{name}\"'s of network {network}; {hint}")]
    Taken {
        /// `tcp` or `udp`.
        protocol: &'static str,
        /// The port.
        port: u16,
        /// The other's name.
        name: String,
        /// Its network.
        network: String,
        /// What to do.
        hint: &'static str,
    },
    /// Another exposure has that site.
    #[error("the site {site} at port {port} is the exposure \"{name}\"'s of network {network}")]
    SiteTaken {
        /// The site.
        site: String,
        /// The port.
        port: u16,
        /// The other's name.
        name: String,
        /// Its network.
        network: String,
    },
    /// No name of a site.
    #[error(
        "\"{0}\" is no name of a site: write it in lower case, as www.example.org or *.example.org, not an address"
    )]
    NoSite(String),
    /// Only TLS over TCP names sites.
    #[error("only connections of TCP ask for a site; leave --sni out, or expose a port of TCP")]
    SiteOfUdp,
    /// A line of text has no place in a datagram.
    #[error("version 1 of the PROXY protocol is for TCP alone; take v2, which is put before each datagram")]
    ProxyOfUdp,
    /// Nobody is behind it.
    #[error("nobody would be behind it; name a node and a port with --to NODE:PORT")]
    NoTarget,
    /// Too many connections.
    #[error("at most {MAX_CONNECTIONS} connections at once are possible")]
    TooManyConnections,
    /// Too many exposures.
    #[error("{MAX_EXPOSED} things are exposed at this meshrelay, and more are not possible; remove one")]
    TooMany,
}

/// Limits in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections, or flows, at once.
    pub connections: u32,
    /// New ones in a second.
    pub per_second: u32,
    /// One without a byte ends after this.
    pub idle: Duration,
}

/// Ports at which a node's own address may be asked for by others than an admin: those that kube-proxy serves unless told otherwise.
pub const NODE_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;

impl Limits {
    /// What the terms say, and the defaults where they say nothing.
    pub fn of(terms: &ExposeTerms) -> Self {
        let ExposeLimits {
            connections,
            per_second,
            idle,
        } = terms.limits;
        let (most, silence) = match terms.protocol {
            Protocol::Tcp => (CONNECTIONS, IDLE_TCP),
            Protocol::Udp => (FLOWS, IDLE_UDP),
        };
        Self {
            connections: connections.unwrap_or(most).min(MAX_CONNECTIONS),
            per_second: per_second.unwrap_or(PER_SECOND),
            idle: idle.map_or(silence, |seconds| Duration::from_secs(seconds.into())),
        }
    }
}

/// Whether this may be exposed, besides these others and what meshrelay itself listens on.
///
/// # Errors
/// The first reason against it.
pub fn check<'a>(
    terms: &ExposeTerms,
    own: &[OwnPort],
    others: impl IntoIterator<Item = &'a Exposure>,
) -> Result<(), ExposeError> {
    if terms.targets.is_empty() {
        return Err(ExposeError::NoTarget);
    }
    check_place(terms, own, others)
}

/// The same of what has targets that the root does not name, or none for now.
///
/// # Errors
/// The first reason against it.
pub fn check_place<'a>(
    terms: &ExposeTerms,
    own: &[OwnPort],
    others: impl IntoIterator<Item = &'a Exposure>,
) -> Result<(), ExposeError> {
    well_formed(terms)?;
    let (protocol, port) = (terms.protocol.word(), terms.port);
    let here = own
        .iter()
        .find(|own| (own.protocol, own.port) == (terms.protocol, port));
    match here {
        Some(OwnPort {
            what, shared: true, ..
        }) if terms.sites.is_empty() => {
            return Err(ExposeError::OwnShared { port, what });
        }
        Some(OwnPort {
            what, shared: false, ..
        }) => {
            return Err(ExposeError::OwnPort { protocol, port, what });
        }
        _ => {}
    }
    let mut count = 0;
    for other in others {
        count += 1;
        if (other.terms.protocol, other.terms.port) == (terms.protocol, port) {
            beside(terms, other)?;
        }
    }
    match count < MAX_EXPOSED {
        true => Ok(()),
        false => Err(ExposeError::TooMany),
    }
}

fn well_formed(terms: &ExposeTerms) -> Result<(), ExposeError> {
    if let Some(odd) = terms.sites.iter().find(|site| !is_site(site)) {
        return Err(ExposeError::NoSite(odd.clone()));
    }
    if terms.protocol == Protocol::Udp && !terms.sites.is_empty() {
        return Err(ExposeError::SiteOfUdp);
    }
    if terms.protocol == Protocol::Udp && terms.proxy == Some(ProxyVersion::V1) {
        return Err(ExposeError::ProxyOfUdp);
    }
    match terms.limits.connections {
        Some(many) if many > MAX_CONNECTIONS => Err(ExposeError::TooManyConnections),
        _ => Ok(()),
    }
}

/// Whether two may have one port: where both say which sites they are.
fn beside(terms: &ExposeTerms, other: &Exposure) -> Result<(), ExposeError> {
    let (name, network) = (other.name.clone(), other.network.clone());
    if terms.sites.is_empty() || other.terms.sites.is_empty() {
        let hint = match (terms.protocol, other.terms.sites.is_empty()) {
            (Protocol::Tcp, false) => "with --sni HOST a site shares it",
            _ => "take another port",
        };
        return Err(ExposeError::Taken {
            protocol: terms.protocol.word(),
            port: terms.port,
            name,
            network,
            hint,
        });
    }
    let both = terms.sites.iter().find(|site| other.terms.sites.contains(site));
    match both {
        None => Ok(()),
        Some(site) => Err(ExposeError::SiteTaken {
            site: site.clone(),
            port: terms.port,
            name,
            network,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::NodeId;
    use crate::statement::Member;

    const OWN: [OwnPort; 2] = [
        OwnPort {
            protocol: Protocol::Tcp,
            port: 443,
            what: "the coordinator",
            shared: true,
        },
        OwnPort {
            protocol: Protocol::Udp,
            port: 3478,
            what: "relay and STUN",
            shared: false,
        },
    ];

    fn terms(protocol: Protocol, port: u16, sites: &[&str]) -> ExposeTerms {
        ExposeTerms {
            protocol,
            port,
            targets: vec![Member {
                node: NodeId::from_bytes([1; 16]),
                port: 8080,
            }],
            sites: sites.iter().map(|site| (*site).to_owned()).collect(),
            proxy: None,
            limits: ExposeLimits::default(),
        }
    }

    fn other(name: &str, terms: ExposeTerms) -> Exposure {
        Exposure {
            network: "prod".into(),
            name: name.into(),
            terms,
        }
    }

    #[test]
    fn a_port_is_meshrelays_own_or_anothers_or_shared_by_sites() {
        let others = [
            other("mail", terms(Protocol::Tcp, 25, &[])),
            other("shop", terms(Protocol::Tcp, 443, &["shop.example.org"])),
        ];
        for (wanted, words) in [
            (terms(Protocol::Tcp, 443, &[]), "with --sni HOST a site shares it"),
            (terms(Protocol::Udp, 3478, &[]), "meshrelay's own: relay and STUN"),
            (terms(Protocol::Tcp, 25, &[]), "the exposure \"mail\"'s"),
            (
                terms(Protocol::Tcp, 25, &["mail.example.org"]),
                "take another port",
            ),
            (
                terms(Protocol::Tcp, 443, &["shop.example.org"]),
                "the site shop.example.org at port 443",
            ),
        ] {
            let refused = check(&wanted, &OWN, &others).unwrap_err().to_string();
            assert!(refused.contains(words), "{refused}");
        }
        for good in [
            terms(Protocol::Tcp, 3478, &[]),
            terms(Protocol::Udp, 443, &[]),
            terms(Protocol::Udp, 25, &[]),
            terms(Protocol::Tcp, 443, &["blog.example.org"]),
        ] {
            assert_eq!(check(&good, &OWN, &others), Ok(()));
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let mut nobody = terms(Protocol::Tcp, 80, &[]);
        nobody.targets.clear();
        let mut many = terms(Protocol::Tcp, 80, &[]);
        many.limits.connections = Some(MAX_CONNECTIONS + 1);
        let mut line = terms(Protocol::Udp, 53, &[]);
        line.proxy = Some(ProxyVersion::V1);
        for (wanted, why) in [
            (nobody, ExposeError::NoTarget),
            (many, ExposeError::TooManyConnections),
            (line, ExposeError::ProxyOfUdp),
            (
                terms(Protocol::Udp, 53, &["dns.example.org"]),
                ExposeError::SiteOfUdp,
            ),
            (
                terms(Protocol::Tcp, 80, &["192.0.2.1"]),
                ExposeError::NoSite("192.0.2.1".into()),
            ),
        ] {
            assert_eq!(check(&wanted, &OWN, &[]), Err(why));
        }
    }

    #[test]
    fn there_may_be_so_many_and_no_more() {
        let others: Vec<_> = (0..MAX_EXPOSED as u16)
            .map(|n| other("x", terms(Protocol::Tcp, 1000 + n, &[])))
            .collect();
        let wanted = terms(Protocol::Tcp, 80, &[]);
        assert_eq!(check(&wanted, &[], &others), Err(ExposeError::TooMany));
        assert_eq!(check(&wanted, &[], &others[1..]), Ok(()));
    }
}
